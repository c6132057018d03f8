"""The class that users subclass: what it declares stays warm, and its hooks are told what happened in between."""

from __future__ import annotations

from warmstate.errors import DeclarationError, LifecycleError
from warmstate.warm.declarations import collect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, ClassVar, Literal, TypeAlias

    from warmstate.context import Context
    from warmstate.lifecycle.events import Init, Shutdown, Thaw
    from warmstate.warm.declarations import Declarations
    from warmstate.warm.store.store import StateStore

    Event: TypeAlias = Any
    """What an invocation brings: decoded JSON, or bytes where the content type is not JSON; annotate it as you like."""
    Concurrency: TypeAlias = Literal["serial", "threads", "async"]
else:
    Event = object

__all__ = ["Concurrency", "Event", "StatefulHandler"]

_CONCURRENCIES = ("serial", "threads", "async")


class StatefulHandler:
    """
    The base of a handler that keeps state across invocations.

    Subclass it, declare what stays warm (`state`, `tail`, `resource`), and write `handle`.
    One object of the class lives as long as its process; it is made without arguments.
    Every hook may also be `async def`; all of them share one event loop. Context variables that `on_init` sets hold in every invocation,
    those that `on_thaw` sets in the one it runs for.

    The hooks run in the order of the published table (`warmstate.instance.hooks.SEQUENCE`), each as a unit of work of its own: what it
    changed in committed slots is committed at its end, or rolled back when it raises.
    """

    concurrency: ClassVar[Concurrency] = "serial"
    """
    How invocations may overlap where the platform sends several at once (Lambda Managed Instances).

    "serial": one at a time. "threads": side by side on threads, and your code locks what it shares. "async": side by side on
    one event loop, for an `async def handle`. Slots and tails that survive a reset need "serial".
    """

    store_budget: ClassVar[float | int | str] = 0.5
    """Bytes of memory for slots, tails and `store` together: a share of the function's memory (`0.5`, `"50%"`), or bytes (`"256 MB"`)."""

    __warmstate__: ClassVar[Declarations]
    """What this class and its bases declare; read by the instance and by `warmstate doctor`."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.concurrency not in _CONCURRENCIES:
            raise DeclarationError(
                f'{cls.__qualname__}.concurrency is {cls.concurrency!r}: write "serial" (one invocation at a time), "threads" '
                'or "async"'
            )
        cls.__warmstate__ = collect(cls)

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__}, {self.concurrency}>"

    def on_init(self, init: Init) -> Awaitable[None] | None:
        """Prepares the instance: runs once per process, before any event; what survived a reset is in the slots already."""

    def handle(self, event: Event, context: Context) -> object:
        """
        Answers one event; every handler has this method.

        Return what JSON can hold, `bytes`, or `Raw`; write a generator or an async generator to stream the answer.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no method handle(self, event, context)")

    def on_thaw(self, thaw: Thaw) -> Awaitable[None] | None:
        """Runs before `handle` when the instance was frozen for longer than `WARMSTATE_THAW_AFTER` (1 s)."""

    def after_response(self, context: Context) -> Awaitable[None] | None:
        """Runs when the caller has the answer and before the instance may be frozen; billed, but nobody waits for it."""

    def before_shutdown(self, shutdown: Shutdown) -> Awaitable[None] | None:
        """Runs before the process ends, if the platform says so in time; a few hundred milliseconds, and never a promise."""

    def before_timeout(self, context: Context) -> Awaitable[None] | None:
        """Runs beside a `handle` that is about to exceed its deadline: the only hook that may overlap it, so lock what you share."""

    @property
    def store(self) -> StateStore:
        """
        Keyed state that stays warm, for values whose keys are known only at run time.

        Bounded in bytes by `store_budget`; the least recently used values spill to `/tmp`.
        """
        store: StateStore | None = self.__dict__.get("_warmstate_store")
        if store is None:
            make: Callable[[], StateStore] | None = self.__dict__.get("_warmstate_make_store")
            if make is None:
                raise LifecycleError(
                    f"{type(self).__qualname__}.store belongs to a running instance: use it from on_init on, not in __init__, and "
                    "drive the class with warmstate.testing in tests"
                )
            store = self.__dict__["_warmstate_store"] = make()
        return store

    @classmethod
    def as_lambda_handler(cls) -> Callable[[Any, Any], object]:
        """
        A plain function for the stock managed runtime: `handler = Timelapse.as_lambda_handler()`.

        Streaming does not work there, freezes are told from clock gaps only, and the shutdown hook runs where SIGTERM reaches
        Python.
        """
        from warmstate.hosts.adapter import as_lambda_handler

        return as_lambda_handler(cls)
