"""A process that the emulator did not start serves a function by way of `/.rt/NAME`, as under an editor's debugger."""

import http.client
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.emulator.conftest import ROOT, TASK_ROOT
from warmstate.emulator import Emulator, Function
from warmstate.errors import ConfigurationError

pytestmark = pytest.mark.process

BASE = "/.rt/f/2018-06-01/runtime/invocation"


@pytest.fixture
def connect():
    """Make a process, whose connection ends with the test."""
    made = []

    def add(emulator):
        made.append(Process(emulator))
        return made[-1]

    yield add
    for process in made:
        process.connection.close()


@pytest.fixture
def attached():
    """An emulator with one function that waits for somebody's process, and a caller in another thread."""
    function = Function(name="f", handler="app.handler", task_root=TASK_ROOT, attached=True, timeout=20)
    with Emulator(functions=[function]) as emulator, ThreadPoolExecutor(2) as executor:
        yield emulator, lambda event=None: executor.submit(emulator.invoke, "f", event or {})
        assert emulator.events.of("warmstate.fault") == []


class Process:
    """What a runtime does, one call at a time."""

    def __init__(self, emulator):
        self.connection = http.client.HTTPConnection(emulator.url.removeprefix("http://"), timeout=30)

    def call(self, method, path, body=None):
        self.connection.request(method, path, body)
        answer = self.connection.getresponse()
        return answer, answer.read()

    def next(self):
        answer, body = self.call("GET", f"{BASE}/next")
        assert answer.status == 200
        return answer.getheader("Lambda-Runtime-Aws-Request-Id"), json.loads(body)

    def respond(self, request_id, value):
        return self.call("POST", f"{BASE}/{request_id}/response", json.dumps(value))[0].status


def test_a_process_may_come_after_the_event(attached, connect):
    """The event waits for it; then it is served as ever, warm, and never frozen."""
    emulator, invoke = attached
    waiting = invoke({"n": 1})
    process = connect(emulator)
    request_id, event = process.next()
    assert event == {"n": 1}
    assert process.respond(request_id, "first") == 202
    second = invoke({"n": 2})
    request_id, event = process.next()
    assert process.respond(request_id, event) == 202
    third = invoke()
    assert process.respond(process.next()[0], None) == 202
    emulator.kill()  # nobody calls next any more
    assert (waiting.result().json(), waiting.result().start) == ("first", "cold")
    assert (second.result(20).json(), second.result().start) == ({"n": 2}, "warm")
    assert third.result(30).json() is None
    assert emulator.freeze() == []


def test_a_process_that_starts_anew_gets_the_same_event(attached, connect):
    """Stop the debugger, mend the code, start again: the caller still waits for its answer."""
    emulator, invoke = attached
    waiting = invoke({"n": 1})
    first = connect(emulator)
    request_id, _ = first.next()
    first.connection.close()
    second = connect(emulator)
    assert second.next() == (request_id, {"n": 1})
    assert second.respond(request_id, "mended") == 202
    idle = ThreadPoolExecutor(1)
    called = idle.submit(second.next)
    assert waiting.result(20).json() == "mended"
    invoke()
    assert called.result(20)[0] != request_id
    idle.shutdown()
    emulator.kill()


def test_a_timeout_leaves_the_process_in_service(attached, connect):
    """Its late answer is refused, as it stood at a breakpoint for too long; its next event is its next event."""
    emulator, invoke = attached
    emulator.add(Function(name="f", handler="app.handler", task_root=TASK_ROOT, attached=True, timeout=0.5))
    process = connect(emulator)
    late = invoke()
    request_id, _ = process.next()
    assert late.result(20).error_type == "Sandbox.Timedout"
    assert process.respond(request_id, "late") == 403
    assert invoke().result(20).error_type == "Sandbox.Timedout"  # nobody asked for it
    emulator.add(Function(name="f", handler="app.handler", task_root=TASK_ROOT, attached=True, timeout=20))
    answer = invoke()
    assert process.respond(process.next()[0], "in time") == 202
    with ThreadPoolExecutor(1) as other:
        blocked = other.submit(process.next)
        assert answer.result(20).json() == "in time"
        emulator.reset()
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            blocked.result(20)


def test_the_runtime_itself_serves_it(attached, tmp_path):
    """warmstate's own bootstrap, told where the interface is."""
    emulator, invoke = attached
    (tmp_path / "app.py").write_text("def handler(event, context): return [event, context.function_name]\n")
    api = emulator.url.removeprefix("http://") + "/.rt/f"
    variables = {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": api,
        "_HANDLER": "app.handler",
        "LAMBDA_TASK_ROOT": str(tmp_path),
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "WARMSTATE_TMP": str(tmp_path),
        "PYTHONPATH": ROOT,
    }
    with subprocess.Popen([f"{ROOT}/bootstrap"], env=variables, cwd=tmp_path) as process:
        try:
            assert [invoke(n).result(60).json() for n in (1, 2)] == [[1, "f"], [2, "f"]]
        finally:
            process.kill()


def test_others_have_no_such_door(attached, connect):
    """A function whose processes are the emulator's is not served there; and what goes together is checked."""
    emulator, _ = attached
    emulator.add(Function(name="own", handler="app.handler", task_root=TASK_ROOT))
    answer, _ = connect(emulator).call("GET", "/.rt/own/2018-06-01/runtime/invocation/next")
    assert answer.status == 404
    assert connect(emulator).call("GET", "/.rt/nobody/2018-06-01/ping")[0].status == 404
    with pytest.raises(ConfigurationError, match="attached"):
        Function(name="g", handler="app.handler", task_root=TASK_ROOT, attached=True, provisioned=1)
