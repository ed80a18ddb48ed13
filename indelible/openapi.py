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
they are sent keeps them from the service. Whole numbers may also be sent as decimal text. Credentials stand in the
header (HTTP Basic: customer id and API key) or, as before, in the body, as `authinfo`.
"""
_UPDATE: Final = """\
The body is a stream: one JSON object that names the log, then one object a command, with or without white space between
them. Nothing is applied before all of it was read and checked.
"""


def document() -> dict[str, Any]:
    """The whole description, as plain JSON."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "indelible", "version": "1", "description": _DESCRIPTION, "license": {"name": "MIT"}},
        "paths": {route.path: {"post": _operation(route)} for route in routes.ROUTES},
        "components": {
            "schemas": {
                "Error": _ERROR,
                "AuthInfo": shapes.CREDENTIALS.schema,
                "Command": updates.COMMAND_SCHEMA,
            },
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
        "security": [{"basic": []}, {}],
    }


def _operation(route: routes.Route[Any, Any]) -> dict[str, Any]:
    request = dict(route.request.schema)
    request["properties"] = {**request["properties"], "authinfo": {"$ref": "#/components/schemas/AuthInfo"}}
    statuses = sorted({fault.status for fault in faults.FAULTS})
    return {
        "operationId": route.name,
        "summary": route.summary,
        "description": (_UPDATE if route.stream else "") + f"The key needs the scope `{route.scope}`.",
        "requestBody": {"required": True, "content": {routes.MEDIA_TYPE: {"schema": request}}},
        "responses": {
            "200": {
                "description": "Done.",
                "headers": {
                    routes.REQUEST_ID_HEADER: {"schema": {"type": "string"}},
                    routes.VERSION_HEADER: {
                        "schema": {"type": "string", "pattern": "^[0-9]+$"},
                        "description": "The log's newest version, or a newer one.",
                    },
                },
                "content": {routes.MEDIA_TYPE: {"schema": route.answer.schema}},
            },
            **{str(status): _failure(status) for status in statuses},
        },
    }


def _failure(status: int) -> dict[str, Any]:
    codes = [fault.code for fault in faults.FAULTS if fault.status == status]
    return {
        "description": ", ".join(codes),
        "content": {routes.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
