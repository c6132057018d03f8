"""The published table of steps holds: they run in its order, and each unit of work in it commits or rolls back as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from warmstate import Context, Event, Init, Shutdown, State, StatefulHandler, Tail, Thaw, resource, state, tail
from warmstate.instance.hooks import SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNITS = [step for step in SEQUENCE if step.unit]


class Witness(StatefulHandler):
    """Notes each step of its code in `seen`, and in a committed slot; raises in the one that `fails` names."""

    seen: list[str] = []  # noqa: RUF012 - made anew by each test
    fails = ""

    marks: State[tuple[str, ...]] = state(default=(), survives="reset")
    items: Tail[int] = tail(max_items=1, survives="reset")
    leftovers: Tail[int] = tail(max_items=100)

    def __init__(self) -> None:
        self.seen.append("construct")

    @resource(check_after=5)
    def line(self) -> Iterator[object]:
        yield object()
        self.seen.append("close")

    @line.check
    def line_answers(self, line: object) -> None:
        self.seen.append("renew")

    def step(self, name: str) -> None:
        self.seen.append(name)
        self.marks = (*self.marks, name)
        if self.fails == name:
            raise RuntimeError(f"{name} was asked to fail")

    def on_init(self, init: Init) -> None:
        if self.marks:
            self.seen.append("adopt")
        self.step("on_init")

    def on_thaw(self, thaw: Thaw) -> None:
        self.step("on_thaw")

    def handle(self, event: Event, context: Context) -> object:
        _ = self.line
        self.items.append(1)
        self.leftovers.append(1)
        self.step("handle")
        return list(self.marks)

    @items.flush
    def write(self, batch: Sequence[int]) -> None:
        self.step("flush")

    @leftovers.flush
    def write_leftovers(self, batch: Sequence[int]) -> None:
        self.step("flush")

    def after_response(self, context: Context) -> None:
        self.step("after_response")

    def before_shutdown(self, shutdown: Shutdown) -> None:
        self.step("before_shutdown")


@pytest.fixture(name="witness")
def _witness(warm):
    Witness.seen = []
    Witness.fails = ""
    return warm(Witness)


def names(phase: str) -> list[str]:
    """What of the table's steps a handler can see, in the table's order."""
    invisible = {"encode", "commit", "post", "settle"}
    return [step.name for step in SEQUENCE if step.phase == phase and step.name not in invisible]


def test_the_steps_of_a_life_run_in_the_tables_order(witness) -> None:
    """Init with adoption, an invocation after a freeze, and the end of a process."""
    witness.invoke({})
    witness.kill()
    Witness.seen.clear()
    witness.ps()[0].start()

    # The class is called before the commits of its predecessor are there for on_init.
    assert names("init") == Witness.seen

    witness.invoke({})
    witness.freeze(minutes=20)
    Witness.seen.clear()
    witness.invoke({})

    assert names("invocation") == Witness.seen

    Witness.seen.clear()
    witness.spindown()

    assert names("shutdown") == Witness.seen


@pytest.mark.parametrize("step", UNITS, ids=lambda step: f"{step.phase}: {step.name}")
def test_what_a_failing_unit_changed_is_rolled_back_and_nothing_else(witness, step) -> None:
    """The mark of the step that raised is gone with it; those of the steps around it stay."""
    if step.phase != "init":
        witness.invoke({})
        witness.freeze(minutes=20)
    before = marks_of(witness)
    Witness.fails = step.name

    if step.phase == "shutdown":
        witness.reset()
    else:
        witness.invoke({})
    Witness.fails = ""
    witness.kill()
    Witness.seen.clear()
    after = witness.invoke({}).json()

    added = after[len(before) : after.index("on_init", max(1, len(before)))] if before else []
    others = {
        ("init", "on_init"): [],
        ("invocation", "on_thaw"): [],
        ("invocation", "handle"): ["on_thaw", "after_response"],  # the caller has the error
        ("invocation", "flush"): ["on_thaw", "handle", "after_response"],
        ("invocation", "after_response"): ["on_thaw", "handle", "flush"],
        ("shutdown", "before_shutdown"): ["flush"],
        ("shutdown", "flush"): ["before_shutdown"],
    }
    assert others[step.phase, step.name] == added
    assert (2 if before else 1) == after.count("on_init")


def marks_of(witness) -> tuple[str, ...]:
    """What is committed now."""
    return witness.handler.marks if witness.ps() else ()
