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

from warmstate.errors import ConfigurationError
from warmstate.testing.result import Result
from warmstate.testing.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

    from warmstate.emulator import Emulator, Instance
    from warmstate.handler import StatefulHandler

__all__ = ["ProcessPlatform"]

_NAME = "function"


class ProcessPlatform:
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
    """

    def __init__(
        self,
        target: type[StatefulHandler] | Callable[[Any, Any], object] | str,
        *,
        task_root: str | None = None,
        memory_mb: int = 1024,
        timeout: float = 30.0,
        thaw_after: float = 1.0,
        variables: Mapping[str, str] | None = None,
        share: Sequence[str] = (),
    ) -> None:
        if isinstance(target, str):
            self._handler, self._task_root = target, task_root or "."
        else:
            self._handler, self._task_root = _where(target, task_root)
        self._memory_mb = memory_mb
        self._timeout = timeout
        self._variables = {"WARMSTATE_THAW_AFTER": str(thaw_after), **(variables or {})}
        self._share = list(share)
        self._moved = 0.0
        self.timeline = Timeline(lambda: time.time() + self._moved)
        self._emulator: Emulator | None = None

    def __repr__(self) -> str:
        return f"<ProcessPlatform for {self._handler}, {'not started' if self._emulator is None else self._emulator}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def emulator(self) -> Emulator:
        """The emulator behind it, for what is not among the common verbs; the function's name there is "function"."""
        return self._started(tenants=False)

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
        self.timeline.add("invoke", told.instance, result.summary())
        return result

    def freeze(self, instance: str | None = None, *, seconds: float = 0.0, minutes: float = 0.0) -> list[Instance]:
        """Stop the processes of all environments, or one, and move their clocks by so much, without waiting."""
        length = seconds + 60.0 * minutes
        self.timeline.add("freeze", instance, f"for {length:g} s")
        shown = self.emulator.freeze(instance, seconds=length)
        self._moved += length
        return shown

    def thaw(self, instance: str | None = None) -> list[Instance]:
        """Let the processes run without an event."""
        return self._noted("thaw", instance, self.emulator.thaw(instance))

    def reset(self, instance: str | None = None) -> list[Instance]:
        """End the processes after their last steps; the next invocation finds new ones with the same `/tmp`."""
        return self._noted("reset", instance, self.emulator.reset(instance))

    def kill(self, instance: str | None = None) -> list[Instance]:
        """Kill the processes; the next invocation finds new ones with the same `/tmp`."""
        return self._noted("kill", instance, self.emulator.kill(instance))

    def spindown(self, instance: str | None = None) -> list[Instance]:
        """End the environments, `/tmp` with them, after the last steps of their processes."""
        return self._noted("spindown", instance, self.emulator.spindown(instance))

    def scale(self, count: int) -> list[Instance]:
        """Have `count` environments, prepared ahead or spun down."""
        return self._noted("scale", None, self.emulator.scale(count))

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

    def _noted(self, verb: str, instance: str | None, shown: list[Instance]) -> list[Instance]:
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
                    memory_mb=self._memory_mb,
                    timeout=self._timeout,
                    environment=self._variables,
                    share=self._share,
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
