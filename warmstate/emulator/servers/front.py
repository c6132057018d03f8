"""The emulator's front door: who may come in at all, and which interface a request is for."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING
from urllib.parse import unquote

from warmstate.emulator.attached import PREFIX
from warmstate.emulator.servers.control import ControlServer
from warmstate.emulator.servers.function_url import FunctionUrl
from warmstate.emulator.servers.invoke_server import InvokeServer, refuse
from warmstate.emulator.servers.security import Guard
from warmstate.wire.invoke_api import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from warmstate.emulator.servers.exchange import Exchange
    from warmstate.emulator.service import Service

__all__ = ["Front"]


class Front:
    """Checks each request, then hands it to the Invoke API, the control API or a function URL."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._guard = Guard("127.0.0.1", 0, service.token)
        self._control = ControlServer(service)
        self._invokes = InvokeServer(service)
        self._urls = FunctionUrl(service)

    def listen_at(self, host: str, port: int) -> None:
        """The address became known; requests must name it."""
        self._guard = Guard(host, port, self._service.token)

    def serve(self, exchange: Exchange) -> Awaitable[None] | None:
        """Answer one request."""
        try:
            self._guard.check(exchange)
            if exchange.raw_path.startswith(PREFIX):
                return self._serve_attached(exchange)
            request = self._invokes.parse(exchange)
            if request is None:
                return self._serve_other(exchange)
            return self._invokes.serve(exchange, request)
        except ApiError as error:
            refuse(exchange, error)
        return None

    def _serve_attached(self, exchange: Exchange) -> Awaitable[None] | None:
        name, _, rest = exchange.raw_path[len(PREFIX) :].partition("/")
        pool = self._service.pool(unquote(name) or "_")
        if not pool.function.attached or not pool.environments:
            raise ApiError(
                404, "ResourceNotFoundException", f"{pool.function.name} runs processes of the emulator's own"
            )
        exchange.raw_path = f"/{rest}"
        return pool.environments[0].server.serve(exchange)

    async def _serve_other(self, exchange: Exchange) -> None:
        try:
            if await self._control.serve(exchange) or await self._urls.serve(exchange):
                return
            error = ApiError(404, "UnknownOperationException", f"there is nothing at {exchange.raw_path[:200]}")
        except ApiError as refusal:
            error = refusal
        refuse(exchange, error)

    async def say_goodbye(self) -> None:
        """Everything has ended: tell those who listen."""
        await self._control.streams.close()

    def note_error(self, error: BaseException) -> None:
        """A handler of ours failed: that is a bug, so keep everything."""
        text = "".join(traceback.format_exception(error))
        self._service.journal.add("warmstate.fault", error=f"{type(error).__name__}: {error}", traceback=text)
