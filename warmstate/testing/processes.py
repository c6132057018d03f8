"""
The verbs of `Platform` over the emulator: the real bootstrap in real processes, which are really frozen.

It is slower than `Platform` (a process start per environment) and shows what only processes show: signals, threads, children,
imports, crashes. Its processes import the handler from its file, so the handler must stand at the top of a module.
"""

from __future__ import annotations

import inspect
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from warmstate.errors import ConfigurationError
from warmstate.testing.any_platform import AnyPlatform
from warmstate.testing.result import Result
from warmstate.testing.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from warmstate.emulator import Emulator, Instance
    from warmstate.handler import StatefulHandler

__all__ = ["ProcessPlatform"]

_NAME = "function"


@attrs.define(slots=False, eq=False, repr=False)
class ProcessPlatform(AnyPlatform):
    """
    Runs one handler as Lambda would, in real processes; needs `warmstate[emulator]`.

    Args:
        target: A class or function at the top of a module; or its name as Lambda knows it, `"app.Counter"`, with `task_root`.
        task_root: The folder that modules are imported from; None finds it from the target's file.
        memory_mb: The function's memory size.
        timeout: Seconds that an invocation may take.
        thaw_after: Seconds of freeze from which an instance counts as thawed.
        variables: The function's environment variables.
        share: Folders of this machine that the function sees, beside its own `/tmp`.

    Attributes:
        timeline: What happened so far; `print(platform.timeline)`.
        starts: How many invocations found their environment how: `{"cold": 1, "thaw": 2}`.
    """

    target: type[StatefulHandler] | Callable[[Any, Any], object] | str = attrs.field()
    task_root: str | None = attrs.field(default=None, kw_only=True)
    share: Sequence[str] = attrs.field(default=(), kw_only=True)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.target, str):
            self._handler, self._task_root = self.target, self.task_root or "."
        else:
            self._handler, self._task_root = _where(self.target, self.task_root)
        self._moved = 0.0
        self.timeline = Timeline(lambda: time.time() + self._moved)
        self._emulator: Emulator | None = None

    def __repr__(self) -> str:
        return f"<ProcessPlatform for {self._handler}, {'not started' if self._emulator is None else self._emulator}>"

    @property
    def emulator(self) -> Emulator:
        """The emulator behind it, for what is not among the common verbs; the function's name there is "function"."""
        return self._started(tenants=False)

    @property
    def url(self) -> str:
        """The address of the Invoke API, for any client of Lambda; the function's name there is "function"."""
        return self.emulator.url

    def boto3(self, service: str = "lambda", **options: Any) -> Any:
        """A boto3 client that talks to this platform; needs `warmstate[aws]`."""
        from warmstate.aws import local_client

        return local_client(service, self.url, **options)

    def invoke(
        self,
        event: object = None,
        *,
        payload: bytes | None = None,
        request_id: str | None = None,
        tenant_id: str | None = None,
        instance: str | None = None,
    ) -> Result:
        """
        Deliver an event and return what the caller gets, as `Platform.invoke`.

        For tenants to have environments of their own, the first invocation must name one.
        """
        emulator = self._started(tenants=tenant_id is not None)
        told = emulator.invoke(
            _NAME,
            ({} if event is None else event) if payload is None else payload,
            request_id=request_id or "",
            tenant_id=tenant_id,
            instance=instance or "",
        )
        result = Result(
            told.payload,
            told.content_type,
            told.function_error,
            told.error_type,
            told.request_id,
            told.instance,
            told.start,
        )
        return self._noted("invoke", result)

    def freeze(self, instance: str | None = None, *, seconds: float = 0.0, minutes: float = 0.0) -> list[Instance]:
        """Stop the processes of all environments, or one, and move their clocks by so much, without waiting."""
        length = seconds + 60.0 * minutes
        self.timeline.add("freeze", instance, f"for {length:g} s")
        shown = self.emulator.freeze(instance, seconds=length)
        self._moved += length
        return shown

    def thaw(self, instance: str | None = None) -> list[Instance]:
        """Let the processes run without an event."""
        return self._done("thaw", instance, self.emulator.thaw(instance))

    def reset(self, instance: str | None = None) -> list[Instance]:
        """End the processes after their last steps; the next invocation finds new ones with the same `/tmp`."""
        return self._done("reset", instance, self.emulator.reset(instance))

    def kill(self, instance: str | None = None) -> list[Instance]:
        """Kill the processes; the next invocation finds new ones with the same `/tmp`."""
        return self._done("kill", instance, self.emulator.kill(instance))

    def spindown(self, instance: str | None = None) -> list[Instance]:
        """End the environments, `/tmp` with them, after the last steps of their processes."""
        return self._done("spindown", instance, self.emulator.spindown(instance))

    def scale(self, count: int) -> list[Instance]:
        """Have `count` environments, prepared ahead or spun down."""
        return self._done("scale", None, self.emulator.scale(count))

    def ps(self) -> list[Instance]:
        """All environments, oldest first."""
        return self.emulator.ps()

    def state(self, instance: str | None = None) -> dict[str, Any]:
        """What the only instance, or one by name, holds: sizes and counts of slots, tails, resources and store."""
        return self.emulator.state(instance)

    def proxy(self, host: str, port: int) -> int:
        """A local port that forwards to `host`:`port`; `cut_connections` breaks what goes through it."""
        return self.emulator.proxy(host, port)

    def cut_connections(self) -> int:
        """Break the connections that the processes have through `proxy`, as a long freeze does on Lambda; returns how many."""
        count = self.emulator.cut()
        self.timeline.add("cut", told=f"{count} connections")
        return count

    def close(self) -> None:
        """Spin everything down; nothing of it remains. Safe to repeat."""
        if self._emulator is not None:
            self._emulator.close()

    def _done(self, verb: str, instance: str | None, shown: list[Instance]) -> list[Instance]:
        self.timeline.add(verb, instance)
        return shown

    def _started(self, *, tenants: bool) -> Emulator:
        if self._emulator is None:
            from warmstate.emulator import Emulator, Function

            self._emulator = emulator = Emulator()
            emulator.add(
                Function(
                    name=_NAME,
                    handler=self._handler,
                    task_root=self._task_root,
                    memory_mb=self.memory_mb,
                    timeout=self.timeout,
                    environment={"WARMSTATE_THAW_AFTER": str(self.thaw_after), **self.variables},
                    share=list(self.share),
                    tenant_isolation=tenants,
                    inspect=True,
                )
            )
        return self._emulator


def _where(target: Callable[..., object], task_root: str | None) -> tuple[str, str]:
    """The name of the handler as Lambda knows it, and the folder that its module is imported from."""
    name = getattr(target, "__qualname__", "")
    if not name.isidentifier():
        raise ConfigurationError(
            f"{name or repr(target)} cannot be found by another process: put it at the top of a module, or give its name and "
            'task_root: ProcessPlatform("app.Counter", task_root="src")'
        )
    path = Path(inspect.getfile(target)).resolve()
    module = target.__module__.split(".")
    if task_root is not None:
        parts = path.relative_to(Path(task_root).resolve()).with_suffix("").parts
    elif list(path.with_suffix("").parts[-len(module) :]) == module:
        parts = tuple(module)
        task_root = os.fspath(path.parents[len(module) - 1])
    else:  # run as __main__, or imported by pytest under a name of its own
        parts = (path.stem,)
        task_root = os.fspath(path.parent)
    return f"{'/'.join(parts)}.{name}", task_root
