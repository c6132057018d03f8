"""The control API as an OpenAPI 3.1 document, made from the routes themselves and the facts that they answer with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from warmstate.emulator.facts import Instance
from warmstate.emulator.journal import Event
from warmstate.emulator.servers.routes import BASE, ROUTES, Route

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["document"]

_KINDS: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FUNCTION: Final = {
    "name": "str",
    "handler": "str",
    "task_root": "str",
    "memory_mb": "int",
    "tmp_mb": "int",
    "timeout": "float",
    "max_instances": "int",
    "instances": "int",
    "invoke": "str",
    "url": "str",
}
_OUTCOME: Final = {
    "payload": "str",
    "function_error": "str | None",
    "error_type": "str | None",
    "init_failed": "bool",
    "instance": "str",
    "start": "str | None",
    "duration_ms": "float",
    "init_ms": "float | None",
    "restore_ms": "float | None",
    "billed_ms": "int",
    "max_memory_mb": "int",
    "log": "str",
}
_INVOCATION: Final = {"request_id": "str", "function": "str", "event": "str"}
_ERROR: Final = {
    "type": "object",
    "description": "The shape of the Lambda API's own errors.",
    "properties": {name: {"type": "string"} for name in ("Type", "Message", "message", "Reason")},
    "required": ["Type", "message"],
    "additionalProperties": False,
}


def document(url: str) -> dict[str, Any]:
    """The document for a server at `url`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "warmstate control API",
            "version": "1",
            "description": "The verbs and the journal of a local Lambda. Errors have the shape of the Lambda API.",
        },
        "servers": [{"url": f"{url}{BASE}"}],
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    invocation = _object(_INVOCATION)
    invocation["properties"]["outcome"] = {"anyOf": [{"$ref": "#/components/schemas/Outcome"}, {"type": "null"}]}
    invocation["required"].append("outcome")
    return {
        "Instance": _fact(Instance),
        "Event": _fact(Event),
        "Function": _object(_FUNCTION),
        "Outcome": _object(_OUTCOME),
        "Invocation": invocation,
        "State": {"type": "object", "description": "What warmstate's runtime writes; other runtimes write nothing."},
        "Document": {"type": "object", "required": ["openapi", "paths", "components"]},
        "Error": _ERROR,
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in route.query.items()
    ]
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done.", "content": _content(route.answer)},
            "default": {
                "description": "It cannot be done; the message says why.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if route.body:
        properties = {name: {"type": "number", "minimum": 0, "description": text} for name, text in route.body.items()}
        schema = {"type": "object", "properties": properties}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _content(answer: str) -> dict[str, Any]:
    if answer == "stream":
        return {"text/event-stream": {"schema": {"type": "string"}}}
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{answer.strip('[]')}"}
    if answer.startswith("["):
        schema = {"type": "array", "items": schema}
    return {"application/json": {"schema": schema}}


def _fact(fact: type) -> dict[str, Any]:
    """The JSON shape of one of our facts."""
    return _object({field.name: str(field.type) for field in attrs.fields(fact)})


def _object(fields: Mapping[str, str]) -> dict[str, Any]:
    """An object with all of these fields, and no other; types as Python writes them."""
    properties: dict[str, Any] = {}
    for name, text in fields.items():
        kinds = ["null" if part == "None" else _KINDS.get(part, "object") for part in text.split(" | ")]
        properties[name] = {"type": kinds[0] if len(kinds) == 1 else kinds}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
