"""Managed Instances: several invocations at once in one process, over one copy of the state."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.hosts.scripted import wait_for

pytestmark = pytest.mark.process

SOURCE = """
import asyncio, os, threading, time
from warmstate import StatefulHandler, State, state

class Threads(StatefulHandler):
    concurrency = "threads"
    seen: State[set[str]] = state(factory=set)

    def handle(self, event, context):
        self.seen.add(context.aws_request_id)
        print("handles", context.aws_request_id, flush=True)
        time.sleep(event.get("sleep", 0))
        return {
            "id": context.aws_request_id,
            "tenant": context.tenant_id,
            "thread": threading.get_ident(),
            "pid": os.getpid(),
            "seen": len(self.seen),
            "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        }

    def before_shutdown(self, shutdown):
        print("before_shutdown", shutdown.interrupted, flush=True)

class Serial(Threads):
    concurrency = "serial"

class Async(StatefulHandler):
    concurrency = "async"
    running = most = 0

    async def handle(self, event, context):
        Async.running += 1
        Async.most = max(Async.most, Async.running)
        await asyncio.sleep(event.get("sleep", 0))
        Async.running -= 1
        return {"id": context.aws_request_id, "most": Async.most}
"""


LEAVES = """
import json, os, signal, socket, sys, time
from warmstate import StatefulHandler

def bang(*_): raise ValueError("bang")
signal.signal(signal.SIGUSR1, bang)

class Handler(StatefulHandler):
    concurrency = "threads"

    def handle(self, event, context):
        if event.get("leave"):
            os.chdir("/"); os.umask(0o777); socket.setdefaulttimeout(0.001); sys.setrecursionlimit(400)
            del os.environ["PATH"]; sys.path.clear(); sys.settrace(lambda *_: None)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
            os.close(1)
            return None
        if event.get("bang"):
            for _ in range(event["bang"]):
                os.kill(os.getpid(), signal.SIGUSR1); time.sleep(0.001)
        mask = os.umask(0); os.umask(mask)
        return [
            os.getcwd() == HOME, mask == MASK, socket.getdefaulttimeout(), sys.getrecursionlimit(), "PATH" in os.environ,
            bool(sys.path), sys.gettrace(), os.path.exists("/proc/self/fd/1"),
        ]

    def before_shutdown(self, shutdown):
        print("before_shutdown", flush=True)

HOME = os.getcwd()
MASK = os.umask(0); os.umask(MASK)
"""
AS_IT_WAS = [True, True, None, 1000, True, True, None, True]


def managed(start, handler, slots):
    return start(SOURCE, f"app.{handler}", AWS_LAMBDA_MAX_CONCURRENCY=str(slots))


def test_as_many_ask_as_may_run(api, start):
    """The platform sends no more than are blocked in next."""
    managed(start, "Threads", 8)
    api.wait_until_idle(8)
    time.sleep(0.2)

    assert 8 == api.waiting


def test_threads_run_side_by_side_over_one_state(api, start):
    """Eight sleep at once, in one process, and all see the same slot."""
    managed(start, "Threads", 8)
    api.wait_until_idle(8)
    begun = time.monotonic()
    for number in range(8):
        api.send(f"id-{number}", {"sleep": 1})
    answers = [api.answer() for _ in range(8)]

    assert time.monotonic() - begun < 4
    assert all(answer.json["id"] == answer.request_id for answer in answers)
    assert (1, 8) == tuple(len({answer.json[name] for answer in answers}) for name in ("pid", "thread"))
    assert 8 == max(answer.json["seen"] for answer in answers)


def test_coroutines_run_side_by_side(api, start):
    """On one loop, as many as there are slots."""
    managed(start, "Async", 6)
    api.wait_until_idle(6)
    for number in range(6):
        api.send(f"id-{number}", {"sleep": 0.5})

    assert 6 == max(api.answer().json["most"] for _ in range(6))


def test_serial_runs_one_after_another(api, start):
    """The default promises that nothing runs beside it."""
    managed(start, "Serial", 4)
    api.wait_until_idle(4)
    begun = time.monotonic()
    for number in range(4):
        api.send(f"id-{number}", {"sleep": 0.2})
    for _ in range(4):
        assert "response" == api.answer().kind

    assert time.monotonic() - begun >= 0.8


def test_nothing_is_mixed_up(api, start):
    """2,000 calls of two tenants' worth of ids: each answer under its own id, and no trace in the environment."""
    managed(start, "Threads", 16)
    for number in range(2000):
        api.send(f"id-{number}", {}, Lambda_Runtime_Trace_Id=f"Root={number}")
    answers = [api.answer() for _ in range(2000)]

    assert all(answer.json["id"] == answer.request_id for answer in answers)
    assert 2000 == len({answer.request_id for answer in answers})
    assert {None} == {answer.json["trace"] for answer in answers}


def test_a_stuck_slot_is_replaced(api, start):
    """A handler over its deadline costs no capacity, and what it returns later is dropped."""
    runtime = managed(start, "Threads", 2)
    api.wait_until_idle(2)
    api.send("stuck", {"sleep": 3}, seconds=0.3)
    wait_for(lambda: api.waiting == 1)
    wait_for(lambda: api.waiting == 2)
    time.sleep(3)

    assert api.posted.empty()
    assert "another thread takes its place" in runtime.output
    assert "response" == api.ask("good").kind


def test_sigterm_while_idle(api, start):
    """The main thread ends the process in order."""
    runtime = managed(start, "Threads", 4)
    api.wait_until_idle(4)
    runtime.signal(signal.SIGTERM)

    assert 0 == runtime.ended()
    assert "before_shutdown False" in runtime.output


def test_sigterm_while_handlers_run(api, start):
    """What hangs is left where it is; `threads` allows the hook beside it."""
    runtime = managed(start, "Threads", 4)
    api.wait_until_idle(4)
    api.send("long", {"sleep": 60})
    wait_for(lambda: "handles long" in runtime.output)
    runtime.signal(signal.SIGTERM)

    assert 0 == runtime.ended()
    assert "before_shutdown True" in runtime.output


@pytest.mark.parametrize("transport", ["native", "requests"])
def test_both_transports(api, start, transport):
    """Each thread has a connection of its own, whatever makes it."""
    start(SOURCE, "app.Threads", AWS_LAMBDA_MAX_CONCURRENCY="4", WARMSTATE_TRANSPORT=transport)
    api.wait_until_idle(4)
    for number in range(40):
        api.send(f"id-{number}")

    assert 40 == len({api.answer().request_id for _ in range(40)})


def test_what_a_handler_leaves_behind_is_put_back_when_none_runs(api, start):
    """Working directory, umask, limits, variables, tracing, descriptors: the next invocations find them as init left them."""
    runtime = start(LEAVES, "app.Handler", AWS_LAMBDA_MAX_CONCURRENCY="4")
    api.wait_until_idle(4)
    before = api.ask("before").json
    api.ask("leaves", {"leave": 1})
    wait_for(lambda: "changed sys.path" in runtime.output)  # the last of them

    assert AS_IT_WAS == before
    assert [AS_IT_WAS] * 8 == [api.ask(f"after-{number}").json for number in range(8)]


def test_signal_handlers_that_raise_on_the_watching_thread(api, start):
    """They are the user's, and run where the deadlines and SIGTERM are watched: that goes on."""
    runtime = start(LEAVES, "app.Handler", AWS_LAMBDA_MAX_CONCURRENCY="4")
    api.wait_until_idle(4)
    for number in range(4):
        assert "response" == api.ask(f"bang-{number}", {"bang": 20}).kind
    wait_for(lambda: "nobody can catch it: ValueError: bang" in runtime.output)
    runtime.signal(signal.SIGTERM)

    assert 0 == runtime.ended()
    assert "before_shutdown" in runtime.output


RAISES = """
import asyncio
from warmstate import StatefulHandler

class Handler(StatefulHandler):
    concurrency = "async"

    async def handle(self, event, context):
        if event == "later":
            return await asyncio.gather(self.fail(event))
        await self.fail(event)

    async def fail(self, event):
        await asyncio.sleep(0)
        raise SystemExit if event == "exit" else ValueError
"""


@pytest.mark.parametrize("slots", [None, "2"])
@pytest.mark.parametrize("event", ["now", "exit", "later"])
def test_the_first_frame_of_a_coroutine_that_raises_is_the_users(api, start, slots, event):
    """What the loop is made of lies between us and them, and tells nobody anything."""
    start(RAISES, "app.Handler", **({} if slots is None else {"AWS_LAMBDA_MAX_CONCURRENCY": slots}))
    trace = api.ask("1", event).json["stackTrace"]

    assert "app.py" in trace[0]
    assert "in fail" in trace[-1]
    assert not any(place in "".join(trace) for place in ("warmstate/", "base_events", "futures"))


HOSTILE = """
import sys

class Hostile(BaseException):
    def __str__(self): raise RuntimeError
    __repr__ = __str__

class Meta(type):
    __name__ = property(lambda cls: 1 / 0)

class Nameless(Hostile, metaclass=Meta): pass

def handler(event, context):
    def profile(frame, what, argument):
        if frame.f_code.co_name == "_poll":  # the runtime's own step after this one
            raise {"hostile": Hostile, "nameless": Nameless}[event["raise"]]
    if event:
        sys.setprofile(profile)
    return context.aws_request_id
"""


@pytest.mark.parametrize(("kind", "name"), [("hostile", "Hostile"), ("nameless", "Nameless")])
def test_a_failure_in_a_slot_whose_words_fail_too(api, start, kind, name):
    """The event is answered, the failure is told, and the only slot goes on."""
    runtime = start(HOSTILE, AWS_LAMBDA_MAX_CONCURRENCY="1")
    for number in range(3):
        assert "error" == api.ask(f"bad-{number}", {"raise": kind}).kind
        assert f"good-{number}" == api.ask(f"good-{number}").json

    assert 3 == runtime.output.count(f"A polling thread failed and begins anew: {name}: <unprintable")


LOGS = """
import logging, time
from warmstate import State, StatefulHandler, state

class Handler(StatefulHandler):
    concurrency = "threads"
    held: State[bytes] = state(default=b"")

    def on_init(self, init):
        self.held = b"x" * SIZE

    def handle(self, event, context):
        logging.warning("begins %s", context.aws_request_id)
        if event["n"] % 7 == 0:
            time.sleep(0.002)
        logging.warning("ends %s", context.aws_request_id)
        if event["n"] % 11 == 0:
            raise ValueError(context.aws_request_id)
        return {"id": context.aws_request_id, "held": len(self.held)}
"""


def run_mixed_calls(api, start, calls, size):
    """Sixteen at once over one large value: every answer and every line of the log is its own request's."""
    runtime = start(
        LOGS.replace("SIZE", str(size)),
        "app.Handler",
        AWS_LAMBDA_MAX_CONCURRENCY="16",
        AWS_LAMBDA_LOG_FORMAT="JSON",
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE="2048",  # else the value is spilled and reloaded all the time
    )
    api.wait_until_idle(16)
    sent = 0
    seen = set()
    while len(seen) < calls:
        while sent < calls and sent - len(seen) < 64:
            api.send(f"id-{sent}", {"n": sent}, Lambda_Runtime_Aws_Tenant_Id="blue")
            sent += 1
        answer = api.answer()
        said = answer.json
        if answer.kind == "response":
            assert {"id": answer.request_id, "held": size} == said
        else:
            assert answer.request_id == said["errorMessage"] == said["requestId"]
        seen.add(answer.request_id)
    resident = sum(
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        for pid in [runtime.pid, *Path(f"/proc/{runtime.pid}/task/{runtime.pid}/children").read_text().split()]
    )
    runtime.signal(signal.SIGTERM)
    runtime.ended()
    lines = [json.loads(line) for line in runtime.output.splitlines()]

    assert api.posted.empty()
    assert 2 * calls + -(-calls // 11) == len(lines)
    for line in lines:
        assert line["requestId"] == line.get("message", line.get("errorMessage")).split()[-1]
        assert "blue" == line["tenantId"]
    return resident


def test_no_line_of_the_log_is_anothers(api, start):
    """The short form: 1,100 mixed calls over 100 MB, of which there is one copy."""
    assert run_mixed_calls(api, start, 1_100, 100_000_000) < 120_000_000 + 20_000_000  # and the interpreter


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_line_of_a_hundred_thousand_calls_is_anothers(api, start):
    """100,000 mixed calls over 300 MB: all processes together hold at most 1.2 copies."""
    assert run_mixed_calls(api, start, 100_000, 300_000_000) < 1.2 * 300_000_000
