"""Which instance an event gets while others start, reload or must not be used; and mishaps that are asked for."""

import sys
import threading
import time

import pytest

from tests.emulator.conftest import CLIENTS, TASK_ROOT
from warmstate.emulator import Function
from warmstate.emulator.mishaps import Mishaps
from warmstate.errors import ConfigurationError
from warmstate.wire.invoke_api import ApiError

pytestmark = pytest.mark.process

SLOW_START = """
import sys, time
time.sleep({seconds})
sys.argv = ["plain.py", "--register"]
exec(open({path!r}).read())
"""


def slow_start(seconds=1.0):
    """A runtime whose init takes its time."""
    return [sys.executable, "-c", SLOW_START.format(seconds=seconds, path=str(CLIENTS / "plain.py"))]


def in_background(work, *arguments):
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    return thread


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("limit", [1, 3])
def test_event_waits_for_an_instance_that_is_being_prepared(emulator, make, limit):
    """An init ahead of any event is waited for, whether or not another instance might start: no 429, no second init."""
    make("slow", runtime=slow_start(), max_instances=limit)
    begun = emulator.events.last_id
    warming = in_background(emulator.warm_up, "slow")
    wait_until(lambda: [instance.state for instance in emulator.ps("slow")] == ["init"])
    result = emulator.invoke("slow", {})
    warming.join()
    inits = [event for event in emulator.events.since(begun) if event.type == "platform.initStart"]
    assert (result.start, len(inits), len(emulator.ps("slow"))) == ("cold", 1, 1)


def test_more_events_than_instances_in_preparation_start_more(emulator, make):
    """One event waits for one instance; the next ones have theirs started, up to the limit."""
    make("slow", runtime=slow_start(), max_instances=2)
    warming = in_background(emulator.warm_up, "slow")
    wait_until(lambda: [instance.state for instance in emulator.ps("slow")] == ["init"])
    found = []
    callers = [in_background(lambda: found.append(emulator.invoke("slow", {"sleep": 2}))) for _ in range(2)]
    for thread in (warming, *callers):
        thread.join()
    assert {result.instance for result in found} == {instance.instance for instance in emulator.ps("slow")}
    assert len(found) == len(emulator.ps("slow")) == 2


@pytest.mark.parametrize("limit", [1, 3])
def test_events_during_a_reload_wait_for_it(emulator, make, limit):
    """While new code starts, callers wait: none is refused, none finds another instance without the state."""
    make("edited", runtime=slow_start(0.3), max_instances=limit, inspect=True)
    emulator.invoke("edited", {"write": "before"})
    found, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            found.append(emulator.invoke("edited", {}))

    caller = in_background(call)
    reloaded = emulator.reload("edited")
    stop.set()
    caller.join()
    assert [change.status for change in reloaded] == ["success"]
    assert "before" in emulator.invoke("edited", {}).json()["files"]
    assert len({result.instance for result in found}) == 1
    assert all(result.function_error is None for result in found)


def test_a_new_instance_can_be_wanted(emulator, make):
    """The event starts one; where no more may be, an idle one gives way; where all are busy, it is throttled."""
    make(max_instances=2)
    names = [emulator.invoke("plain", {}, instance=wanted).instance for wanted in ("", "new", "new", "")]
    assert len(set(names)) == 3
    assert names[2] == names[3]
    assert emulator.invoke("plain", {}, instance="new").start == "cold"
    assert len(emulator.ps("plain")) == 2

    make("single", max_instances=1)
    begun = emulator.events.last_id
    caller = in_background(emulator.invoke, "single", {"sleep": 1})
    emulator.events.wait("platform.start", after=begun)
    with pytest.raises(ApiError, match="Rate Exceeded"):
        emulator.invoke("single", {}, instance="new")
    caller.join()


def test_an_instance_that_is_not_there_is_named(emulator, make):
    """That is no lack of capacity: the caller is told which there are."""
    make()
    name = emulator.invoke("plain", {}).instance
    with pytest.raises(
        ApiError, match=f"there is no instance i-nowhere of function plain; there are: {name}"
    ) as caught:
        emulator.invoke("plain", {}, instance="i-nowhere")
    assert caught.value.status == 400


def test_an_old_instance_goes_however_busy(emulator, make):
    """With a greatest age, use does not keep an instance; the next event starts one anew."""
    make(max_age=1.0)
    first = emulator.invoke("plain", {}).instance
    end = time.monotonic() + 30
    while emulator.invoke("plain", {}).instance == first:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert first not in [instance.instance for instance in emulator.ps("plain")]


def mishaps_of(emulator, begun, name="plain"):
    return [
        (event.record["mishap"], event.id)
        for event in emulator.events.since(begun)
        if event.is_of("warmstate.chaos") and event.function == name
    ]


def test_chaos_happens_and_happens_again(emulator, make):
    """Every event is answered; instances are reset, killed and spun down between them; a seed repeats it."""
    sequences = []
    for _ in range(2):
        make(chaos=0.6, chaos_seed=9, environment={"WARMSTATE_THAW_AFTER": "600"})
        begun = emulator.events.last_id
        starts = [emulator.invoke("plain", {}).start for _ in range(13)]
        kinds = [kind for kind, _ in mishaps_of(emulator, begun)]
        assert set(kinds) == {"reset", "kill", "spindown"}
        assert starts.count("reset") == kinds.count("reset") + kinds.count("kill")
        assert starts.count("cold") == 1 + kinds.count("spindown")
        sequences.append((starts, kinds))
    assert sequences[0] == sequences[1]
    assert len(emulator.ps("plain")) == 1


def test_mishaps_are_as_frequent_as_they_should_be():
    """None for 0, always one for 1, and about as many as asked for between."""
    assert [Mishaps(0.0, 1).draw() for _ in range(50)] == [None] * 50
    assert None not in [Mishaps(1.0, seed).draw() for seed in range(50)]
    seeded = Mishaps(0.2, 7)
    assert 120 < sum(seeded.draw() is not None for _ in range(1_000)) < 280


@pytest.mark.parametrize("kind", [{"max_concurrency": 2}, {"attached": True}])
def test_chaos_needs_an_instance_of_its_own(kind):
    """Where an instance has several invocations at once, or a process that is not ours, chaos is refused with the reason."""
    with pytest.raises(ConfigurationError, match="leave out max_concurrency and attached"):
        Function(name="plain", handler="app.Handler", task_root=TASK_ROOT, chaos=0.5, **kind)
