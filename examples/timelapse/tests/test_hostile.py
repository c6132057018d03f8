"""Photos from somebody who wishes the function ill."""

from __future__ import annotations

import json

import pytest

from examples.timelapse.studio.directory import DirectoryBucket
from examples.timelapse.studio.hostile import spoil
from warmstate.warm.sizes import resident_bytes

from .editor import Editor, key, make_options

FOREIGN = 1 << 20
"""Hostile photos are made of good ones with numbers from here on, so that those that still decode are told apart."""


@pytest.fixture
def film(tmp_path, sky, photos):
    """Makes a video of hostile photos with a good one after every few, and checks what came of it."""

    def film(count: int) -> None:
        bucket = DirectoryBucket(tmp_path)
        editor = Editor(bucket, make_options(flush_every=60, settle=8))
        bases = [sky.photo(FOREIGN + number) for number in range(10)]
        good, number, grown = [], 0, 0
        for seed in range(count):
            bucket.put(key(number), spoil(bases[seed % 10], seed), match=None)
            editor.ring(number)
            number += 1
            if seed % 7 == 0:
                bucket.put(key(number), photos[len(good) % 130], match=None)
                good.append(len(good) % 130)
                editor.ring(number)
                number += 1
            if seed == min(500, count // 2):
                grown = -resident_bytes()
        grown += resident_bytes()
        numbers = editor.finish()
        manifest = editor.video.manifest
        bad: dict[str, str] = {}
        for name in bucket.list("video/notes/", "", 10_000):
            bad |= json.loads(bucket.get(name)[0])["bad"]

        assert good == [found for found in numbers if found is not None and found < FOREIGN]
        assert number == manifest.frames + manifest.bad
        assert manifest.bad == len(bad) >= count // 3
        assert all(bad.values())
        assert len(numbers) == manifest.frames
        assert grown < 200 << 20

    return film


def test_hostile_photos_are_skipped_and_named(film):
    """Nothing crashes; each bad photo is recorded with its reason, and each good one is in the video."""
    film(400)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_hostile_photos(film):
    """The same with ten thousand, and memory does not grow."""
    film(10_000)
