"""SnapStart: init before any event, a snapshot that waits in restore/next, a restore before the invocation."""

import sys

import pytest

from warmstate.emulator.processes import family
from warmstate.wire.invoke_api import ApiError

pytestmark = pytest.mark.process

SNAP = """
import http.client, json, os, sys, time
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(method, path, body=None):
    connection.request(method, "/2018-06-01/runtime/" + path, body)
    answer = connection.getresponse()
    return answer, answer.read()
time.sleep(0.3)
ready = time.time()
call("GET", "restore/next")
restored = time.time()
AFTER
while True:
    answer, body = call("GET", "invocation/next")
    event = json.loads(body)
    if event.get("exit"): os._exit(3)
    time.sleep(event.get("sleep", 0))
    facts = {"pid": os.getpid(), "kind": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "waited": restored - ready,
             "key": "AWS_ACCESS_KEY_ID" in os.environ}
    call("POST", "invocation/" + answer.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", json.dumps(facts))
"""


@pytest.fixture
def snap(make):
    """Add a function with a snapshot; `after` is what it does after its restore."""

    def add(after="", **options):
        return make("snap", runtime=[sys.executable, "-c", SNAP.replace("AFTER", after)], snap_start=True, **options)

    return add


def test_snapshot_is_made_when_the_function_is_published(emulator, snap):
    """Its init runs then, in a phase of its own, and the process is frozen where it asks to be restored."""
    begun = emulator.events.last_id
    snap()
    instance = emulator.freeze(emulator.ps("snap")[0].instance)[0]  # frozen it is: this waits for the kernel
    report = next(e.record for e in emulator.events.since(begun) if e.type == "platform.initReport")

    assert (report["phase"], report["initializationType"], report["status"]) == ("snap-start", "snap-start", "success")
    assert instance.state == "frozen"
    assert family.state(instance.pid) == "T"


def test_first_invocation_is_a_restore(emulator, snap):
    """The restore comes before the invocation and is no part of its duration; there is no Init Duration."""
    snap("time.sleep(0.2)")
    first, second = emulator.invoke("snap", {}), emulator.invoke("snap", {})

    assert (first.start, second.start) == ("restore", "warm")
    assert first.restore_ms >= 200 > first.duration_ms
    assert (first.init_ms, second.restore_ms) == (None, None)
    assert first.billed_ms >= 200
    report = first.log_tail.splitlines()[-1]
    assert "Restore Duration: " in report
    assert "Billed Restore Duration: " in report
    assert "Init Duration" not in report
    assert first.json() | {"pid": 0, "waited": 0} == {"pid": 0, "kind": "snap-start", "waited": 0, "key": False}


def test_scale_out_restores_each_environment(emulator, snap):
    """Two events at once: two processes, both started from the snapshot and restored."""
    from concurrent.futures import ThreadPoolExecutor

    snap()
    begun = emulator.events.last_id
    with ThreadPoolExecutor(2) as executor:
        found = list(executor.map(lambda _: emulator.invoke("snap", {"sleep": 1.0}), range(2)))

    assert [answer.start for answer in found] == ["restore", "restore"]
    assert len({answer.json()["pid"] for answer in found}) == 2
    assert len([e for e in emulator.events.since(begun) if e.type == "platform.restoreReport"]) == 2


def test_crash_starts_from_the_snapshot_again(emulator, snap):
    """After a reset the new process is restored as well; its init takes none of the invocation's time."""
    snap()
    emulator.invoke("snap", {"exit": True})
    after = emulator.invoke("snap", {})

    assert after.function_error is None
    assert after.start == "restore"
    assert after.restore_ms is not None
    assert after.duration_ms < 300


@pytest.mark.parametrize(
    ("after", "status", "code"),
    [
        (
            "call('POST', 'restore/error', json.dumps({'errorType': 'Runtime.AfterRestoreError', 'errorMessage': 'no'})); sys.exit(65)",
            400,
            "SnapStartException",
        ),
        ("time.sleep(60)", 408, "SnapStartTimeoutException"),
    ],
)
def test_restore_that_fails_is_refused_by_the_service(emulator, snap, after, status, code):
    """Not the function but the service answers, and the function is not run."""
    snap(after, init_timeout=1.0)
    for _ in range(2):
        with pytest.raises(ApiError) as caught:
            emulator.invoke("snap", {})
        assert (caught.value.status, caught.value.code) == (status, code)
    assert [e for e in emulator.events.of("platform.start") if e.function == "snap" and e.instance == "none"] == []


def test_asynchronous_event_is_tried_again_after_a_failed_restore(emulator, snap):
    """A restore that fails counts as a try; it is no throttling, which would be tried for hours."""
    snap("sys.exit(65)", retry_delays=(0.05,))
    begun = emulator.events.last_id
    emulator.invoke("snap", {}, type="Event")
    ended = emulator.events.wait("warmstate.event", after=begun)
    assert (ended.record["status"], ended.record["attempts"]) == ("failed", 2)


def test_credentials_come_from_the_endpoint(emulator, snap):
    """Keys in variables would be older than the restore: botocore finds the endpoint, whose token the variables have."""
    snap(
        "import botocore.session; keys = botocore.session.get_session().get_credentials(); "
        "print(keys.method, keys.access_key, keys.token, flush=True)"
    )
    begun = emulator.events.last_id
    assert emulator.invoke("snap", {}).function_error is None
    assert emulator.events.wait("function", after=begun).record["line"] == "container-role local local"
