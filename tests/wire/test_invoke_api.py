"""The Invoke API as values: targets, headers, errors, event-stream frames."""

import base64
import json

import pytest
from hypothesis import given, strategies as st

from warmstate.wire import invoke_api as wire

ARN = "arn:aws:lambda:us-east-1:123456789012:function:name"


@pytest.mark.parametrize(
    ("text", "qualifier", "expected"),
    [
        ("name", "", ("name", "")),
        ("name:live", "", ("name", "live")),
        ("name", "7", ("name", "7")),
        ("name:$LATEST", "$LATEST", ("name", "$LATEST")),
        ("123456789012:name", "", ("name", "")),
        ("123456789012:function:name:2", "", ("name", "2")),
        (ARN, "", ("name", "")),
        (f"{ARN}:live", "", ("name", "live")),
    ],
)
def test_every_way_to_name_a_function(text, qualifier, expected):
    """Name, name:qualifier, account:name, partial and whole ARN mean the same function."""
    target = wire.parse_target(text, qualifier)

    assert (target.name, target.qualifier) == expected


@pytest.mark.parametrize(
    "text", ["", "..", "../../etc/passwd", "a/b", "a b", "n" * 65, "a:b:c", "näme", "a\0", ":", "a:"[:1] + "%2f"]
)
def test_no_name_is_a_path(text):
    """What is not a plain name is refused, so that a name can never leave a table or a folder."""
    with pytest.raises(wire.ApiError) as caught:
        wire.parse_target(text)

    assert (caught.value.status, caught.value.code) == (400, "InvalidParameterValueException")


def test_two_different_qualifiers_are_refused():
    """A qualifier in the name and another one in the query contradict each other."""
    with pytest.raises(wire.ApiError, match="does not match"):
        wire.parse_target("name:1", "2")


def test_invoke_headers_are_understood():
    """Type, log type, client context and tenant come from their headers."""
    context = base64.b64encode(b'{"custom": {"a": "b"}}').decode()
    headers = {"x-amz-log-type": "Tail", "x-amz-client-context": context, "x-amz-tenant-id": "blue"}
    request = wire.parse_invoke("POST", "/2015-03-31/functions/name/invocations", "Qualifier=live", headers)

    assert request is not None
    assert (request.target.qualifier, request.type, request.tail, request.tenant_id) == (
        "live",
        "RequestResponse",
        True,
        "blue",
    )
    assert json.loads(request.client_context) == {"custom": {"a": "b"}}


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-invocation-type": "Sometimes"},
        {"x-amz-log-type": "Head"},
        {"x-amz-tenant-id": "a\tb"},
        {"x-amz-tenant-id": "x" * 257},
        {"x-amz-client-context": "not base64!"},
        {"x-amz-client-context": base64.b64encode(b"[").decode()},
        {"x-amz-client-context": "a" * 3584},
    ],
)
def test_bad_headers_are_the_callers_fault(headers):
    """What the service does not accept is a 400, never a 500 that SDKs would retry."""
    with pytest.raises(wire.ApiError) as caught:
        wire.parse_invoke("POST", "/2015-03-31/functions/name/invocations", "", headers)

    assert caught.value.status == 400


def test_other_paths_are_not_ours():
    """A path that is not of the Invoke API is left to others; a right path with a wrong method is not."""
    assert wire.parse_invoke("POST", "/2015-03-31/functions/", "", {}) is None
    assert wire.parse_invoke("POST", "/2015-03-31/functions/a/b/invocations", "", {}) is None
    with pytest.raises(wire.ApiError, match="POST"):
        wire.parse_invoke("GET", "/2015-03-31/functions/a/invocations", "", {})


def test_streaming_does_not_go_with_events():
    """InvokeWithResponseStream knows RequestResponse and DryRun only."""
    with pytest.raises(wire.ApiError):
        wire.parse_invoke(
            "POST", "/2021-11-15/functions/a/response-streaming-invocations", "", {"x-amz-invocation-type": "Event"}
        )


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.text(max_size=20).map(lambda t: ":" + t), st.text(max_size=50)), st.binary(max_size=200)
        )
    ),
    st.integers(1, 64),
)
def test_frames_survive_any_cut(messages, size):
    """Frames decode to what was encoded, however the bytes are cut on their way."""
    data = b"".join(wire.event_frame(headers, payload) for headers, payload in messages)
    decoder = wire.EventStreamDecoder()
    found = [message for at in range(0, len(data), size) for message in decoder.feed(data[at : at + size])]

    assert found == messages


def test_frames_are_what_botocore_reads():
    """botocore's own parser understands our frames."""
    from botocore.eventstream import EventStreamBuffer

    buffer = EventStreamBuffer()
    buffer.add_data(wire.payload_frame(b"abc") + wire.complete_frame("Runtime.ExitError", '{"a":1}', "bG9n"))
    piece, end = list(buffer)

    assert (piece.headers[":event-type"], piece.payload) == ("PayloadChunk", b"abc")
    assert json.loads(end.payload) == {"ErrorCode": "Runtime.ExitError", "ErrorDetails": '{"a":1}', "LogResult": "bG9n"}


def test_damage_is_noticed():
    """A flipped bit in a frame is an error, not data."""
    frame = bytearray(wire.payload_frame(b"abc"))
    frame[-6] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        list(wire.EventStreamDecoder().feed(bytes(frame)))
