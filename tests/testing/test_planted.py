"""assert_survives finds bugs that were planted, within its default effort, and lets pass what only looks like them."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from hypothesis import strategies

from warmstate import State, StatefulHandler, Tail, state, tail
from warmstate.errors import ConfigurationError
from warmstate.testing import assert_survives
from warmstate.testing.sameness import is_same

BUCKET: list[int] = []
SHARED: list[int] = []
NUMBERS = strategies.integers(0, 10**9).map(lambda number: {"number": number})


@dataclasses.dataclass
class Total:
    """Says that it equals every other one."""

    sum: int = 0

    def __eq__(self, other):
        return True

    __hash__ = None


class Lies(StatefulHandler):
    """Starts its total over, which the total's `==` hides."""

    total: State[Total] = state(factory=Total, survives="reset")

    def on_init(self, init):
        self.total.sum = 0

    def handle(self, event, context):
        self.total.sum += 1


class RaisesInThaw(StatefulHandler):
    """Serves no event after a freeze."""

    seen: State[int] = state(default=0, survives="reset")

    def on_thaw(self, thaw):
        raise ConnectionError("gone")

    def handle(self, event, context):
        self.seen += 1


class ChangesItsDefault(StatefulHandler):
    """Its factory makes nothing."""

    words: State[list[int]] = state(factory=lambda: SHARED)

    def handle(self, event, context):
        self.words.append(1)


class KeepsAReference(StatefulHandler):
    """Writes to an object that it once read, and not to the slot."""

    counts: State[dict[str, int]] = state(factory=dict, survives="reset")
    mine = None

    def handle(self, event, context):
        self.mine = self.counts if self.mine is None else self.mine
        self.mine["seen"] = self.mine.get("seen", 0) + 1


class Film(StatefulHandler):
    """Counts its chunks where it writes them, also in its last steps."""

    chunks: State[int] = state(default=0, survives="reset")
    thaws: State[int] = state(default=0, survives="reset")
    photos: Tail[int] = tail(max_items=4, survives="reset")

    @photos.flush
    def write_chunk(self, batch):
        BUCKET.extend(batch)
        self.chunks += 1

    def handle(self, event, context):
        self.photos.append(event["number"])
        if event["number"] < 0:
            raise ValueError("asked for")

    def on_thaw(self, thaw):
        self.thaws += 1

    def after_response(self, context):
        self.thaws += 1

    def before_shutdown(self, shutdown):
        self.thaws += 1


class AsyncFilm(Film):
    async def write_chunk(self, batch):
        BUCKET.extend(batch[:2])
        return min(2, len(batch))


class LosesTheLast(Film):
    def write_chunk(self, batch):
        BUCKET.extend(batch[:-1])


class Swallows(AsyncFilm):
    async def write_chunk(self, batch):
        return None


class WritesBesides(StatefulHandler):
    """Something that lives on from one life to the next has a say in it."""

    starts = 0
    seen: State[int] = state(default=0, survives="reset")

    def on_init(self, init):
        WritesBesides.starts += 1
        self.seen = self.starts % 5

    def handle(self, event, context):
        pass


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Lies, r"Lies\.total was Total\(sum=1\) and is Total\(sum=0\) after (kill|reset|die)"),
        (RaisesInThaw, r"RaisesInThaw did not come as far as handle after freeze: ConnectionError: gone"),
        (ChangesItsDefault, r"ChangesItsDefault\.words began as .* and begins as .* its factory gives the same object"),
        (KeepsAReference, r"KeepsAReference\.counts was \{'seen': \d\} and is \{'seen': \d\} after (kill|reset|die)"),
        (WritesBesides, r"WritesBesides(\.seen was| does not live the same life twice)"),
    ],
)
def test_what_is_lost_is_found(target, text) -> None:
    """Each with the settings that everybody gets."""
    SHARED.clear()
    with pytest.raises(AssertionError, match=text):
        assert_survives(target)


@pytest.mark.parametrize("target", [LosesTheLast, Swallows])
def test_an_item_that_a_flush_only_says_it_wrote_is_found(target) -> None:
    """What was delivered is looked at after each flush."""
    with pytest.raises(AssertionError, match=rf"{target.__name__}\.photos: its flush called \d+ done, which is not in"):
        assert_survives(target, event=NUMBERS, delivered={"photos": lambda: BUCKET}, before_life=BUCKET.clear)


@pytest.mark.parametrize("target", [Film, AsyncFilm])
def test_what_hooks_and_flushes_change_themselves_is_not_lost(target) -> None:
    """A flush of the last steps counts its chunk, a hook its calls, and a batch may be written in parts."""
    failing = {"number": -1}
    lives = {"delivered": {"photos": lambda: BUCKET}, "before_life": BUCKET.clear, "examples": 25}
    assert_survives(target, event=NUMBERS, failing=failing, **lives)


def test_a_tail_that_is_not_there_has_delivered_nothing() -> None:
    """A misspelt name would check nothing."""
    with pytest.raises(ConfigurationError, match="no tail fotos for delivered=; its tails: photos"):
        assert_survives(Film, delivered={"fotos": list})


class Node:
    def __init__(self, name):
        self.name = name
        self.next = self


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (float("nan"), float("nan"), True),
        ({"a": [1, {2}]}, {"a": [1, {2}]}, True),
        ({"a": [1, {2}]}, {"a": [1, {3}]}, False),
        (1, True, False),
        (Total(1), Total(1), True),
        (Total(1), Total(2), False),
        (Node("a"), Node("a"), True),
        (Node("a"), Node("b"), False),
        (threading.Event, threading.Lock, False),
        (object(), object(), True),
    ],
)
def test_values_are_compared_through_and_through(one, other, same) -> None:
    """By their types and fields, around circles too."""
    assert same is is_same(one, other)
