"""Freezes, measured from samples of two clocks."""

from __future__ import annotations

import pytest

from warmstate.lifecycle.thaw import BEAT, FreezeDetector, thaw_between


class Clocks:
    """A wait in `next`, told beat by beat."""

    def __init__(self):
        self.wall, self.mono = 1_700_000_000.0, 50.0
        self.held = 0.0
        self.detector = FreezeDetector(held=lambda: self.held)
        self.detector.enter(self.wall, self.mono)

    def pass_(self, seconds, *, mono=None):
        self.wall += seconds
        self.mono += seconds if mono is None else mono

    def beats(self, count):
        for _ in range(count):
            self.pass_(BEAT)
            self.detector.beat(self.wall, self.mono)

    def beat_after(self, seconds, *, mono=None):
        self.pass_(seconds, mono=mono)
        self.detector.beat(self.wall, self.mono)

    def event_after(self, seconds, *, mono=None, idle_since=0.0):
        self.pass_(seconds, mono=mono)
        return self.detector.leave(self.wall, self.mono, idle_since)


def test_a_long_idle_time_is_no_freeze():
    """While beats come, nothing was frozen, however long it takes."""
    clocks = Clocks()
    clocks.beats(100_000)

    assert clocks.event_after(0.05) is None


@pytest.mark.parametrize("frozen", [0.5, 1.0, 3.0, 600.0, 7200.0])
@pytest.mark.parametrize("before", [0.0, 0.06, 0.12])
def test_a_freeze_that_ends_with_an_event(frozen, before):
    """However far into a slice it began, a freeze is measured to within 0.15 s."""
    clocks = Clocks()
    clocks.beats(3)
    thaw = clocks.event_after(before + frozen)

    assert thaw is not None
    assert thaw.frozen_for == pytest.approx(frozen, abs=0.15)
    assert abs(thaw.frozen_for - frozen) <= thaw.uncertainty


@pytest.mark.parametrize("before", [0.0, 0.06, 0.12])
def test_a_freeze_that_ends_with_a_beat(before):
    """After a stop the kernel starts the slice anew, and that is taken off."""
    clocks = Clocks()
    clocks.beat_after(before + 2.0 + BEAT)
    thaw = clocks.event_after(0.1)

    assert thaw is not None
    assert thaw.frozen_for == pytest.approx(2.0, abs=0.15)


def test_a_virtual_machine_that_stops_the_monotonic_clock():
    """Where only the wall clock moved, the freeze counts all the same, and the jump is told."""
    thaw = Clocks().event_after(60.0, mono=0.01)

    assert thaw is not None
    assert thaw.frozen_for == pytest.approx(60.0, abs=0.15)
    assert thaw.clock_jump == pytest.approx(59.99, abs=0.01)


def test_several_freezes_of_one_wait_add_up():
    """An environment that was frozen twice without an event in between was frozen for the sum."""
    clocks = Clocks()
    clocks.beat_after(1.0 + 1.5 * BEAT)
    clocks.beats(5)
    thaw = clocks.event_after(2.0 + 0.5 * BEAT)

    assert thaw is not None
    assert thaw.frozen_for == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("pause", [0.0, 0.8])
def test_a_freeze_before_what_is_no_event(pause):
    """It counts for the event that follows, and the pause before the next try is no part of it."""
    clocks = Clocks()
    clocks.pass_(2.0)
    clocks.detector.interrupted(clocks.wall, clocks.mono)
    clocks.pass_(pause)
    clocks.detector.enter(clocks.wall, clocks.mono)
    thaw = clocks.event_after(0.05)

    assert thaw is not None
    assert thaw.frozen_for == pytest.approx(2.0, abs=0.15)


def test_a_freeze_is_told_once():
    """The next wait begins without the freeze of the last."""
    clocks = Clocks()
    assert clocks.event_after(5.0) is not None
    clocks.detector.enter(clocks.wall, clocks.mono)

    assert clocks.event_after(0.05) is None


def test_a_stalled_host_is_no_freeze():
    """A late beat, as on a busy machine, stays below the threshold."""
    clocks = Clocks()
    clocks.beat_after(0.3)

    assert clocks.event_after(0.3) is None


@pytest.mark.parametrize("ends_with", ["a beat", "an event"])
def test_an_interpreter_that_another_thread_kept_is_no_freeze(ends_with):
    """The sample comes seconds late, but the process ran."""
    clocks = Clocks()
    clocks.held = 4.8
    if ends_with == "a beat":
        clocks.beat_after(5.0)
        clocks.held = 0.0
        thaw = clocks.event_after(0.05)
    else:
        thaw = clocks.event_after(5.0)

    assert thaw is None


def test_a_freeze_beside_an_interpreter_that_was_kept():
    """What is left after the time that another thread kept it was frozen."""
    clocks = Clocks()
    clocks.held = 2.0
    thaw = clocks.event_after(7.0)

    assert thaw is not None
    assert thaw.frozen_for == pytest.approx(5.0, abs=0.15)


@pytest.mark.parametrize("jump", [-7200.0, 20 * 86_400.0])
def test_a_clock_that_is_wrong_is_not_a_freeze(jump):
    """Backwards, or weeks ahead: counted as a fault, not taken for frozen time."""
    clocks = Clocks()
    clocks.beat_after(jump, mono=BEAT)

    assert clocks.event_after(0.05) is None
    assert clocks.detector.faults == 1


def test_a_freeze_behind_a_clock_that_was_set_back():
    """The monotonic clock still tells it."""
    thaw = Clocks().event_after(-100.0, mono=4.0)

    assert thaw is not None
    assert thaw.frozen_for == pytest.approx(4.0, abs=0.15)


def test_idle_time_includes_the_freeze():
    """`idle_for` counts from the end of the last invocation."""
    clocks = Clocks()
    since = clocks.wall
    clocks.beats(80)
    thaw = clocks.event_after(5.0, idle_since=since)

    assert thaw is not None
    assert thaw.idle_for == pytest.approx(80 * BEAT + 5.0, abs=0.01)


def test_between_two_invocations_without_beats():
    """On the stock runtime all time between invocations counts, above the threshold."""
    assert thaw_between((100.0, 10.0), (100.9, 10.9), thaw_after=1.0) is None
    thaw = thaw_between((100.0, 10.0), (160.0, 11.0), thaw_after=1.0)

    assert thaw is not None
    assert (60.0, 59.0) == (thaw.frozen_for, thaw.clock_jump)
