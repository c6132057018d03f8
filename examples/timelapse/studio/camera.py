"""A simulated camera: puts photos into the bucket at its own pace, and says which came when."""

from __future__ import annotations

import datetime
import itertools
import time
from typing import TYPE_CHECKING

from .sky import Sky

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..bucket import Bucket

__all__ = ["Camera", "key_of", "s3_event"]

SUFFIXES = {".jpg", ".jpeg"}


def key_of(moment: datetime.datetime) -> str:
    """The key of a photo: its time in UTC in a fixed width, so that keys sort as the photos were taken."""
    return f"frames/{moment.astimezone(datetime.timezone.utc):%Y-%m-%dT%H-%M-%S.%f}"[:-3] + "Z.jpg"


def s3_event(key: str, size: int) -> dict[str, object]:
    """What S3 tells the function about a new object, as far as anybody reads it."""
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"object": {"key": key, "size": size}}}
    return {"Records": [record]}


class Camera:
    """
    Takes `count` photos, `rate` a second, into `bucket`: of a sky it draws itself, or the JPEG files of a folder in their order.

    Raises:
        ValueError: the folder has no JPEG files.
    """

    def __init__(self, bucket: Bucket, count: int, rate: float, folder: Path | None = None) -> None:
        self._bucket = bucket
        self._count = count
        self._rate = rate
        self._files = (
            [] if folder is None else sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        )
        if folder is not None and not self._files:
            raise ValueError(f"{folder} has no .jpg or .jpeg files; give a folder of photos, or none for a drawn sky")
        self._sky = Sky()
        self.bytes_taken = 0

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Take the photos; yields the key and the size of each once it lies in the bucket."""
        first = datetime.datetime.now(datetime.timezone.utc)
        began = time.monotonic()
        for number in range(self._count):
            photo = self._photo(number)
            time.sleep(max(0.0, began + number / self._rate - time.monotonic()))
            key = key_of(first + datetime.timedelta(seconds=number))
            self._bucket.put(key, photo, match=None)
            self.bytes_taken += len(photo)
            yield key, len(photo)

    def _photo(self, number: int) -> bytes:
        if self._files:
            return next(itertools.islice(itertools.cycle(self._files), number % len(self._files), None)).read_bytes()
        return self._sky.photo(number)
