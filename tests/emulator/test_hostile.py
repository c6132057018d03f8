"""Whoever reaches the emulator can run code here, so what reaches it is checked before anything else."""

import http.client
import os
import random
import socket
import time

import pytest

from tests.emulator.conftest import TASK_ROOT
from warmstate.emulator import Emulator, Function
from warmstate.emulator.processes import family
from warmstate.errors import ConfigurationError

pytestmark = pytest.mark.process

INVOKE = "/2015-03-31/functions/plain/invocations"

METHODS = ["POST", "GET", "PUT", "BREW", "P\0ST", ""]
TARGETS = [INVOKE, "/", "//", "/%", "/" + "a" * 9000, "*", "/_warmstate/api/v1/instances", "http://evil/"]
HEADERS = [
    "Transfer-Encoding: chunked",
    "Origin: http://evil",
    "X-Amz-Invocation-Type: DryRun",
    "X-Amz-Client-Context: !!",
    "Expect: 100-continue",
    "Connection: upgrade",
    "a: b",
    "a: " + "b" * 70_000,
    "\x00: 1",
    "Cookie: " + "\xff" * 50,
]


def raw(emulator, data, *, wait=5.0):
    """Send bytes, and return the answer's status (0: the connection was closed without one)."""
    port = int(emulator.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as sock:
        try:
            sock.sendall(data)
            answer = sock.recv(65_536)
        except (ConnectionError, TimeoutError):
            return 0
    return int(answer.split(b" ", 2)[1]) if answer else 0


def request(emulator, method="POST", path=INVOKE, body=b"{}", **headers):
    """A request with exactly these headers besides Host and Content-Length."""
    port = int(emulator.url.rpartition(":")[2])
    fields = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body))} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return raw(emulator, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)


def test_only_its_own_address_is_served(emulator, make):
    """A Host that is not ours is refused before the path is looked at: a rebound name reaches nothing."""
    make()
    assert request(emulator) == 200
    for host in ("evil.example", "evil.example:80", "127.0.0.1", "localhost.evil.example:9000", "127.0.0.1:1"):
        assert request(emulator, Host=host) == 403
        assert request(emulator, path="/nothing", Host=host) == 403
    assert request(emulator, Host=None) == 400
    assert request(emulator, Host="") == 400
    assert raw(emulator, b"GET / HTTP/1.0\r\n\r\n") == 400


def test_other_sites_pages_are_refused(emulator, make):
    """A browser names the page that asks; other sites' pages get nothing, simple requests included."""
    make()
    port = emulator.url.rpartition(":")[2]
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}", "http://127.0.0.1:1"):
        assert request(emulator, Origin=origin, Content_Type="text/plain") == 403
    assert request(emulator, Sec_Fetch_Site="cross-site") == 403
    assert request(emulator, Origin=f"http://127.0.0.1:{port}") == 200


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: -1",
        "Content-Length: 99999999999999",
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, chunked",
        "Content-Length: x",
        "X: " + "y" * 100_000,
        "Bad Header: 1",
        " folded",
        "X: a\0b",
    ],
)
def test_ambiguous_requests_are_refused(emulator, make, head):
    """Lengths that contradict, lie or overflow never choose a meaning; nothing is read into memory for them."""
    make()
    port = emulator.url.rpartition(":")[2]
    status = raw(emulator, f"POST {INVOKE} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{head}\r\n\r\n{{}}".encode("latin-1"))
    assert status == 0 or 400 <= status < 600
    assert request(emulator) == 200


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "%2e%2e", "a%00b", "%", "a%2Fb", "%ff", "x" * 65])
def test_names_are_never_paths(emulator, make, name):
    """A function's name is looked up in a table; what is no name is a 400 or 404."""
    make()
    assert request(emulator, path=f"/2015-03-31/functions/{name}/invocations") in {400, 404}
    assert request(emulator, path=f"/lambda-url/{name}/") in {400, 404}


def test_deep_json_is_refused(emulator, make):
    """JSON nested a hundred thousand deep is a 400, not a crash."""
    make()
    assert request(emulator, body=b"[" * 100_000) == 400
    assert request(emulator) == 200


def test_beyond_loopback_a_token_is_wanted():
    """Another address needs a token, from every caller, wherever an SDK can carry one."""
    with pytest.raises(ConfigurationError, match="token"):
        Emulator(host="0.0.0.0")
    with Emulator(host="127.0.0.1", token="secret") as emulator:
        emulator.add(Function(name="plain", handler="x", task_root=TASK_ROOT, runtime=["/bin/false"]))
        dry = {"X_Amz_Invocation_Type": "DryRun"}
        assert request(emulator, **dry) == 403
        assert request(emulator, X_Warmstate_Token="wrong", **dry) == 403
        assert request(emulator, X_Warmstate_Token="secret", **dry) == 204
        assert request(emulator, Authorization="Bearer secret", **dry) == 204
        assert (
            request(
                emulator,
                Authorization="AWS4-HMAC-SHA256 Credential=secret/20260101/us-east-1/lambda/aws4_request, Signature=0",
                **dry,
            )
            == 204
        )
        assert request(emulator, path=f"{INVOKE}?token=secret", **dry) == 204


def mutated(random_, port):
    """Bytes that are nearly a request."""
    method = random_.choice(METHODS)
    head = [
        f"{method} {random_.choice(TARGETS)} HTTP/{random_.choice(['1.1', '1.0', '9.9', '2', ''])}",
        f"Host: {random_.choice([f'127.0.0.1:{port}', 'evil', '', f'localhost:{port}'])}",
        f"Content-Length: {random_.choice(['2', '0', '-5', '99999999999', 'two', '2, 2', '1e3'])}",
    ]
    head += random_.choices(HEADERS, k=random_.randrange(4))
    data = bytearray(("\r\n".join(head) + "\r\n\r\n{}").encode("latin-1"))
    for _ in range(random_.randrange(3)):
        data[random_.randrange(len(data))] = random_.randrange(256)
    return bytes(data[: random_.randrange(1, len(data) + 1)] if random_.random() < 0.2 else data)


def storm(emulator, count, idle):
    """Throw `count` hostile requests at it while a good client is served; returns the growth of memory in bytes."""
    port = int(emulator.url.rpartition(":")[2])
    random_ = random.Random(7)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(idle)]
    good = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        before = family.memory_bytes(os.getpid())
        for number in range(count):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
                try:
                    sock.sendall(mutated(random_, port))
                    sock.shutdown(socket.SHUT_WR)
                    sock.recv(1000)
                except OSError:
                    pass
            if number % 50 == 0:
                good.request("POST", INVOKE, b"{}")
                answer = good.getresponse()
                answer.read()
                assert answer.status == 200
        return family.memory_bytes(os.getpid()) - before
    finally:
        good.close()
        for sock in silent:
            sock.close()


@pytest.mark.parametrize(("count", "idle"), [(300, 100), pytest.param(5_000, 1_000, marks=pytest.mark.soak)])
def test_storm_of_hostile_requests(make, emulator, count, idle):
    """All are refused or answered, a good client is served throughout, memory stays where it was."""
    make(client="plain.py")
    assert request(emulator) == 200
    assert storm(emulator, count, idle) < 16 << 20
    assert request(emulator) == 200
    assert emulator.events.of("warmstate.fault") == []


def test_large_bodies_that_do_not_come_hold_no_memory(emulator, make):
    """Two hundred clients that announce 6 MB, send a part of it and stop: memory stays, good clients are served."""
    make()
    assert request(emulator) == 200
    port = int(emulator.url.rpartition(":")[2])
    head = f"POST {INVOKE} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 6000000\r\n\r\n".encode()
    before = family.memory_bytes(os.getpid())
    clients, part = [], b"x" * 200_000
    try:
        for _ in range(200):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setblocking(False)
            clients.append(sock)
            try:
                sock.send(head + part)
            except OSError:
                pass
        assert request(emulator) == 200
        assert request(emulator, body=b'"' + b"y" * 30_000 + b'"') == 200
        assert family.memory_bytes(os.getpid()) - before < 16 << 20
    finally:
        for sock in clients:
            sock.close()
    assert request(emulator, body=b'"' + b"y" * 5_000_000 + b'"') == 200


def test_large_bodies_come_one_after_the_other(emulator, make):
    """Many honest large events at once all arrive, though there is not room for all of them at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    make()
    body = b'"' + b"y" * 3_000_000 + b'"'
    with ThreadPoolExecutor(8) as executor:
        found = list(executor.map(lambda _: request(emulator, body=body, X_Amz_Invocation_Type="DryRun"), range(16)))
    assert found == [204] * 16


def test_slow_bodies_give_way(emulator, make):
    """Connections whose requests never complete do not keep a new client out, however many they are."""
    make()
    port = int(emulator.url.rpartition(":")[2])
    head = f"POST {INVOKE} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 100\r\n\r\n{{".encode()
    clients = []
    try:
        for _ in range(400):
            clients.append(socket.create_connection(("127.0.0.1", port)))
            clients[-1].sendall(head)
        assert request(emulator) == 200
    finally:
        for sock in clients:
            sock.close()


def test_slow_heads_are_cut_off(make, emulator):
    """A client that never finishes its headers is closed after a few seconds."""
    make()
    port = int(emulator.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost:")
        begun = time.monotonic()
        try:
            assert sock.recv(100) == b""
        except ConnectionResetError:
            pass
    assert time.monotonic() - begun < 25
