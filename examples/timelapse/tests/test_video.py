"""How the video grows: which photos enter, when, and in what chunks."""

from __future__ import annotations

import itertools

import pytest

from examples.timelapse import manifest as manifests
from examples.timelapse.publish import KEY as MP4
from examples.timelapse.studio.directory import DirectoryBucket

from .editor import Editor, Fresh, key, make_options


class TestGrowing:
    def test_each_photo_once_in_order(self, bucket, shoot):
        """A photo after another becomes a video of all of them; chunks are committed as they fill."""
        shoot(*range(33))
        editor = Editor(bucket)
        editor.ring(*range(33))

        assert 30 == editor.video.manifest.frames
        assert list(range(33)) == editor.finish()

    def test_nothing_is_committed_before_it_settles(self, bucket, shoot):
        """The newest photos wait until late ones can no longer sort in before them."""
        shoot(*range(7))
        editor = Editor(bucket)
        editor.ring(*range(6))

        assert 0 == editor.video.manifest.frames
        editor.ring(6)
        assert 5 == editor.video.manifest.frames

    def test_waiting_long_settles_too(self, bucket, shoot):
        """When the camera stops, a later tick brings in the last photos."""
        shoot(*range(3))
        editor = Editor(bucket)
        editor.ring(*range(3))
        editor.now += editor.options.max_age
        editor.flush()

        assert 3 == editor.video.manifest.frames

    def test_duplicates_and_disorder_change_nothing(self, bucket, shoot):
        """Events that come twice or overtake each other lead to the very same bytes."""
        shoot(*range(40))
        orderly, disorderly = Editor(bucket), None
        orderly.ring(*range(40))
        orderly.finish()
        want = bucket.get(MP4)[0]
        for path in bucket.list("video/", "", 1000):
            if isinstance(bucket, DirectoryBucket):
                bucket._path(path).unlink()
        if not isinstance(bucket, DirectoryBucket):
            return
        disorderly = Editor(bucket)
        disorderly.ring(*itertools.chain.from_iterable((n + 1, n, n) for n in range(0, 40, 2)))
        disorderly.finish()

        assert want == bucket.get(MP4)[0]

    def test_lost_events_are_found_by_listing(self, bucket, shoot):
        """No commit passes over a photo whose event never came."""
        shoot(*range(20))
        editor = Editor(bucket)
        editor.ring(*(number for number in range(20) if number % 4))

        assert list(range(20)) == editor.finish()

    def test_a_photo_that_vanished_is_skipped(self, bucket, shoot):
        """An event for a photo that is gone is no error."""
        shoot(0, 2, 3)
        editor = Editor(bucket)
        editor.ring(0, 1, 2, 3)

        assert [0, 2, 3] == editor.finish()

    def test_an_event_for_what_never_was_holds_up_nothing(self, bucket, shoot):
        """A key that the bucket does not list, even one behind all others, is let go of at the next flush and decides nothing."""
        shoot(*range(12))
        editor = Editor(bucket)
        editor.ring(99, *range(12))

        assert (10, [key(10), key(11)]) == (editor.video.manifest.frames, [bell.key for bell in editor.tail])
        assert key(9) == editor.video.manifest.last_key
        assert list(range(12)) == editor.finish()

    def test_an_event_that_comes_before_its_photo_keeps_it_in(self, bucket, shoot):
        """What is not there when it could be encoded, and is when the flush lists it, is a photo as any other."""
        shoot(*(number for number in range(12) if number != 3))
        editor = Editor(bucket)
        editor.ring(*range(6))
        shoot(3)
        editor.ring(*range(6, 12))

        assert list(range(12)) == editor.finish()
        assert 0 == editor.video.manifest.bad

    def test_late_photos_are_left_out_counted_and_named(self, bucket, shoot):
        """A photo that sorts before the last committed one stays out, and the manifest and a note say so; a duplicate is no such photo."""
        shoot(*(number for number in range(12) if number != 3))
        editor = Editor(bucket)
        editor.ring(*(number for number in range(12) if number != 3))
        shoot(3)
        editor.ring(3, 3, 4)
        numbers = editor.finish()
        (note,) = bucket.list("video/notes/", "", 10)

        assert [number for number in range(12) if number != 3] == numbers
        assert 1 == editor.video.manifest.late
        assert b"00-00-03" in bucket.get(note)[0]

    @pytest.mark.parametrize("rung", [(), (47,), (3, 20)])
    def test_the_end_brings_in_what_no_event_told_of(self, bucket, shoot, rung):
        """However many events were lost, and wherever those that came lie, a video that is ended has every photo."""
        shoot(*range(48))
        editor = Editor(bucket)
        editor.ring(*rung)
        manifest = editor.finish_what_is_there()

        assert (48, True) == (manifest.frames, manifest.ended)
        assert [48] == [chunk.frames for chunk in manifest.segments]
        assert list(range(48)) == editor.finish()

    def test_goes_on_after_its_end(self, bucket, shoot):
        """A video that was ended grows again when a photo comes."""
        shoot(*range(5))
        editor = Editor(bucket)
        editor.ring(*range(5))
        editor.finish()
        assert editor.video.manifest.ended
        shoot(*range(5, 12))
        editor.ring(*range(5, 12))

        assert not editor.video.manifest.ended
        assert list(range(12)) == editor.finish()
        assert [5, 7] == [chunk.frames for chunk in editor.video.manifest.segments]


class TestOpenGroup:
    @pytest.mark.parametrize("flush_every", [1, 7, 60])
    def test_parts_become_one_segment(self, bucket, shoot, flush_every):
        """However often it is flushed, a complete GOP is one line of the playlist, and begins with its only IDR frame."""
        shoot(*range(130))
        editor = Editor(bucket, make_options(flush_every=flush_every))
        editor.ring(*range(130))
        manifest = editor.video.manifest
        gop = editor.options.gop

        assert 128 // flush_every * flush_every == manifest.frames
        assert [gop] * (manifest.frames // gop) == [chunk.frames for chunk in manifest.segments]
        assert list(range(130)) == editor.finish()

    def test_frequent_flushes_cost_no_video_bytes(self, bucket, shoot):
        """A warm encoder makes flushing each photo as cheap as flushing 60: only the chunks' own headers are added."""
        shoot(*range(130))
        sizes = {}
        for flush_every in (1, 60):
            editor = Editor(Fresh(bucket), make_options(flush_every=flush_every))
            editor.ring(*range(130))
            editor.flush(ended=True)
            sizes[flush_every] = sum(chunk.size for chunk in editor.video.manifest.segments)

        assert sizes[1] < sizes[60] + 130 * 120

    def test_resting_closes_the_group(self, bucket, shoot):
        """When the camera sleeps the open GOP becomes a segment, so that plain players see it and no part is needed any more."""
        shoot(*range(20))
        editor = Editor(bucket)
        editor.ring(*range(12))
        assert [5, 5] == [part.frames for part in editor.video.manifest.parts]
        editor.video.flush([])
        generation = editor.video.manifest.generation
        editor.video.flush([])

        assert [10] == [chunk.frames for chunk in editor.video.manifest.segments]
        assert () == editor.video.manifest.parts
        assert generation == editor.video.manifest.generation
        assert not editor.video.manifest.ended
        editor.ring(*range(12, 20))
        assert list(range(20)) == editor.finish()

    def test_memory_holds_no_more_than_the_open_group(self, bucket, shoot):
        """The bytes of chunks are kept only as long as they may have to be joined."""
        shoot(*range(130))
        for flush_every in (10, 60):
            editor = Editor(Fresh(bucket), make_options(flush_every=flush_every))
            editor.ring(*range(130))

            assert len(editor.video.manifest.parts) == len(editor.video._part_bytes)


class TestSettingsChange:
    def test_new_settings_start_a_discontinuity_that_plays(self, bucket, shoot):
        """Another quality or size starts a chapter with its own init segment; the published file decodes through the change."""
        shoot(*range(30))
        first = Editor(bucket)
        first.ring(*range(12))
        second = Editor(bucket, make_options(crf=30))
        second.ring(*range(12, 24))
        playlist = bucket.get(manifests.KEY)[0].decode()
        third = Editor(bucket, make_options(width=480, height=270, preset="medium"))
        third.ring(*range(24, 30))

        assert 1 == playlist.count("#EXT-X-DISCONTINUITY")
        assert 2 == playlist.count("#EXT-X-MAP")
        assert list(range(30)) == third.finish()

    def test_a_video_keeps_its_clock(self, bucket, shoot):
        """Frames per second are the video's own: another setting later on does not tear its time line."""
        shoot(*range(20))
        Editor(bucket).ring(*range(12))
        second = Editor(bucket, make_options(frames_per_second=10, flush_every=90, settle=0))
        second.ring(*range(12, 20))

        assert list(range(20)) == second.finish()
        assert 25 == second.video.manifest.frames_per_second
        assert 90 == second.video.manifest.gop
