"""The way from SIGTERM to the last steps, wherever it finds the process."""

from __future__ import annotations

import signal
import socket
import threading
import time

import pytest

from tests.hosts.scripted import PATIENCE, wait_for

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


STEPS = """
import os, signal, time
from warmstate import State, StatefulHandler, Tail, state, tail
from warmstate.hosts.delivery import Delivery
from warmstate.instance.warm_parts import WarmParts
from warmstate.lifecycle.marker import Claim

STEP, TIMES, PAUSE = os.environ["STEP"], int(os.environ["TIMES"]), float(os.environ.get("PAUSE", "0"))
armed = False

def reached(step):
    global armed
    if armed and step == STEP:
        armed = False
        for _ in range(TIMES):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PAUSE)

def tell(cls, name):
    original = getattr(cls, name)
    def wrapper(self, *arguments):
        reached(name)
        return original(self, *arguments)
    setattr(cls, name, wrapper)

for cls, name in (
    (Delivery, "event"), (WarmParts, "commit"), (Delivery, "send"), (WarmParts, "settle"), (Claim, "write"),
):
    tell(cls, name)

class Handler(StatefulHandler):
    seen: State[int] = state(default=0, survives="reset")
    items: Tail[int] = tail(max_items=1)

    @items.flush
    def write(self, batch):
        reached("flush")

    ASYNC def on_thaw(self, thaw):
        reached("on_thaw")

    ASYNC def handle(self, event, context):
        reached("handle")
        self.seen += 1
        self.items.append(self.seen)
        global armed
        armed = armed or event.get("arm", False)
        return self.seen

    def after_response(self, context):
        reached("after_response")

    def before_shutdown(self, shutdown):
        if TIMES > 1:
            os.kill(os.getpid(), signal.SIGTERM)
        print("before_shutdown", shutdown.reason, shutdown.interrupted, self.seen, flush=True)
"""


@pytest.mark.parametrize(
    ("transport", "kind", "times"), [("native", "", 1), ("native", "async ", 3), ("requests", "", 3)]
)
@pytest.mark.parametrize("step", ["event", "handle", "flush", "commit", "send", "after_response", "settle", "write"])
def test_sigterm_at_each_step(api, start, step, transport, kind, times):
    """Wherever it comes, once or repeated: the invocation is finished and committed, then the last steps run, once."""
    runtime = start(
        STEPS.replace("ASYNC ", kind),
        "app.Handler",
        STEP=step,
        TIMES=str(times),
        WARMSTATE_TRANSPORT=transport,
        WARMSTATE_SHUTDOWN_BUDGET="30",
    )
    steps_of_the_first = {"event", "handle"}  # of the next invocation, where it is this one that arms
    assert 1 == api.ask("1", {"arm": True}).json
    if step in steps_of_the_first:
        assert 2 == api.ask("2").json
    seen = 2 if step in steps_of_the_first else 1

    assert 0 == runtime.ended()
    assert 1 == runtime.output.count("before_shutdown")
    assert f"before_shutdown spindown False {seen}\n" in runtime.output
    assert api.posted.empty()


@pytest.mark.parametrize(("kind", "times"), [("", 1), ("async ", 3)])
def test_sigterm_in_on_thaw(api, start, kind, times):
    """The invocation that ended the freeze is served, then the last steps run."""
    runtime = start(
        STEPS.replace("ASYNC ", kind),
        "app.Handler",
        STEP="on_thaw",
        TIMES=str(times),
        WARMSTATE_THAW_AFTER="0.3",
        WARMSTATE_SHUTDOWN_BUDGET="30",
    )
    assert 1 == api.ask("1", {"arm": True}).json
    api.wait_until_idle()
    time.sleep(0.3)  # some beats: a freeze is one where they miss
    runtime.signal(signal.SIGSTOP)
    time.sleep(0.8)
    runtime.signal(signal.SIGCONT)

    assert 2 == api.ask("2").json
    assert 0 == runtime.ended()
    assert ["before_shutdown spindown False 2"] == runtime.output.splitlines()
    assert api.posted.empty()


@pytest.mark.parametrize("step", ["event", "handle", "flush", "send", "after_response", "settle"])
def test_sigterm_at_each_step_beside_others(api, start, step):
    """Where several run at once: what was taken is answered, once; then the last steps run, once."""
    threads = (
        STEPS.replace("ASYNC ", "")
        .replace('survives="reset"', "")
        .replace("(StatefulHandler):", "(StatefulHandler):\n    concurrency = 'threads'")
    )
    runtime = start(
        threads,
        "app.Handler",
        STEP=step,
        TIMES="3",
        PAUSE="0.3",
        AWS_LAMBDA_MAX_CONCURRENCY="3",
        WARMSTATE_SHUTDOWN_BUDGET="30",
    )
    steps_of_the_first = {"event", "handle"}
    assert 1 == api.ask("1", {"arm": True}).json
    if step in steps_of_the_first:
        assert 2 == api.ask("2").json
    seen = 2 if step in steps_of_the_first else 1

    assert 0 == runtime.ended()
    assert [f"before_shutdown spindown False {seen}"] == runtime.output.splitlines()
    assert api.posted.empty()


BREAKS = """
import builtins, time
from warmstate import StatefulHandler

def broken(name, *more):
    raise RuntimeError("no module today")

class Handler(StatefulHandler):
    def handle(self, event, context):
        builtins.__import__ = broken
        print("handling", flush=True)
        time.sleep(60)

    def before_timeout(self, context):
        print("before_timeout", flush=True)
"""


def test_last_steps_that_break_beside_a_handler(api, start):
    """Where the handler goes on and they cannot even begin, the log says what broke them, and where."""
    runtime = start(BREAKS, "app.Handler", WARMSTATE_SHUTDOWN_BUDGET="3")
    api.send("1")
    wait_for(lambda: "handling" in runtime.output)
    runtime.signal(signal.SIGTERM)

    assert 1 == runtime.ended()
    (told,) = (line for line in runtime.output.splitlines() if "the last steps broke off" in line)
    assert "app.py:6: RuntimeError: no module today; what was not flushed" in told


def test_a_deadline_beside_a_handler_that_broke_imports(api, start):
    """The stacks cannot be written, as the log says with its reason, and the hook runs all the same."""
    runtime = start(BREAKS, "app.Handler", WARMSTATE_SHUTDOWN_BUDGET="3")
    api.send("1", seconds=1.0)
    wait_for(lambda: "before_timeout" in runtime.output)

    assert "The stacks cannot be written: RuntimeError: no module today" in runtime.output


@pytest.fixture
def stall(api):
    """Make the platform stop, as it reads an answer or before it says what it thinks of one; `begun` is set then."""
    begun, over = threading.Event(), threading.Event()

    def hold(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        begun.set()
        over.wait(PATIENCE)
        return False

    def stall(body):
        if body > 10:
            api.before_body = hold
        else:
            api.replies.put(hold)
        return begun

    yield stall
    over.set()


@pytest.mark.parametrize("transport", ["native", "requests"])
@pytest.mark.parametrize("body", [10, 6_000_000])
def test_sigterm_while_the_platform_takes_no_answer(api, start, stall, transport, body):
    """A post that stalls, while it is sent or while its reply is due, is given up: the last steps run in time and in order."""
    runtime = start(STALLED, "app.Handler", WARMSTATE_TRANSPORT=transport, WARMSTATE_SHUTDOWN_BUDGET="9")
    begun = stall(body)
    api.send("1", body)
    assert begun.wait(PATIENCE)
    runtime.signal(signal.SIGTERM)

    assert 0 == runtime.ended()
    assert "before_shutdown spindown False" in runtime.output
    assert "The answer may be lost" in runtime.output


@pytest.mark.parametrize("transport", ["native", "requests"])
@pytest.mark.parametrize("body", [10, 6_000_000])
def test_a_deadline_while_the_platform_takes_no_answer(api, start, stall, transport, body):
    """A post that stalls is given up soon after its deadline, and the next event is asked for."""
    runtime = start(STALLED, "app.Handler", WARMSTATE_TRANSPORT=transport)
    api.ask("1", 10)
    api.wait_until_idle()
    begun = stall(body)
    api.send("2", body, seconds=0.5)
    assert begun.wait(PATIENCE)
    api.before_body = None
    api.send("3", 10)
    if body == 10:  # it was read, and what the platform says to it is what stalls
        assert "2" == api.answer().request_id

    assert "3" == api.answer().request_id
    assert "The answer may be lost" in runtime.output


STALLED = """
from warmstate import StatefulHandler

class Handler(StatefulHandler):
    def handle(self, event, context):
        return "x" * event

    def before_shutdown(self, shutdown):
        print("before_shutdown", shutdown.reason, shutdown.interrupted, flush=True)
"""
