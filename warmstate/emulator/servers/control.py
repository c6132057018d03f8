"""The control API: the verbs, the instances, the journal, for command lines and consoles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl

import attrs

from warmstate.emulator.servers.event_stream import EventStreams
from warmstate.emulator.servers.exchange import BodyTooLarge, Exchange
from warmstate.emulator.servers.routes import ALL, BASE, find
from warmstate.errors import ConfigurationError
from warmstate.wire.invoke_api import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from warmstate.emulator.service import Service

__all__ = ["ControlServer"]

BODY_LIMIT: Final = 65_536


class ControlServer:
    """Answers the control API."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.streams: Final = EventStreams(service.journal)
        self._operations: dict[str, Callable[[Call], Awaitable[Any]]] = {
            "functions": self._functions,
            "ps": self._ps,
            "freeze": lambda call: service.verbs.freeze(call.instance, call.number("seconds", 0.0)),
            "thaw": lambda call: service.verbs.thaw(call.instance),
            "reset": lambda call: service.verbs.reset(call.instance),
            "kill": lambda call: service.verbs.kill(call.instance),
            "spindown": lambda call: service.verbs.spindown(call.instance),
            "state": lambda call: service.verbs.state(call.instance),
            "scale": lambda call: service.verbs.scale(int(call.number("count")), call.parameters["function"]),
            "events": self._events,
            "invocation": lambda call: service.recorded(call.parameters["request_id"]),
            "replay": lambda call: service.replay(call.parameters["request_id"]),
            "openapi": self._openapi,
        }

    async def serve(self, exchange: Exchange) -> bool:
        """
        Answer a request of the control API; False when its path is not below `BASE`.

        Raises:
            ApiError: It cannot be done.
        """
        if not exchange.raw_path.startswith(f"{BASE}/"):
            return False
        route, parameters = find(exchange.method, exchange.raw_path[len(BASE) :])
        query = dict(parse_qsl(exchange.query))
        if route.operation == "stream":
            seen = _whole(exchange.header("last-event-id") or query.get("since", "0"), "since")
            await self.streams.serve(exchange, seen, query.get("type", ""))
            return True
        call = Call(parameters, query, await _body(exchange))
        try:
            value = await self._operations[route.operation](call)
        except ConfigurationError as error:
            raise ApiError(409, "ConflictException", str(error)) from None
        headers = [("content-type", "application/json"), ("cache-control", "no-store")]
        exchange.respond(200, json.dumps(value, default=_plain).encode(), headers)
        return True

    async def _ps(self, call: Call) -> Any:
        return await self._service.verbs.ps(call.query.get("function"))

    async def _functions(self, call: Call) -> Any:
        return [
            {
                "name": pool.function.name,
                "handler": pool.function.handler,
                "task_root": pool.function.task_root,
                "memory_mb": pool.function.memory_mb,
                "tmp_mb": pool.function.tmp_mb,
                "timeout": pool.function.timeout,
                "max_instances": pool.function.max_instances,
                "instances": len(pool.environments),
                "invoke": f"{self._service.url}/2015-03-31/functions/{pool.function.name}/invocations",
                "url": f"{self._service.url}/lambda-url/{pool.function.name}/",
            }
            for pool in self._service.pools.values()
        ]

    async def _events(self, call: Call) -> Any:
        return list(self._newer(_whole(call.query.get("since") or "0", "since"), call.query.get("type", "")))

    def _newer(self, since: int, wanted: str) -> list[Any]:
        return [event for event in self._service.journal.since(since) if event.is_of(wanted)]

    async def _openapi(self, call: Call) -> Any:
        from warmstate.emulator.servers.openapi import document

        return document(self._service.url)


def _plain(value: Any) -> Any:
    """What JSON does not know of our values: facts become objects, the rest text."""
    return attrs.asdict(value) if hasattr(value, "__attrs_attrs__") else str(value)


@attrs.frozen
class Call:
    """What came with a request: the path's parameters, the query, the body's fields."""

    parameters: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def instance(self) -> str | None:
        """The instance that is meant; None for all."""
        name = self.parameters["instance"]
        return None if name == ALL else name

    def number(self, name: str, default: float | None = None) -> float:
        """
        A number of the body.

        Raises:
            ApiError: It is missing, or no finite number of at least 0.
        """
        value = self.body.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
            raise ApiError(400, "InvalidParameterValueException", f"{name} must be a number from 0 to 1,000,000,000")
        return float(value)


async def _body(exchange: Exchange) -> Mapping[str, Any]:
    try:
        text = await exchange.read(BODY_LIMIT)
    except BodyTooLarge:
        raise ApiError(413, "RequestTooLargeException", f"the body may have {BODY_LIMIT} bytes") from None
    try:
        value: Any = json.loads(text or b"{}")
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "InvalidRequestContentException", f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, "InvalidRequestContentException", "the body must be a JSON object")
    return cast("dict[str, Any]", value)


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ApiError(400, "InvalidParameterValueException", f"{name} must be a whole number") from None
