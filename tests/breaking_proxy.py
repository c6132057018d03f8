"""A TCP proxy on loopback that breaks the connections it carries, as networks do while a function is frozen."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

WAYS = ("fin", "rst", "silent", "hung")


class BreakingProxy:
    """
    Carries bytes to `target` and back; `break_all(way)` breaks what is open, and new connections work.

    "fin" and "rst" end a connection at once. "silent" lets the client believe in it: what it sends is answered with a reset, after
    the bytes were taken (and not passed on). "hung" takes all bytes and never answers.
    """

    def __init__(self, target):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.carried = []
        self.connections = 0
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A plain close leaves the thread waiting in accept.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.break_all("fin")
        self.thread.join()

    def break_all(self, way):
        """Break everything that is open now; returns how many connections that were."""
        with self.lock:
            carried, self.carried = self.carried, []
        for pair in carried:
            pair.break_off(way)
        return len(carried)

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            pair = _Pair(client, socket.create_connection(self.target))
            with self.lock:
                self.carried = [old for old in self.carried if not old.over]
                self.carried.append(pair)
                self.connections += 1
            pair.start()


class _Pair:
    def __init__(self, client, server):
        self.client = client
        self.server = server
        self.way = None
        self.over = False
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self):
        for source, sink in ((self.client, self.server), (self.server, self.client)):
            threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def break_off(self, way):
        self.way = way
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        if way == "fin":
            with contextlib.suppress(OSError):
                self.client.shutdown(socket.SHUT_RDWR)
        elif way == "rst":
            self._reset()

    def _reset(self):
        with contextlib.suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.client.shutdown(socket.SHUT_RD)
        with contextlib.suppress(OSError):
            self.client.close()

    def _carry(self, source, sink):
        while True:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            if self.way == "silent" and source is self.client:
                self._reset()
                break
            if self.way == "hung" and source is self.client and data:
                continue
            if not data or self.way is not None:
                break
            try:
                sink.sendall(data)
            except OSError:
                break
        if self.way is None:
            for end in (self.client, self.server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        if source is self.client:
            self.over = True
            with contextlib.suppress(OSError):
                self.client.close()
        else:
            with contextlib.suppress(OSError):
                self.server.close()
