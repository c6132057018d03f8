"""Both clients of the Runtime API, against a server that does what it should not."""

from __future__ import annotations

import random
import socket
import struct
import time

import pytest

from tests.hosts.scripted import http, wait_for
from warmstate.errors import TransportError
from warmstate.hosts.transport import NativeTransport
from warmstate.hosts.transport_requests import RequestsTransport
from warmstate.wire.runtime_api import MAX_EVENT_BYTES, Invocation, Request, Success, next_request, response_request

NEXT = next_request()
POST = response_request(Invocation("id-1", b"", deadline_ms=0), Success(b"{}"))


@pytest.fixture(params=[NativeTransport, RequestsTransport], ids=["native", "requests"])
def transport(request, api):
    made = request.param(api.address, beat=0.02)
    yield made
    made.close()


@pytest.fixture
def native(api):
    made = NativeTransport(api.address, beat=0.02)
    yield made
    made.close()


def reset(connection):
    """End a connection so that the peer sees a reset instead of its end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return False


def end(connection):
    """End a connection in order."""
    return connection.shutdown(socket.SHUT_RDWR)


def in_pieces(data, sizes):
    def say(connection):
        rest = data
        for size in sizes:
            connection.sendall(rest[:size])
            rest = rest[size:]
            time.sleep(0.002)
        connection.sendall(rest)
        return True

    return say


def chunked(*chunks):
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def test_one_connection_carries_everything(api, transport):
    """Next and posts take turns on one connection."""
    for number in range(20):
        api.events.put(http(200, b"%d" % number))
        assert b"%d" % number == transport.get(NEXT).body
        assert 202 == transport.post(POST).status
    ports = {call[2] for call in api.calls}

    assert 2 == len(ports)
    assert 40 == len(api.calls)


def test_a_reply_that_nobody_read_is_no_event(api, transport):
    """Whoever submitted and was interrupted before it read the reply does not take it for the next event."""
    for number in range(3):
        transport.submit(POST)
        api.events.put(http(200, b"%d" % number))

        assert (200, b"%d" % number) == ((reply := transport.get(NEXT)).status, reply.body)


@pytest.mark.parametrize("size", [0, 1, 1000, 65_000, 66_000, 1_000_000, 6_000_000])
@pytest.mark.parametrize("form", ["whole", "one chunk", "many chunks", "to the end"])
def test_bodies_of_every_size_and_form(api, transport, size, form):
    """What was sent arrives, however it is framed."""
    body = random.Random(size).randbytes(size)
    if form == "whole":
        api.events.put(http(200, body))
    elif form == "one chunk":
        api.events.put(chunked(body) if body else chunked())
    elif form == "many chunks":
        step = max(1, size // 37)
        api.events.put(chunked(*[body[at : at + step] for at in range(0, size, step)]))
    else:

        def say(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
            connection.close()
            return False

        api.events.put(say)

    assert body == transport.get(NEXT).body
    assert 202 == transport.post(POST).status


@pytest.mark.parametrize("seed", range(4))
def test_events_of_changing_size(api, transport, seed):
    """A large event changes how the next one is read, whatever that one's size, head and pieces; nothing is lost or mixed."""
    generator = random.Random(seed)
    for number in range(12):
        body = generator.randbytes(generator.choice([0, 10, 5_000, 65_000, 300_000]))
        data = http(200, body, **({"X_Long": "y" * 6_000} if generator.random() < 0.3 else {}))
        cuts = [generator.randrange(1, 100) for _ in range(generator.choice([0, 0, 4]))]
        api.events.put(in_pieces(data, cuts) if number % 5 else chunked(body) if body else chunked())

        assert body == transport.get(NEXT).body
        assert 202 == transport.post(POST).status


def test_a_large_answer_to_a_slow_reader(api, transport):
    """What the peer does not take at once, in the middle of a head or of a body, is sent when it reads on."""
    large = response_request(Invocation("id-1", b"", deadline_ms=0), Success(random.Random(1).randbytes(6_000_000)))
    api.on_head = lambda: time.sleep(0.1)

    assert 202 == transport.post(large).status
    assert large.body == api.answer().body


@pytest.mark.parametrize("seed", range(5))
def test_answers_in_small_pieces(api, transport, seed):
    """Bytes may come in any pieces."""
    generator = random.Random(seed)
    data = http(200, b"x" * 300, X_One="1") if seed % 2 else chunked(b"x" * 200, b"y" * 100)
    api.events.put(in_pieces(data, [generator.randrange(1, 40) for _ in range(12)]))

    assert 300 == len(transport.get(NEXT).body)


def test_an_event_that_comes_haltingly(api, transport):
    """It is waited for, also where the deadline of the one before it has passed and a post would be given up."""
    transport.is_over = lambda _: True
    data = http(200, b"whole")

    def haltingly(connection):
        connection.sendall(data[:30])
        time.sleep(0.2)  # ten beats
        connection.sendall(data[30:])
        return True

    api.events.put(haltingly)

    assert b"whole" == transport.get(NEXT).body


def test_next_waits_and_beats(api, transport):
    """No timeout ends the wait, and the beat is called meanwhile."""
    beats = []

    def beat():
        beats.append(time.monotonic())
        if len(beats) == 10:
            api.events.put(http(200, b"late"))

    assert b"late" == transport.get(NEXT, beat).body
    assert len(beats) >= 10


def test_a_beat_may_end_the_wait(api, transport):
    """What it raises comes out as it is."""

    class Enough(BaseException):
        pass

    def beat():
        raise Enough

    with pytest.raises(Enough):
        transport.get(NEXT, beat)


def test_interim_answers_are_passed_over(api, native):
    """What comes before the answer is not the answer."""
    api.events.put(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + http(200, b"1"))

    assert b"1" == native.get(NEXT).body


def test_interim_answers_without_end(api, native):
    """A peer that sends nothing else is an error, not a deep recursion."""
    api.events.put(b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000)

    with pytest.raises(TransportError, match="interim"):
        native.get(NEXT)


def test_more_than_was_asked_for(api, native):
    """A second answer in the same breath is not the answer to the next request."""
    api.events.put(http(200, b"1") + http(200, b"unasked"))
    api.events.put(http(200, b"2"))

    assert [b"1", b"2"] == [native.get(NEXT).body, native.get(NEXT).body]


def test_a_list_of_connection_options_may_end_it(api, transport):
    """`close` counts among other options too."""
    api.events.put(http(200, b"1", Connection="close, x-other"))
    api.events.put(http(200, b"2"))

    assert [b"1", b"2"] == [transport.get(NEXT).body, transport.get(NEXT).body]


@pytest.mark.parametrize("ending", [end, reset], ids=["closed", "reset"])
def test_next_is_asked_once_more_when_nothing_came(api, transport, ending):
    """A kept connection that the peer ended before any byte is replaced, once."""
    api.events.put(http(200, b"1"))
    transport.get(NEXT)
    api.events.put(ending)
    api.events.put(http(200, b"2"))

    assert b"2" == transport.get(NEXT).body


def test_next_is_not_asked_for_ever(api, transport):
    """A peer that ends every connection is an error after the second."""
    for _ in range(10):
        api.events.put(end)
    with pytest.raises(TransportError):
        transport.get(NEXT)

    assert len(api.calls) <= 2


def test_a_connection_that_ended_meanwhile_costs_no_answer(api, transport):
    """The post looks first, and goes out on a new connection."""

    def say(connection):
        connection.sendall(http(200, b"{}"))
        connection.close()
        return False

    api.events.put(say)
    transport.get(NEXT)
    time.sleep(0.05)  # until the end of file has arrived

    assert 202 == transport.post(POST).status
    assert 1 == api.posted.qsize()


@pytest.mark.parametrize("ending", [end, reset], ids=["closed", "reset"])
def test_a_post_is_never_sent_twice(api, transport, ending):
    """When its answer is lost, nobody knows whether it counted."""
    api.replies.put(ending)
    with pytest.raises(TransportError):
        transport.post(POST)

    assert 1 == api.posted.qsize()
    assert 202 == transport.post(POST).status


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc",
    ],
    ids=range(13),
)
def test_what_is_no_answer(api, transport, data):
    """It is an error, never a wrong event and never a hang; the next call works."""

    def say(connection):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return False

    api.events.put(say)
    api.events.put(say)
    with pytest.raises(TransportError):
        transport.get(NEXT)
    while not api.events.empty():
        api.events.get()
    api.events.put(http(200, b"good"))

    assert b"good" == transport.get(NEXT).body


@pytest.mark.parametrize("head", ["whole", "chunked"])
def test_an_event_that_is_too_large(api, transport, head):
    """It is not read, and the connection is replaced."""
    size = MAX_EVENT_BYTES + 1

    def say(connection):
        if head == "whole":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % size)
        connection.sendall(b"x" * size)
        connection.recv(1)
        return False

    api.events.put(say)
    reply = transport.get(NEXT)

    assert reply.too_large
    assert 202 == transport.post(POST).status


def test_a_refusal_before_the_body_was_read(api, transport):
    """A server that answers 413 and ends the connection in the middle of a large post is heard where that is possible."""
    api.replies.put(http(413, b"{}", Connection="close"))
    large = response_request(Invocation("id-1", b"", deadline_ms=0), Success(b"x" * 6_000_000))

    assert 413 == transport.post(large).status


@pytest.mark.parametrize("value", ["bücher", "Åx", "\u2028", "plain \t", "\tplain"])
def test_what_a_header_says(api, transport, value):
    """Values are read as UTF-8, without the blanks around them, and are sent as they came."""
    api.events.put(http(200, b"x", X_Name=value))
    read = transport.get(NEXT).headers["x-name"]
    transport.post(Request("POST", POST.path, (("X-Name", read),)))

    assert value.strip(" \t") == read == api.answer().headers["x-name"].encode("latin-1").decode()


@pytest.mark.parametrize("count", [101, 2000])
def test_many_headers(api, transport, count):
    """More headers than clients usually allow are read, or are an error; nothing hangs."""
    api.events.put(http(200, b"x", **{f"X_{number}": "v" for number in range(count)}))
    if isinstance(transport, RequestsTransport):
        api.events.put(http(200, b"x", **{f"X_{number}": "v" for number in range(count)}))
        with pytest.raises(TransportError):
            transport.get(NEXT)
        return

    assert count + 1 == len(transport.get(NEXT).headers)


def test_nobody_listens():
    """A connection that cannot be made says where to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(TransportError, match="127"):
        NativeTransport(address).get(NEXT)


def test_default_timeouts_of_the_handler_do_not_reach_us(api, transport):
    """`socket.setdefaulttimeout` is the user's."""
    socket.setdefaulttimeout(0.01)
    try:
        beats = []

        def beat():
            beats.append(1)
            if len(beats) == 5:
                api.events.put(http(200, b"x"))

        assert b"x" == transport.get(NEXT, beat).body
    finally:
        socket.setdefaulttimeout(None)


def test_proxies_and_credentials_of_the_user_are_not_ours(api, transport, monkeypatch, tmp_path):
    """Events never go to a proxy, and no .netrc adds its passwords."""
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    fresh = type(transport)(api.address, beat=0.02)
    api.events.put(http(200, b"x"))

    assert b"x" == fresh.get(NEXT).body
    assert 202 == fresh.post(POST).status
    assert "authorization" not in api.posted.get().headers
    fresh.close()


def test_redirects_are_not_followed(api, transport):
    """The platform does not redirect; whoever does is not asked again."""
    api.events.put(http(302, b"", Location=f"http://{api.address}/elsewhere"))

    assert 302 == transport.get(NEXT).status
    wait_for(lambda: len(api.calls) == 1)
