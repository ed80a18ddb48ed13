"""What is published of the HTTP API: the description for programs, and the page for people."""

import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from serving import serving

from indelible import faults, messages, openapi, routes, shapes, updates, wire
from indelible.errors import IndelibleError
from indelible.limits import Limits
from indelible.server.settings import ServiceLimits, Settings

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "reference" / "http.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
ROUTES = {route.name: route for route in routes.ROUTES}
DOCUMENT = openapi.document()


def rows(text):
    """The rows of a page's tables, each a list of cells, without heads."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", text, re.M)]
    return [row for index, row in enumerate(found) if not (set(row[0]) <= set("- ") or is_head(found, index))]


def is_head(found, index):
    return index + 1 < len(found) and set("".join(found[index + 1])) <= set("- ")


# The description


def test_the_description_is_current(tmp_path):
    """Writing it again gives the file that is there."""
    script = [sys.executable, str(DOCS / "make_openapi.py"), "--into", str(tmp_path)]
    subprocess.run(script, check=True, stdout=subprocess.DEVNULL)
    kept = (DOCS / "reference" / "openapi.json").read_bytes()
    assert (tmp_path / "openapi.json").read_bytes() == kept, "run: python docs/make_openapi.py"
    assert json.loads(kept) == DOCUMENT


def broken(path, value):
    """The description with something else at one place."""
    plain = json.loads(json.dumps(DOCUMENT))
    *way, last = path
    place = plain
    for name in way:
        place = place[name]
    place[last] = value
    return plain


CREATE = ("paths", "/v1/log/create", "post")


def test_the_description_is_openapi():
    """It is as the schema of OpenAPI 3.1 says, in which a mistake is seen; and so is each schema in it."""
    schemas = pytest.importorskip("jsonschema_rs", reason="it comes with schemathesis, which is not installed")
    definitions = pytest.importorskip("schemathesis.specs.openapi.definitions")
    validator = schemas.Draft202012Validator(definitions.OPENAPI_31)
    assert [str(error) for error in validator.iter_errors(DOCUMENT)] == []
    for wrong in (
        broken(("openapi",), "4"),
        broken((*CREATE, "responses", "200", "description"), 1),
        broken((*CREATE, "requestBody", "content"), None),
        broken(("components", "securitySchemes", "basic", "type"), "magic"),
    ):
        assert not validator.is_valid(wrong)
    for schema in found(DOCUMENT, "schema"):
        assert schemas.meta.is_valid(schema)
    assert not schemas.meta.is_valid({"type": "wholly"})


def found(plain, name):
    """Everything of this name, at any depth."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            if key == name:
                yield value
            yield from found(value, name)
    elif isinstance(plain, list):
        for value in plain:
            yield from found(value, name)


def test_references_lead_somewhere():
    """Each reference names a part of the description, and each part is of use."""
    references = set(found(DOCUMENT, "$ref"))
    parts = {f"#/components/{kind}/{name}" for kind, named in DOCUMENT["components"].items() for name in named}
    assert references <= parts
    # A command stands in a stream, which OpenAPI 3.1 cannot describe but in words.
    assert parts - references == {"#/components/schemas/Command", "#/components/securitySchemes/basic"}
    assert "`Command`" in DOCUMENT["paths"]["/v1/log/update"]["post"]["description"]


def test_every_call_is_described():
    """Each route is a path with what it is asked and answers, its scope, and every status there is."""
    assert list(DOCUMENT["paths"]) == [route.path for route in routes.ROUTES] == [f"/v1/log/{name}" for name in ROUTES]
    for route in routes.ROUTES:
        it = DOCUMENT["paths"][route.path]["post"]
        assert (it["operationId"], it["summary"]) == (route.name, route.summary)
        assert f"`{route.scope}`" in it["description"]
        asked = it["requestBody"]["content"]["application/json"]["schema"]
        assert asked["properties"].keys() - {"authinfo", "authInfo"} == route.request.schema["properties"].keys()
        assert it["responses"]["200"]["content"]["application/json"]["schema"] == route.answer.schema
        assert it["responses"].keys() == {"200", *(str(fault.status) for fault in faults.FAULTS)}
    answers = DOCUMENT["components"]["responses"]
    assert {code for it in answers.values() for code in it["description"].split(", ")} == {
        it.code for it in faults.FAULTS
    }
    assert [name for name, it in answers.items() if "Retry-After" in it["headers"]] == ["503"]


def test_only_the_additions_refuse_other_fields():
    """The description says which calls pass over unknown fields and which do not."""
    exact = {
        path.rpartition("/")[2]
        for path, it in DOCUMENT["paths"].items()
        if it["post"]["requestBody"]["content"]["application/json"]["schema"].get("additionalProperties") is False
    }
    assert exact == ROUTES.keys() - {"create", "update", "diff"}


def test_an_error_is_as_it_is_described():
    """What is told of every error fits the schema of errors, and anything else does not."""
    schemas = pytest.importorskip("jsonschema_rs", reason="it comes with schemathesis, which is not installed")
    validator = schemas.Draft202012Validator(DOCUMENT["components"]["schemas"]["Error"])
    for error in (IndelibleError(), faults.errors.TooLarge("too large", "key", 2, 1), faults.errors.BadApiKey()):
        told = wire.document(faults.encode(error, "r1"))
        assert validator.is_valid(told)
        assert not validator.is_valid(told | {"codeNumber": 1006})
        assert not validator.is_valid(told | {"details": {"size": 1}})


# The page


def test_every_call_is_on_the_page():
    """The table of calls is the table of routes; each has a section with an example, which names all its fields."""
    calls = [[f"[`{it.name}`](#{it.name})", f"`{it.scope}`", it.summary] for it in routes.ROUTES]
    assert rows(PAGE.partition("\n## ")[0]) == calls
    assert [name for name in SECTIONS if name in ROUTES] == list(ROUTES)
    for name, route in ROUTES.items():
        assert f"$LOGS{route.path} " in SECTIONS[name]
        for field in (*route.request.schema["properties"], *route.answer.schema["properties"]):
            assert f"`{field}`" in SECTIONS[name] or f'"{field}"' in SECTIONS[name], f"{name} does not tell of {field}"


def test_the_fields_are_on_the_page():
    """The tables of fields name exactly the fields of what they stand under."""
    for name, kind in {"update": updates.UPDATE_HEAD, "diff": shapes.DIFF_LOG}.items():
        assert [row[0] for row in rows(SECTIONS[name])] == [f"`{field}`" for field in kind.schema["properties"]]
    for field in (*updates.COMMAND_SCHEMA["properties"], *updates.COMMAND_SCHEMA["properties"]["type"]["enum"]):
        assert re.search(rf'[`"]{field}[`"]', SECTIONS["update"])
    for field in shapes.CURSOR.schema["properties"]:
        assert f"`{field}`" in SECTIONS["diff"]


def test_every_error_is_on_the_page():
    """The table of errors is the table of faults: code, number, status and details."""
    table = [(row[0], row[1], row[2], row[4]) for row in rows(SECTIONS["Errors"])]
    assert table == [
        (f"`{it.code}`", str(it.number), str(it.status), ", ".join(f"`{field}`" for field in it.fields))
        for it in sorted(faults.FAULTS, key=lambda fault: fault.number)
    ]


def test_the_headers_are_on_the_page():
    """The table of headers names those that answers carry."""
    assert {row[0].strip("`") for row in rows(SECTIONS["Headers"])} == {
        routes.VERSION_HEADER,
        routes.REQUEST_ID_HEADER,
        "Retry-After",
    }
    assert set(DOCUMENT["components"]["headers"]) == {row[0].strip("`") for row in rows(SECTIONS["Headers"])}


def test_the_sizes_are_on_the_page():
    """Each limit stands in the table as it is unless set otherwise."""
    limits, service = Limits(), ServiceLimits()
    assert {row[0]: int(row[1].split()[0]) for row in rows(SECTIONS["Sizes"])} == {
        "a body": service.body,
        "values in a body, counted by its commas": wire.MOST_VALUES,
        "commands in a transaction": limits.commands,
        "a key": limits.key,
        "a value": limits.value,
        "a log's name": limits.name,
        "a group, a source": limits.group,
        "changes on a page": service.page,
        "seconds to wait": wire.LONGEST_WAIT,
        "requests at once, of one customer": service.requests_per_tenant,
        "requests waiting for a version, of one customer": service.polls_per_tenant,
    }
    assert service.tenant == limits
    assert limits.group == limits.source


def test_the_numbers_on_the_page_are_the_numbers():
    """Defaults, depths and the address are those of the code."""
    assert f"the most changes on the page, {shapes.DEFAULT_LIMIT} unless given" in SECTIONS["diff"]
    assert f"0 to {wire.LONGEST_WAIT} |" in SECTIONS["diff"]
    assert f"a `limit`, {messages.LARGEST_PAGE} unless given" in SECTIONS["list"]
    assert f"deeper\n  than {wire.DEEPEST}" in SECTIONS["What a body may hold"]
    assert f"http://{Settings().host}:{Settings().port}\n" in SECTIONS["Who asks"]


# The examples

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)
EXAMPLES = [
    (command, answer)
    for (kind, command), (shown, answer) in itertools.pairwise(BLOCKS)
    if (kind, shown) == ("text", "json") and "curl" in command
]
VARYING = re.compile(r'"(committedAt|requestId)":\s*"[^"]*"')


@pytest.fixture
def service():
    with serving() as service:
        yield service


def asked(command):
    """What a line with ``curl`` sends: the name of the call, and the body, of which it makes one of all its parts."""
    words = shlex.split(command.removeprefix("$ ").replace("\\\n", ""))
    assert words[:3] == ["curl", "-u", "$WHO"]
    assert words[4::2] == ["--json"] * len(words[5::2])
    return words[3].removeprefix("$LOGS/v1/log/"), "".join(words[5::2]).encode()


def same(text):
    """JSON without what is another each time."""
    return json.loads(VARYING.sub(r'"\1": "?"', text))


def answered(service, who, command):
    """What a service answers to a line of the page; nobody waits for what will not come."""
    name, body = asked(command.replace('"waitSeconds": 60', '"waitSeconds": 0'))
    return same(service.call(name, body, who).data.decode())


def test_the_examples_are_answered_as_shown(service):
    """What the page shows to send can be sent, from its top to its end, and is answered as it shows."""
    assert len(EXAMPLES) == PAGE.count("$ curl ") == 13
    assert {asked(command)[0] for command, _ in EXAMPLES} == ROUTES.keys()
    who = service.credentials()
    for command, shown in EXAMPLES:
        assert answered(service, who, command) == same(shown), command


def test_an_example_that_is_wrong_is_seen(service):
    """The control of the above: another log, another key, and it is not answered as shown."""
    who = service.credentials()
    (create, _), (update, shown) = EXAMPLES[:2]
    assert answered(service, who, create) == {}
    assert answered(service, who, update.replace("prices", "prizes"))["code"] == "NONEXISTENT_LOG"
    assert answered(service, who, update.replace("YXBwbGU=", "YXBwbGU"))["code"] == "INVALID_REQUEST"
    assert answered(service, who, update) == same(shown)


def test_who_asks_may_stand_in_the_body(service):
    """The page's other block is a request that says who asks, and is answered when its words are the right ones."""
    shown = next(json.loads(body) for kind, body in BLOCKS if kind == "json" and "authinfo" in body)
    who = service.credentials()
    service.call("create", {"logName": "prices"}, who)
    assert json.loads(service.call("diff", shown).data)["code"] == "BAD_API_KEY"
    for name in ("authinfo", "authInfo"):
        right = {name: {"customer_id": who.customer_id, "apikey": who.apikey.reveal().decode()}, "logName": "prices"}
        assert json.loads(service.call("diff", right).data) == {
            "fromVersion": 0,
            "toVersion": 0,
            "page": [],
            "nextPageOptions": None,
        }


def test_the_headers_are_as_the_page_says(service):
    """The version where there is a log, on errors too; the name of the request, as it was chosen."""
    who = service.credentials()
    service.call("create", {"logName": "l"}, who)
    for question, version in (
        ({"logName": "l"}, "0"),
        ({"logName": "l", "fromVersion": 9}, "0"),
        ({"logName": "m"}, None),
    ):
        answer = service.call("diff", question, who, headers={routes.REQUEST_ID_HEADER: "mine"})
        assert answer.headers[routes.REQUEST_ID_HEADER] == "mine"
        assert answer.headers.get(routes.VERSION_HEADER) == version
    packed = service.call("diff", {"logName": "l"}, who, headers={"Content-Encoding": "gzip"})
    assert json.loads(packed.data)["code"] == "INVALID_REQUEST"
