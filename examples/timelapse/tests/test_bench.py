"""What the measurements compare really makes videos."""

from __future__ import annotations

import datetime
import os

import pytest

from examples.timelapse.bench.designs import (
    Classic,
    MicroBatches,
    OpenGroup,
    SegmentPerPhoto,
    Warm,
    WholeVideo,
    find_ffmpeg,
)
from examples.timelapse.bench.measure import bytes_per_frame
from examples.timelapse.bench.video import Footage
from examples.timelapse.studio.camera import key_of
from examples.timelapse.studio.directory import DirectoryBucket
from examples.timelapse.studio.verify import examine

from .editor import make_options

OPTIONS = make_options(flush_every=60, settle=8)
NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.timezone.utc)
BEFORE = 70
"""Frames that the video has before: a whole group and some."""


@pytest.fixture
def extend(tmp_path, photos, monkeypatch):
    """Lets a design append photos to a video of 70, and gives the numbers of the photos in it then."""
    for name in ("BUCKET", "FLUSH_EVERY", "PUBLISH_EVERY", "MAX_AGE"):
        monkeypatch.setenv(name, "-")  # what a design sets is undone
    monkeypatch.setenv("WIDTH", "320")
    monkeypatch.setenv("HEIGHT", "180")

    def extend(design, count: int, store=None) -> list[int | None]:
        store = store or DirectoryBucket(tmp_path)
        keys = [key_of(NOON + datetime.timedelta(seconds=second)) for second in range(count + 1)]
        for number, key in enumerate(keys[1:]):
            store.put(key, photos[number], match=None)
        design.prepare(store, Footage(OPTIONS, photos), BEFORE, keys[0])
        for start in range(1, count + 1, design.batch):
            design.append(keys[start : start + design.batch])
        found = examine(design.video())
        design.close()
        assert [] == found.gaps, found
        return found.numbers

    return extend


PLANTED = [*range(60), *range(10)]


@pytest.mark.parametrize(
    ("design", "planted"),
    [
        (WholeVideo(OPTIONS), PLANTED),
        (MicroBatches(OPTIONS, 10), [*range(10)] * 7),
        (MicroBatches(OPTIONS, 60), PLANTED),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_stateless_designs_append_each_photo(extend, design, planted):
    """A video of 70 frames as the design would have left it, and the photos appended to it."""
    count = 2 * design.batch

    assert [*planted, *range(count)] == extend(design, count)


def test_a_segment_per_photo_holds_frames_that_stand_alone(extend):
    """The planted video is what this design leaves: a chunk for each photo, here of the same one."""
    assert [*[0] * BEFORE, 0, 1, 2] == extend(SegmentPerPhoto(OPTIONS), 3)


def test_the_open_group_is_encoded_again(extend):
    """The last group gives way to one with four earlier photos and the new one: the fifth of its places."""
    assert [*range(60), 0, 1, 2, 3, 0] == extend(OpenGroup(OPTIONS), 1)


@pytest.mark.process
def test_the_classic_way_appends_each_photo(extend, s3_bucket, seaweed, monkeypatch):
    """The program and the calls that most tutorials use make the same of it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", seaweed.url)
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        pytest.skip("neither ffmpeg nor the package imageio-ffmpeg is installed")

    assert [*PLANTED, 0, 1] == extend(Classic(OPTIONS, ffmpeg, f"s3://tests/{s3_bucket.prefix[:-1]}"), 2, s3_bucket)


@pytest.mark.parametrize("flush_every", [1, 10, 60])
def test_the_warm_function_appends_each_photo(extend, tmp_path, flush_every):
    """Whole groups are planted for it, so that it flushes alike at every length; the newest photos still wait to settle."""
    assert [*range(60), *range(60)] == extend(Warm(OPTIONS, flush_every, str(tmp_path)), 68)
    assert str(tmp_path) == os.environ["BUCKET"]


def test_a_chunk_of_its_own_costs_a_whole_picture(photos):
    """Without state each chunk begins with a frame that stands alone; with a warm encoder its length does not matter."""
    cold, warm = bytes_per_frame(OPTIONS, photos, 1, count=60)
    cold_60, warm_60 = bytes_per_frame(OPTIONS, photos, 60, count=60)

    assert cold > 3 * warm
    assert cold_60 == warm_60
    assert warm < warm_60 + 120
