"""Runs one runtime on the stub Runtime API and returns what it measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import attrs

from benchmarks.install import Unavailable, compiled
from benchmarks.places import PLATFORM

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers import Peer

__all__ = ["Run", "RunFailed", "platform_command", "run", "serve"]

PATIENCE_SECONDS = 120
"""For one run, unless its question gives it another time."""


class RunFailed(Exception):
    """Raised when a runtime did not serve all its invocations; carries what it and the platform said."""


@attrs.frozen
class Run:
    """What one process of one runtime did; times in nanoseconds, memory in kilobytes."""

    cold_ns: int
    """From exec of the runtime to its first next."""
    rss_first_next_kb: int
    rss_end_kb: int
    rss_peak_kb: int
    group_pss_kb: int
    """Of all its processes together, what they share counted once."""
    cpu_ns: int
    """Of all invocations after the warm-up."""
    elapsed_ns: int
    """From the first answered next after the warm-up to the last response."""
    errors: int
    response_bytes: int
    sigterm_at: int
    exited_after_ns: int
    latency_ns: list[int]
    """Next answered to last byte of the response read, for each invocation."""
    first_byte_ns: list[int]
    cycle_ns: list[int]
    """Next answered to the following next answered."""
    output: str
    """What the runtime printed."""


def platform_command() -> tuple[list[str | Path], str]:
    """The stub that this machine can run, and the name that tables give it."""
    try:
        return [compiled("stub_runtime_api.c")], "stub in C"
    except Unavailable as reason:
        slow = f"**stub in Python, slower than what it measures: {reason}**"
        return [sys.executable, PLATFORM / "stub_runtime_api.py"], slow


def serve(peer: Peer, event: bytes, **options: int | str) -> Run:
    """Serve a peer its invocations and return the times."""
    return run(peer.command, peer.variables(), event, content_type=peer.content_type, **options)


def run(command: list[str], environment: dict[str, str], event: bytes, **options: int | str) -> Run:
    """
    Serve one runtime its invocations and return the times.

    Args:
        command: The runtime; it finds the platform in `AWS_LAMBDA_RUNTIME_API`, as on Lambda.
        environment: All of its environment but that variable.
        event: The body of every event.
        options: What the stub takes: invocations, warmup, pause_ms, freeze, sigterm, slots, content_type, timeout.

    Raises:
        RunFailed: The runtime ended early, reported an error, or took too long.

    """
    platform, _ = platform_command()
    cpus = sorted(os.sched_getaffinity(0))
    # Two cores: the platform spins on the first, the runtime has the second to itself. One core: they share and the platform sleeps.
    placing = {"stub_cpu": cpus[0], "runtime_cpu": cpus[1], "spin": 1} if len(cpus) > 1 else {}
    given = {"timeout": PATIENCE_SECONDS, **placing, **options}
    settings = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    with tempfile.NamedTemporaryFile() as file, tempfile.TemporaryDirectory(prefix="warmstate-benchmark-") as scratch:
        file.write(event)
        file.flush()
        # The stub gives up by itself, and ends the runtime; this time is for a stub that does not.
        done = subprocess.run(
            [*platform, *settings, file.name, "--", *command],
            env={**environment, "WARMSTATE_TMP": scratch},
            capture_output=True,
            check=False,
            timeout=int(options.get("timeout", PATIENCE_SECONDS)) + 30,
        )
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        raise RunFailed(f"{' '.join(command)}: {said.strip()[-2000:] or f'exit status {done.returncode}'}")
    result: dict[str, Any] = json.loads(done.stdout)
    if result["errors"]:
        raise RunFailed(f"{' '.join(command)}: {result['errors']} invocations failed\n{said.strip()[-2000:]}")
    return Run(**result, output=said)
