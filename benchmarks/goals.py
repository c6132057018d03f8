"""What was wanted, against what was measured: every goal computed from the answers to the questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from benchmarks import peers
from benchmarks.questions import concurrency, shutdown, state, streaming, thaw
from benchmarks.results import Figure, Runs
from benchmarks.tables import MICRO, MILLI, Table, number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Answers = Mapping[str, Runs]

__all__ = ["table"]

OURS, REFERENCE = peers.MEMORY.name, peers.REFERENCE.name


@attrs.frozen
class Goal:
    """One figure with its limit."""

    what: str
    wanted: str
    limit: float
    figure: Callable[[Answers], Figure]
    side: Literal["at most", "at least"] = "at most"

    def row(self, answers: Answers) -> list[str]:
        """The goal, what was wanted, what was measured, and whether that is met."""
        try:
            found = self.figure(answers)
        except KeyError as missing:
            return [self.what, self.wanted, "–", f"not measured: {missing.args[0]}"]
        sign = 1 if self.side == "at most" else -1
        over = sign * (found.median - self.limit) / self.limit
        measured = f"{number(found.median)} ({number(found.low)}–{number(found.high)})"
        return [self.what, self.wanted, measured, "met" if over <= 0 else f"**missed** by {over:.0%}"]


def ratio(
    question: str, subject: str, measure: str, to: str = REFERENCE, to_measure: str = ""
) -> Callable[[Answers], Figure]:
    """The ratio of one number to another of the same question."""
    return lambda answers: answers[question].ratio(subject, measure, to, to_measure)


def value(question: str, subject: str, measure: str, unit: float = 1.0) -> Callable[[Answers], Figure]:
    """A number in some unit."""

    def figure(answers: Answers) -> Figure:
        found = answers[question].figure(subject, measure)
        return Figure(found.median / unit, found.low / unit, found.high / unit)

    return figure


def commit_on_top(answers: Answers) -> Figure:
    """What a committed slot adds to a warm invocation, against a file written with the same bytes."""
    pairs = zip(answers["warm-cycle"].runs, answers["state"].runs, strict=False)
    return Figure.of(
        (warm[peers.COMMITTED.name]["cycle 100 B"] - warm[OURS]["cycle 100 B"]) / kept["1 kB"]["file"]
        for warm, kept in pairs
    )


def quickest_spill(answers: Answers) -> Figure:
    """The speed of the spill against that of a plain file, at the size where it does worse."""
    ratios = [
        answers["state"].ratio(f"{state.FILE}, {size}", "out", f"{state.SPILL}, {size}") for size in ("1 MB", "100 MB")
    ]
    return min(ratios, key=lambda figure: figure.median)


GOALS = (
    Goal(
        "warm cycle 100 B, function",
        "≤ 0.50 of awslambdaric",
        0.50,
        ratio("warm-cycle", peers.FUNCTION.name, "cycle 100 B"),
    ),
    Goal("warm cycle 100 B, one memory slot", "≤ 0.50 of awslambdaric", 0.50, ratio("warm-cycle", OURS, "cycle 100 B")),
    Goal(
        "the same against its managed mode",
        "≤ 0.30",
        0.30,
        ratio("warm-cycle", OURS, "cycle 100 B", peers.MANAGED.name),
    ),
    Goal("CPU per invocation, 100 B", "≤ 0.35 of awslambdaric", 0.35, ratio("warm-cycle", OURS, "CPU 100 B")),
    Goal("warm cycle 10 kB, standard-library JSON", "≤ 0.75", 0.75, ratio("warm-cycle", OURS, "cycle 10 kB")),
    Goal("warm cycle 1 MB", "≤ 0.90", 0.90, ratio("warm-cycle", OURS, "cycle 1 MB")),
    Goal("warm cycle 6 MB", "≤ 0.95", 0.95, ratio("warm-cycle", OURS, "cycle 6 MB")),
    *(
        Goal(f"warm cycle {size} with orjson", "≤ 0.35", 0.35, ratio("warm-cycle", peers.ORJSON.name, f"cycle {size}"))
        for size in ("10 kB", "1 MB", "6 MB")
    ),
    *(
        Goal(
            f"warm cycle {size} with orjson against Node",
            "< 1",
            1.0,
            ratio("warm-cycle", peers.ORJSON.name, f"cycle {size}", peers.NODE.name),
        )
        for size in ("10 kB", "1 MB", "6 MB")
    ),
    Goal(
        "a handler of bytes, 1 MB, against the C loop",
        "≤ 1.2",
        1.2,
        ratio("warm-cycle", peers.BYTES.name, "cycle 1 MB", peers.LIMIT.name),
    ),
    Goal("a touched slot of 1 kB that is committed, on top, in file writes", "≤ 1", 1.0, commit_on_top),
    Goal("under AWS's emulator, 100 B", "≤ 0.65 of awslambdaric", 0.65, ratio("emulators", OURS, "invoke AWS's")),
    Goal(
        "cold start, a slot, a tail and a resource",
        "≤ 0.45 of awslambdaric",
        0.45,
        ratio("cold-start", peers.EVERYTHING.name, "start"),
    ),
    Goal("memory after init", "≤ 0.80 of awslambdaric", 0.80, ratio("memory", peers.EVERYTHING.name, "first next")),
    Goal("store, get that hits, ns", "≤ 150", 150, value("state", state.STORE, "get")),
    Goal("store, set, ns", "≤ 400", 400, value("state", state.STORE, "set")),
    Goal("store, get against cachetools TTLCache", "< 1", 1.0, ratio("state", state.STORE, "get", state.TTL_CACHE)),
    Goal("store, set against cachetools TTLCache", "< 1", 1.0, ratio("state", state.STORE, "set", state.TTL_CACHE)),
    Goal("spill of ≥ 1 MB, in speeds of a plain file", "≥ 0.90", 0.90, quickest_spill, "at least"),
    Goal("reload of 100 MB by mmap, µs", "≤ 30", 30, value("state", f"{state.SPILL}, 100 MB", "mapped", MICRO)),
    Goal(
        "16 slots, copies of a 300 MB object",
        "≤ 1.2",
        1.2,
        value("concurrency", concurrency.OURS, "bytes 16", concurrency.MODEL_BYTES),
    ),
    Goal(
        "16 slots, invocations per second against awslambdaric",
        "≥ 3",
        3.0,
        ratio("concurrency", concurrency.OURS, "per second 16", concurrency.THEIRS),
        "at least",
    ),
    Goal("async handler against sync", "≤ 1.3", 1.3, ratio("warm-cycle", peers.ASYNCHRONOUS.name, "cycle 100 B", OURS)),
    Goal(
        "streaming, MB/s",
        "≥ 500",
        500,
        value("streaming", streaming.STREAM.name, "bytes per second", streaming.MEGABYTE),
        "at least",
    ),
    Goal(
        "streaming 200 MB, extra MB",
        "< 20",
        20,
        value("streaming", streaming.STREAM.name, "extra bytes", streaming.MEGABYTE),
    ),
    Goal("thaw to handler, nothing stale, added ms", "≤ 1", 1.0, value("thaw", thaw.FRESH.name, "added", MILLI)),
    Goal("SIGTERM to hook, idle, p99 ms", "≤ 10", 10, value("shutdown", shutdown.LEAVING.name, "hook p99", MILLI)),
    Goal(
        "emulator with freeze and thaw, invocations per second against AWS's without",
        "≥ 1.5",
        1.5,
        ratio("emulators", OURS, "per second ours, freezing", OURS, "per second AWS's"),
        "at least",
    ),
)


def table(answers: Answers) -> Table:
    """Every goal with its figure, median and spread over the runs."""
    columns = ["goal", "wanted", "measured", "result"]
    return Table("Goals", columns, [goal.row(answers) for goal in GOALS])
