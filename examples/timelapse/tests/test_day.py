"""A whole day at a photo a second, as fast as it goes."""

from __future__ import annotations

import datetime
import io
import os
import time

import numpy as np
import pytest
from PIL import Image

from examples.timelapse.publish import KEY as VIDEO
from examples.timelapse.studio.camera import key_of, s3_event
from examples.timelapse.studio.directory import DirectoryBucket
from examples.timelapse.studio.sky import Sky
from examples.timelapse.studio.verify import examine
from warmstate.testing import Platform
from warmstate.warm.sizes import resident_bytes

MIDNIGHT = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)
DAY = int(os.environ.get("DAY", "86400"))
BLOCKS = 12


class Looped:
    """The sky of a minute, over and over, each photo with its own number."""

    def __init__(self) -> None:
        self._sky = Sky(160, 96)
        self._scenes = [self._sky.picture(number) for number in range(60)]

    def photo(self, number: int) -> bytes:
        pixels, file = self._scenes[number % 60].copy(), io.BytesIO()
        pixels[-8:] = np.repeat(self._sky._bar_code(number), 8, axis=0)[..., None]
        Image.fromarray(pixels).save(file, "JPEG", quality=92)
        return file.getvalue()


def key(number: int) -> str:
    return key_of(MIDNIGHT + datetime.timedelta(seconds=number))


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_a_day_costs_the_same_at_its_end(tmp_path, make_handler, monkeypatch) -> None:
    """Memory stays flat from the first hours to the last, time per photo to half a millisecond; the day is one file with every photo once."""
    joining = 0.0

    def join(*arguments, **how):
        """The store's work: S3 joins objects on its own side, a directory in our process."""
        nonlocal joining
        began = time.process_time()
        try:
            return real_join(*arguments, **how)
        finally:
            joining += time.process_time() - began

    real_join = DirectoryBucket.compose
    monkeypatch.setattr(DirectoryBucket, "compose", join)
    handler = make_handler(BUCKET=str(tmp_path), WIDTH="160", HEIGHT="96")
    bucket, sky = DirectoryBucket(tmp_path), Looped()
    milliseconds, resident = [], []
    with Platform(handler) as platform:
        for block in range(BLOCKS):
            took = joining = 0.0
            for number in range(DAY * block // BLOCKS, DAY * (block + 1) // BLOCKS):
                bucket.put(key(number), sky.photo(number), match=None)
                if number >= 300:
                    (tmp_path / key(number - 300)).unlink()  # the lifecycle rule
                began = time.process_time()
                answer = platform.invoke(s3_event(key(number), 1))
                took += time.process_time() - began
                assert answer.function_error is None, answer.payload
            milliseconds.append(1000 * (took - joining) * BLOCKS / DAY)
            resident.append(resident_bytes() >> 20)
            print(f"{number + 1} photos: {milliseconds[-1]:.2f} ms per photo, {resident[-1]} MB", flush=True)
        assert platform.invoke({"do": "finish"}).function_error is None
    found = examine(bucket.get(VIDEO)[0])

    assert found.is_sound, found
    assert list(range(DAY)) == found.numbers
    # The first block warms up: caches, the first whole groups, the published file. What grows is the playlist, by a line for
    # each group: a quarter of a millisecond by the evening, most of it the directory's, which reads and writes all of it at each flush.
    assert sum(milliseconds[-4:]) - sum(milliseconds[1:5]) < 4 * 0.5, milliseconds
    assert max(resident[-4:]) < max(resident[1:5]) + 40, resident
