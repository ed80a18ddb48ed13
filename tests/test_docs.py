"""The pages: what they show is what happens, they name all there is, and their links lead somewhere."""

import inspect
import json
import logging
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import docrunner
import pytest
import test_http_hostile
import urllib3
from docrunner import Page
from serving import serving

import indelible
import indelible.backends
import indelible.codecs
import indelible.compat
import indelible.testing
from indelible import cipher, errors
from indelible.cli import exits
from indelible.cli.app import app
from indelible.routes import ROUTES
from indelible.server.settings import ServiceLimits, Settings, default_store
from indelible.testing import strategies

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FIGURES = DOCS / "figures"
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
    if "_build" not in path.parts
}
COMMANDS = [name for name in app if not name.startswith("-")]
LEFT_OUT = {"docs/how-to/deploy.md": {"needs root", "needs Docker"}}
"""Why blocks of which pages are not run here; tests/test_deploy.py looks at these."""


def page(name):
    return (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")


def prose(text):
    """A page without its fenced blocks and code in the line."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def anchors(text):
    """The anchors of a page's headings, as GitHub and MyST both make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# What pages show


@pytest.mark.parametrize("name", list(PAGES))
def test_what_a_page_shows_is_what_happens(name, tmp_path, monkeypatch):
    """Every block of Python and every command on a page runs, and prints what the page says."""
    it = Page(PAGES[name], tmp_path)
    monkeypatch.chdir(it.folder)
    it.run()
    reasons = {reason.partition("not run: ")[2] for reason in it.left_out}
    assert reasons == LEFT_OUT.get(name, set()), "a block that cannot run is to be listed with its reason"


LYING = {
    "Python": "```python\nprint(1)\n```\n\n```text\n2\n```\n",
    "output that is not shown": "```python\nprint(1)\n```\n\n```json\n{}\n```\n",
    "a command": "```console\n$ echo one\ntwo\n```\n",
    "a command that fails": "```console\n$ false\n```\n",
    "an exit code": "```console\n$ (exit 3)\n$ echo $?\n4\n```\n",
    "a language nobody knows": "```ruby\nputs 1\n```\n",
    "more than setting up": "```sh\nindelible init\n```\n",
    "an indented block": "- so\n\n  ```python\n  1\n  ```\n",
    "a second terminal": "<!-- second terminal -->\n```console\n$ echo one; sleep 60\ntwo\n```\n",
    "more in a second terminal": "<!-- second terminal -->\n```console\n$ echo one\none\n```\n\n"
    "<!-- second terminal -->\n```text\ntwo\n```\n",
    "less in a second terminal that is taken": "<!-- second terminal -->\n```console\n$ sh -c 'echo one; sleep 0.2; echo two'\none\n"
    "```\n\n```console\n$ sleep 0.5\n```\n\n<!-- second terminal -->\n```console\n$ echo three\nthree\n```\n",
}
HONEST = """
```python
print(1)
```

```text
1
```

```python
# one.py
print("one")
```

<!-- file: two.txt -->
```text
two
```

```console
$ python one.py && cat two.txt
one
two
$ seq 1 9; (exit 3)
1
...
9
$ echo $?
3
```

<!-- second terminal -->
```console
$ python one.py
one
```

<!-- second terminal -->
```console
$ python -c "import sys; print(sys.stdout.isatty())"
True
```

```sh
python3 -m venv .venv && .venv/bin/pip install x
```

<!-- not run: to see that it is not -->
```console
$ false
```
"""


@pytest.mark.parametrize("text", LYING.values(), ids=LYING)
def test_a_page_that_shows_something_else_fails(text, tmp_path, monkeypatch):
    """A page that is wrong in what it shows does not pass; an honest one with the same kinds of blocks does."""
    monkeypatch.setattr(docrunner, "PATIENCE", 0.5)
    path = tmp_path / "page.md"
    path.write_text(text)
    (tmp_path / "lying").mkdir()
    with pytest.raises(AssertionError):
        Page(path, tmp_path / "lying").run()


def test_an_honest_page_passes(tmp_path):
    """The control: every kind of block, as it is meant."""
    path = tmp_path / "page.md"
    path.write_text(HONEST)
    (tmp_path / "honest").mkdir()
    it = Page(path, tmp_path / "honest")
    it.run()
    assert len(it.left_out) == 1


def test_the_figures_are_what_the_commands_print(tmp_path):
    """Drawing the figures again gives the files that are there."""
    subprocess.run(
        [sys.executable, str(DOCS / "make_figures.py"), "--into", str(tmp_path)], check=True, stdout=subprocess.DEVNULL
    )
    drawn = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in FIGURES.iterdir()}
    stale = sorted(name for name in drawn.keys() | kept.keys() if drawn.get(name) != kept.get(name))
    assert not stale, f"these are not as they are drawn now: {stale}; run: python docs/make_figures.py"


# What pages lead to


@pytest.mark.parametrize("name", list(PAGES))
def test_links_lead_somewhere(name):
    """Every relative link and picture of a page is there, and so is the heading that it names."""
    path = PAGES[name]
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)[^)]*\)", prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.is_file(), f"{name} links to {target}"
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), f"{name} links to {target}"


def test_every_page_is_in_the_index_and_linked_from_the_readme():
    """No page stands alone: each is in the table of contents, and the README names each but the start page."""
    index, readme = (DOCS / "index.md").read_text(encoding="utf-8"), PAGES["README.md"].read_text(encoding="utf-8")
    for name, path in PAGES.items():
        if path.parent == ROOT or name == "docs/index.md":
            continue
        entry = str(path.relative_to(DOCS)).removesuffix(".md")
        assert re.search(rf"^{re.escape(entry)}$", index, re.M), f"{name} is in no toctree of the index"
        assert f"]({name})" in readme or name == "docs/reference/changelog.md", f"{name} is not linked from the README"


# What pages must name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command):
    """Each command has a section with its help and an example."""
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page("command-line"), flags=re.M | re.S))
    section = sections.get(command, "")
    assert f"{{literalinclude}} ../figures/help-{command}.txt" in section
    assert re.search(rf"^\$ .*indelible {command}\b", section, re.M), f"no example of {command}"


def test_the_command_line_page_names_no_others():
    """The sections of the page are the commands, in the order in which the help lists them."""
    assert re.findall(r"^## (\S+)$", page("command-line"), re.M) == COMMANDS


PUBLIC = {
    **{f"indelible.{name}": name for name in indelible.__all__},
    **{f"indelible.backends.{name}": name for name in indelible.backends.__all__},
    **{f"indelible.testing.{name}": name for name in indelible.testing.__all__},
    **{f"indelible.compat.{name}": name for name in indelible.compat.__all__},
    **{f"indelible.codecs.{name}": name for name in ("BYTES", "Codec", "JSON", "JSON_ASCII", "STRING", "typed")},
    **{f"indelible.cipher.{name}": name for name in ("Cipher", "LogCipher", "SecretBoxCipher")},
}


@pytest.mark.parametrize("name", list(PUBLIC))
def test_every_public_name_is_in_the_reference(name):
    """Each public name stands in a directive of the API or error page."""
    pattern = rf"^(\.\. auto\w+::|\.\. data::|   :members:).*\b{re.escape(PUBLIC[name])}\b"
    assert re.search(pattern, page("api") + page("errors"), re.M), f"{name} is not in the reference"


def test_the_lists_of_public_names_are_whole():
    """What the modules without ``__all__`` define, and what strategies there are, is in the reference."""
    for module, prefix in ((indelible.codecs, "indelible.codecs."), (cipher, "indelible.cipher.")):
        own = {
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        }
        own -= {"T"}
        assert {f"{prefix}{name}" for name in own} <= PUBLIC.keys() | {prefix + "T"}
    assert ".. automodule:: indelible.testing.strategies\n   :members:" in page("api")
    assert all(inspect.getdoc(it) for it in vars(strategies).values() if inspect.isfunction(it))


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.IndelibleError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_is_in_the_reference(kind):
    """Each error has a row with its code and number, and its class below."""
    rows = re.findall(rf"^\| \**`{kind.__name__}`\**[^|]*\| `(\w+)` \| (\d*) ?\|", page("errors"), re.M)
    assert rows == [(kind.code, "" if kind.number is None else str(kind.number))]
    assert f".. autoexception:: {kind.__name__}\n" in page("errors")


def test_the_exit_codes_are_in_the_reference():
    """Each exit code has a row, and the groups of errors stand where the command line puts them."""
    table = page("errors").partition("## Exit codes")[2]
    rows = dict(re.findall(r"^\| (\d+) \|[^|]*\|([^|]*)\|", table, re.M))
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert set(rows) == {str(code) for code in codes}
    groups = [kind for kind in ERRORS if kind.__base__ is errors.IndelibleError]
    for kind in groups:
        code = next((code for parent, code in exits._CODES if issubclass(kind, parent)), exits.FAILED)
        assert f"`{kind.__name__}`" in rows[str(code)], f"{kind.__name__} ends with {code}"


def test_the_limits_are_in_the_reference():
    """Each limit stands in the table with its default."""
    table = page("contract").partition("## Limits")[2]
    limits = attrs.asdict(indelible.Limits())
    assert sorted(map(int, re.findall(r"\| (\d+)", table))) == sorted({*limits.values()})


SERVICE = (DOCS / "how-to" / "run-a-service.md").read_text(encoding="utf-8")


def rows(text, heading):
    """The first two cells of each row of the tables below a heading, without backticks."""
    section = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", text, re.M | re.S)[1]
    cells = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", section, re.M)
    return [(first.strip("`"), second.strip("`")) for first, second in cells if not first.startswith("---")]


def test_every_setting_is_documented_with_its_default():
    """The tables of settings are those of the service, in their order, each key with its default."""
    shown = [row for row in rows(SERVICE, "Settings") if row != ("key", "default")]
    limits = attrs.asdict(ServiceLimits())
    settings = {name: value for name, value in attrs.asdict(Settings(store="memory:")).items() if name != "limits"}
    written = {None: "none", "memory:": shown[0][1]}
    expected = [(name, written.get(value, value)) for name, value in (settings | limits).items()]

    def read(text):
        return tomllib.loads(f"it = {text}")["it"] if re.match(r'["\d]|true|false', text) else text

    assert [(name, read(text)) for name, text in shown] == expected
    assert shown[0][1] == "indelible.db` in the folder for data" and default_store().endswith("/indelible.db")


def test_every_metric_and_every_field_of_the_access_log_is_documented(caplog):
    """The page names the metrics that there are, by their kinds, and the fields of a line of the access log."""
    access = logging.getLogger("indelible.access")
    with serving() as service:
        who = service.credentials()
        access.addHandler(caplog.handler)
        access.setLevel(logging.INFO)
        try:
            service.call("create", {"logName": "a"}, who)
            page = urllib3.request("GET", f"{service.url}/metrics").data.decode()
        finally:
            access.removeHandler(caplog.handler)
    kinds = re.findall(r"^# TYPE (indelible_\w+) (\w+)$", page, re.M)
    metrics = {row for row in rows(SERVICE, "Is it well.") if row[0].startswith("indelible_")}
    assert metrics == {(name, kind) for name, kind in kinds if not name.endswith("_created")}
    [line] = [json.loads(record.getMessage()) for record in caplog.records if record.name == access.name]
    shown = rows(SERVICE, "The access log")
    assert [name for name, _ in shown] == ["field", *line]
    assert sorted(re.split(r"\W+", dict(shown)["call"])) == sorted(route.name for route in ROUTES)


THREATS = (DOCS / "explanation" / "threat-model.md").read_text(encoding="utf-8")


def test_what_a_client_believes_is_listed_whole():
    """The tricks that a sealing client does not see are those that the page lists, and no others."""
    believed = [name for name, _raw, sealed in test_http_hostile.rows() if sealed == test_http_hostile.BELIEVED]
    assert sorted(row[0] for row in rows(THREATS, "What a client believes")) == sorted(["the service", *believed])


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", THREATS))))
def test_what_is_said_to_show_a_claim_is_a_test(name):
    """Each test that the threat model names is there."""
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert any(re.search(rf"^ *def {name}\(", source, re.M) for source in sources)


@pytest.mark.parametrize("number", range(1, 23))
def test_every_clause_is_in_the_reference(number):
    """S1 to S22 stand on the contract's page, each once, with its number as the code names it."""
    assert len(re.findall(rf"^\*\*S{number}\.\*\* ", page("contract"), re.M)) == 1


def test_the_site_builds_without_a_warning(tmp_path):
    """Sphinx has nothing to complain about."""
    pytest.importorskip("sphinx", reason="the site is built with the extra docs, which is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", DOCS, tmp_path / "html"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "html" / "reference" / "contract.html").exists()
