"""The way from SIGTERM to the last steps, wherever it finds the process."""

from __future__ import annotations

import signal

import pytest

pytestmark = pytest.mark.process

CALLS = """
import _signal, sys, threading
from warmstate import StatefulHandler

called = []

def note(frame, event, called_function):
    if event == "c_call" and _signal.getsignal(_signal.SIGTERM).__self__.terminated:
        called.append(called_function.__name__)

class Handler(StatefulHandler):
    def on_init(self, init):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        sys.setprofile(note)

    def handle(self, event, context):
        return None

    def before_shutdown(self, shutdown):
        sys.setprofile(None)
        print("called:", *called, flush=True)
"""

# Calls into the kernel let go of the interpreter, and come back when all threads that compute have had their turn.
LET_GO = {
    "close",
    "connect",
    "fstat",
    "lseek",
    "open",
    "poll",
    "pwrite",
    "read",
    "recv",
    "send",
    "sleep",
    "stat",
    "write",
}


@pytest.mark.parametrize("slots", [None, 4])
def test_nothing_lets_go_of_the_interpreter_before_the_hook(api, start, slots):
    """Where threads of the user may compute, an idle process goes to before_shutdown without a call that waits for them."""
    concurrent = {} if slots is None else {"AWS_LAMBDA_MAX_CONCURRENCY": str(slots)}
    runtime = start(CALLS, "app.Handler", **concurrent)
    api.ask("1")
    api.wait_until_idle(slots or 1)
    runtime.signal(signal.SIGTERM)

    assert 0 == runtime.ended()
    called = set(runtime.output.partition("called: ")[2].split())
    assert "monotonic" in called
    assert not called & LET_GO
