"""No process of an environment escapes it: not by forking twice, not by outliving its parent."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.emulator.conftest import TASK_ROOT
from warmstate.emulator import Emulator, Function
from warmstate.emulator.processes import family

pytestmark = pytest.mark.process

DAEMON = """
import http.client, json, os, sys, time
path = os.environ["WARMSTATE_TMP"] + "/daemon"
def begin():  # as a daemon does: a new session, a second fork, the parent gone
    if os.fork():
        os.wait(); return
    os.setsid()
    if os.fork():
        os._exit(0)
    while True:
        with open(path, "ab") as file: file.write(b".")
        if os.path.getsize(path) == 1:
            with open(path + ".pid", "w") as file: file.write(str(os.getpid()))
        time.sleep(0.01)
begin()
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    connection.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = connection.getresponse(); event = json.loads(answer.read())
    if event.get("exit"): os._exit(1)
    while not os.path.exists(path + ".pid"): time.sleep(0.01)
    connection.request("POST", "/2018-06-01/runtime/invocation/" + answer.headers["Lambda-Runtime-Aws-Request-Id"] + "/response",
        open(path + ".pid").read())
    connection.getresponse().read()
"""


def wait_until_gone(pid):
    """Wait for the end of a process; fails when it does not come."""
    end = time.monotonic() + 10
    while family.state(pid) not in {"", "Z"}:
        assert time.monotonic() < end, f"process {pid} still runs"
        time.sleep(0.01)


def test_daemon_is_frozen_with_its_environment(emulator, make):
    """A process that forked twice and has a session of its own stands still, too."""
    make("daemon", runtime=[sys.executable, "-c", DAEMON])
    daemon = emulator.invoke("daemon", {}).json()
    instance = emulator.freeze(emulator.ps("daemon")[0].instance)[0]
    before = Path(instance.tmp, "daemon").stat().st_size
    time.sleep(0.3)

    assert family.state(daemon) == "T"
    assert Path(instance.tmp, "daemon").stat().st_size == before


@pytest.mark.parametrize("how", ["exit", "reset", "spindown"])
def test_daemon_ends_with_its_runtime(emulator, make, how):
    """Whatever ends the runtime ends what it left running."""
    make("daemon", runtime=[sys.executable, "-c", DAEMON])
    daemon = emulator.invoke("daemon", {}).json()
    if how == "exit":
        assert emulator.invoke("daemon", {"exit": True}).error_type == "Runtime.ExitError"
    else:
        getattr(emulator, how)(emulator.ps("daemon")[0].instance)
    wait_until_gone(daemon)


def test_status_tells_of_its_process_alone():
    """State and memory as the kernel has them; after the end, or once it is given up, nothing: never another process's."""
    runs = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(runs, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"\n"
        status, given_up = family.Status(process.pid), family.Status(process.pid)
        given_up.close()

        assert status.state in {"R", "S", "D"}
        assert status.peak_bytes > 1 << 20
        assert (given_up.state, given_up.peak_bytes) == ("", 0)
        process.kill()
    assert (status.state, status.peak_bytes) == ("", 0)
    status.close()


def test_nothing_is_left(tmp_path, monkeypatch):
    """After hundreds of events, resets and spin-downs no descriptor, process, directory or thread is left."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def live():
        function = Function(
            name="daemon",
            handler="x",
            task_root=TASK_ROOT,
            runtime=[sys.executable, "-c", DAEMON],
            share=[str(tmp_path)],
        )
        with Emulator(functions=[function]) as emulator:
            pids = []
            for _ in range(3):
                pids.append(emulator.invoke("daemon", {}).json())
                pids.append(emulator.ps()[0].pid)
                emulator.reset()
                emulator.invoke("daemon", {})
                emulator.kill()
                emulator.spindown()
            pids.append(emulator._service.warden.pid)
        for pid in pids:
            wait_until_gone(pid)

    live()
    before = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    for _ in range(3):
        live()

    assert (len(list(Path("/proc/self/fd").iterdir())), threading.active_count()) == before
    assert list(tmp_path.iterdir()) == []
