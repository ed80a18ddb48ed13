"""The published description against a live service: whatever it allows is answered as it says, and what not, too."""

from __future__ import annotations

import json

import pytest
import schemathesis
from effort import minimum
from hypothesis import HealthCheck, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks
from serving import basic, nothing_goes_wrong, serving

from indelible import openapi, wire
from indelible.commands import Transaction, Upsert

EACH = settings(max_examples=minimum(500, 25), deadline=None, suppress_health_check=list(HealthCheck))

PROMISES = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
]


def described(*modes):
    schema = schemathesis.openapi.from_dict(openapi.document())
    schema.config.generation.update(modes=list(modes))
    return schema


@pytest.fixture(scope="module")
def service():
    with nothing_goes_wrong(), serving() as service:
        for log in ("0", "log"):
            service.store.create(f"acme/{log}")
            # A head that is hit by no accident: who names it may wait for a minute.
            for number in range(37):
                service.store.update(f"acme/{log}", Transaction([Upsert(b"%d" % number, b"v")]))
        yield service


@pytest.fixture(scope="module")
def who(service):
    return {"Authorization": basic(service.credentials())}


def asked(case, log):
    """Most of what is made up is about a log that is there."""
    if isinstance(case.body, dict) and isinstance(case.body.get("logName"), str) and len(case.body["logName"]) < 4:
        case.body["logName"] = log
        # Who asks stands in the header.
        case.body.pop("authinfo", None)
        case.body.pop("authInfo", None)
    return case


@described(GenerationMode.POSITIVE).parametrize()
@EACH
def test_what_is_described_is_answered_as_described(case, service, who):
    """Every request that the description allows has an answer that it describes."""
    asked(case, "log").call_and_validate(base_url=service.url, headers=who, checks=PROMISES)


@described(GenerationMode.NEGATIVE).parametrize()
@EACH
def test_what_is_not_described_is_refused_as_described(case, service, who):
    """Every other request has an answer that it describes, too, and is refused if it is no message at all."""
    answer = asked(case, "log").call_and_validate(base_url=service.url, headers=who, checks=PROMISES)
    if not isinstance(case.body, dict):
        assert answer.status_code in (400, 413)


@described(GenerationMode.POSITIVE).parametrize()
@EACH
def test_without_a_key_nothing_is_answered(case, service):
    """Whatever is asked, who does not say who asks, or says it wrong, is refused."""
    answer = case.call_and_validate(base_url=service.url, checks=PROMISES)
    assert answer.status_code in (400, 401)


@described(GenerationMode.POSITIVE).include(operation_id="update").parametrize()
@EACH
def test_a_stream_begins_as_described(case, service, who):
    """What the description gives for an update is the first object of its stream; after it come its commands."""
    command = openapi.document()["components"]["schemas"]["Command"]
    assert command["properties"]["type"]["enum"][0] == "Insert"
    if not isinstance(asked(case, "log").body, dict):
        return
    sent = [case.body, {"type": "Upsert", "key": wire.base64(b"k"), "value": wire.base64(b"v"), "version": None}]
    body = "".join(map(json.dumps, sent)).encode()
    answer = case.call(base_url=service.url, headers=who, data=body, json=None)
    case.validate_response(answer, checks=PROMISES)
    attempt = case.body.get("attempt")
    # To JSON Schema 1.0 is an integer; here a number is written one way.
    if case.body["logName"] == "log" and (attempt is None or repr(attempt) == "1"):
        assert case.body.get("transactionId") or answer.status_code == 200 or answer.json()["code"] == "TOO_LARGE"
