"""assert_survives finds what is lost, shows the shortest life that loses it, and lets pass what keeps its promises."""

from __future__ import annotations

import pytest

from warmstate import State, StatefulHandler, state
from warmstate.errors import ConfigurationError
from warmstate.testing import assert_survives


class Keeps(StatefulHandler):
    """Keeps both its promises."""

    memory: State[int] = state(default=0)
    committed: State[list[int]] = state(factory=list, survives="reset")

    def handle(self, event, context):
        self.memory += 1
        self.committed.append(self.memory)
        if event.get("fail"):
            raise ValueError("asked for")
        return self.memory


class Forgetful(Keeps):
    """Forgets in on_thaw's place: a plain attribute and a cache in a module would do the same."""

    def on_init(self, init):
        self.photos = 0

    def handle(self, event, context):
        self.photos += 1
        return super().handle(event, context)


class ForgetsTheSecondTime(Keeps):
    """Loses its state only after two resets with a freeze between them."""

    resets: State[int] = state(default=0, survives="reset")

    def on_init(self, init):
        self.resets += init.start == "reset"
        if self.resets == 3:
            self.committed = []


def test_promises_that_are_kept_pass() -> None:
    """Every declared slot, through every event."""
    assert_survives(Keeps, failing={"fail": True})


def test_a_plain_attribute_does_not_survive_a_reset() -> None:
    """The message names the state, the event and the life."""
    assert_survives(Forgetful, {"photos": ["freeze"]})

    with pytest.raises(AssertionError) as caught:
        assert_survives(Forgetful, {"photos": ["freeze", "kill"]})

    text = str(caught.value)
    assert "Forgetful.photos was 1 and is 0 after kill" in text
    assert "the shortest life that shows it is invoke, kill:" in text
    assert ["0:00.000  i-1  invoke  cold: 1", "0:00.000  all  kill"] == text.split("\n")[2:]


def test_a_memory_slot_promises_no_more_than_memory() -> None:
    """A reset loses it; asked whether it survives one, the answer is no."""
    with pytest.raises(AssertionError, match=r"Keeps.memory was 1 and is 0 after reset"):
        assert_survives(Keeps, {"memory": ["reset"]})


def test_a_long_life_is_shrunk() -> None:
    """What shows only after many events is told without those that do not matter."""
    with pytest.raises(AssertionError) as caught:
        assert_survives(
            ForgetsTheSecondTime, {"committed": ["freeze", "kill", "reset"]}, length=3, long_lives=20, seed=1
        )

    first = str(caught.value).partition(":\n")[0]
    series = first.rpartition("shows it is ")[2].split(", ")
    assert 4 == len(series)
    assert {"kill", "reset"} >= set(series[1:])


def test_an_answer_that_never_left_may_count_or_not() -> None:
    """Killed between commit and answer, the slot is as of that invocation or of the one before, and nothing else."""
    assert_survives(Keeps, {"committed": ["die"]}, length=4)


def test_a_rollback_is_held_to() -> None:
    """A failing invocation leaves a committed slot as it was; a plain attribute is not rolled back."""
    with pytest.raises(AssertionError, match=r"Forgetful.photos was 1 and is 2 after fail"):
        assert_survives(Forgetful, {"photos": ["fail"]}, failing={"fail": True})


@pytest.mark.parametrize(
    ("target", "declared", "advice"),
    [
        (type("Empty", (StatefulHandler,), {"handle": lambda *_: None}), None, "name the attributes"),
        (Keeps, {"memory": ["freze"]}, "no event freze"),
    ],
)
def test_what_cannot_be_checked_is_named(target, declared, advice) -> None:
    """Nothing to look at, or an event that does not exist."""
    with pytest.raises(ConfigurationError, match=advice):
        assert_survives(target, declared)
