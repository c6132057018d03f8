"""What a runtime may call when: the emulator answers from the lifecycle's table."""

import json
import sys

import pytest

pytestmark = pytest.mark.process

CALLER = """
import http.client, json, os
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
BASE = "/2018-06-01/runtime"
def call(method, path, body=None, **headers):
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    data = answer.read()
    return answer.status, data.decode(), dict(answer.headers)
def metadata():
    path = "/2026-01-15/metadata/execution-environment"
    token = "Bearer " + os.environ["AWS_LAMBDA_METADATA_TOKEN"]
    refused = [call("GET", path)[0], call("GET", path, Authorization="Bearer x")[0], call("POST", path)[0]]
    return [os.environ["AWS_LAMBDA_METADATA_API"] == os.environ["AWS_LAMBDA_RUNTIME_API"], *refused,
            *call("GET", path, Authorization=token)[:2]]
def outcome(found):
    try: kind = json.loads(found[1]).get("errorType")
    except ValueError: kind = None
    return [found[0], kind]
early = [outcome(call("POST", BASE + "/invocation/none/response", "1")), outcome(call("GET", BASE + "/restore/next"))]
while True:
    status, body, headers = call("GET", BASE + "/invocation/next")
    request = headers["Lambda-Runtime-Aws-Request-Id"]
    again = call("GET", BASE + "/invocation/next")
    path = BASE + "/invocation/" + request
    seen = {
        "early": early,
        "same event again": again[2]["Lambda-Runtime-Aws-Request-Id"] == request,
        "unknown id": outcome(call("POST", BASE + "/invocation/123/response", "1")),
        "wrong invocation id": outcome(call("POST", path + "/response", "1", Lambda_Runtime_Invocation_Id="x")),
        "init error": outcome(call("POST", BASE + "/init/error", "{}")),
        "wrong method": call("POST", BASE + "/invocation/next")[0],
        "unknown path": call("GET", "/nothing")[0],
        "ping": call("GET", "/2018-06-01/ping")[:2],
        "register late": outcome(call("POST", "/2020-01-01/extension/register", "{}", Lambda_Extension_Name="late")),
        "telemetry": call("PUT", "/2022-07-01/telemetry", "{}")[0],
        "metadata": metadata(),
    }
    accepted = call("POST", path + "/response", json.dumps(seen))
    second = call("POST", path + "/response", "2")
    print(json.dumps([accepted[:2], outcome(second), outcome(call("POST", path + "/error", "{}"))]), flush=True)
"""


def test_refusals_are_the_platforms(emulator, make):
    """403, 400, 404, 405 and 410 come where Lambda's own emulator gives them."""
    make("caller", runtime=[sys.executable, "-c", CALLER])
    begun = emulator.events.last_id
    seen = emulator.invoke("caller", {}).json()

    assert seen["early"] == [[403, "InvalidStateTransition"], [404, None]]
    assert seen["same event again"]
    assert seen["unknown id"] == [400, "InvalidRequestID"]
    assert seen["wrong invocation id"] == [410, "InvokeTimeout"]
    assert seen["init error"] == [403, "InvalidStateTransition"]
    assert (seen["wrong method"], seen["unknown path"], seen["ping"]) == (405, 404, [200, "pong"])
    assert seen["register late"] == [403, "Extension.RegistrationClosed"]
    assert seen["telemetry"] == 202
    assert seen["metadata"] == [True, 401, 401, 405, 200, '{"AvailabilityZoneID": "use1-az1"}']
    accepted, second, error = json.loads(emulator.events.wait("function", after=begun).record["line"])
    assert accepted == [202, '{"status":"OK"}\n']
    assert second == error == [403, "InvalidStateTransition"]


def test_init_error_reaches_the_caller(emulator, make):
    """What a runtime posts to init/error is the answer of the first invocation, byte for byte."""
    code = """
import http.client, os, sys
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
connection.request("POST", "/2018-06-01/runtime/init/error", '{"errorType": "Mine", "errorMessage": "m", "more": 1}', {"Lambda-Runtime-Function-Error-Type": "Runtime.Mine"})
connection.getresponse().read()
sys.exit(1)
"""
    make("broken", runtime=[sys.executable, "-c", code])
    failed = emulator.invoke("broken", {})

    assert failed.payload == b'{"errorType": "Mine", "errorMessage": "m", "more": 1}'
    assert failed.error_type == "Runtime.Mine"


def test_wrong_response_mode_fails_and_wedges(emulator, make):
    """A response mode other than streaming is a 400; afterwards next is refused until the reset."""
    code = """
import http.client, os, sys
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(method, path, headers={}):
    connection.request(method, "/2018-06-01/runtime/invocation/" + path, "1" if method == "POST" else None, headers)
    answer = connection.getresponse(); answer.read(); return answer
request = call("GET", "next").headers["Lambda-Runtime-Aws-Request-Id"]
first = call("POST", request + "/response", {"Lambda-Runtime-Function-Response-Mode": "buffered"}).status
print(first, call("GET", "next").status, flush=True)
sys.exit(1)
"""
    make("wrong", runtime=[sys.executable, "-c", code])
    begun = emulator.events.last_id
    failed = emulator.invoke("wrong", {})

    assert failed.error_type == "Runtime.InvalidResponseModeHeader"
    assert emulator.events.wait("function", after=begun).record["line"] == "400 403"


SNAP = """
import http.client, json, os, time
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(method, path, body=None):
    connection.request(method, "/2018-06-01/runtime/" + path, body)
    answer = connection.getresponse()
    return answer, answer.read()
restored = call("GET", "restore/next")
while True:
    answer, body = call("GET", "invocation/next")
    facts = {"restore": [restored[0].status, restored[1].decode()], "stream": "AWS_LAMBDA_LOG_STREAM_NAME" in os.environ}
    call("POST", "invocation/" + answer.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", json.dumps(facts))
"""


def test_snapstart_blocks_in_restore_next(emulator, make):
    """With SnapStart the runtime waits in restore/next, is frozen there, and wakes with the first event."""
    make("snap", runtime=[sys.executable, "-c", SNAP], snap_start=True)
    answer = emulator.invoke("snap", {})

    assert answer.start == "restore"
    assert answer.json() == {"restore": [200, ""], "stream": False}
    assert emulator.invoke("snap", {}).start == "warm"


class TestManagedInstances:
    """Several invocations at once in one process, never frozen."""

    def test_invocations_overlap_in_one_process(self, emulator, make):
        """As many events as the limit allows run at once; the next one is refused."""
        import time
        from concurrent.futures import ThreadPoolExecutor

        make("managed", client="managed.py", max_concurrency=4, max_instances=1)
        with ThreadPoolExecutor(4) as executor:
            begun = time.monotonic()
            found = list(
                executor.map(lambda number: emulator.invoke("managed", {"n": number, "sleep": 1}).json(), range(4))
            )
            assert time.monotonic() - begun < 3.5
        assert len({answer["pid"] for answer in found}) == 1
        assert [answer["echo"]["n"] for answer in found] == [0, 1, 2, 3]
        assert emulator.events.of("warmstate.freeze", instance=emulator.ps("managed")[0].instance) == []

    def test_timeout_leaves_the_handler_running(self, emulator, make):
        """Over its time the caller gets the error, the process lives on, its late answer is a 410."""
        make("managed", client="managed.py", max_concurrency=2, timeout=0.4)
        pid = emulator.invoke("managed", {}).json()["pid"]
        begun = emulator.events.last_id
        assert emulator.invoke("managed", {"sleep": 1}).error_type == "Sandbox.Timedout"
        late = json.dumps({"status": 410, "echo": {"sleep": 1}})

        assert emulator.events.wait("function", after=begun, line=late)
        assert emulator.invoke("managed", {}).json()["pid"] == pid

    def test_lost_process_is_replaced(self, emulator, make):
        """A process that ends fails what it had, and another environment takes its place."""
        make("managed", client="managed.py", max_concurrency=2)
        assert emulator.invoke("managed", {"exit": 3}).error_type == "Runtime.ExitError"
        assert emulator.invoke("managed", {}).function_error is None

    @pytest.mark.parametrize("verb", ["kill", "reset"])
    def test_ended_process_leaves_room_for_another(self, emulator, make, verb):
        """The verbs end the environment with its process, so that the next event finds another even where one is the most."""
        make("managed", client="managed.py", max_concurrency=2, max_instances=1)
        first = emulator.invoke("managed", {}).instance
        assert [found.state for found in getattr(emulator, verb)(first)] == ["gone"]
        assert emulator.ps("managed") == []
        assert emulator.invoke("managed", {}).instance != first
