"""
The operations of the control API.

`ROUTES` is the one list of what there is: requests are matched against it and the OpenAPI document is made from it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import attrs

from warmstate.wire.invoke_api import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ALL", "BASE", "ROUTES", "Route", "find"]

BASE: Final = "/_warmstate/api/v1"
ALL: Final = "all"


@attrs.frozen
class Route:
    """
    One operation: `path` has its parameters in braces, `body` and `query` name what it takes, with what each means.

    `answer` names the schema of its reply ("Instance"), "[Instance]" a list of them; "stream" is a stream of events.
    """

    method: str
    path: str
    operation: str
    summary: str
    answer: str
    query: Mapping[str, str] = attrs.field(factory=dict[str, str])
    body: Mapping[str, str] = attrs.field(factory=dict[str, str])


ROUTES: Final = (
    Route("GET", "/functions", "functions", "The functions and how to call them.", "[Function]"),
    Route(
        "GET",
        "/instances",
        "ps",
        "The instances, oldest first.",
        "[Instance]",
        query={"function": "only of this function"},
    ),
    Route(
        "POST",
        "/instances/{instance}/freeze",
        "freeze",
        "Freeze an idle instance; its clock can be moved ahead, as if the freeze lasted longer.",
        "[Instance]",
        body={"seconds": "how many seconds the instance believes to have been frozen for"},
    ),
    Route("POST", "/instances/{instance}/thaw", "thaw", "Let a frozen instance run without an event.", "[Instance]"),
    Route(
        "POST",
        "/instances/{instance}/reset",
        "reset",
        "End its processes as after a failed invocation; /tmp stays.",
        "[Instance]",
    ),
    Route("POST", "/instances/{instance}/kill", "kill", "Kill its processes without a word; /tmp stays.", "[Instance]"),
    Route(
        "POST",
        "/instances/{instance}/spindown",
        "spindown",
        "Shut it down in the orderly way; its /tmp goes too.",
        "[Instance]",
    ),
    Route(
        "GET",
        "/instances/{instance}/state",
        "state",
        "What the instance wrote about itself before its latest next.",
        "State",
    ),
    Route(
        "POST",
        "/functions/{function}/scale",
        "scale",
        "Have this many initialized instances.",
        "[Instance]",
        body={"count": "how many"},
    ),
    Route(
        "GET",
        "/events",
        "events",
        "The journal's events, oldest first.",
        "[Event]",
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
        "Invocation",
    ),
    Route(
        "POST",
        "/invocations/{request_id}/replay",
        "replay",
        "Send a recorded event again, as a new invocation.",
        "Invocation",
    ),
    Route("GET", "/openapi.json", "openapi", "This interface as an OpenAPI document.", "Document"),
)


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
