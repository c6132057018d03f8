"""Freezing is real: no process of the environment runs a single instruction between two events."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.emulator.conftest import TASK_ROOT
from warmstate.emulator import Emulator, Function
from warmstate.emulator.processes import family
from warmstate.lifecycle.moved_clock import MovedClock

pytestmark = pytest.mark.process

TICKER = '''
import http.client, json, os, subprocess, sys, threading, time
ticks = [0]
def tick():
    while True:
        time.sleep(0.01); ticks[0] += 1
threading.Thread(target=tick, daemon=True).start()
path = os.environ["WARMSTATE_TMP"] + "/ticks"
child = subprocess.Popen([sys.executable, "-c", f"""
import os, time
if {DETACHED}: os.setsid()
while True:
    time.sleep(0.01)
    with open({path!r}, "ab") as file: file.write(b".")
"""], start_new_session=False)
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    connection.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = connection.getresponse(); event = json.loads(answer.read())
    before = ticks[0]; children = os.path.getsize(path) if os.path.exists(path) else 0
    time.sleep(event.get("sleep", 0))
    body = json.dumps({"before": before, "children": children, "after": ticks[0], "child": child.pid})
    connection.request("POST", "/2018-06-01/runtime/invocation/" + answer.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", body)
    connection.getresponse().read()
'''


@pytest.mark.parametrize("detached", [False, True])
def test_ticker_and_child_make_no_tick_while_frozen(emulator, make, detached):
    """A 10 ms ticker thread and a child process stand still over a freeze, even a child that left the group."""
    make("ticker", runtime=[sys.executable, "-c", TICKER.replace("{DETACHED}", str(detached))])
    first = emulator.invoke("ticker", {"sleep": 0.5}).json()
    assert first["after"] > first["before"]

    instance = emulator.freeze(emulator.ps("ticker")[0].instance)[0]
    path = Path(instance.tmp, "ticks")
    before = path.stat().st_size
    time.sleep(0.5)

    assert path.stat().st_size == before > 0
    assert family.state(instance.pid) == "T"
    assert family.state(first["child"]) == "T"
    second = emulator.invoke("ticker", {}).json()
    # At thaw the sleeping ticker is due at once; a busy machine has some before the freeze, never the fifty of half a second.
    assert second["before"] - first["after"] < 25


def test_idle_instance_is_in_state_t(emulator, make):
    """/proc says T between invocations, without anybody asking for a freeze."""
    make()
    emulator.invoke("plain", {})
    instance = emulator.freeze(emulator.ps("plain")[0].instance)[0]

    assert instance.state == "frozen"
    assert family.state(instance.pid) == "T"


def test_thaw_verb_lets_it_run_without_an_event(emulator, make):
    """thaw continues the processes; the next event then is an ordinary warm start."""
    make()
    emulator.invoke("plain", {})
    name = emulator.ps("plain")[0].instance

    assert emulator.thaw(name)[0].state == "idle"
    assert family.state(emulator.ps("plain")[0].pid) in {"S", "R"}
    assert emulator.invoke("plain", {}).start == "warm"


def test_long_freeze_needs_no_waiting(emulator, make):
    """freeze(minutes=20) moves the clocks that our Clock port reads, and the deadline with them."""
    make()
    emulator.invoke("plain", {})
    instance = emulator.freeze(minutes=20)[0]
    clock = MovedClock(f"{instance.tmp}/warmstate-clock")

    assert instance.frozen_for >= 1200
    assert 1199 < clock.wall() - time.time() < 1201
    assert 1199 < clock.monotonic() - time.monotonic() < 1201
    answer = emulator.invoke("plain", {})
    deadline = int(answer.json()["headers"]["Lambda-Runtime-Deadline-Ms"]) / 1000
    assert answer.start == "thaw"
    assert deadline - time.time() > 1200


def test_unmoved_clock_is_the_real_one(tmp_path):
    """Without the file, or with half of it, nothing is moved."""
    path = tmp_path / "clock"
    assert abs(MovedClock(str(path)).wall() - time.time()) < 1
    path.write_bytes(struct.pack("=d", 500.0))
    assert abs(MovedClock(str(path)).wall() - time.time()) < 1


def test_thousand_cycles_a_minute(emulator, make):
    """Freeze, thaw and invoke are quick: 100 cycles well within the time of a thousand a minute."""
    make()
    emulator.invoke("plain", {})
    begun = time.monotonic()
    for _ in range(100):
        emulator.invoke("plain", {})
    assert time.monotonic() - begun < 6.0
    assert len(emulator.events.of("warmstate.freeze", instance=emulator.ps("plain")[0].instance)) >= 100


def test_emulator_killed_leaves_nothing(tmp_path):
    """Killed with -9, the emulator takes its warden, frozen processes and their detached children along."""
    code = f"""
import json, sys, time
from warmstate.emulator import Emulator, Function
emulator = Emulator()
emulator.add(Function(name="t", handler="x", task_root={TASK_ROOT!r}, runtime=[sys.executable, "-c", {TICKER.replace("{DETACHED}", "True")!r}]))
child = emulator.invoke("t", {{"sleep": 0.3}}).json()["child"]
emulator.freeze()
print(json.dumps([emulator.ps()[0].pid, child, emulator._service.warden.pid, emulator._service.warden.directory]), flush=True)
time.sleep(60)
"""
    import json

    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        *pids, directory = json.loads(process.stdout.readline())
        assert family.state(pids[0]) == "T"
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while any(family.state(pid) not in {"", "Z"} for pid in pids) and time.monotonic() < end:
        time.sleep(0.01)

    while Path(directory).exists() and time.monotonic() < end:
        time.sleep(0.01)

    assert [family.state(pid) for pid in pids if family.state(pid) not in {"", "Z"}] == []
    assert not Path(directory).exists()


def test_warden_killed_takes_everything_along():
    """Should the warden itself be killed, its processes die with it, and the emulator says so instead of hanging."""
    with Emulator() as emulator:
        runtime = [sys.executable, f"{TASK_ROOT}/emulator/clients/plain.py"]
        emulator.add(Function(name="p", handler="x", task_root=TASK_ROOT, runtime=runtime))
        emulator.invoke("p", {})
        pid = emulator.ps()[0].pid
        os.kill(emulator._service.warden.pid, signal.SIGKILL)
        end = time.monotonic() + 10
        while family.state(pid) not in {"", "Z"} and time.monotonic() < end:
            time.sleep(0.01)

        assert family.state(pid) in {"", "Z"}
        assert "warden" in emulator.invoke("p", {}).json()["errorMessage"]


def test_closing_leaves_no_process_port_or_directory():
    """After close() there is no child, no listening socket and no folder of the emulator."""
    before = set(Path("/proc/self/fd").iterdir())
    emulator = Emulator()
    emulator.add(
        Function(
            name="p",
            handler="x",
            task_root=TASK_ROOT,
            runtime=[sys.executable, f"{TASK_ROOT}/emulator/clients/plain.py"],
        )
    )
    emulator.invoke("p", {})
    pid, warden, directory = emulator.ps()[0].pid, emulator._service.warden.pid, emulator._service.warden.directory
    emulator.close()

    assert family.state(pid) == ""
    assert family.state(warden) == ""
    assert not Path(directory).exists()
    assert set(Path("/proc/self/fd").iterdir()) <= before
