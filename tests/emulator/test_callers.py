"""boto3 and the AWS CLI call the emulator unchanged."""

import base64
import json
import os
import shutil
import subprocess
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

pytestmark = pytest.mark.process


@pytest.fixture
def client(emulator):
    """A plain boto3 client with the emulator's address and no retries."""
    config = Config(retries={"total_max_attempts": 1})
    made = boto3.client(
        "lambda",
        endpoint_url=emulator.url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="y",
        config=config,
    )
    yield made
    made.close()


def test_request_response_with_tail(make, client):
    """A synchronous call returns payload, version, request id and the log's tail."""
    make()
    answer = client.invoke(FunctionName="plain", Payload=b'{"print": "seen"}', LogType="Tail")

    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert json.loads(answer["Payload"].read())["echo"] == {"print": "seen"}
    assert "seen\n" in base64.b64decode(answer["LogResult"]).decode()
    assert "FunctionError" not in answer


def test_no_payload_is_an_empty_object(make, client):
    """A call without a payload reaches the function as JSON."""
    make()
    assert json.loads(client.invoke(FunctionName="plain")["Payload"].read())["echo"] == {}


def test_function_error_is_status_200(make, client):
    """A function's failure is no HTTP error, so that SDKs do not run it again."""
    make()
    answer = client.invoke(FunctionName="plain", Payload=b'{"raise": "no"}')

    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.loads(answer["Payload"].read())["errorType"] == "ValueError"


def test_event_is_accepted_and_run(emulator, make, client):
    """InvocationType=Event answers 202 at once and runs the event later."""
    make()
    begun = emulator.events.last_id
    answer = client.invoke(FunctionName="plain", InvocationType="Event", Payload=b'{"sleep": 2}')

    assert answer["StatusCode"] == 202
    assert "warmstate.event" not in [event.type for event in emulator.events.since(begun)]
    assert emulator.events.wait("warmstate.event", after=begun).record["status"] == "success"


def test_dry_run_runs_nothing(emulator, make, client):
    """InvocationType=DryRun answers 204 and starts no instance."""
    make()
    assert client.invoke(FunctionName="plain", InvocationType="DryRun")["StatusCode"] == 204
    assert emulator.ps("plain") == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"FunctionName": "unknown"}, "ResourceNotFoundException"),
        ({"FunctionName": "plain", "Payload": b"{"}, "InvalidRequestContentException"),
        ({"FunctionName": "plain", "Payload": b'{"a": NaN}'}, "InvalidRequestContentException"),
        ({"FunctionName": "plain", "Payload": b'"' + b"x" * 6_291_456 + b'"'}, "RequestTooLargeException"),
        (
            {"FunctionName": "plain", "Payload": b'"' + b"x" * 1_048_576 + b'"', "InvocationType": "Event"},
            "RequestTooLargeException",
        ),
        ({"FunctionName": "plain", "TenantId": "blue"}, "InvalidParameterValueException"),
        ({"FunctionName": "plain", "ClientContext": "!!"}, "InvalidRequestContentException"),
        ({"FunctionName": "plain:a", "Qualifier": "b"}, "InvalidParameterValueException"),
    ],
)
def test_errors_are_the_services_own(make, client, arguments, code):
    """boto3 raises the exception class that it raises on AWS."""
    make()
    with pytest.raises(ClientError) as caught:
        client.invoke(**arguments)

    assert caught.value.response["Error"]["Code"] == code
    assert type(caught.value).__name__ == code
    assert caught.value.response["Error"]["Message"]


def test_throttling_has_the_services_shape(emulator, make, client):
    """429 with Reason, Type, message and Retry-After, as boto3 raises it on AWS; nothing is run for it."""
    from concurrent.futures import ThreadPoolExecutor

    make(max_instances=1)
    with ThreadPoolExecutor(1) as executor:
        begun = emulator.events.last_id
        running = executor.submit(emulator.invoke, "plain", {"sleep": 2})
        emulator.events.wait("platform.start", after=begun)
        with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
            client.invoke(FunctionName="plain")
        assert running.result().function_error is None
    refused = caught.value.response

    assert refused["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert (refused["Type"], refused["message"]) == ("User", "Rate Exceeded.")
    assert refused["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert refused["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"


def test_queued_events_are_bounded(emulator, make, client, monkeypatch):
    """A flood of asynchronous events is throttled before it fills this machine's memory."""
    monkeypatch.setattr("warmstate.emulator.asynchronous.QUEUED_BYTES", 100_000)
    make(max_instances=1)
    payload = json.dumps({"sleep": 0.2, "pad": "x" * 40_000})
    accepted = [client.invoke(FunctionName="plain", InvocationType="Event", Payload=payload) for _ in range(2)]
    with pytest.raises(client.exceptions.TooManyRequestsException):
        client.invoke(FunctionName="plain", InvocationType="Event", Payload=payload)
    assert [answer["StatusCode"] for answer in accepted] == [202, 202]


@pytest.mark.parametrize(
    "name", ["arn:aws:lambda:us-east-1:123456789012:function:plain:live", "plain:live", "123456789012:plain"]
)
def test_arns_and_qualifiers(make, client, name):
    """The function can be named in every way that the service knows."""
    make()
    answer = json.loads(client.invoke(FunctionName=name)["Payload"].read())
    suffix = ":live" if name.endswith("live") else ""
    assert (
        answer["headers"]["Lambda-Runtime-Invoked-Function-Arn"]
        == f"arn:aws:lambda:us-east-1:123456789012:function:plain{suffix}"
    )


def test_large_payloads_both_ways(make, client):
    """Six megabytes go in and come back."""
    make()
    payload = json.dumps({"x": "y" * 5_900_000}).encode()
    answer = json.loads(client.invoke(FunctionName="plain", Payload=payload)["Payload"].read())
    assert len(answer["echo"]["x"]) == 5_900_000


def test_too_large_an_answer_is_a_function_error(make, client):
    """An answer over 6,291,556 bytes fails the invocation; the process lives on."""
    make("plain", "--register")
    body = json.dumps({"x": "y" * 6_291_440}).encode()  # the answer has it and more
    answer = client.invoke(FunctionName="plain", Payload=body)

    assert answer["FunctionError"] == "Unhandled"
    assert json.loads(answer["Payload"].read())["errorType"] == "Function.ResponseSizeTooLarge"


def test_stream_carries_pieces_and_the_end(make, client):
    """A streaming call gets the pieces as they come, then InvokeComplete."""
    make("stream", client="streaming.py")
    answer = client.invoke_with_response_stream(
        FunctionName="stream", Payload=b'{"chunks": ["a", "b"], "pause": 1}', LogType="Tail"
    )
    times, events = [], []
    for event in answer["EventStream"]:
        times.append(time.monotonic())
        events.append(event)

    assert b"".join(event["PayloadChunk"]["Payload"] for event in events[:-1]) == b"ab"
    assert times[1] - times[0] > 0.1
    assert "REPORT" in base64.b64decode(events[-1]["InvokeComplete"]["LogResult"]).decode()


def test_stream_is_slowed_down_as_on_lambda(make, client):
    """With stream_limit the first 6 MB come at once, the rest at 2 MB a second; without, all at once."""
    taken = {}
    for limited in (True, False):
        make("stream", client="streaming.py", stream_limit=limited)
        client.invoke(FunctionName="stream", Payload=b'{"chunks": ["a"]}')
        begun = time.monotonic()
        event = json.dumps({"chunks": ["x" * 500_000], "times": 20})
        answer = client.invoke_with_response_stream(FunctionName="stream", Payload=event)
        size = sum(len(event["PayloadChunk"]["Payload"]) for event in answer["EventStream"] if "PayloadChunk" in event)
        taken[limited] = time.monotonic() - begun
        assert size == 10_000_000
    assert taken[True] > 1.7  # 3.7 MB over the burst, at 2 MB a second
    assert taken[False] < taken[True]


def test_stream_that_fails_late_says_so(make, client):
    """Error trailers become the error of InvokeComplete, after what was already sent."""
    make("stream", client="streaming.py")
    answer = client.invoke_with_response_stream(FunctionName="stream", Payload=b'{"chunks": ["a"], "fail": "oh"}')
    events = list(answer["EventStream"])

    assert events[0]["PayloadChunk"]["Payload"] == b"a"
    assert events[-1]["InvokeComplete"]["ErrorCode"] == "Late"
    assert json.loads(events[-1]["InvokeComplete"]["ErrorDetails"])["errorMessage"] == "oh"


def test_stream_that_is_cut_says_so(make, client):
    """A process that dies in the middle of its answer ends the stream with an error, never as if complete."""
    make("stream", client="streaming.py")
    events = list(
        client.invoke_with_response_stream(FunctionName="stream", Payload=b'{"chunks": ["a"], "cut": true}')[
            "EventStream"
        ]
    )

    assert events[-1]["InvokeComplete"]["ErrorCode"] in {"Runtime.ExitError", "Runtime.TruncatedResponse"}


def test_stream_of_a_buffering_function(make, client):
    """A function that answers in one piece can be called with streaming too."""
    make()
    events = list(client.invoke_with_response_stream(FunctionName="plain", Payload=b"{}")["EventStream"])
    assert json.loads(events[0]["PayloadChunk"]["Payload"])["count"] == 1


def test_buffered_call_of_a_streaming_function(make, client):
    """A buffered caller gets the whole streamed body at the end."""
    make("stream", client="streaming.py")
    assert client.invoke(FunctionName="stream", Payload=b'{"chunks": ["a", "b"]}')["Payload"].read() == b"ab"


@pytest.mark.parametrize(
    ("options", "event", "kind"),
    [
        ({}, b'{"exit": 3}', "Runtime.ExitError"),
        ({"timeout": 3}, b'{"sleep": 60}', "Sandbox.Timedout"),
        ({"runtime": ["/bin/false"]}, b"{}", "Runtime.ExitError"),
        ({"runtime": ["/does/not/exist"]}, b"{}", "Runtime.InvalidEntrypoint"),
    ],
)
def test_whatever_ends_the_process_is_a_function_error(emulator, make, options, event, kind):
    """A crash, a timeout and a failed init are a 200 with the error as JSON: an SDK that retries 5xx runs it once."""
    make(**options)
    begun = emulator.events.last_id
    retrying = boto3.client(
        "lambda", endpoint_url=emulator.url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y"
    )
    answer = retrying.invoke(FunctionName="plain", Payload=event)
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert answer["ResponseMetadata"]["RetryAttempts"] == 0
    assert json.loads(answer["Payload"].read())["errorType"] == kind
    assert [found.type for found in emulator.events.since(begun)].count("platform.start") == 1


@pytest.fixture
def aws(emulator, tmp_path):
    """Call `aws lambda invoke` with some arguments; what it printed as JSON, and the payload that it wrote."""
    program = shutil.which("aws")
    if program is None or subprocess.run([program, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("the AWS CLI is not installed")
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_LAMBDA": emulator.url,
        "HOME": str(tmp_path),
    }
    out = tmp_path / "out.json"

    def call(*arguments, payload='{"a": 1}'):
        given = tmp_path / "payload.json"
        given.write_text(payload)
        command = [program, "lambda", "invoke", "--function-name", "plain", "--payload", f"fileb://{given}"]
        done = subprocess.run(
            [*command, *arguments, str(out)], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            return done.stderr, None
        return json.loads(done.stdout), out.read_text()

    return call


@pytest.mark.peer
def test_aws_command_line(make, aws):
    """`aws lambda invoke` works unchanged: status, version, payload, the log's tail, what failed, the client context."""
    make()
    context = base64.b64encode(b'{"custom": {"who": "me"}}').decode()
    told, payload = aws("--log-type", "Tail", "--client-context", context)
    answer = json.loads(payload)
    assert (told["StatusCode"], told["ExecutedVersion"]) == (200, "$LATEST")
    assert "REPORT RequestId" in base64.b64decode(told["LogResult"]).decode()
    assert answer["echo"] == {"a": 1}
    assert json.loads(answer["headers"]["Lambda-Runtime-Client-Context"]) == {"custom": {"who": "me"}}

    told, payload = aws("--qualifier", "live", payload='{"raise": "no"}')
    assert (told["StatusCode"], told["FunctionError"]) == (200, "Unhandled")
    assert json.loads(payload)["errorType"] == "ValueError"


@pytest.mark.peer
def test_aws_command_line_without_waiting(emulator, make, aws):
    """Its Event and DryRun; and the service's own refusal of what is no JSON, as the tool words it."""
    make()
    begun = emulator.events.last_id
    assert aws("--invocation-type", "DryRun")[0]["StatusCode"] == 204
    assert emulator.ps("plain") == []
    assert aws("--invocation-type", "Event") == ({"StatusCode": 202}, "")
    assert emulator.events.wait("warmstate.event", after=begun).record["status"] == "success"
    assert "(InvalidRequestContentException) when calling the Invoke operation" in aws(payload="{")[0]
