"""The local Lambda as a Python object: functions, invocations, and the verbs of the execution environment."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import threading
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from warmstate.emulator.journal import Journal
from warmstate.emulator.service import Service
from warmstate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from typing_extensions import Self

    from warmstate.emulator.facts import Instance, InvokeResult
    from warmstate.emulator.function import Function
    from warmstate.emulator.proxy import Cut
    from warmstate.emulator.reload import Reloaded

__all__ = ["Emulator"]

T = TypeVar("T")


class Emulator:
    """
    A local Lambda with functions in real processes, which it freezes, thaws, resets and ends as Lambda does.

    Use it as a context manager; every method may be called from any thread and returns when the thing is done.
    It serves the Invoke API at `url` (boto3's `endpoint_url`), on loopback unless `host` says otherwise, and then only
    to callers with `token` (as access key id, bearer token or X-Warmstate-Token).
    `isolate=False` leaves /tmp and the task root as they are; else each environment has its own where the system allows.
    `port=0` takes any free port. `functions` are added at once.

    Raises:
        OSError: The port is taken.
        ConfigurationError: `host` is not loopback and there is no token.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        isolate: bool = True,
        functions: Sequence[Function] = (),
    ) -> None:
        self.events: Final = Journal()
        """Everything that happens, in order."""
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="warmstate-emulator", daemon=True)
        self._thread.start()
        try:
            self._service = self._do(Service.open(self.events, host=host, port=port, token=token, isolate=isolate))
            for function in functions:
                self.add(function)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Emulator {'closed' if self._closed else self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address of the Invoke API, for `boto3.client("lambda", endpoint_url=...)`."""
        return self._service.url

    @property
    def isolation(self) -> str | None:
        """None when environments have a /tmp of their own and a read-only task root; else why they have not."""
        return self._service.warden.no_namespace

    def add(self, function: Function) -> Function:
        """Add a function, or replace the one of that name, whose instances are spun down; starts provisioned instances."""
        self._do(self._service.add(function))
        return function

    def remove(self, name: str) -> None:
        """Remove a function and spin down its instances."""
        self._do(self._service.remove(name))

    @property
    def functions(self) -> list[Function]:
        """The functions that are here."""
        return [pool.function for pool in list(self._service.pools.values())]

    def invoke(
        self,
        function: str,
        payload: object = b"",
        *,
        type: Literal["RequestResponse", "Event", "DryRun"] = "RequestResponse",
        client_context: object = None,
        tenant_id: str | None = None,
        request_id: str = "",
        qualifier: str = "",
        instance: str = "",
    ) -> InvokeResult:
        """
        Invoke a function as a caller would; `payload` is sent as is when it is bytes, else as JSON.

        Args:
            function: Name or ARN, also with a qualifier.
            payload: The event.
            type: "RequestResponse" waits for the answer; "Event" is accepted and run later, with retries; "DryRun" only checks.
            client_context: What JSON can hold; the handler's `context.client_context`.
            tenant_id: The tenant, for a function with tenant isolation.
            request_id: Give that of an earlier invocation to deliver it again; by default a new one.
            qualifier: A version or alias.
            instance: The instance to send it to, and no other; "new" for one that starts for it.

        Raises:
            warmstate.wire.invoke_api.ApiError: The service refuses the call: unknown function, throttled, payload too large.
        """
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        context = None if client_context is None else json.dumps(client_context)
        return self._do(
            self._service.invoke(
                function,
                body,
                type=type,
                client_context=context,
                tenant_id=tenant_id,
                request_id=request_id,
                qualifier=qualifier,
                instance=instance,
            )
        )

    def ps(self, function: str | None = None) -> list[Instance]:
        """The instances, oldest first."""
        return self._do(self._service.verbs.ps(function))

    def freeze(self, instance: str | None = None, *, seconds: float = 0.0, minutes: float = 0.0) -> list[Instance]:
        """
        Freeze an idle instance (None: all of them), and make it believe that the freeze lasts `seconds` + `minutes`.

        Raises:
            ConfigurationError: There is no such instance, or it is busy.
        """
        return self._do(self._service.verbs.freeze(instance, seconds + 60 * minutes))

    def thaw(self, instance: str | None = None) -> list[Instance]:
        """Let a frozen instance run without giving it an event."""
        return self._do(self._service.verbs.thaw(instance))

    def reset(self, instance: str | None = None) -> list[Instance]:
        """End the processes of an instance as after a failed invocation; /tmp stays, the next event starts new ones."""
        return self._do(self._service.verbs.reset(instance))

    def kill(self, instance: str | None = None) -> list[Instance]:
        """Kill the processes of an instance without a word; /tmp stays, the next event starts new ones."""
        return self._do(self._service.verbs.kill(instance))

    def spindown(self, instance: str | None = None) -> list[Instance]:
        """Shut an instance down as when it idled for too long: SIGTERM where it is due, then it and its /tmp are gone."""
        return self._do(self._service.verbs.spindown(instance))

    def scale(self, count: int, function: str | None = None) -> list[Instance]:
        """Have `count` initialized instances of the function (None: the only one)."""
        return self._do(self._service.verbs.scale(count, function))

    def warm_up(self, function: str | None = None) -> None:
        """Initialize an instance of the function (None: the only one) before any event, as Lambda does at times."""
        self._do(self._service.verbs.warm_up(function))

    def state(self, instance: str | None = None) -> dict[str, Any]:
        """
        What the instance wrote about itself before its latest next; needs `Function(inspect=True)`.

        Raises:
            ConfigurationError: There is no such instance, or it wrote nothing.
        """
        return self._do(self._service.verbs.state(instance))

    def record(self, path: str) -> None:
        """
        Add each event from now on to a file, one JSON object a line; `warmstate replay --from` sends them again.

        Raises:
            OSError: The file cannot be written.
        """
        file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 - it is open until the emulator ends

        async def write_to_it() -> None:
            self._service.recorder.write_to(file)

        self._do(write_to_it())

    def proxy(self, host: str, port: int) -> int:
        """
        A loopback port that forwards to `host`:`port`, for a function to be pointed at.

        Its connections can be broken with `cut`, as freezes on Lambda break them and a stopped process's are not.
        """
        return self._do(self._service.verbs.proxy(host, port))

    def cut(self, instance: str | None = None, how: Cut = "reset") -> int:
        """
        Break the connections that an instance (None: every one) has through `proxy`; returns how many.

        "close": the peer has closed them. "reset": the peer is gone. "silent": nothing comes back any more.
        """
        return self._do(self._service.verbs.cut(instance, how))

    def reload(self, function: str | None = None, *, keep: bool = True) -> list[Reloaded]:
        """
        Start the instances' processes anew, because the code changed; busy ones first finish what they do.

        `keep=True` keeps /tmp, and with it the committed state that the new code can read; False starts from nothing.
        """
        return self._do(self._service.verbs.reload(function, keep=keep))

    def close(self) -> None:
        """Spin down every instance and stop; nothing of it remains."""
        if self._closed:
            return
        self._closed = True
        service = getattr(self, "_service", None)
        if service is not None:
            asyncio.run_coroutine_threadsafe(service.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        # The warden must be a child of this thread's process and be started here; the thread lives as long as the emulator.
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            pending = asyncio.all_tasks(self._loop)
            for task in pending:
                task.cancel()
            if pending:
                self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.run_until_complete(asyncio.sleep(0))  # transports that were cut close their sockets now
        finally:
            self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise ConfigurationError("this emulator is closed; make a new one.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ConfigurationError("this emulator was closed while it worked on that.") from None
