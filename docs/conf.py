"""How the pages are built: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

import re
from importlib.metadata import version as _version

import attrs

project = "indelible"
author = "the authors of indelible"
copyright = author  # noqa: A001
release = version = _version("indelible")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
add_module_names = False
toc_object_entries_show_parents = "hide"

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = f"indelible {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
pygments_style = "friendly"
pygments_dark_style = "monokai"


def plain_signature(_app, _what, _name, it, _options, signature, result):
    """Show the defaults of attrs classes as they are, and not where attrs keeps them; hide what stands for no value."""

    def default(match):
        value = getattr(attrs.fields_dict(it)[match[1]], "default", None)
        return "..." if isinstance(value, attrs.Factory) else getattr(value, "name", None) or repr(value)

    if signature:
        signature = re.sub(r"attr_dict\['(\w+)'\]\.default", default, signature)
        signature = (
            re.sub(r" \| ~?[\w.]*_Unset", "", signature).replace("_UNSET", "...").replace("DEFAULT_LIMIT", "10000")
        )
    return signature, result


def setup(app):
    app.connect("autodoc-process-signature", plain_signature)
