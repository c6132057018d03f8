"""
The main job: a camera's photos become one growing video, on a local Lambda that freezes, resets and shuts down on the way.

    python -m examples.timelapse --photos 60 --rate 1 --photos-from folder --output build/timelapse
"""

from __future__ import annotations

import argparse
import collections
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from warmstate.emulator import Emulator, Function

from .camera import Camera, s3_event
from .directory import DirectoryBucket
from .verify import examine

__all__ = ["main"]

HERE = Path(__file__).parents[1]
ROOT = HERE.parents[1]
THAW_AFTER = 0.5  # at a photo a second the instance is frozen for less than the usual threshold of 1 s


def main() -> int:
    """Run the job; the exit status is 0 when the video holds exactly the photos sent."""
    options = parse()
    output: Path = options.output
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    bucket = DirectoryBucket(output)
    try:
        camera = Camera(bucket, options.photos, options.rate, options.photos_from)
    except (OSError, ValueError) as error:
        print(f"timelapse: {error}", file=sys.stderr)
        return 2
    function = Function(
        name="timelapse",
        handler="examples.timelapse.handler.Timelapse",
        task_root=str(ROOT),
        environment={
            "BUCKET": str(output.resolve()),
            "FLUSH_EVERY": str(options.flush_every),
            "WARMSTATE_THAW_AFTER": str(THAW_AFTER),
        },
        memory_mb=1024,
        timeout=60,
        max_instances=1,
    )
    with Emulator(port=0) as emulator:
        emulator.add(function)
        job = Job(emulator, options.photos)
        for number, (key, size) in enumerate(camera):
            if number == options.photos // 3:
                emulator.kill()  # the process dies with its tail; the environment and its /tmp stay
            elif number == 2 * options.photos // 3:
                emulator.spindown()  # the environment goes, after before_shutdown
            job.invoke(s3_event(key, size))
            job.show(number + 1)
        job.invoke({"do": "finish"})
        job.show(options.photos, last=True)
        job.summarize(camera)
    return judge(output, options)


def parse() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(prog="timelapse", description="Photos into one growing video, on a warm instance.")
    parser.add_argument("--photos", type=int, default=60, help="how many (default 60)")
    parser.add_argument("--rate", type=float, default=1.0, help="photos a second (default 1)")
    parser.add_argument("--photos-from", type=Path, help="a folder of JPEG files; default: a sky that is drawn")
    parser.add_argument("--flush-every", type=int, default=10, help="photos in a chunk of the video (default 10)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "timelapse", help="a folder, emptied first")
    options = parser.parse_args()
    if options.photos < 1 or options.rate <= 0 or options.flush_every < 1:
        parser.error("--photos, --rate and --flush-every must be positive")
    return options


class Job:
    """Invokes the function, counts what happened, and shows it."""

    def __init__(self, emulator: Emulator, photos: int) -> None:
        self._emulator = emulator
        self._photos = photos
        self._starts: collections.Counter[str] = collections.Counter()
        self._milliseconds: list[float] = []
        self._began = time.monotonic()
        self._frames = 0

    def invoke(self, event: dict[str, object]) -> None:
        """
        Hand one event to the function.

        Raises:
            RuntimeError: the function failed; the message has its log.
        """
        answer = self._emulator.invoke("timelapse", event)
        if answer.function_error:
            raise RuntimeError(f"the function failed: {answer.payload.decode()}\n{answer.log_tail}")
        told: dict[str, Any] = answer.json()
        self._starts[told["start"]] += 1
        self._milliseconds.append(answer.duration_ms)
        self._frames = told["frames"]

    def show(self, done: int, *, last: bool = False) -> None:
        """One line that is written over on a terminal; a line for every tenth elsewhere."""
        starts = ", ".join(f"{count} {start}" for start, count in self._starts.items())
        line = f"{done:>5} of {self._photos} photos · {self._frames} frames in the video · {starts} · {self._milliseconds[-1]:.0f} ms"
        if sys.stderr.isatty():
            print(f"\r\033[K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
        elif last or done % max(1, self._photos // 10) == 0:
            print(line, file=sys.stderr, flush=True)

    def summarize(self, camera: Camera) -> None:
        """What happened, in numbers."""
        per_photo = sorted(self._milliseconds[:-1])
        shutdowns = sum(event.type == "warmstate.shutdown" for event in self._emulator.events)
        freezes = sum(event.type == "warmstate.freeze" for event in self._emulator.events)
        flushes = len(set((Path(self._output()) / "video" / "seg").glob("*.m4s")))
        print(f"photos       {self._photos}, {camera.bytes_taken / self._photos / 1000:.0f} kB each")
        print(f"video        {self._frames} frames in {flushes} chunks")
        print(f"starts       {', '.join(f'{count} {start}' for start, count in self._starts.items())}")
        print(f"freezes      {freezes}, shutdowns {shutdowns}")
        print(
            f"per photo    {per_photo[len(per_photo) // 2]:.1f} ms median, {sum(per_photo) / len(per_photo):.1f} ms mean"
        )

    def _output(self) -> str:
        return self._emulator.functions[0].environment["BUCKET"]


def judge(output: Path, options: argparse.Namespace) -> int:
    """Decode the video and compare; show where to look."""
    video = output / "video" / "timelapse.mp4"
    found = examine(video.read_bytes())
    expected = options.photos
    whole = found.is_sound and len(found.numbers) == expected
    if options.photos_from is None:
        whole = whole and found.numbers == list(range(expected))
    shutil.copy(HERE / "player.html", output / "player.html")
    print(f"checked      {found}: {'every photo once, in order' if whole else 'NOT the photos that were sent'}")
    print(f"the video    {video}")
    print(f"a page       {output / 'player.html'}")
    return 0 if whole else 1
