"""
The stub Runtime API without a compiler: the same options and the same JSON as stub_runtime_api.c, and the same rules.

It is slower than some runtimes that it serves, so the tables say when it was used.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

ID_PREFIX = "8476a536-e9f4-11e8-9739-"


class Stub:
    """One run: hands out invocations, notes times, ends when all are answered."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.event = Path(options.event).read_bytes()
        self.total = options.warmup + options.invocations
        self.answered_at = [0] * (self.total + 1)
        self.first_byte_at = [0] * (self.total + 1)
        self.response_at = [0] * (self.total + 1)
        self.handed_out = self.finished = self.errors = self.response_bytes = 0
        self.first_next_at = self.rss_first_next = self.cpu_after_warmup = self.cpu_at_end = self.rss_end = 0
        self.failure = ""
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.last_answer_at = self.group_pss = 0
        self.waiting: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.started_at = 0
        self.runtime: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start the runtime in a process group of its own."""
        environment = {**os.environ, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.listener.getsockname()[1]}"}
        threading.Thread(target=self.accept, daemon=True).start()
        self.started_at = time.monotonic_ns()
        self.runtime = subprocess.Popen(
            self.options.command, env=environment, stdout=sys.stderr, start_new_session=True
        )
        if self.options.runtime_cpu >= 0:
            os.sched_setaffinity(self.runtime.pid, {self.options.runtime_cpu})

    def cpu_time(self) -> int:
        fields = Path(f"/proc/{self.runtime.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))

    def resident_memory(self) -> int:
        status = Path(f"/proc/{self.runtime.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def group_memory(self) -> int:
        """Kilobytes of all processes of the runtime together, what they share counted once."""
        total = 0
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getpgid(int(folder.name)) == self.runtime.pid:
                    total += int((folder / "smaps_rollup").read_text().partition("\nPss:")[2].split()[0])
        return total

    def accept(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionError), connection, connection.makefile("rb") as stream:
            while line := stream.readline().decode("latin-1"):
                path = line.split(" ")[1]
                headers = {}
                while (field := stream.readline().decode("latin-1").strip()) != "":
                    name, _, value = field.partition(":")
                    headers[name.lower()] = value.strip()
                if "expect" in headers:
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                answered = int(path.partition(ID_PREFIX)[2][:12] or 0)
                size = 0
                for part in self.body(stream, headers):
                    if not size:
                        self.first_byte_at[answered] = time.monotonic_ns()
                    size += len(part)
                self.respond(connection, path, answered, size)

    @staticmethod
    def body(stream: BufferedReader, headers: dict[str, str]) -> Iterator[bytes]:
        """Yield the body of a request as it comes, whichever way it is framed."""
        if headers.get("transfer-encoding", "").lower() != "chunked":
            left = int(headers.get("content-length", 0))
            while left:
                part = stream.read1(min(left, 1 << 18))
                left -= len(part)
                yield part
            return
        while size := int(stream.readline().partition(b";")[0], 16):
            yield stream.read(size)
            stream.readline()
        while stream.readline().strip():
            pass

    def respond(self, connection: socket.socket, path: str, answered: int, size: int) -> None:
        """Answer one request as the platform would."""
        if path.endswith("/invocation/next"):
            self.next(connection)
        elif path.endswith("/init/error"):
            self.failure = "the runtime reported an init error"
            self.over.set()
        elif path.endswith(("/response", "/error")):
            with self.lock:
                self.response_at[answered] = time.monotonic_ns()
                self.response_bytes = size
                self.errors += path.endswith("/error")
                self.finished += 1
                if self.finished == self.total:
                    self.last_answer_at = time.monotonic_ns()
                    self.group_pss = self.group_memory()
                    self.cpu_at_end, self.rss_end = self.cpu_time(), self.resident_memory()
                    if not self.options.sigterm:
                        self.over.set()
            connection.sendall(b'HTTP/1.1 202 Accepted\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n')
        elif path.endswith("/extension/register"):
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: 8476a536-e9f4-11e8-9739-aaaaaaaaaaaa\r\nContent-Length: 2\r\n\r\n{}"
            )

    def next(self, connection: socket.socket) -> None:
        """Take one next, and answer it once all slots are there."""
        with self.lock:
            if not self.first_next_at:
                self.first_next_at = time.monotonic_ns()
                self.rss_first_next = self.resident_memory()
            ready = [connection]
            if len(self.waiting) < self.options.slots:
                self.waiting.append(connection)
                ready = self.waiting if len(self.waiting) == self.options.slots else []
        for one in ready:
            self.hand_out(one)

    def hand_out(self, connection: socket.socket) -> None:
        """Hand out one invocation; the one after the last is never answered."""
        with self.lock:
            if self.handed_out == self.total:
                self.over.set()  # only now where SIGTERM is asked about: it meets an idle runtime
                return
            invocation, self.handed_out = self.handed_out, self.handed_out + 1
        if self.options.pause_ms:
            if self.options.freeze:
                os.killpg(self.runtime.pid, signal.SIGSTOP)
            time.sleep(self.options.pause_ms / 1000)
        if invocation == self.options.warmup:
            self.cpu_after_warmup = self.cpu_time()
        header = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {self.options.content_type}\r\n"
            f"Lambda-Runtime-Aws-Request-Id: {ID_PREFIX}{invocation:012d}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {int(time.time() * 1000) + 60_000}\r\n"
            "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:benchmark\r\n"
            "Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1\r\n"
            f"Content-Length: {len(self.event)}\r\n\r\n"
        )
        self.answered_at[invocation] = time.monotonic_ns()
        if self.options.pause_ms and self.options.freeze:
            os.killpg(self.runtime.pid, signal.SIGCONT)
        connection.sendall(header.encode() + self.event)

    def wait(self) -> None:
        """Until all is answered, the runtime ended, or the time is over."""
        give_up = time.monotonic() + self.options.timeout
        while not self.over.wait(0.1):
            if self.runtime.poll() is not None:
                self.failure = f"the runtime ended early, status {self.runtime.returncode}, after {self.finished} of {self.total} invocations"
                return
            if time.monotonic() > give_up:
                self.failure = (
                    f"no end after {self.options.timeout} seconds: {self.finished} of {self.total} invocations answered"
                )
                return

    def result(self) -> dict[str, object]:
        """End the runtime and put the numbers together."""
        sigterm_at = exited_after = 0
        if self.options.sigterm and not self.failure:
            time.sleep(0.02)
            sigterm_at = time.monotonic_ns()
            os.killpg(self.runtime.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.runtime.wait(10)
            exited_after = time.monotonic_ns() - sigterm_at
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.runtime.pid, signal.SIGKILL)
        self.runtime.wait()
        first, last = self.options.warmup, self.total
        at = self.answered_at
        return {
            "cold_ns": self.first_next_at - self.started_at,
            "rss_first_next_kb": self.rss_first_next,
            "rss_end_kb": self.rss_end,
            "rss_peak_kb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
            "group_pss_kb": self.group_pss,
            "cpu_ns": self.cpu_at_end - self.cpu_after_warmup,
            "elapsed_ns": self.last_answer_at - at[first],
            "errors": self.errors,
            "response_bytes": self.response_bytes,
            "sigterm_at": sigterm_at,
            "exited_after_ns": exited_after,
            "latency_ns": [self.response_at[n] - at[n] for n in range(first, last)],
            "first_byte_ns": [self.first_byte_at[n] - at[n] for n in range(first, last)],
            "cycle_ns": [at[n + 1] - at[n] for n in range(first, last - 1)],
        }


def main() -> int:
    """Serve one run and print its numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {
        "invocations": 1000,
        "warmup": 100,
        "timeout": 120,
        "pause-ms": 0,
        "freeze": 0,
        "sigterm": 0,
        "spin": 0,
        "slots": 1,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--runtime-cpu", type=int, default=-1)
    parser.add_argument("--stub-cpu", type=int, default=-1)
    parser.add_argument("--content-type", default="application/json")
    parser.add_argument("event")
    parser.add_argument("command", nargs="+")
    stub = Stub(parser.parse_args())
    if stub.options.stub_cpu >= 0:
        os.sched_setaffinity(0, {stub.options.stub_cpu})
    stub.start()
    stub.wait()
    result = stub.result()
    if stub.failure:
        print(f"stub_runtime_api: {stub.failure}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
