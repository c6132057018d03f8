"""assert_survives finds what is lost, shows the shortest life that loses it, and lets pass what keeps its promises."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import settings, strategies

from warmstate import State, StatefulHandler, Tail, state, tail
from warmstate.errors import ConfigurationError
from warmstate.testing import assert_survives, survival_machine


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


class Writes(StatefulHandler):
    """Writes its photos three at a time, if its flush works."""

    photos: Tail[str] = tail(max_items=3, survives="reset")
    frames: Tail[str] = tail(max_items=3)

    @photos.flush
    def write_photos(self, batch):
        return None

    @frames.flush
    def write_frames(self, batch):
        return None

    def handle(self, event, context):
        self.photos.append(event["name"])
        self.frames.append(event["name"])
        if event["name"] == "bad":
            raise ValueError("asked for")


class WritesTooLittle(Writes):
    """Its flush writes nothing of a full batch."""

    def write_frames(self, batch):
        return 0 if len(batch) == 3 else None


class WritesNothingAtTheEnd(Writes):
    """Its flush needs what is gone by then."""

    open = True

    def before_shutdown(self, shutdown):
        self.open = False

    def write_frames(self, batch):
        if not self.open:
            raise ConnectionError("closed")


def test_promises_that_are_kept_pass() -> None:
    """Every declared slot, through every event."""
    assert_survives(Keeps, failing={"fail": True}, examples=25)


def test_events_may_be_a_strategy() -> None:
    """Other words in each event, some of which make it fail; slots and tails are held to what they promise all the same."""
    names = strategies.sampled_from(["a", "b", "bad"])
    assert_survives(Writes, event=strategies.fixed_dictionaries({"name": names}), examples=25)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (WritesTooLittle, r"WritesTooLittle.frames holds 3 after an answer, where its flush is due at 3"),
        (
            WritesNothingAtTheEnd,
            r"WritesNothingAtTheEnd.frames still held 1 items after the last steps of (reset|spindown)",
        ),
    ],
)
def test_a_tail_is_held_to_its_bounds(target, text) -> None:
    """It holds less than max_items after any answer, and nothing after the last steps."""
    with pytest.raises(AssertionError, match=text):
        assert_survives(target, event={"name": "a"}, seed=1)


def test_a_seed_tries_the_same_lives() -> None:
    """What a life did is Hypothesis' own account of its steps, and the same each time."""
    accounts = []
    for _ in range(2):
        with pytest.raises(AssertionError) as caught:
            assert_survives(Keeps, {"memory": ["kill"]}, seed=3)
        accounts.append(caught.value.__notes__)

    assert accounts[0] == accounts[1]
    assert any("state.kill()" in note for note in accounts[0])


def test_the_machine_runs_with_settings_of_ones_own() -> None:
    """It is a state machine like any other."""
    case = survival_machine(Keeps).TestCase
    case.settings = settings(max_examples=3, stateful_step_count=4, deadline=None)

    case("runTest").runTest()


@pytest.mark.parametrize(
    ("options", "advice"),
    [({"event": {"fail": True}}, "failed with every event"), ({"failing": {}}, "did not fail with what failing=")],
)
def test_what_tried_nothing_is_no_success(options, advice) -> None:
    """An event that always fails, and one that never does though it should, are mistakes of the test."""
    with pytest.raises(ConfigurationError, match=advice):
        assert_survives(Keeps, examples=3, **options)


def test_without_hypothesis_it_says_what_to_install() -> None:
    """The kit itself does not need it."""
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from warmstate import StatefulHandler, State, state\n"
        "from warmstate.testing import assert_survives\n"
        "class Handler(StatefulHandler):\n    seen: State[int] = state(default=0)\n"
        "assert_survives(Handler)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "ConfigurationError: assert_survives tries its lives with Hypothesis" in done.stderr
    assert "warmstate[testing]" in done.stderr


def test_a_plain_attribute_does_not_survive_a_reset() -> None:
    """The message names the state, the event and the life."""
    assert_survives(Forgetful, {"photos": ["freeze"]}, examples=10)

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
        assert_survives(ForgetsTheSecondTime, {"committed": ["freeze", "kill", "reset"]}, steps=8, seed=1)

    first = str(caught.value).partition(":\n")[0]
    series = first.rpartition("shows it is ")[2].split(", ")
    assert 4 == len(series)
    assert {"kill", "reset"} >= set(series[1:])


def test_an_answer_that_never_left_may_count_or_not() -> None:
    """Killed between commit and answer, the slot is as of that invocation or of the one before, and nothing else."""
    assert_survives(Keeps, {"committed": ["die"]}, examples=25)


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
