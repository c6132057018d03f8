"""Connections of a frozen instance break as on a real thaw, when they go through the emulator's forwarder."""

import socketserver
import sys
import threading

import pytest

pytestmark = pytest.mark.process

POOLED = """
import http.client, json, os, socket
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
peer = None
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = api.getresponse(); answer.read()
    try:
        if peer is None:
            peer = socket.create_connection(("127.0.0.1", int(os.environ["PEER"])), timeout=0.5)
        peer.sendall(b"hello")
        found = peer.recv(5).decode() or "end of file"
    except OSError as error:
        found = type(error).__name__
    if found != "hello":
        peer = None
    api.request("POST", "/2018-06-01/runtime/invocation/" + answer.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", json.dumps(found))
    api.getresponse().read()
"""


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self):
        while data := self.request.recv(100):
            self.request.sendall(data)


@pytest.fixture
def peer():
    """The port of an echo server."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("how", "seen"),
    [
        ("close", {"end of file", "BrokenPipeError", "ConnectionResetError"}),
        ("reset", {"ConnectionResetError", "BrokenPipeError"}),
        ("silent", {"TimeoutError"}),
    ],
)
def test_cut_during_a_freeze_is_found_after_the_thaw(emulator, make, peer, how, seen):
    """The pooled connection is dead after the freeze, in the way that was asked for; a new one works."""
    port = emulator.proxy("127.0.0.1", peer)
    make("pooled", runtime=[sys.executable, "-c", POOLED], environment={"PEER": str(port)})
    assert emulator.invoke("pooled", {}).json() == "hello"

    name = emulator.ps("pooled")[0].instance
    emulator.freeze(name)
    assert emulator.cut(name, how) == 1
    assert emulator.invoke("pooled", {}).json() in seen
    assert emulator.invoke("pooled", {}).json() == "hello"
