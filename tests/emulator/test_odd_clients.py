"""Clients that speak HTTP correctly and unusually are served: each of them exists somewhere."""

import socket
import time

import pytest

pytestmark = pytest.mark.process

PATH = "/2015-03-31/functions/plain/invocations"


def talk(emulator, *pieces, end=False):
    """Send `pieces` one after the other, and return all that comes back until the connection rests or ends."""
    port = int(emulator.url.rpartition(":")[2])
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        for piece in pieces:
            sock.sendall(piece.replace(b"PORT", str(port).encode()))
            time.sleep(0.05)
        if end:
            sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(65_536):
            found += data
            sock.settimeout(2)
            try:
                if not sock.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                break
    return found


def post(body=b'{"n": 1}', *headers, version="1.1"):
    """A call of the function."""
    fields = ["Host: 127.0.0.1:PORT", f"Content-Length: {len(body)}", *headers]
    return f"POST {PATH} HTTP/{version}\r\n".encode() + "\r\n".join(fields).encode() + b"\r\n\r\n" + body


def chunked(*chunks):
    """The same call, in chunks."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "answers"),
    [
        ([post(version="1.0")], 1),
        ([post(b"{}", "Connection: keep-alive", version="1.0")], 1),
        ([post() * 4], 4),
        ([post() + chunked(b'{"n', b'": 1}') + post(b"{}", "Accept: */*")], 3),
        ([post()[:30], post()[30:90], post()[90:]], 1),
        ([post()[:-2], *(bytes([octet]) for octet in post()[-2:])], 1),
        ([chunked(b'{"n": "', b"x" * 70_000, b'"}')], 1),
        ([post(b"{}", "Connection: close")], 1),
    ],
)
def test_requests_of_every_kind_are_answered(emulator, make, pieces, answers):
    """HTTP/1.0, several requests in one packet, chunks, requests in pieces: each gets its answer, in order."""
    make()
    assert talk(emulator, *pieces).count(b"HTTP/1.1 200") == answers


def test_the_body_is_asked_for(emulator, make):
    """A client that asks first hears 100 before it sends its body, or 413 when there is no point."""
    make()
    asked = talk(emulator, post(b"{}", "Expect: 100-continue")[:-2], b"{}")
    assert asked.startswith(b"HTTP/1.1 100")
    assert asked.count(b"HTTP/1.1 200") == 1
    head = post(b"{}", "Expect: 100-continue")[:-2].replace(b"Content-Length: 2", b"Content-Length: 7000000")
    assert talk(emulator, head).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("count", [1, 2])
def test_a_client_that_ends_its_side_gets_its_answer(emulator, make, count):
    """As netcat does with what it reads from a pipe."""
    make()
    assert talk(emulator, post(b'{"sleep": 0.1}') * count, end=True).count(b"HTTP/1.1 200") == count


def test_a_caller_that_hangs_up_leaves_the_instance_usable(emulator, make):
    """The function runs on to its end, as on Lambda, and serves the next caller."""
    make()
    emulator.invoke("plain", {})
    begun = emulator.events.last_id
    port = int(emulator.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(post(b'{"sleep": 0.5}').replace(b"PORT", str(port).encode()))
        emulator.events.wait("platform.start", after=begun)
    assert emulator.events.wait("platform.report", after=begun).record["status"] == "success"
    assert emulator.invoke("plain", {}).json()["count"] == 3
