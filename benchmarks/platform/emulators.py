"""The same runtimes under AWS's Runtime Interface Emulator and under warmstate's: invoked over HTTP, one after another."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.install import plain_environment
from benchmarks.places import ROOT
from benchmarks.platform.stub import RunFailed
from scripts.peer_programs import runtime_interface_emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.peers import Peer

    Served: TypeAlias = Callable[[Peer], AbstractContextManager[str]]

__all__ = ["invoke_times", "under_rie", "under_warmstate"]

PATIENCE_SECONDS = 30


def invoke_times(served: Served, peer: Peer, event: bytes, invocations: int) -> list[int]:
    """
    Nanoseconds of each of so many invocations, after some to warm up.

    Raises:
        RunFailed: The emulator did not start, or an invocation failed.

    """
    times = []
    with served(peer) as url:
        address, _, path = url.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
        with contextlib.closing(connection):
            for _ in range(invocations // 10 + 2 + invocations):
                began = time.monotonic_ns()
                connection.request("POST", f"/{path}", event, {"Content-Type": "application/json"})
                response = connection.getresponse()
                body = response.read()
                times.append(time.monotonic_ns() - began)
                if response.status != 200 or response.getheader("X-Amz-Function-Error"):
                    raise RunFailed(f"{peer.name}: {response.status} {body[:500]!r}")
    return times[-invocations:]


@contextmanager
def under_rie(peer: Peer) -> Iterator[str]:
    """AWS's emulator, which never freezes."""
    runtime_api, invoke_api = (f"127.0.0.1:{port}" for port in free_ports(2))
    addresses = ["--runtime-api-address", runtime_api, "--runtime-interface-emulator-address", invoke_api]
    with tempfile.TemporaryDirectory(prefix="warmstate-benchmark-") as scratch:
        command = [str(runtime_interface_emulator()), *addresses, *peer.command]
        with ended(command, {**peer.variables(), "WARMSTATE_TMP": scratch}, heard=False) as process:
            wait_for(invoke_api, process)
            yield f"http://{invoke_api}/2015-03-31/functions/function/invocations"


@contextmanager
def under_warmstate(peer: Peer, *, freeze: bool = True) -> Iterator[str]:
    """Our emulator, which freezes the runtime after each invocation unless told not to."""
    handler = peer.variables()["_HANDLER"]
    program = [sys.executable, "-m", "benchmarks.inside.emulator", str(int(freeze)), handler, "--", *peer.command]
    environment = {**plain_environment(), **peer.environment, "PYTHONPATH": peer.variables()["PYTHONPATH"]}
    with ended(program, environment) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        if not url:
            raise RunFailed(f"our emulator did not start with {peer.name}")
        yield url


@contextmanager
def ended(command: list[str], environment: dict[str, str], *, heard: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """
    Run a server until the block ends; then its input ends, SIGTERM follows, and SIGKILL if need be.

    What it prints is read only where it is `heard`: a pipe that nobody empties would stop it.
    """
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if heard else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        if "benchmarks.inside.emulator" not in command:
            process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Until something listens at an address."""
    host, _, port = address.partition(":")
    give_up = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < give_up:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.02)
    raise RunFailed(f"nothing listens at {address}: {process.args!r} ended with {process.returncode}")
