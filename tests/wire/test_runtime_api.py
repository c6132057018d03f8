"""The Runtime API as values, both ends of it as a pair."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from warmstate.errors import EventRefused, UnanswerableEvent
from warmstate.wire.extensions_api import (
    event_next_request,
    parse_extension_call,
    parse_registered,
    register_request,
)
from warmstate.wire.runtime_api import (
    INVOCATION_ID,
    RESPONSE_MODE,
    Call,
    Failure,
    Invocation,
    Success,
    error_request,
    init_error_request,
    next_headers,
    next_request,
    parse_call,
    parse_next,
    refusal_body,
    response_request,
    restore_error_request,
    restore_next_request,
)

NOW = 1_763_700_000_000
ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
FAILURE = Failure("KeyError", b"{}", '{"exceptions": []}')


def read(headers=None, body=b"{}", **changes):
    known = {"lambda-runtime-aws-request-id": ID, "lambda-runtime-deadline-ms": str(NOW + 3000), **changes}
    return parse_next(headers if headers is not None else known, body, now_ms=NOW, default_timeout=3.0)


optional = st.none() | st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)


@given(
    optional,
    optional,
    optional,
    optional,
    optional,
    st.binary(),
    st.from_regex(r"[A-Za-z0-9-]{1,128}", fullmatch=True).filter(lambda text: text.replace("-", "")),
)
def test_what_the_platform_writes_the_runtime_reads(invocation_id, trace, tenant, client, identity, body, request_id):
    """An invocation comes through the headers of both sides unchanged."""
    sent = Invocation(
        request_id,
        body,
        deadline_ms=NOW + 3000,
        function_arn="arn:aws:lambda:us-east-1:1:function:f",
        invocation_id=invocation_id,
        trace_id=trace,
        tenant_id=tenant,
        client_context=client,
        cognito_identity=identity,
    )
    headers = {name.lower(): value for name, value in next_headers(sent)}
    received = parse_next(headers, body, now_ms=NOW, default_timeout=3.0)

    assert [getattr(sent, field) for field in Invocation.__slots__] == [
        getattr(received, field) for field in Invocation.__slots__
    ]


@pytest.mark.parametrize(
    "deadline",
    [None, "", "soon", "-5", "0", str(10**30), str(NOW * 10**6), "1e3"],
)
def test_a_deadline_that_makes_no_sense(deadline):
    """The configured timeout takes its place, and the invocation says so."""
    headers = {"lambda-runtime-aws-request-id": ID}
    if deadline is not None:
        headers["lambda-runtime-deadline-ms"] = deadline
    invocation = read(headers)

    assert (False, NOW + 3000) == (invocation.deadline_trusted, invocation.deadline_ms)


def test_a_deadline_that_has_passed_is_trusted():
    """It is the platform's word, and whoever serves the event must know that it is late."""
    invocation = read(**{"lambda-runtime-deadline-ms": str(NOW - 5000)})

    assert (True, NOW - 5000) == (invocation.deadline_trusted, invocation.deadline_ms)


@pytest.mark.parametrize(
    "request_id",
    ["", "../../x", "a b", "a\r\nX: y", "r1, r2", "x" * 129, "ä", "a/b", "%2e%2e", "\u0663"],
)
def test_a_request_id_that_is_no_path_segment(request_id):
    """No answer can be addressed to it, so the event is dropped and named."""
    with pytest.raises(UnanswerableEvent, match="request id"):
        read(**{"lambda-runtime-aws-request-id": request_id})


def test_a_missing_request_id():
    """As one that cannot be used."""
    with pytest.raises(UnanswerableEvent):
        read({})


def test_an_empty_header_is_absent():
    """Older platforms send headers without a value."""
    invocation = read(**{"lambda-runtime-invocation-id": "", "lambda-runtime-aws-tenant-id": "", "content-type": ""})

    assert (None, None, "application/json") == (invocation.invocation_id, invocation.tenant_id, invocation.content_type)


def test_an_encoded_body_is_refused_with_its_invocation():
    """Whoever waits for the answer can be told."""
    with pytest.raises(EventRefused, match="gzip") as caught:
        read(**{"content-encoding": "gzip"})

    assert caught.value.invocation.request_id == ID


class TestCalls:
    def test_every_request_of_the_runtime_is_a_call_of_the_platform(self):
        """The pairs of builder and parser speak of the same calls."""
        invocation = Invocation(ID, b"{}", deadline_ms=NOW)
        requests = {
            "next": next_request(),
            "response": response_request(invocation, Success(b"1")),
            "error": error_request(invocation, FAILURE),
            "init_error": init_error_request(FAILURE),
            "restore_next": restore_next_request(),
            "restore_error": restore_error_request(FAILURE),
        }
        for event, request in requests.items():
            call = parse_call(request.method, request.path)

            assert isinstance(call, Call)
            assert event == call.event
            assert call.request_id == (ID if event in {"response", "error"} else "")

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("POST", "/2018-06-01/runtime/invocation/next", 405),
            ("GET", f"/2018-06-01/runtime/invocation/{ID}/response", 405),
            ("GET", "/", 404),
            ("POST", f"/2018-06-01/runtime/invocation/{ID}/other", 404),
            ("POST", "/2018-06-01/runtime/invocation//response", 404),
            ("POST", f"/2018-06-01/runtime/invocation/{ID}/a/response", 404),
            ("GET", "/x/2018-06-01/runtime/invocation/next", 404),
            ("POST", f"/x/2018-06-01/runtime/invocation/{ID}/response", 404),
        ],
    )
    def test_other_paths_and_methods(self, method, path, status):
        """Unknown is 404, a wrong method 405."""
        assert status == parse_call(method, path)

    @pytest.mark.parametrize("build", [response_request, error_request])
    def test_the_attempt_is_echoed(self, build):
        """With the id of the attempt if one came, and without the header if none did."""
        outcome = Success(b"1") if build is response_request else FAILURE
        with_id = build(Invocation(ID, b"", deadline_ms=NOW, invocation_id="attempt-1"), outcome)
        without = build(Invocation(ID, b"", deadline_ms=NOW), outcome)

        assert (INVOCATION_ID, "attempt-1") in with_id.headers
        assert INVOCATION_ID not in dict(without.headers)

    def test_a_whole_answer_has_no_response_mode(self):
        """Any value of that header but `streaming` makes the platform refuse the answer."""
        assert RESPONSE_MODE not in dict(response_request(Invocation(ID, b"", deadline_ms=NOW), Success(b"")).headers)

    def test_a_refusal_is_json(self):
        """Whatever the message holds."""
        assert {"errorMessage": 'a "b" \\', "errorType": "InvalidStateTransition"} == json.loads(
            refusal_body("InvalidStateTransition", 'a "b" \\')
        )


class TestExtensions:
    def test_requests_are_calls(self):
        """Registration and the poll go where the platform expects them."""
        assert "register" == parse_extension_call("POST", register_request("warmstate").path)
        assert "extension_next" == parse_extension_call("GET", event_next_request("x").path)
        assert (405, 404) == (
            parse_extension_call("GET", register_request("warmstate").path),
            parse_extension_call("GET", "/2020-01-01/extension"),
        )

    def test_no_events_are_asked_for(self):
        """With an event the poll would have to be answered, and Managed Instances refuse any."""
        assert {"events": []} == json.loads(register_request("warmstate").body)

    @pytest.mark.parametrize(
        ("status", "headers", "identifier"),
        [
            (200, {"lambda-extension-identifier": "x"}, "x"),
            (403, {"lambda-extension-identifier": "x"}, None),
            (200, {}, None),
        ],
    )
    def test_the_identifier(self, status, headers, identifier):
        """Only a registration that was accepted has one."""
        assert identifier == parse_registered(status, headers)
