"""Who may know whom: a module imports only modules that stand before it in the list of layers.

The list is the architecture. A new module gets a line in its layer, after what it needs and before what needs it;
``name.*`` is a package whose modules may know each other and what stands before the package.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "indelible"

LAYERS = {
    "0 frozen values": "errors seams files checks secret credentials commands changes pages records limits",
    "1 rules and bytes, pure": """
        engine history receipts ledger structuring codecs cipher
        wire messages shapes updates faults routes openapi
    """,
    "2 what a backend is": "backend",
    "3 backends": """
        backends.naming backends.memory backends.sqlite.* backends.postgres.* backends.http.* backends.encrypted
        backends.scoped backends
    """,
    "4 what people use": """
        profile snapshot version_diff log sending client batches copying checkup compat server.*
        testing.model testing.oracle testing.samples testing.recorder testing.linearize testing.faults
        testing.strategies testing.machine testing.laws testing.laws.base testing.laws.updating
        testing.laws.reading testing.laws.retrying testing.laws.keeping testing.laws.waiting
        testing.laws.paging testing.laws.subscribing testing.laws.grouping testing.contract
        testing
    """,
    "the public names": "indelible",
    "5 programs": "testing.plugin cli.* __main__",
}

ORDER = " ".join(LAYERS.values()).split()

# A library that only these modules may import, each with what stands under it.
CONFINED = {
    "nacl": ["cipher"],
    "urllib3": ["backends.http"],
    "apsw": ["backends.sqlite"],
    "cattrs": ["structuring", "codecs", "wire"],
    "hypothesis": ["testing.strategies", "testing.machine"],
    "pytest": ["testing.laws", "testing.plugin"],
}

# What arithmetic on values has no use for: clocks, chance, files, sockets, databases, crypto, JSON, processes, threads.
IMPURE = """
    apsw asyncio datetime hashlib hmac http io json logging nacl os pathlib random secrets select shutil socket sqlite3
    ssl subprocess sys tempfile threading time urllib urllib3 uuid
""".split()
PURE = ["engine", "history", "changes", "pages", "commands", "errors"]


def name_of(path):
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts) or "indelible"


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def place(module, order=ORDER):
    """Where a module stands in the list; None if it has no line."""
    for index, entry in enumerate(order):
        package = entry.removesuffix(".*")
        if module == entry or (entry.endswith(".*") and (module == package or module.startswith(package + "."))):
            return index
    return None


def imports(source, modules):
    """Every module that a source imports, at whatever depth: ours by name within the package, others by top name."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            pairs = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            pairs = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in pairs:
            top, _, rest = module.partition(".")
            if top != "indelible":
                others.add(top)
                continue
            inner = f"{rest}.{name}" if rest and name else rest or name or "indelible"
            ours.add(inner if inner in modules else rest or "indelible")
    return ours, others


def faults(module, source, modules, order=ORDER):
    """What the imports of one module break."""
    found = []
    here = place(module, order)
    if here is None:
        return [f"{module} stands in no layer: add it to LAYERS in tests/test_imports.py"]
    ours, others = imports(source, modules)
    for target in sorted(ours):
        there = place(target, order)
        if there is None:
            found.append(f"{module} imports {target}, which stands in no layer: add it to LAYERS")
        elif there > here or (there == here and not order[here].endswith(".*")):
            found.append(f"{module} imports {target}, which does not stand before it in LAYERS")
    for library, homes in CONFINED.items():
        at_home = any(module == home or module.startswith(home + ".") for home in homes)
        if library in others and not at_home:
            found.append(f"{module} imports {library}, which only {', '.join(homes)} may")
    if module in PURE:
        found += [f"{module} imports {name}, and is arithmetic on values" for name in sorted(others & set(IMPURE))]
        found += [f"{module} imports {name}" for name in sorted(ours & {"secret"})]
        if module in ("engine", "history") and "seams" in ours:
            found.append(f"{module} imports seams, and has no use for time or chance")
    return found


@pytest.mark.parametrize("module", FILES)
def test_a_module_knows_only_what_stands_before_it(module):
    """Imports go downward, libraries stay where they belong, and the rules stay pure."""
    assert faults(module, FILES[module].read_text(), FILES) == []


@pytest.mark.parametrize("module", FILES)
def test_a_module_is_not_longer_than_400_lines(module):
    """300 lines are a hint to split a module; more than 400 fail."""
    assert len(FILES[module].read_text().splitlines()) <= 400


def test_every_line_of_the_list_is_a_module():
    """The list does not drift: what it names exists; packages given as ``name.*`` may be yet to come."""
    assert [entry for entry in ORDER if not entry.endswith(".*") and entry not in FILES] == []
    assert len(ORDER) == len(set(ORDER))


def test_the_oracle_shares_no_code_with_the_rules():
    """The oracle and the laws know neither ``engine`` nor ``history``: two mistakes must agree before a test is blind."""
    for module in FILES:
        if module.startswith("testing"):
            ours, _ = imports(FILES[module].read_text(), FILES)
            assert not ours & {"engine", "history", "receipts"}, module
    assert len(FILES["testing.model"].read_text().splitlines()) < 120


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("commands", "from indelible import engine", "does not stand before it"),
        ("commands", "from indelible.engine import decide", "does not stand before it"),
        ("commands", "import indelible.engine", "does not stand before it"),
        ("commands", "from indelible import Client", "commands imports indelible,"),
        ("log", "def f():\n    from indelible.client import Client", "does not stand before it"),
        ("log", "from indelible.absent import x\nfrom indelible.log import y", "log imports log"),
        ("unheard_of", "", "add it to LAYERS"),
        ("engine", "import time", "arithmetic on values"),
        ("engine", "import os.path", "arithmetic on values"),
        ("history", "from json import dumps", "arithmetic on values"),
        ("engine", "from indelible import seams", "no use for time"),
        ("client", "from nacl.secret import SecretBox", "only cipher may"),
        ("backends.memory", "import apsw", "only backends.sqlite may"),
        ("backends.scoped", "from indelible.backends.sqlite.store import SQLiteBackend", None),
        ("backends.sqlite.store", "import apsw\nfrom indelible.backends.sqlite import rows", None),
        ("engine", "from indelible import commands\nfrom indelible.errors import Rejected\nimport itertools", None),
        ("cipher", "import nacl.secret", None),
    ],
)
def test_the_walk_sees_what_is_forbidden(module, source, fault):
    """A forbidden import is found however it is written; an allowed one is not."""
    found = faults(module, source, FILES)
    assert (not found) if fault is None else any(fault in it for it in found), found
