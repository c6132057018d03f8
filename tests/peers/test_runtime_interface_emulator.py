"""
warmstate's bootstrap under AWS's own Runtime Interface Emulator: what it does there does not depend on our reading of the API.

What this emulator does differently from Lambda: it starts the runtime with the first invocation, never freezes it, answers
an invocation only once the runtime asked for the next, and answers 502 where Lambda answers 200 with a function error.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.peer_programs import Unavailable, runtime_interface_emulator
from tests.peers.serving import free_port, post, running
from tests.readme import first_handler

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.peer, pytest.mark.process]

ROOT = Path(__file__).parents[2]

CHANGEABLE = '''
import os
import time

from warmstate import Context, Event, Shutdown, State, StatefulHandler, state


class Changeable(StatefulHandler):
    """Does what its event says, and counts what was answered."""

    answered: State[int] = state(default=0, survives="reset")
    in_memory: State[int] = state(default=0)

    def handle(self, event: Event, context: Context) -> object:
        self.answered += 1
        self.in_memory += 1
        if event.get("raise"):
            raise ValueError(event["raise"])
        if event.get("exit"):
            os._exit(1)
        if event.get("sleep"):
            time.sleep(event["sleep"])
        return {"answered": self.answered, "in_memory": self.in_memory, "start": context.start}

    def before_shutdown(self, shutdown: Shutdown) -> None:
        with open("shutdown", "a") as file:
            file.write(f"{shutdown.reason} {self.answered}")
'''


@pytest.fixture(scope="session")
def emulator_program() -> Path:
    try:
        return runtime_interface_emulator()
    except Unavailable as reason:
        pytest.skip(str(reason))


@contextmanager
def serving(program: Path, folder: Path, source: str, handler: str, **environment: str) -> Iterator[str]:
    """Serve one handler; yields the address that invokes it."""
    (folder / "app.py").write_text(source)
    runtime_port, invoke_port = free_port(), free_port()
    command = [
        program,
        *("--runtime-api-address", f"127.0.0.1:{runtime_port}"),
        *("--runtime-interface-emulator-address", f"127.0.0.1:{invoke_port}"),
        *(ROOT / "bootstrap", handler),
    ]
    variables = {
        "LAMBDA_TASK_ROOT": str(folder),
        "WARMSTATE_TMP": str(folder),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        **environment,
    }
    with running(command, environment=variables, log=folder / "log", port=invoke_port, cwd=folder):
        yield f"http://127.0.0.1:{invoke_port}/2015-03-31/functions/function/invocations"


def test_the_handler_of_the_readme_answers_cold_then_warm(emulator_program, tmp_path) -> None:
    """The README's handler runs unchanged on AWS's emulator and tells its starts apart."""
    with serving(emulator_program, tmp_path, first_handler(), "app.Counter") as url:
        answers = [post(url, {}) for _ in range(3)]

    expected = [(200, {"seen": seen, "start": start}) for seen, start in [(1, "cold"), (2, "warm"), (3, "warm")]]
    assert expected == answers


def test_an_error_fails_the_invocation_and_keeps_the_instance(emulator_program, tmp_path) -> None:
    """After an exception a committed slot is as it was, a memory slot as it is, and the next invocation is warm."""
    with serving(emulator_program, tmp_path, CHANGEABLE, "app.Changeable") as url:
        post(url, {})
        _, failure = post(url, {"raise": "no"})
        after = post(url, {})

    assert ("ValueError", "no") == (failure["errorType"], failure["errorMessage"])
    assert (200, {"answered": 2, "in_memory": 3, "start": "warm"}) == after


def test_a_crash_is_a_reset_that_keeps_what_was_committed(emulator_program, tmp_path) -> None:
    """A new process in the old environment finds the committed slot, an empty memory slot, and says reset."""
    with serving(emulator_program, tmp_path, CHANGEABLE, "app.Changeable") as url:
        before = [post(url, {}), post(url, {})]
        crash, _ = post(url, {"exit": True})
        after = post(url, {})

    assert [1, 2] == [answer["answered"] for _, answer in before]
    assert 502 == crash
    assert (200, {"answered": 3, "in_memory": 1, "start": "reset"}) == after


def test_a_timeout_is_a_reset_that_keeps_what_was_committed(emulator_program, tmp_path) -> None:
    """What a timed-out invocation changed is not adopted by the process after it."""
    with serving(emulator_program, tmp_path, CHANGEABLE, "app.Changeable", AWS_LAMBDA_FUNCTION_TIMEOUT="2") as url:
        post(url, {})
        _, timeout = post(url, {"sleep": 30})
        after = post(url, {})

    assert "timed out" in str(timeout)
    assert (200, {"answered": 2, "in_memory": 1, "start": "reset"}) == after


def test_shutdown_reaches_the_handler(emulator_program, tmp_path) -> None:
    """The silent extension makes the platform send SIGTERM, and before_shutdown runs with the state of the last answer."""
    with serving(emulator_program, tmp_path, CHANGEABLE, "app.Changeable") as url:
        post(url, {})

    written = tmp_path / "shutdown"
    give_up = time.monotonic() + 10
    while not written.exists() and time.monotonic() < give_up:
        time.sleep(0.05)

    assert written.exists(), (tmp_path / "log").read_text()
    assert written.read_text().endswith(" 1")
