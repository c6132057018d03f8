"""How numbers are taken: all subjects in turn, again and again, and one that fails is named and left out."""

from __future__ import annotations

import subprocess
from collections.abc import Hashable
from typing import TYPE_CHECKING, TypeVar

import attrs

from benchmarks.install import Unavailable
from benchmarks.platform.stub import RunFailed
from benchmarks.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from benchmarks.peers import Peer

__all__ = ["Settings", "available", "in_turn", "missing"]

T = TypeVar("T")
Subject = TypeVar("Subject", bound=Hashable)


@attrs.frozen
class Settings:
    """How much is measured in one run."""

    scale: float = 1.0
    """A factor on the number of invocations and of turns; a smaller one is quicker and noisier."""

    def invocations(self, wanted: int, peer: Peer | None = None) -> int:
        """The invocations of one process, at least ten."""
        return max(10, int(wanted * self.scale) // (peer.slowness if peer else 1))

    def turns(self, wanted: int) -> int:
        """How often each subject takes its turn."""
        return max(1, round(wanted * self.scale))


def available(peers: Iterable[Peer]) -> list[Peer]:
    """Install the peers and return those that can be had here."""
    return [peer for peer in peers if peer.problem() is None]


def missing(peers: Iterable[Peer]) -> list[str]:
    """A sentence for each peer that cannot be had here, for the line below a table."""
    return [f"Not measured: {peer.name} ({problem})." for peer in peers if (problem := peer.problem())]


def in_turn(turns: int, subjects: Mapping[Subject, Callable[[], T]], title: str) -> dict[Subject, list[T]]:
    """
    Run every subject once, then every subject again, for as many turns as asked.

    Neighbours on the machine come and go: taken in turn, all subjects meet the same ones.
    """
    results: dict[Subject, list[T]] = {subject: [] for subject in subjects}
    for turn in range(turns):
        for subject, run in subjects.items():
            say(f"{title}: {subject}, turn {turn + 1} of {turns}")
            try:
                results[subject].append(run())
            except (RunFailed, Unavailable, subprocess.TimeoutExpired) as problem:
                say(f"FAILED: {title}: {subject}: {problem}")
    return {subject: found for subject, found in results.items() if found}
