"""Takes the times, bytes and requests of every design at every length, in turns."""

from __future__ import annotations

import datetime
import itertools
import os
import time
from typing import TYPE_CHECKING

import attrs

from .. import mp4
from ..encoder import Encoder
from ..photo import PhotoDecoder
from ..s3 import S3Bucket
from ..studio.camera import key_of
from .meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..options import Options
    from .designs import Design
    from .video import Footage

__all__ = ["Cost", "bytes_per_frame", "measure", "median"]

DAY = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)


@attrs.frozen
class Cost:
    """What one photo costs on average: milliseconds, bytes moved beyond the photo itself, requests."""

    milliseconds: float
    bytes_moved: float
    requests: float


def measure(
    make: Callable[[str], Design],
    footage: Footage,
    frames: int,
    count: int,
    *,
    warm_up: int,
    url: str,
) -> Cost:
    """Appends `count` photos to a video of `frames`, after `warm_up` others that are not counted."""
    prefix = os.urandom(6).hex()
    bucket = S3Bucket("bench", prefix, endpoint_url=url)
    design = make(f"s3://bench/{prefix}")
    clock = (key_of(DAY + datetime.timedelta(seconds=second)) for second in itertools.count())
    try:
        design.prepare(bucket, footage, frames, next(clock))
        keys = list(itertools.islice(clock, warm_up + count))
        took, size, requests, moved = 0.0, 0, 0, 0
        for start in range(0, len(keys), design.batch):
            batch = keys[start : start + design.batch]
            jpegs = [footage.photos[number % len(footage.photos)] for number in range(start, start + len(batch))]
            for key, jpeg in zip(batch, jpegs, strict=True):
                bucket.put(key, jpeg, match=None)
            with Meter() as meter:
                began = time.perf_counter()
                design.append(batch)
                seconds = time.perf_counter() - began
            if start >= warm_up:
                took += seconds
                size += sum(map(len, jpegs))
                requests += meter.requests
                moved += meter.bytes_moved
        return Cost(1000 * took / count, (moved - size) / count, requests / count)
    finally:
        design.close()
        bucket.close()


def median(costs: Sequence[Cost]) -> Cost:
    """The round in the middle, by time."""
    return sorted(costs, key=lambda cost: cost.milliseconds)[(len(costs) - 1) // 2]


def bytes_per_frame(options: Options, photos: Sequence[bytes], every: int, *, count: int = 120) -> tuple[float, float]:
    """Gives the bytes of a frame in chunks of `every`, when each chunk needs an encoder of its own, and when one stays warm."""
    decoder = PhotoDecoder(options.width, options.height)
    frames = [decoder.decode(photos[number % len(photos)]) for number in range(count)]
    sizes = []
    for warm in (False, True):
        encoder, total = Encoder(options, 0), 0
        for start in range(0, count, every):
            if not warm:
                encoder = Encoder(options, 0)
            total += len(mp4.fragment(start, [encoder.encode(frame) for frame in frames[start : start + every]]))
        sizes.append(total / count)
    return sizes[0], sizes[1]
