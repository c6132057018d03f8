"""How the tests start a Lambda emulator of others, and talk to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

START_SECONDS = 60


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str | Path], *, environment: Mapping[str, str], log: Path, port: int, cwd: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server from when it listens on `port` until the block ends; then SIGTERM, and its log when it would not start."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, env={**os.environ, **environment}, cwd=cwd, stdout=output, stderr=output)
    try:
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None, f"{command[0]} ended before it listened:\n{log.read_text()}"
                assert time.monotonic() < give_up, f"{command[0]} does not listen:\n{log.read_text()}"
                time.sleep(0.02)
        yield server
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def post(url: str, event: object) -> tuple[int, Any]:
    """Send an event; return the status and the answer, decoded when it is JSON."""
    request = Request(url, data=json.dumps(event).encode(), headers={"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=START_SECONDS) as response:
            status, body = response.status, response.read()
    except HTTPError as refusal:
        with refusal:
            status, body = refusal.code, refusal.read()
    try:
        return status, json.loads(body)
    except ValueError:
        return status, body.decode()
