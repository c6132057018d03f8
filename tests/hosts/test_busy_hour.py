"""A busy instance that is never frozen is never told that it was, and looking for freezes costs next to nothing."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

BUSY_SECONDS = float(os.environ.get("BUSY_SECONDS", "3600"))
"""How long the soak lasts."""
IDLE_SECONDS = float(os.environ.get("IDLE_SECONDS", "120"))
"""How long the cost of the heartbeat is measured."""
THRESHOLD = 1.0
"""Every wait of the soak is shorter than `WARMSTATE_THAW_AFTER` is by default."""

SOURCE = """
import ctypes, hashlib, os, random, threading, time, zlib
from warmstate import StatefulHandler

NUMBERS = [random.random() for _ in range(1_000_000)]
TEXT = os.urandom(4_000_000)

def compute(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(1000))

def sort(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sorted(NUMBERS)  # in C, and nobody else gets a turn

def digest(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        hashlib.sha256(TEXT)  # in C beside the others
        zlib.compress(TEXT, 1)

def hold(seconds):
    time.sleep(0.1)
    KEEPS_THE_INTERPRETER.usleep(int(seconds * 2e6))

KEEPS_THE_INTERPRETER = ctypes.PyDLL(None)
WORK = {"compute": compute, "sort": sort, "digest": digest, "hold": hold, "sleep": time.sleep}

class Handler(StatefulHandler):
    thaws = 0

    def on_thaw(self, thaw):
        self.thaws += 1

    def handle(self, event, context):
        WORK[event["here"]](event["seconds"])
        for work in event["behind"]:
            threading.Thread(target=WORK[work], args=(event["behind_seconds"],), daemon=True).start()
        thaw = context.thaw
        return {"start": context.start, "frozen": thaw and thaw.frozen_for, "thaws": self.thaws, "pad": "x" * event["back"]}
"""


QUIET = {"here": "sleep", "seconds": 0.0, "behind": [], "behind_seconds": 0.0, "back": 0}


def busy_event(generator):
    """Work here, work that threads go on with while the runtime waits, and something to read and to send."""
    work = ("compute", "sort", "digest", "hold", "sleep")
    return {
        "here": generator.choice(work),
        "seconds": generator.choice((0.0, 0.0, 0.0, 0.01, 0.1, 0.5)),
        "behind": [generator.choice(work) for _ in range(generator.choice((0, 0, 0, 1, 2)))],
        "behind_seconds": generator.random(),
        "pad": "x" * generator.choice((0, 100, 10_000, 4_000_000)),
        "back": generator.choice((0, 100, 10_000, 4_000_000)),
    }


def run_busy(api, start, seconds):
    """How many events were answered, and those that told of a freeze."""
    generator = random.Random(20261121)
    start(SOURCE, "app.Handler")
    assert "cold" == api.ask("first", {**busy_event(generator), "here": "sleep"}).json["start"]
    until = time.monotonic() + seconds
    count = 0
    thaws = []
    while time.monotonic() < until:
        api.wait_until_idle()
        time.sleep(generator.random() * 0.9 * THRESHOLD)
        count += 1
        api.send(f"busy-{count}", busy_event(generator), seconds=900)
        posted = api.posted.get(timeout=300)  # the machine may be busier still
        assert f"busy-{count}" == posted.request_id
        answer = posted.json
        if answer["start"] != "warm" or answer["thaws"] != len(thaws):
            thaws.append((count, answer["start"], answer["frozen"]))
            print(thaws[-1], flush=True)
    return count, thaws


def cpu_seconds(pid):
    """Processor time of all threads, by the scheduler's clock."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def test_a_thread_that_keeps_the_interpreter_is_no_freeze(api, start):
    """It delays the beats for longer than the threshold, and yet the process ran all the time."""
    start(SOURCE, "app.Handler")
    api.ask("1", QUIET)
    api.ask("2", {**QUIET, "behind": ["hold"], "behind_seconds": 0.9})
    api.wait_until_idle()
    time.sleep(0.3)

    assert ("warm", None, 0) == tuple(api.ask("3", QUIET).json[name] for name in ("start", "frozen", "thaws"))


@pytest.mark.parametrize("work", ["compute", "digest"])
def test_a_freeze_beside_threads_that_compute(api, start, work):
    """What they need of the processor is not taken for running through the freeze."""
    runtime = start(SOURCE, "app.Handler")
    api.ask("1", {**QUIET, "behind": [work, work], "behind_seconds": 4.0})
    api.wait_until_idle()
    time.sleep(0.2)
    runtime.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    time.sleep(1.5)
    runtime.signal(signal.SIGCONT)
    frozen = time.monotonic() - stopped
    answer = api.ask("2", QUIET).json

    assert ("thaw", 1) == (answer["start"], answer["thaws"])
    assert answer["frozen"] == pytest.approx(frozen, abs=0.15)


@pytest.mark.soak
@pytest.mark.timeout(BUSY_SECONDS + 300)
def test_no_false_thaw_in_a_busy_hour(api, start):
    """Work on the main thread and beside it, large events and answers, short waits: never a freeze."""
    count, thaws = run_busy(api, start, BUSY_SECONDS)
    print(f"{count} invocations in {BUSY_SECONDS:.0f} s, {len(thaws)} false thaws")
    assert thaws == []


@pytest.mark.soak
@pytest.mark.timeout(IDLE_SECONDS + 60)
def test_what_the_heartbeat_costs(api, start):
    """At most 0.15 % of a core while an instance waits for an event that does not come."""
    runtime = start("def handler(event, context): return None")
    api.ask("1")
    time.sleep(2.0)  # what follows an invocation is over
    before = cpu_seconds(runtime.pid)
    time.sleep(IDLE_SECONDS)
    share = (cpu_seconds(runtime.pid) - before) / IDLE_SECONDS
    print(f"heartbeat: {share:.4%} of a core")
    assert share <= 0.0015
