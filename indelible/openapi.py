"""The published description of the HTTP API, made from the table of its calls (OpenAPI 3.1)."""

from __future__ import annotations

from typing import Any, Final

from indelible import faults, routes, shapes, updates

_ERROR: Final = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "enum": [fault.code for fault in faults.FAULTS]},
        "codeNumber": {"type": "integer", "enum": [fault.number for fault in faults.FAULTS]},
        "message": {"type": "string"},
        "details": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["code", "codeNumber", "message", "details"],
}
_DESCRIPTION: Final = """\
Logs that are versioned, immutable, strongly consistent and reactive. Keys and values are Base64; who seals them before
they are sent keeps them from the service. Whole numbers may also be sent as decimal text, and null says as much as
leaving a field out. Credentials stand in the header (HTTP Basic: customer id and API key) or, as before, in the body,
as `authinfo`.
"""
_LICENSE: Final = {"name": "MIT", "identifier": "MIT"}
_UPDATE: Final = """\
The body is a stream: one JSON object that names the log, then one a command, each a `Command`, with or without white
space between them. Nothing is applied before all of it was read and checked.

"""
_HEADERS: Final = {
    routes.REQUEST_ID_HEADER: {
        "description": "Names the request in the service's log.",
        "schema": {"type": "string"},
    },
    routes.VERSION_HEADER: {
        "description": "The log's newest version, or a newer one; where there is a log.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
}
_STATUSES: Final = sorted({fault.status for fault in faults.FAULTS})
_RETRY_AFTER: Final = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}


def document() -> dict[str, Any]:
    """The whole description, as plain JSON."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "indelible", "version": "1", "description": _DESCRIPTION, "license": _LICENSE},
        "paths": {route.path: {"post": _operation(route)} for route in routes.ROUTES},
        "components": {
            "schemas": {
                "Error": _ERROR,
                "AuthInfo": shapes.CREDENTIALS.schema,
                "Command": updates.COMMAND_SCHEMA,
            },
            "responses": {str(status): _failure(status) for status in _STATUSES},
            "headers": {**_HEADERS, "Retry-After": _RETRY_AFTER},
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
        "security": [{"basic": []}, {}],
    }


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _operation(route: routes.Route[Any, Any]) -> dict[str, Any]:
    who = _ref("schemas", "AuthInfo")
    request = dict(route.request.schema)
    request["properties"] = {
        **request["properties"],
        "authinfo": who,
        "authInfo": {**who, "deprecated": True, "description": "The same."},
    }
    return {
        "operationId": route.name,
        "summary": route.summary,
        "description": (_UPDATE if route.stream else "") + f"The API key needs the scope `{route.scope}`.",
        "requestBody": {"required": True, "content": {routes.MEDIA_TYPE: {"schema": request}}},
        "responses": {
            "200": _response("Done.", route.answer.schema),
            **{str(status): _ref("responses", str(status)) for status in _STATUSES},
        },
    }


def _failure(status: int) -> dict[str, Any]:
    codes = [fault.code for fault in faults.FAULTS if fault.status == status]
    more = ["Retry-After"] if status == faults.OVERLOADED.status else []
    return _response(", ".join(codes), _ref("schemas", "Error"), *more)


def _response(description: str, schema: Any, *headers: str) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {name: _ref("headers", name) for name in (*_HEADERS, *headers)},
        "content": {routes.MEDIA_TYPE: {"schema": schema}},
    }
