"""A freeze is told once, and to whom it concerns: also when the invocation that came back from it never ran."""

from __future__ import annotations

import pytest

from tests.instance.driving import serve
from warmstate import StatefulHandler
from warmstate.lifecycle.events import Thaw

TWENTY_MINUTES = Thaw(1200.0, 1200.0)


class Thawing(StatefulHandler):
    def __init__(self) -> None:
        self.thaws = []
        self.failing = 0

    def on_thaw(self, thaw):
        self.thaws.append(thaw.frozen_for)
        if self.failing:
            self.failing -= 1
            raise ConnectionError("not yet")

    def handle(self, event, context):
        return [context.start, context.thaw and context.thaw.frozen_for]


@pytest.mark.parametrize("handler", [Thawing, Thawing().handle])
def test_a_freeze_is_told_to_the_first_invocation_that_runs(begun, handler) -> None:
    """An event whose deadline passed in the freeze runs nothing; the next one is told of the freeze."""
    instance = begun(handler)
    serve(instance)

    assert "Runtime.DeadlinePassed" == serve(instance, thaw=TWENTY_MINUTES, seconds=-1.0).error_type
    assert b'["thaw", 1200.0]' == serve(instance).body
    assert b'["warm", null]' == serve(instance).body


def test_on_thaw_runs_until_it_succeeds_and_then_no_more(begun) -> None:
    """While it raises the invocation fails and the next tries again."""
    instance = begun(Thawing)
    serve(instance)
    instance.handler.failing = 2

    outcomes = [serve(instance, thaw=TWENTY_MINUTES), *(serve(instance) for _ in range(3))]

    assert ["ConnectionError", "ConnectionError"] == [outcome.error_type for outcome in outcomes[:2]]
    assert [b'["thaw", 1200.0]', b'["warm", null]'] == [outcome.body for outcome in outcomes[2:]]
    assert [1200.0] * 3 == instance.handler.thaws


def test_the_third_failure_asks_for_a_fresh_process(warm) -> None:
    """Three times in a row: the process ends after the third answer, and the next event finds a new one."""

    class Broken(StatefulHandler):
        def on_thaw(self, thaw):
            raise ConnectionError("for good")

        def handle(self, event, context):
            return context.generation

    platform = warm(Broken)
    platform.invoke({})
    platform.freeze(minutes=20)
    types = [platform.invoke({}).error_type for _ in range(3)]
    after = platform.invoke({})

    assert ["ConnectionError", "ConnectionError", "Function.ResetRequested"] == types
    assert ("reset", 2) == (after.start, after.json())


def test_a_short_freeze_is_nobodys_business(begun) -> None:
    """Below the threshold an invocation is warm."""
    instance = begun(Thawing)
    serve(instance)

    assert b'["warm", null]' == serve(instance, thaw=Thaw(0.5, 0.5)).body
    assert [] == instance.handler.thaws
