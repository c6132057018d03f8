"""The handler of the promises, and the two places it runs: in this process, and as a real bootstrap on the emulator."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from warmstate import Context, Event, State, StatefulHandler, resource, state

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


class Line:
    """Something that is opened and can go stale."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.fresh = True


class Keeper(StatefulHandler):
    """Counts in every way there is."""

    memory: State[int] = state(default=0)
    committed: State[int] = state(default=0, survives="reset")

    def __init__(self) -> None:
        self.opened = 0
        self.checks = 0

    @resource(check_after=0.5)
    def line(self) -> Iterator[Line]:
        self.opened += 1
        yield Line(self.opened)

    @line.check
    def line_is_fresh(self, line: Line) -> None:
        self.checks += 1
        if not line.fresh:
            raise ConnectionError("stale")

    def handle(self, event: Event, context: Context) -> object:
        if event.get("tell") == "checks":
            return {"checks": self.checks}
        self.memory += 1
        self.committed += 1
        line = self.line
        if event.get("spoil"):
            line.fresh = False
        if event.get("fail"):
            raise RuntimeError("asked for")
        return {"memory": self.memory, "committed": self.committed, "opened": line.number, "start": context.start}


class InProcess:
    """The platform of the test kit."""

    def __enter__(self):
        from warmstate.testing import Platform

        self._platform = Platform(Keeper)
        return self

    def __exit__(self, *_):
        self._platform.close()

    def invoke(self, event):
        answer = self._platform.invoke(event)
        return None if answer.function_error else answer.json()

    def freeze(self):
        self._platform.freeze(minutes=20)

    def reset(self):
        self._platform.reset()

    def kill(self):
        self._platform.kill()

    def spindown(self):
        self._platform.spindown()


class RealProcesses:
    """The emulator: real processes, really frozen."""

    def __enter__(self):
        from warmstate.emulator import Emulator, Function

        self._emulator = Emulator(port=0)
        self._emulator.__enter__()
        self._emulator.add(
            Function(name="keeper", handler="tests.promises.hosts.Keeper", task_root=str(ROOT), timeout=20)
        )
        return self

    def __exit__(self, *details):
        self._emulator.__exit__(*details)

    def invoke(self, event):
        answer = self._emulator.invoke("keeper", event)
        return None if answer.function_error else answer.json()

    def freeze(self):
        time.sleep(1.4)  # the process is frozen since its answer, and this is longer than the threshold

    def reset(self):
        self._emulator.reset()

    def kill(self):
        self._emulator.kill()

    def spindown(self):
        self._emulator.spindown()


HOSTS = [InProcess, RealProcesses]
