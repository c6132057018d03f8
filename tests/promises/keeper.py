"""The handler that the promises are kept to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmstate import Context, Event, State, StatefulHandler, resource, state

if TYPE_CHECKING:
    from collections.abc import Iterator


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
