"""Init, invoke, reset and shutdown of environments, with real processes."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.emulator.conftest import CLIENTS
from warmstate.emulator.processes import family
from warmstate.wire.invoke_api import ApiError

pytestmark = pytest.mark.process

ONCE = """
import http.client, os, sys
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    connection.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = connection.getresponse(); answer.read()
    WORK
    path = "/2018-06-01/runtime/invocation/" + answer.headers["Lambda-Runtime-Aws-Request-Id"] + "/response"
    connection.request("POST", path, "1")
    connection.getresponse().read()
"""


def test_first_start_is_cold_then_warm(emulator, make):
    """The first invocation of an environment is cold, the next finds the same process."""
    make()
    first, second = emulator.invoke("plain", {}), emulator.invoke("plain", {})

    assert (first.start, second.start) == ("cold", "warm")
    assert first.json()["pid"] == second.json()["pid"]
    assert (first.json()["count"], second.json()["count"]) == (1, 2)
    assert first.init_ms > 0
    assert second.init_ms is None


def test_answer_carries_the_platforms_headers(emulator, make):
    """The event arrives with request id, invocation id, deadline, ARN and trace, as on Lambda."""
    make(timeout=7)
    before = time.time()
    answer = emulator.invoke("plain", {"a": 1}, qualifier="live", client_context={"custom": {"x": "é"}})
    headers = answer.json()["headers"]

    assert headers["Lambda-Runtime-Aws-Request-Id"] == answer.request_id
    assert headers["Lambda-Runtime-Invocation-Id"] != answer.request_id
    assert headers["Lambda-Runtime-Invoked-Function-Arn"] == "arn:aws:lambda:us-east-1:123456789012:function:plain:live"
    assert headers["Lambda-Runtime-Trace-Id"].startswith("Root=1-")
    assert headers["Lambda-Runtime-Client-Context"] == '{"custom": {"x": "\\u00e9"}}'
    assert 6.5 < int(headers["Lambda-Runtime-Deadline-Ms"]) / 1000 - before < 60


def test_function_error_reaches_the_caller_and_keeps_the_process(emulator, make):
    """An error that the runtime posts is a function error; the instance lives on."""
    make()
    pid = emulator.invoke("plain", {}).json()["pid"]
    failed = emulator.invoke("plain", {"raise": "no"})

    assert (failed.status, failed.function_error, failed.error_type) == (200, "Unhandled", "ValueError")
    assert failed.json() == {"errorType": "ValueError", "errorMessage": "no"}
    assert emulator.invoke("plain", {}).json()["pid"] == pid


@pytest.mark.parametrize(("code", "words"), [(3, "exit status 3"), (0, "without providing a reason")])
def test_exit_in_an_invocation_resets(emulator, make, code, words):
    """A runtime that exits fails its invocation with Runtime.ExitError; /tmp is kept, the next start is a reset."""
    make()
    emulator.invoke("plain", {"write": "mark"})
    failed = emulator.invoke("plain", {"exit": code})
    after = emulator.invoke("plain", {})

    assert failed.json()["errorType"] == "Runtime.ExitError"
    assert words in failed.json()["errorMessage"]
    assert (after.start, after.json()["count"]) == ("reset", 1)
    assert "mark" in after.json()["files"]


def test_timeout_terminates_then_resets(emulator, make):
    """Over its time an invocation fails, the process gets SIGTERM with its budget, the next start is a reset."""
    make("plain", "--register", timeout=3)
    emulator.invoke("plain", {"write": "mark"})
    begun = emulator.events.last_id
    failed = emulator.invoke("plain", {"sleep": 30})
    after = emulator.invoke("plain", {})

    assert failed.error_type == "Sandbox.Timedout"
    assert "Task timed out after 3.00 seconds" in failed.json()["errorMessage"]
    shutdown = emulator.events.wait("warmstate.shutdown", after=begun)
    assert (shutdown.record["reason"], shutdown.record["runtimeBudgetMs"]) == ("timeout", 500)
    assert after.start == "reset"
    assert "mark" in after.json()["files"]


def test_memory_over_the_limit_kills(emulator, make):
    """Memory beyond the function's size ends the process as the kernel would: signal: killed."""
    make(memory_mb=64)
    failed = emulator.invoke("plain", {"allocate": 300})

    assert failed.error_type == "Runtime.ExitError"
    assert "signal: killed" in failed.json()["errorMessage"]
    assert failed.max_memory_mb == 64
    assert emulator.invoke("plain", {}).start == "reset"


@pytest.mark.parametrize("child", [False, True])
def test_short_burst_over_the_limit_kills(emulator, make, child):
    """Memory that is given back before anybody looks was held nevertheless: the kernel remembers, and so do we."""
    burst = "import time; kept = bytearray(200 << 20); time.sleep(0.3)" if child else "bytearray(200 << 20)"
    code = f"import subprocess; subprocess.run([sys.executable, '-c', {burst!r}])" if child else burst
    make("burst", runtime=[sys.executable, "-c", ONCE.replace("WORK", code)], memory_mb=64)
    failed = emulator.invoke("burst", {})

    assert failed.error_type == "Runtime.ExitError"
    assert failed.json()["errorMessage"].endswith("Runtime exited with error: signal: killed")
    assert failed.max_memory_mb == 64


def test_reported_memory_is_the_peak(emulator, make):
    """REPORT has the most that the process ever held, though it has given most of it back."""
    make("burst", runtime=[sys.executable, "-c", ONCE.replace("WORK", "bytearray(100 << 20)")], memory_mb=512)
    assert 100 <= emulator.invoke("burst", {}).max_memory_mb < 180


def test_init_that_exits_is_tried_again_inside_the_invocation(emulator, make):
    """A failed init runs a second time inside the first invocation, and then is that invocation's error."""
    make("broken", runtime=["/bin/sh", "-c", "exit 7"])
    begun = emulator.events.last_id
    failed = emulator.invoke("broken", {})

    phases = [e.record["phase"] for e in emulator.events.since(begun) if e.type == "platform.initReport"]
    assert phases == ["init", "invoke"]
    assert failed.json()["errorMessage"].endswith("exit status 7")
    assert failed.error_type == "Runtime.ExitError"


def test_init_over_its_limit_is_tried_again_inside_the_invocation(emulator, make, tmp_path):
    """Ten seconds (here: less) for init on demand; the second try has the function's timeout."""
    mark = tmp_path / "tried"
    script = f"test -e {mark} || {{ touch {mark}; sleep 60; }}; exec {sys.executable} {CLIENTS}/plain.py"
    make("slow", runtime=["/bin/sh", "-c", script], share=[str(tmp_path)], init_timeout=0.5)
    answer = emulator.invoke("slow", {})

    assert answer.function_error is None
    reports = [e.record for e in emulator.events.of("platform.initReport") if e.function == "slow"]
    assert [(r["phase"], r["status"]) for r in reports] == [("init", "timeout"), ("invoke", "success")]


def test_missing_runtime_is_an_invalid_entrypoint(emulator, make):
    """A program that cannot be started is named in the error."""
    make("none", runtime=["/does/not/exist"])
    failed = emulator.invoke("none", {})

    assert failed.error_type == "Runtime.InvalidEntrypoint"
    assert "/does/not/exist" in failed.json()["errorMessage"]


def test_busy_instances_scale_out_then_throttle(emulator, make):
    """A second event at the same time starts another environment; beyond the limit it is throttled."""
    from concurrent.futures import ThreadPoolExecutor

    make(max_instances=2)
    with ThreadPoolExecutor(3) as executor:
        begun = emulator.events.last_id
        slow = [executor.submit(emulator.invoke, "plain", {"sleep": 1.5}) for _ in range(2)]
        emulator.events.wait("platform.start", after=begun)
        while len([e for e in emulator.events.since(begun) if e.type == "platform.start"]) < 2:
            time.sleep(0.01)
        with pytest.raises(ApiError) as caught:
            emulator.invoke("plain", {})
        instances = {future.result().instance for future in slow}

    assert (caught.value.status, caught.value.code) == (429, "TooManyRequestsException")
    assert len(instances) == 2


def test_kill_of_an_idle_instance_is_a_reset(emulator, make):
    """A process killed while frozen leaves its environment: same /tmp, new process, start reset."""
    make()
    first = emulator.invoke("plain", {"write": "mark"}).json()["pid"]
    emulator.kill()
    after = emulator.invoke("plain", {})

    assert after.start == "reset"
    assert after.json()["pid"] != first
    assert "mark" in after.json()["files"]
    assert not Path(f"/proc/{first}").exists()


def test_kill_of_a_busy_instance_fails_its_invocation(emulator, make):
    """Killed while it works, the invocation ends as Runtime.ExitError with signal: killed."""
    from concurrent.futures import ThreadPoolExecutor

    make()
    emulator.invoke("plain", {})
    with ThreadPoolExecutor(1) as executor:
        begun = emulator.events.last_id
        running = executor.submit(emulator.invoke, "plain", {"sleep": 30})
        emulator.events.wait("platform.start", after=begun)
        emulator.kill()

    assert "signal: killed" in running.result().json()["errorMessage"]


def test_process_that_dies_idle_is_replaced(emulator, make):
    """A process that ended between two events is noticed before the next one is handed over."""
    make(freeze=False)
    pid = emulator.invoke("plain", {}).json()["pid"]
    os.kill(pid, signal.SIGKILL)
    while family.state(pid) not in {"", "Z"}:
        time.sleep(0.01)
    after = emulator.invoke("plain", {})

    assert (after.start, after.function_error) == ("reset", None)


def test_idle_instances_are_spun_down(emulator, make):
    """After the idle time an instance is shut down and its /tmp is gone."""
    begun = emulator.events.last_id
    make(idle_timeout=0.2)
    emulator.invoke("plain", {"write": "mark"})
    gone = emulator.events.wait("warmstate.gone", after=begun)

    assert gone.record["reason"] == "spindown"
    assert emulator.ps("plain") == []
    assert emulator.invoke("plain", {}).start == "cold"


def test_provisioned_environments_are_ready_ahead(emulator, make):
    """Provisioned environments are initialized before any event, and say so."""
    make(provisioned=2)
    assert [instance.state for instance in emulator.ps("plain")] == ["frozen", "frozen"]

    answer = emulator.invoke("plain", {"environment": True})
    assert answer.start == "provisioned"
    assert answer.json()["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "provisioned-concurrency"


def test_scale_starts_and_ends_instances(emulator, make):
    """scale(n) leaves n initialized instances, up or down."""
    make()

    assert len(emulator.scale(3, "plain")) == 3
    assert len(emulator.scale(1, "plain")) == 1


def test_round_robin_takes_the_longest_idle(emulator, make):
    """With the round-robin strategy, hidden state shows early: instances take turns."""
    make(strategy="round-robin")
    emulator.scale(2, "plain")
    instances = [emulator.invoke("plain", {}).instance for _ in range(4)]

    assert instances[0] != instances[1]
    assert instances[:2] == instances[2:]


def test_newest_takes_all_while_it_lives(emulator, make):
    """With the newest strategy the instance that began last is used, also when an older one was used since."""
    make(strategy="newest")
    old, new = (instance.instance for instance in emulator.scale(2, "plain"))
    assert emulator.invoke("plain", {}, instance=old).instance == old
    assert [emulator.invoke("plain", {}).instance for _ in range(2)] == [new, new]
    emulator.spindown(new)
    assert emulator.invoke("plain", {}).instance == old


def test_tenants_never_share_an_environment(emulator, make):
    """With tenant isolation an environment serves the tenant it saw first, and no other."""
    make(tenant_isolation=True, max_instances=2)
    first = emulator.invoke("plain", {}, tenant_id="blue")
    second = emulator.invoke("plain", {}, tenant_id="green")
    third = emulator.invoke("plain", {}, tenant_id="red")

    assert len({first.instance, second.instance, third.instance}) == 3
    assert emulator.invoke("plain", {}, tenant_id="green").instance == second.instance
    assert first.json()["headers"]["Lambda-Runtime-Aws-Tenant-Id"] == "blue"
    with pytest.raises(ApiError, match="tenant"):
        emulator.invoke("plain", {})


def test_async_failure_is_retried_under_the_same_request_id(emulator, make):
    """An asynchronous event that fails is tried again twice: same request id, new invocation ids."""
    make(retry_delays=(0.05, 0.05))
    begun = emulator.events.last_id
    accepted = emulator.invoke("plain", {"raise": "again"}, type="Event")
    ended = emulator.events.wait("warmstate.event", after=begun)

    starts = [e.record["requestId"] for e in emulator.events.since(begun) if e.type == "platform.start"]
    assert accepted.status == 202
    assert starts == [accepted.request_id] * 3
    assert (ended.record["status"], ended.record["attempts"]) == ("failed", 3)


def test_an_old_event_is_not_tried_again(emulator, make, monkeypatch):
    """Six hours after its acceptance an event is given up, though it has tries left; counted over all tries together."""
    make(retry_delays=(0.01, 3600.0), max_instances=1)
    begun = emulator.events.last_id
    monkeypatch.setattr("warmstate.emulator.asynchronous.EVENT_AGE", 5.0)
    emulator.invoke("plain", {"raise": "again"}, type="Event", request_id="late")
    ended = emulator.events.wait("warmstate.event", after=begun, requestId="late", timeout=30)
    assert (ended.record["status"], ended.record["attempts"]) == ("dropped", 2)


def test_report_line_is_true(emulator, make):
    """The log's tail has START, the function's lines, END and a REPORT with figures of this machine."""
    make(memory_mb=256)
    answer = emulator.invoke("plain", {"print": "hello from here", "sleep": 0.05})
    lines = answer.log_tail.splitlines()

    assert lines[0] == f"START RequestId: {answer.request_id} Version: $LATEST"
    assert "hello from here" in lines
    assert lines[-2] == f"END RequestId: {answer.request_id}"
    report = dict(part.split(": ", 1) for part in lines[-1].split("\t")[1:])
    assert float(report["Duration"].split()[0]) >= 50
    assert 3 < int(report["Max Memory Used"].split()[0]) < 256
    assert float(report["Init Duration"].split()[0]) > 0


def test_variables_are_lambdas_and_nothing_else(emulator, make, monkeypatch):
    """A process sees Lambda's variables and the function's own, nothing of the emulator's environment."""
    monkeypatch.setenv("LEAKED", "yes")
    make(environment={"MINE": "1"}, memory_mb=512)
    seen = emulator.invoke("plain", {"environment": True}).json()["environment"]

    assert "LEAKED" not in seen
    assert (seen["MINE"], seen["_HANDLER"], seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) == ("1", "app.Handler", "512")
    assert seen["AWS_LAMBDA_LOG_STREAM_NAME"].count("/") == 3
    assert seen["TZ"] == ":UTC"
    assert "AWS_EXECUTION_ENV" not in seen


def test_event_that_waits_goes_to_the_new_function_or_nowhere(emulator, make):
    """A replaced function's queue is the new one's; a removed function starts nothing any more."""
    make(max_instances=1, environment={"VERSION": "1"})
    begun = emulator.events.last_id
    emulator.invoke("plain", {"sleep": 1}, type="Event")
    emulator.events.wait("platform.start", after=begun)
    waiting = emulator.invoke("plain", {"print": "the new one"}, type="Event")
    make(max_instances=1, environment={"VERSION": "2"})
    done = emulator.events.wait("warmstate.event", after=begun, requestId=waiting.request_id, timeout=30)
    assert done.record["status"] == "success"

    begun = emulator.events.last_id
    emulator.invoke("plain", {"sleep": 1}, type="Event")
    emulator.events.wait("platform.start", after=begun)
    emulator.invoke("plain", {}, type="Event")
    emulator.remove("plain")
    after = emulator.events.last_id
    emulator.events.wait("warmstate.event", after=begun, status="dropped", timeout=30)
    assert [e for e in emulator.events.since(after) if e.type == "warmstate.instance"] == []
    make()
