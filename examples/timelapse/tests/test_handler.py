"""The function's class, in this process, on a bucket in a directory."""

from __future__ import annotations

import json

import pytest

from examples.timelapse.studio.camera import s3_event
from examples.timelapse.studio.directory import DirectoryBucket
from examples.timelapse.studio.verify import examine
from warmstate.testing import Platform


def key(number: int) -> str:
    return f"frames/2026-11-20T12-{number // 60:02d}-{number % 60:02d}.000Z.jpg"


@pytest.fixture
def bucket(tmp_path):
    return DirectoryBucket(tmp_path)


@pytest.mark.parametrize("flush_every", ["1", "5"])
@pytest.mark.parametrize(
    "told",
    [[39], [], [8, 3, 1, 0, 5], list(range(39, -1, -1)), [20, 39, 20]],
    ids=["only the last", "none", "some, in disorder", "all, backwards", "twice"],
)
def test_the_end_brings_in_what_no_event_told_of(bucket, photos, make_handler, tmp_path, flush_every, told):
    """In whatever order the first events come, the tail's front may be a photo that others sort before."""
    with Platform(make_handler(BUCKET=str(tmp_path), FLUSH_EVERY=flush_every, MAX_AGE="3600")) as platform:
        for number in range(40):
            bucket.put(key(number), photos[number], match=None)
        for number in told:
            assert platform.invoke(s3_event(key(number), 1)).function_error is None
        assert platform.invoke({"do": "finish"}).function_error is None

    found = examine(bucket.get("video/timelapse.mp4")[0])
    assert found.is_sound, found
    assert list(range(40)) == found.numbers


def test_an_instance_that_starts_late_holds_no_more_than_a_chunk(bucket, photos, make_handler, tmp_path):
    """What lies in the bucket is taken in its order, so that each flush lets go of what it wrote."""
    for number in range(130):
        bucket.put(key(number), photos[number], match=None)
    with Platform(make_handler(BUCKET=str(tmp_path), FLUSH_EVERY="5", MAX_AGE="3600")) as platform:
        answer = json.loads(platform.invoke(s3_event(key(129), 1)).payload)

    assert answer["held"] <= 5 + 8
    assert answer["frames"] >= 130 - 5 - 8


def test_catching_up_goes_on_with_the_next_event(bucket, photos, make_handler, tmp_path):
    """What the time of an invocation does not suffice for is left to the next ones, and few photos are read twice."""
    for number in range(130):
        bucket.put(key(number), photos[number], match=None)
    with Platform(make_handler(BUCKET=str(tmp_path), FLUSH_EVERY="5", MAX_AGE="3600"), timeout=60) as platform:
        read: list[str] = []

        def slow_get(self, key, start=0, end=None):
            if key.startswith("frames/"):
                platform.clock.advance(1)
                read.append(key)
            return DirectoryBucket.get(self, key, start, end)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "examples.timelapse.studio.directory.DirectoryBucket",
                type("Slow", (DirectoryBucket,), {"get": slow_get}),
            )
            answers = [platform.invoke(s3_event(key(129), 1)) for _ in range(4)]

    assert [None] * 4 == [answer.function_error for answer in answers]
    frames = [json.loads(answer.payload)["frames"] for answer in answers]
    assert 40 <= frames[0] <= 50
    assert 80 <= frames[1] <= 100
    assert frames[3] >= 130 - 5 - 8
    assert len(read) < 1.2 * 130, [frames, len(read)]
