"""The Extensions API of one environment: register, event/next, and the two ways to report a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from warmstate.emulator.attempt import Answer, error_payload
from warmstate.emulator.extensions import Extension, ExtensionError
from warmstate.emulator.function import ACCOUNT
from warmstate.emulator.servers.answers import accept, refuse
from warmstate.wire.extensions_api import IDENTIFIER, NAME, parse_extension_call

if TYPE_CHECKING:
    from warmstate.emulator.environment import Environment
    from warmstate.emulator.servers.exchange import Exchange

__all__ = ["ExtensionServer"]

BODY_LIMIT: Final = 1 << 20
ERROR_TYPE: Final = "lambda-extension-function-error-type"


class ExtensionServer:
    """Answers what extensions call."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    async def serve(self, exchange: Exchange) -> None:
        """Answer one call."""
        call = parse_extension_call(exchange.method, exchange.raw_path)
        if isinstance(call, int):
            exchange.respond(call, b"404 page not found\n" if call == 404 else b"", [("content-type", "text/plain")])
            return
        extensions = self._environment.life.extensions
        try:
            if call == "register":
                self._register(exchange, await exchange.read(BODY_LIMIT))
                return
            extension = extensions.find(exchange.header(IDENTIFIER.lower()))
            if call == "extension_next":
                extensions.next(extension, exchange)
                await exchange.settled()
            else:
                await exchange.read(BODY_LIMIT)
                kind = "Extension.InitError" if call == "extension_init_error" else "Extension.ExitError"
                self._fail(extension, exchange.header(ERROR_TYPE) or kind)
                accept(exchange)
                self._environment.waits.changed()
        except ExtensionError as error:
            refuse(exchange, error.status, error.error_type, str(error))

    def _register(self, exchange: Exchange, body: bytes) -> None:
        environment = self._environment
        extension = environment.life.extensions.register(exchange.header(NAME.lower()), body)
        function = environment.function
        fields = {"functionName": function.name, "functionVersion": function.version, "handler": function.handler}
        if "accountId" in exchange.header("lambda-extension-accept-feature"):
            fields["accountId"] = ACCOUNT
        environment.journal.add(
            "platform.extension",
            function.name,
            environment.instance,
            name=extension.name,
            state="Ready",
            events=sorted(extension.events),
        )
        exchange.respond_json(200, fields, [(IDENTIFIER.lower(), extension.id)])

    def _fail(self, extension: Extension, kind: str) -> None:
        message = f"extension {extension.name}: {kind}"
        self._environment.life.failure = Answer(error_payload(kind, message), error_type=kind)
