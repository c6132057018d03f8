"""The playlist that is also the record of what is committed."""

from __future__ import annotations

import gzip
import hashlib

import attrs
import pytest

from examples.timelapse.manifest import Chunk, Manifest, ManifestDamaged, _closed, from_text
from examples.timelapse.options import Options

MANIFEST = Manifest(
    frames_per_second=25,
    gop=60,
    segments=(
        Chunk("seg/00000000-aa.m4s", 60, 498_211, "init-1.mp4"),
        Chunk("seg/00000060-bb.m4s", 47, 300_000, "init-1.mp4"),
    ),
    parts=(Chunk("seg/00000107-cc.m4s", 1, 9_000, "init-2.mp4"), Chunk("seg/00000108-dd.m4s", 2, 9_001, "init-2.mp4")),
    frames=110,
    generation=3,
    owner="a1b2c3d4",
    last_key='frames/ä "quoted"\n.jpg',
    bad=2,
    late=1,
)


def test_reads_back_what_it_wrote():
    """Writing and reading a manifest loses nothing, whatever characters the key has."""
    assert MANIFEST == from_text(MANIFEST.to_text())
    assert (empty := Manifest(frames_per_second=25, gop=60)) == from_text(empty.to_text())
    assert (ended := attrs.evolve(MANIFEST, parts=(), ended=True)) == from_text(ended.to_text())


def test_is_a_playlist():
    """Players see whole GOPs as segments, the open one as parts, and a change of settings as a discontinuity."""
    assert [
        "#EXTM3U",
        "#EXT-X-VERSION:9",
        "#EXT-X-TARGETDURATION:3",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-PART-INF:PART-TARGET=2.4",
        '#EXT-X-MAP:URI="init-1.mp4"',
        "#EXTINF:2.4,",
        "seg/00000000-aa.m4s",
        "#EXTINF:1.88,",
        "seg/00000060-bb.m4s",
        "#EXT-X-DISCONTINUITY",
        '#EXT-X-MAP:URI="init-2.mp4"',
        '#EXT-X-PART:DURATION=0.04,URI="seg/00000107-cc.m4s",INDEPENDENT=YES',
        '#EXT-X-PART:DURATION=0.08,URI="seg/00000108-dd.m4s"',
    ] == MANIFEST.to_text().splitlines()[:-2]


@pytest.mark.parametrize("rate", [1, 7, 24, 30, 120])
def test_frame_counts_survive_seconds(rate):
    """Durations are written in seconds and read back as the same whole number of frames, at any rate."""
    parts = tuple(Chunk(f"seg/{n:08d}-x.m4s", n, 1, "i") for n in range(1, 121))
    manifest = Manifest(frames_per_second=rate, gop=120, parts=parts)

    assert parts == from_text(manifest.to_text()).parts


def test_a_day_stays_small():
    """86,400 frames make a manifest that goes over the wire in 50 kB, whatever its digests are."""
    segments = tuple(
        Chunk(
            f"seg/{n * 60:08d}-{hashlib.sha256(b'%d' % n).hexdigest()[:12]}.m4s",
            60,
            500_000 + 7919 * n % 50_000,
            "init-0123456789ab.mp4",
        )
        for n in range(1440)
    )
    text = Manifest(frames_per_second=25, gop=60, segments=segments, frames=86_400).to_text()

    assert len(gzip.compress(text.encode(), 6)) < 50_000


def test_whole_groups_are_written_out_once():
    """A flush adds parts; only a new group makes the lines of a day's 1,440 groups anew."""
    groups = tuple(Chunk(f"seg/{n}.m4s", 60, 1, "i") for n in range(1440))
    Manifest(frames_per_second=25, gop=60, segments=groups).to_text()
    written = _closed.cache_info().misses
    for count in range(6):
        parts = tuple(Chunk(f"parts/{n}.m4s", 10, 1, "i") for n in range(count))
        manifest = Manifest(frames_per_second=25, gop=60, segments=(*groups,), parts=parts)
        assert manifest == from_text(manifest.to_text())

    assert written == _closed.cache_info().misses
    grown = Manifest(frames_per_second=25, gop=60, segments=(*groups, Chunk("seg/new.m4s", 60, 1, "other")))
    assert grown == from_text(grown.to_text())


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda t: t[:-3],
        lambda t: t.replace("60", "61"),
        lambda t: t.replace('"generation":3', '"generation":4'),
        lambda t: "x" + t,
        lambda t: t.replace("#WARM", "#W"),
    ],
    ids=["empty", "cut", "number", "fact", "prefix", "mark"],
)
def test_damage_is_noticed(damage):
    """Whatever is not exactly what was written is refused."""
    with pytest.raises(ManifestDamaged):
        from_text(damage(MANIFEST.to_text()))


class TestOptions:
    def test_come_from_variables_of_the_same_name(self):
        """Each setting is one variable in capitals; what is not set has its default."""
        options = Options.from_environment({"BUCKET": "s3://b/p", "FLUSH_EVERY": "7", "PRESET": "fast"})

        assert ("s3://b/p", 7, "fast", 1280) == (options.bucket, options.flush_every, options.preset, options.width)

    def test_gop_is_a_whole_number_of_chunks(self):
        """About 60 frames, and never a chunk cut in two."""
        gops = {flush_every: Options(bucket="b", flush_every=flush_every).gop for flush_every in (1, 5, 7, 10, 60, 90)}

        assert {1: 60, 5: 60, 7: 56, 10: 60, 60: 60, 90: 90} == gops

    @pytest.mark.parametrize(
        ("variables", "message"),
        [
            ({}, "BUCKET"),
            ({"BUCKET": ""}, "BUCKET"),
            ({"BUCKET": "b", "WIDTH": "wide"}, "WIDTH='wide'"),
            ({"BUCKET": "b", "WIDTH": "641"}, "even"),
            ({"BUCKET": "b", "FLUSH_EVERY": "0"}, "flush_every"),
        ],
    )
    def test_bad_values_are_named(self, variables, message):
        """A setting that cannot work stops the start and says which it is."""
        with pytest.raises(ValueError, match=message):
            Options.from_environment(variables)
