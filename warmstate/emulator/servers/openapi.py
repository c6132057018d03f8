"""The control API as an OpenAPI 3.1 document, made from the routes themselves and the facts that they answer with."""

from __future__ import annotations

import re
from typing import Any, Final

import attrs

from warmstate.emulator.facts import Instance
from warmstate.emulator.journal import Event
from warmstate.emulator.servers.control import BASE, ROUTES, Route

__all__ = ["document"]

_KINDS: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


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
        "components": {"schemas": {"Instance": _schema(Instance), "Event": _schema(Event), "Error": _ERROR}},
    }


_ERROR: Final = {
    "type": "object",
    "properties": {"Type": {"type": "string"}, "Message": {"type": "string"}, "message": {"type": "string"}},
    "required": ["Type", "message"],
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
        properties = {name: {"type": "number", "description": text} for name, text in route.body.items()}
        schema = {"type": "object", "properties": properties}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _content(answer: str) -> dict[str, Any]:
    if answer == "stream":
        return {"text/event-stream": {"schema": {"type": "string"}}}
    names = {"instances": "Instance", "events": "Event"}
    if answer in names:
        schema: dict[str, Any] = {"type": "array", "items": {"$ref": f"#/components/schemas/{names[answer]}"}}
    elif answer == "functions":
        schema = {"type": "array", "items": {"type": "object"}}
    else:
        schema = {"type": "object"}
    return {"application/json": {"schema": schema}}


def _schema(fact: type) -> dict[str, Any]:
    """The JSON shape of one of our facts."""
    properties: dict[str, Any] = {}
    for field in attrs.fields(fact):
        names = [part.strip() for part in str(field.type).split("|")]
        kinds = ["null" if name == "None" else _KINDS.get(name, "object") for name in names]
        properties[field.name] = {"type": kinds[0] if len(kinds) == 1 else kinds}
    return {"type": "object", "properties": properties, "required": list(properties)}
