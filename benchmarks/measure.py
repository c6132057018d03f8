"""How numbers are taken: all peers in turn, several rounds, medians with their spread, ratios within a round."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Hashable
from typing import TYPE_CHECKING, TypeVar

import attrs

from benchmarks.install import Unavailable
from benchmarks.peers import PEERS, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Figure", "Missing", "Settings", "available", "interleave", "percentile", "ratios"]

T = TypeVar("T")
Subject = TypeVar("Subject", bound=Hashable)


@attrs.frozen
class Settings:
    """How much is measured."""

    rounds: int = 3
    scale: float = 1.0
    """A factor on the number of invocations; a smaller one is quicker and noisier."""

    def invocations(self, wanted: int, peer: Peer | None = None) -> int:
        """The invocations of one run, at least ten."""
        return max(10, int(wanted * self.scale) // (peer.slowness if peer else 1))


@attrs.frozen
class Figure:
    """One number of a table: the median of its rounds, with the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Iterable[float]) -> Figure:
        """The figure of one number for each round."""
        numbers = sorted(rounds)
        return cls(statistics.median(numbers), numbers[0], numbers[-1])


@attrs.frozen
class Missing:
    """A peer that could not be measured, and why."""

    name: str
    reason: str


def available(peers: Iterable[Callable[[], Peer]] = PEERS) -> tuple[list[Peer], list[Missing]]:
    """Install the peers; those that cannot be had here become a line below the table."""
    here: list[Peer] = []
    missing: list[Missing] = []
    for make in peers:
        try:
            here.append(make())
        except Unavailable as reason:
            missing.append(Missing(make.__name__.replace("_", " "), str(reason)))
    return here, missing


def interleave(settings: Settings, subjects: Mapping[Subject, Callable[[], T]], title: str) -> dict[Subject, list[T]]:
    """
    Run every subject once, then every subject again, for as many rounds as asked.

    Neighbours on the machine come and go: taken in turn, all subjects meet the same ones.
    """
    results: dict[Subject, list[T]] = {name: [] for name in subjects}
    for number in range(settings.rounds):
        for name, run in subjects.items():
            print(f"  {title}: round {number + 1} of {settings.rounds}, {name}", file=sys.stderr, flush=True)
            results[name].append(run())
    return results


def percentile(numbers: Iterable[float], share: float) -> float:
    """The smallest number that `share` of all numbers do not exceed."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def ratios(numbers: list[float], reference: list[float]) -> Figure:
    """The ratio to the reference, round by round: what both met in the same minute cancels out."""
    return Figure.of(number / base for number, base in zip(numbers, reference, strict=True))
