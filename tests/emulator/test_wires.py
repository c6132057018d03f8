"""The quick reader of plain requests sees what the reader of all requests sees, or leaves a request to it."""

import h11
import pytest
from hypothesis import given, strategies as st

from warmstate.emulator.servers.general import GeneralWire
from warmstate.emulator.servers.messages import BadRequest, End, Head
from warmstate.emulator.servers.plain import PlainWire

HEAD = b"POST /2015-03-31/functions/f/invocations?Qualifier=1 HTTP/1.1\r\n"
HOST = b"Host: 127.0.0.1:9000\r\n"

LINES = st.sampled_from(
    [
        HOST,
        b"host:\t127.0.0.1 \r\n",
        b"Content-Length: 3\r\n",
        b"content-length:3\r\n",
        b"Content-Length: 03\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: -3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: \r\n",
        b"Content-Length : 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: Keep-Alive\r\n",
        b"Connection: keep-alive, upgrade\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: websocket\r\n",
        b"X:  spaced \t out\t \r\n",
        b" folded: x\r\n",
        b"X: \x00\r\n",
        b"X: \xff\r\n",
        b"X: a\rb\r\n",
        b"X\n: a\r\n",
        b"X: a\n",
        b"no colon\r\n",
        b": no name\r\n",
        b"!#$%&'*+-.^_`|~: all\r\n",
    ]
)
"""Lines of a head, good, odd and wrong."""
STARTS = st.sampled_from(
    [
        HEAD,
        b"GET / HTTP/1.1\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"get / HTTP/1.1\r\n",
        b"HEAD / HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n",
        b"GET /\x7f HTTP/1.1\r\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\n",
        b"\r\nGET / HTTP/1.1\r\n",
    ]
)


def read(wire):
    """What a wire makes of what it was given: the request's line and headers, its body, how it ends, and what is left."""
    head, body, end = None, b"", None
    while event := wire.next_event():
        if isinstance(event, Head):
            head = (event.method, event.target, list(event.headers))
            if event.body is not None:
                body, end = event.body, []
        elif isinstance(event, End):
            end = list(event.trailers)
        else:
            body += event
    return head, body, end, wire.rest if end is not None else None


def general(data):
    """The request as the reader of all requests sees it."""
    wire = GeneralWire(65_536)
    wire.receive(data)
    return wire


@given(STARTS, st.lists(LINES, max_size=5), st.sampled_from([b"", b"ab", b"abc", b"abcGET / HTTP/1.1\r\n"]))
def test_plain_requests_mean_the_same_to_both(start, lines, body):
    """No request is read in one way here and in another there: that is how requests are smuggled."""
    data = start + b"".join(lines) + b"\r\n" + body
    plain = PlainWire.of(data)
    if plain is not None:
        assert read(plain) == read(general(data))


@given(st.binary(max_size=80))
def test_noise_means_the_same_to_both(noise):
    """The same for bytes within a head that no client would send."""
    data = HEAD + HOST + b"X: " + noise + b"\r\n\r\n"
    plain = PlainWire.of(data)
    if plain is not None:
        assert read(plain) == read(general(data))


@pytest.mark.parametrize("extra", [b"", b"Content-Length: 2\r\n", b"Connection: keep-alive\r\nAccept: */*\r\n"])
def test_what_clients_send_is_plain(extra):
    """Or the quick reader would be none."""
    assert PlainWire.of(HEAD + HOST + extra + b"\r\n") is not None


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"\r\n",
        HEAD + HOST + HOST + b"\r\n",
        HEAD + HOST + b"X: 1\r\nx: 2\r\n\r\n",
        HEAD + HOST,
        HEAD + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        HEAD + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
        HEAD + HOST + b"Expect: 100-continue\r\n\r\n",
        HEAD + HOST + b"Connection: close\r\n\r\n",
        HEAD + HOST + b"X: " + b"y" * 9_000 + b"\r\n\r\n",
        b"",
    ],
)
def test_what_is_special_or_in_doubt_is_not_plain(data):
    """It goes to the reader that knows every rule."""
    assert PlainWire.of(data) is None


@pytest.mark.parametrize(
    ("status", "headers", "pieces"),
    [
        (200, [("content-length", "5"), ("x-a", "b\r\nc: d")], [b"hello"]),
        (200, [("content-type", "text/plain")], [b"", b"hello ", b"there"]),
        (204, [("x-amzn-requestid", "1")], [b""]),
    ],
)
def test_a_client_reads_the_same_answer_from_both(status, headers, pieces):
    """Whole, in chunks, or without a body; and no value breaks out of its line."""

    def answered(wire):
        list(iter(wire.next_event, None))
        data = wire.encode_head(status, headers, pieces[0])
        data += b"".join(wire.encode_body(piece) for piece in pieces[1:]) + wire.encode_end(())
        assert wire.is_over
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        found = []
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            found.append(event)
        return (
            found[0].status_code,
            sorted((name.lower(), value) for name, value in found[0].headers.raw_items()),
            b"".join(bytes(e.data) for e in found[1:]),
        )

    data = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    plain = PlainWire.of(data)
    assert plain is not None
    answer = answered(plain)
    assert answer == answered(general(data))
    assert (b"c", b"d") not in answer[1]


def test_what_is_no_request_is_told_by_its_status():
    """The connection answers with it."""
    with pytest.raises(BadRequest) as caught:
        read(general(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"))
    assert caught.value.status == 400
