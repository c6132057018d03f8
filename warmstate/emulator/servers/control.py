"""
The control API: the verbs, the instances, the journal, for command lines and consoles.

`ROUTES` is the one list of what there is: requests are matched against it and the OpenAPI document is made from it.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, unquote

import attrs

from warmstate.emulator.servers.exchange import BodyTooLarge, ClientGone, Exchange
from warmstate.errors import ConfigurationError
from warmstate.wire.invoke_api import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from warmstate.emulator.service import Service

__all__ = ["BASE", "ROUTES", "ControlServer", "Route"]

BASE: Final = "/_warmstate/api/v1"
BODY_LIMIT: Final = 65_536
KEEP_ALIVE: Final = 15.0
"""Seconds of silence after which a comment is sent on an event stream, so that both ends notice a lost peer."""
ALL: Final = "all"


@attrs.frozen
class Route:
    """
    One operation: `path` has its parameters in braces, `body` and `query` name what it takes, with what each means.

    `answer` is the kind of its reply: "instances", "functions", "events", "object", "stream" or "invocation".
    """

    method: str
    path: str
    operation: str
    summary: str
    answer: str
    query: Mapping[str, str] = attrs.field(factory=dict[str, str])
    body: Mapping[str, str] = attrs.field(factory=dict[str, str])


_IDLE = 'The instance, for example "i-1", or "all" for every idle one.'
ROUTES: Final = (
    Route("GET", "/functions", "functions", "The functions and how to call them.", "functions"),
    Route(
        "GET",
        "/instances",
        "ps",
        "The instances, oldest first.",
        "instances",
        query={"function": "only of this function"},
    ),
    Route(
        "POST",
        "/instances/{instance}/freeze",
        "freeze",
        "Freeze an idle instance; its clock can be moved ahead, as if the freeze lasted longer.",
        "instances",
        body={"seconds": "how many seconds the instance believes to have been frozen for"},
    ),
    Route("POST", "/instances/{instance}/thaw", "thaw", "Let a frozen instance run without an event.", "instances"),
    Route(
        "POST",
        "/instances/{instance}/reset",
        "reset",
        "End its processes as after a failed invocation; /tmp stays.",
        "instances",
    ),
    Route("POST", "/instances/{instance}/kill", "kill", "Kill its processes without a word; /tmp stays.", "instances"),
    Route(
        "POST",
        "/instances/{instance}/spindown",
        "spindown",
        "Shut it down in the orderly way; its /tmp goes too.",
        "instances",
    ),
    Route(
        "GET",
        "/instances/{instance}/state",
        "state",
        "What the instance wrote about itself before its latest next.",
        "object",
    ),
    Route(
        "POST",
        "/functions/{function}/scale",
        "scale",
        "Have this many initialized instances.",
        "instances",
        body={"count": "how many"},
    ),
    Route(
        "GET",
        "/events",
        "events",
        "The journal's events, oldest first.",
        "events",
        query={
            "since": "only events with a larger id",
            "type": "only of this type; a type that ends in a dot means all below it",
        },
    ),
    Route(
        "GET",
        "/events/stream",
        "stream",
        "The journal as server-sent events with ids; continues after Last-Event-ID.",
        "stream",
        query={"since": "begin after this id", "type": "as for /events"},
    ),
    Route(
        "GET",
        "/invocations/{request_id}",
        "invocation",
        "A recorded invocation: its event and how it ended.",
        "invocation",
    ),
    Route(
        "POST",
        "/invocations/{request_id}/replay",
        "replay",
        "Send a recorded event again, as a new invocation.",
        "invocation",
    ),
    Route("GET", "/openapi.json", "openapi", "This interface as an OpenAPI document.", "object"),
)


class ControlServer:
    """Answers the control API."""

    def __init__(self, service: Service) -> None:
        self._service = service
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
            await self._stream(exchange, query)
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
                "taskRoot": pool.function.task_root,
                "memoryMB": pool.function.memory_mb,
                "tmpMB": pool.function.tmp_mb,
                "timeout": pool.function.timeout,
                "maxInstances": pool.function.max_instances,
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

    async def _stream(self, exchange: Exchange, query: Mapping[str, str]) -> None:
        """Server-sent events: all that is kept after the id that the client has, then each as it happens."""
        seen = _whole(exchange.header("last-event-id") or query.get("since", "0"), "since")
        wanted = query.get("type", "")
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def tell(_: object) -> None:
            loop.call_soon_threadsafe(news.set)

        stop = self._service.journal.listen(tell)
        exchange.start(200, [("content-type", "text/event-stream"), ("cache-control", "no-store")])
        try:
            await exchange.send(b"retry: 1000\n\n")
            while not exchange.gone.is_set():
                news.clear()
                events = self._newer(seen, wanted)
                seen = max(seen, self._service.journal.last_id)
                if events:
                    await exchange.send(
                        "".join(f"id: {e.id}\nevent: {e.type}\ndata: {e.as_json()}\n\n" for e in events).encode()
                    )
                try:
                    await asyncio.wait_for(news.wait(), KEEP_ALIVE)
                except asyncio.TimeoutError:
                    await exchange.send(b": still here\n\n")
        except ClientGone:
            pass
        finally:
            stop()
        exchange.finish()


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
            raise ApiError(400, "InvalidParameterValueException", f"{name} must be a number from 0 to 10**9")
        return float(value)


def find(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """
    The operation that a request means, with its path's parameters.

    Raises:
        ApiError: 404 for an unknown path, 405 for a known one with another method.
    """
    known = False
    for route in ROUTES:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]{1,200})", route.path)
        match = re.fullmatch(pattern, path)
        if match is not None:
            known = True
            if route.method == method:
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
    if known:
        raise ApiError(405, "MethodNotAllowedException", f"{method} is not possible here")
    raise ApiError(404, "UnknownOperationException", f"there is nothing at {path[:200]}; see {BASE}/openapi.json")


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
