"""A Runtime API that does what a test says, byte by byte, and the runtime as a real process in front of it."""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from warmstate.wire.runtime_api import ACCEPTED

BOOTSTRAP = Path(__file__).parents[2] / "bootstrap"
PATIENCE = 30.0  # seconds; a machine may be busy, and no test waits for it in vain


def http(status, body=b"", **headers):
    """The bytes of an answer with the right length."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def event(request_id, body=b"{}", *, seconds=120.0, **headers):
    """The bytes with which `next` is answered; a header that is None is left out."""
    fields = {
        "Content-Type": "application/json",
        "Lambda-Runtime-Aws-Request-Id": request_id,
        "Lambda-Runtime-Deadline-Ms": str(int((time.time() + seconds) * 1000)),
        "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:f",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return http(200, body, **{name: value for name, value in fields.items() if value is not None})


class Posted:
    """What the runtime posted."""

    def __init__(self, path, headers, body, trailers):
        self.path, self.headers, self.body, self.trailers = path, headers, body, trailers
        self.kind = path.rpartition("/")[2] if "invocation" in path else path.partition("runtime/")[2]
        self.request_id = path.split("/")[-2] if "invocation" in path else ""

    @property
    def json(self):
        return json.loads(self.body)


class ScriptedApi:
    """
    Serves `next` from a queue of bytes, or of functions that take the connection; keeps what is posted.

    `replies` holds what to answer to posts, one after another; when it is empty they are accepted.
    """

    def __init__(self):
        self.events = queue.Queue()
        self.posted = queue.Queue()
        self.replies = queue.Queue()
        self.calls = []
        self.waiting = 0
        self.registered = threading.Event()
        self.on_chunk = None
        self.before_body = None
        self.on_head = None
        self._lock = threading.Lock()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._closed = True
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends the wait in accept; closing would not
        except OSError:
            pass  # a test was faster
        self._listener.close()

    def send(self, request_id, body=b"{}", **options):
        self.events.put(event(request_id, body, **options))

    def answer(self):
        return self.posted.get(timeout=PATIENCE)

    def ask(self, request_id, body=b"{}", **options):
        """One whole invocation."""
        self.send(request_id, body, **options)
        answer = self.answer()
        assert answer.request_id == request_id, (answer.path, answer.body)
        return answer

    def wait_until_idle(self, slots=1):
        wait_for(lambda: self.waiting >= slots)

    def _accept(self):
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
                connection.settimeout(None)  # a test may set the default, which is meant for the runtime
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as lines:
            try:
                while self._one(connection, lines):
                    pass
            except (OSError, ValueError):
                return

    def _one(self, connection, lines):
        start = lines.readline().decode().split()
        if len(start) < 2:
            return False
        headers = {}
        while line := lines.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        path = start[1]
        self.calls.append((time.monotonic(), start[0], path))
        if start[0] == "GET":
            return self._get(connection, path)
        if self.on_head is not None:
            self.on_head()
        if self.before_body is not None and "/invocation/" in path:
            return self.before_body(connection)
        body, trailers = self._body(lines, headers)
        if path.endswith("/extension/register"):
            connection.sendall(http(200, b"{}", Lambda_Extension_Identifier="id"))
            self.registered.set()
            return True
        self.posted.put(Posted(path, headers, body, trailers))
        try:
            reply = self.replies.get_nowait()
        except queue.Empty:
            reply = http(202, ACCEPTED, Content_Type="application/json")
        return self._say(connection, reply)

    def _get(self, connection, path):
        if "/extension/" in path:
            connection.recv(1)  # never answered
            return False
        with self._lock:
            self.waiting += 1
        reply = self._next_event(connection)
        with self._lock:
            self.waiting -= 1
        return reply is not None and self._say(connection, reply)

    def _next_event(self, connection):
        """The next event; None when the process that asked is gone, so that it takes no event along."""
        while True:
            try:
                reply = self.events.get(timeout=0.02)
            except queue.Empty:
                reply = None
            if select.select([connection], [], [], 0)[0] and not seen(connection):
                if reply is not None:
                    self.events.put(reply)
                return None
            if reply is not None:
                return reply

    def _say(self, connection, reply):
        if callable(reply):
            return reply(connection)
        connection.sendall(reply)
        return True

    def _body(self, lines, headers):
        if headers.get("transfer-encoding") != "chunked":
            return lines.read(int(headers.get("content-length", 0))), {}
        body = bytearray()
        while size := int(lines.readline(), 16):
            body += lines.read(size)
            lines.readline()
            if self.on_chunk is not None:
                self.on_chunk(body)
        trailers = {}
        while line := lines.readline().strip():
            name, _, value = line.decode().partition(":")
            trailers[name.lower()] = value.strip()
        return bytes(body), trailers


def seen(connection):
    """What can be read next; nothing at the end, however the peer ended it."""
    try:
        return connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return b""


class Runtime:
    """`bootstrap`, or another `command`, as a real process; its output is kept."""

    def __init__(self, api, handler, task_root, *, tmp, command=(BOOTSTRAP,), inherit=(), **variables):
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WARMSTATE_", "PYTHON"))
        }
        environment |= {
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "_HANDLER": handler,
            "LAMBDA_TASK_ROOT": str(task_root),
            "WARMSTATE_PYTHON": sys.executable,
            "WARMSTATE_TMP": str(tmp),
            **variables,
        }
        self.process = subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            cwd=task_root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherit,
        )
        self.pid = self.process.pid
        os.set_blocking(self.process.stdout.fileno(), False)
        self._pieces, self._turn = [], threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.pid, signal.SIGKILL)  # with the children that a handler left
        except ProcessLookupError:
            pass
        self.process.wait()
        self._reader.join(PATIENCE)
        self.process.stdout.close()

    def _read(self):
        pipe = self.process.stdout.fileno()
        while select.select([pipe], [], []) and self._drain(pipe):
            pass

    def _drain(self, pipe):
        """Takes what is in the pipe now; False at its end."""
        with self._turn:
            try:
                while piece := os.read(pipe, 65536):
                    self._pieces.append(piece)
            except BlockingIOError:
                return True
            return False

    @property
    def output(self):
        """All that the process has written, up to this moment."""
        if not self.process.stdout.closed:
            self._drain(self.process.stdout.fileno())
        return b"".join(self._pieces).decode("utf-8", "replace")

    def signal(self, number):
        self.process.send_signal(number)

    def ended(self):
        """The exit status, after it has ended and all its output was read."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status


def wait_for(condition):
    """Until `condition` holds; fails after a time that no healthy test needs."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.002)
