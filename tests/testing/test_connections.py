"""Connections that the handler opened die as on Lambda; those of others do not."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest

from warmstate import StatefulHandler, resource


@pytest.fixture(name="echo")
def _echo():
    """A server that sends back what it gets; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            accepted.append(connection)
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection):
        with suppress(OSError):  # cut, or closed at the end
            while data := connection.recv(100):
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for connection in accepted:
        connection.close()


class Caller(StatefulHandler):
    port: int

    def __init__(self) -> None:
        self.opened = 0

    @resource(check_after=5)
    def line(self):
        self.opened += 1
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as line:
            yield line

    @line.check
    def line_is_up(self, line):
        line.sendall(b"?")
        if line.recv(1) != b"?":
            raise ConnectionError("the peer is gone")

    def handle(self, event, context):
        line = self.line
        line.sendall(b"hello")
        return [line.recv(5).decode(), self.opened]


def test_a_cut_connection_is_found_dead(warm, echo, monkeypatch) -> None:
    """The handler's next use of the connection fails as with a peer that is gone."""
    monkeypatch.setattr(Caller, "port", echo, raising=False)
    platform = warm(Caller)
    assert ["hello", 1] == platform.invoke({}).json()

    assert 1 == platform.cut_connections()
    assert "BrokenPipeError" == platform.invoke({}).error_type
    platform.spindown()


def test_a_long_freeze_cuts_and_a_check_renews(warm, echo, monkeypatch) -> None:
    """With `cut_after` connections die in a long freeze; the resource's check notices, and the handler sees a fresh one."""
    monkeypatch.setattr(Caller, "port", echo, raising=False)
    platform = warm(Caller, cut_after=300)
    platform.invoke({})
    platform.freeze(minutes=1)
    assert ["hello", 1] == platform.invoke({}).json()
    platform.freeze(minutes=20)

    assert ["hello", 2] == platform.invoke({}).json()
    platform.spindown()


def test_what_was_open_before_stays(warm, echo) -> None:
    """Connections from before the platform was made belong to the test."""
    with socket.create_connection(("127.0.0.1", echo), timeout=10) as mine:
        platform = warm(lambda _event, _context: None)
        platform.invoke({})

        assert 0 == platform.cut_connections()
        mine.sendall(b"still")
        assert b"still" == mine.recv(5)
