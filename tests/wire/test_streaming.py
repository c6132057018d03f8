"""Streamed answers on the wire."""

from __future__ import annotations

import base64
import json

import pytest

from warmstate.wire.runtime_api import Failure, Invocation, StreamedSuccess
from warmstate.wire.streaming import chunk_head, error_trailers, http_response, streamed_request

INVOCATION = Invocation("id-1", b"", deadline_ms=0, invocation_id="attempt-1")


def test_the_head_announces_what_may_follow():
    """Mode, chunks, both trailers and the end of the connection are said before the first byte."""
    headers = dict(streamed_request(INVOCATION, StreamedSuccess(iter(()), "text/plain")).headers)

    assert {
        "Content-Type": "text/plain",
        "Lambda-Runtime-Function-Response-Mode": "streaming",
        "Transfer-Encoding": "chunked",
        "Trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
        "Connection": "close",
        "Lambda-Runtime-Invocation-Id": "attempt-1",
    } == headers


def test_a_failure_becomes_trailers():
    """Last chunk, type, the error object in base64 on one line, and the empty line."""
    body = b'{"errorMessage": "' + b"m" * 1000 + b'"}'
    lines = error_trailers(Failure("Some.Error", body)).split(b"\r\n")

    assert [b"0", b"Lambda-Runtime-Function-Error-Type: Some.Error"] == lines[:2]
    assert lines[2].startswith(b"Lambda-Runtime-Function-Error-Body: ")
    assert body == base64.b64decode(lines[2].split(b": ")[1], validate=True)
    assert [b"", b""] == lines[3:]


def test_chunk_sizes_are_hexadecimal():
    """As HTTP/1.1 has it."""
    assert b"ff\r\n" == chunk_head(255)


def test_the_prelude():
    """JSON without a NUL, eight NUL bytes, then the payload."""
    prelude = http_response(201, {"X-Name": "ü", "Content-Length": 3}, ["a=1; Path=/", "b=2"]).prelude()
    text, delimiter, rest = prelude.partition(b"\0" * 8)

    assert {
        "statusCode": 201,
        "headers": {"X-Name": "ü", "Content-Length": "3"},
        "cookies": ["a=1; Path=/", "b=2"],
    } == json.loads(text)
    assert b"\0" not in text
    assert (b"\0" * 8, b"") == (delimiter, rest)


@pytest.mark.parametrize("status", [0, 99, 600, -200, True, 200.5, "200", None])
def test_a_status_that_is_none(status):
    """Refused where it is written."""
    with pytest.raises(ValueError, match="100 to 599"):
        http_response(status)


@pytest.mark.parametrize(
    ("headers", "cookies"),
    [
        ({"X": "a\r\nSet-Cookie: b"}, ()), ({"X\n": "a"}, ()), ({"X": "a\0b"}, ()), ({"X": None}, ()), ({"X": b"a"}, ()),
        ({"X": ["a", "b"]}, ()), ({b"X": "a"}, ()), ({}, "a=1"), ({}, b"a=1"), ({}, {"a": "1"}), ({}, [b"a=1"]), ({}, [None]),
        ({}, ["a=1\r\nX: b"]),
    ],
)  # fmt: skip
def test_headers_and_cookies_that_are_none(headers, cookies):
    """Refused where they are written: a line break would begin another header, and text would become a cookie per letter."""
    with pytest.raises((TypeError, ValueError), match=r"line break|not text|a list of text"):
        http_response(200, headers, cookies)


def test_more_than_the_gateway_reads():
    """API Gateway looks for the delimiter in the first 16 KB."""
    with pytest.raises(ValueError, match="API Gateway"):
        http_response(200, {"X": "x" * 20_000})
