"""Function URLs: requests as events of payload format 2.0, answers as HTTP."""

import json

import pytest
import requests
from hypothesis import given, strategies as st

from warmstate.emulator.servers.function_url import answer_of, event_of, parse_prelude


def an_event(**options):
    """The event for a small request, with `options` changed."""
    values = {"method": "GET", "path": "/", "query": "", "headers": [("host", "x.local:9000")], "body": b""} | options
    return event_of(*values.values(), peer="127.0.0.1", request_id="r", now=0.0)


def test_event_has_the_documented_shape():
    """Cookies leave the headers, repeats are joined, the query comes raw and parsed."""
    headers = [("host", "h"), ("x-a", "1"), ("x-a", "2"), ("cookie", "a=1; b=2"), ("user-agent", "me")]
    event = an_event(path="/a%20b", query="n=1&n=2&empty=", headers=headers)

    assert (event["version"], event["routeKey"], event["rawPath"], event["rawQueryString"]) == (
        "2.0",
        "$default",
        "/a b",
        "n=1&n=2&empty=",
    )
    assert event["headers"] == {"host": "h", "x-a": "1,2", "user-agent": "me"}
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["queryStringParameters"] == {"n": "1,2", "empty": ""}
    assert event["requestContext"]["http"] == {
        "method": "GET",
        "path": "/a b",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "me",
    }
    assert event["requestContext"]["time"] == "01/Jan/1970:00:00:00 +0000"
    assert "body" not in event


@pytest.mark.parametrize(
    ("content_type", "body", "expected", "encoded"),
    [
        ("application/json", b'{"a":1}', '{"a":1}', False),
        ("text/plain; charset=utf-8", "ä".encode(), "ä", False),
        ("image/jpeg", b"\xff\xd8", "/9g=", True),
        ("text/plain", b"\xff", "/w==", True),
        ("", b"abc", "YWJj", True),
    ],
)
def test_body_is_text_or_base64(content_type, body, expected, encoded):
    """Text types come as text, everything else, and text that is none, as base64."""
    event = an_event(headers=[("content-type", content_type)], body=body)
    assert (event["body"], event["isBase64Encoded"]) == (expected, encoded)


@pytest.mark.parametrize(
    ("payload", "status", "body"),
    [
        (b'{"statusCode": 404, "body": "no"}', 404, b"no"),
        (b'{"statusCode": 200, "body": "/9g=", "isBase64Encoded": true}', 200, b"\xff\xd8"),
        (b'{"hello": 1}', 200, b'{"hello": 1}'),
        (b"[1, 2]", 200, b"[1, 2]"),
        (b'"text"', 200, b'"text"'),
        (b'{"statusCode": "x"}', 502, b'{"message":"Internal Server Error"}'),
        (b'{"statusCode": 9999}', 502, b'{"message":"Internal Server Error"}'),
        (b'{"statusCode": 200, "headers": "x"}', 502, b'{"message":"Internal Server Error"}'),
        (b'{"statusCode": 204, "body": "x", "headers": {"a": null}}', 204, b"x"),
        (b'{"statusCode": Infinity}', 502, b'{"message":"Internal Server Error"}'),
        (b'{"statusCode": 200, "body": "%%%", "isBase64Encoded": true}', 502, b'{"message":"Internal Server Error"}'),
        (
            b'{"statusCode": 200, "body": {"a": 1}, "isBase64Encoded": true}',
            502,
            b'{"message":"Internal Server Error"}',
        ),
        (b'{"statusCode": 200, "headers": ["x"]}', 502, b'{"message":"Internal Server Error"}'),
    ],
)
def test_answers(payload, status, body):
    """An object with statusCode is an answer, any other JSON is a body, a broken answer is a 502."""
    answer = answer_of(payload)
    assert (answer.status, answer.body) == (status, body)


def test_headers_cannot_break_out():
    """Names that are no tokens and headers of the connection are dropped; cookies become set-cookie."""
    payload = {
        "statusCode": 200,
        "headers": {"a b": "1", "X-Ok": "2", "Connection": "close", "é": "3", "X-None": None},
        "cookies": ["a=1"],
    }
    names = answer_of(json.dumps(payload).encode()).headers
    assert names == [("x-ok", "2"), ("content-type", "application/json"), ("set-cookie", "a=1")]


@given(st.binary(max_size=400))
def test_any_payload_has_an_answer(payload):
    """No payload makes the emulator fail."""
    assert 200 <= answer_of(payload).status <= 599


def test_prelude_waits_for_its_delimiter():
    """The head is complete with eight NUL bytes; without them in 16 KB it is an error."""
    assert parse_prelude(b'{"statusCode": 201}' + b"\0" * 7) is None
    head, rest = parse_prelude(b'{"statusCode": 201}' + b"\0" * 8 + b"body")
    assert (head.status, rest) == (201, b"body")
    with pytest.raises(ValueError, match="delimiter"):
        parse_prelude(b" " * 16_385)


@pytest.mark.parametrize(
    "head", [b"[1]", b'{"headers": ["x"]}', b'{"statusCode": 1e999}', b'{"cookies": 1}', b"[" * 9_000]
)
def test_prelude_that_is_none_is_an_error(head):
    """Whatever is wrong with it, it is one kind of error, which becomes a 502."""
    with pytest.raises(ValueError, match="the prelude is no JSON object"):
        parse_prelude(head + b"\0" * 8)


@pytest.mark.process
class TestOverHttp:
    """The same with a real function behind."""

    def test_buffered(self, emulator, make):
        """The function's JSON is the body."""
        make()
        answer = requests.post(f"{emulator.url}/lambda-url/plain/path?x=1", data="{}", timeout=30)
        assert answer.status_code == 200
        assert answer.json()["echo"]["rawPath"] == "/path"

    def test_function_error_is_a_bad_gateway(self, emulator, make):
        """A failed function answers 502 and shows nothing of the error."""
        make("stream", client="streaming.py")
        answer = requests.get(f"{emulator.url}/lambda-url/stream/", timeout=30)
        assert (answer.status_code, answer.json()) == (502, {"message": "Internal Server Error"})

    def test_streamed_with_prelude(self, emulator, make):
        """Status, headers and cookies come from the prelude, the body as it is made."""
        make("stream", client="streaming.py", url_mode="RESPONSE_STREAM")
        event = {
            "chunks": ['{"statusCode": 418, "cookies": ["a=b"]}' + "\0" * 8, "one ", "two"],
            "type": "application/vnd.awslambda.http-integration-response",
        }
        answer = requests.post(f"{emulator.url}/lambda-url/stream/", json=event, timeout=30)
        assert (answer.status_code, answer.text, answer.cookies["a"]) == (418, "one two", "b")

    @pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
    def test_streamed_answer_that_may_have_no_body(self, emulator, make, method, status):
        """What the function streams then goes nowhere, and the connection serves the next request."""
        make("stream", client="streaming.py", url_mode="RESPONSE_STREAM")
        head = f'{{"statusCode": {status}}}' + "\0" * 8
        event = {"chunks": [head, "body"], "type": "application/vnd.awslambda.http-integration-response"}
        with requests.Session() as session:
            for _ in range(2):
                url = f"{emulator.url}/lambda-url/stream/"
                answer = session.request(method, url, json=event, timeout=30)
                assert (answer.status_code, answer.content) == (status, b"")

    def test_streamed_failure_cuts_the_connection(self, emulator, make):
        """After the head an error cannot be a status: the body ends incomplete, so that nobody takes it for whole."""
        make("stream", client="streaming.py", url_mode="RESPONSE_STREAM")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            requests.post(f"{emulator.url}/lambda-url/stream/", json={"chunks": ["a"], "fail": "late"}, timeout=30)
