"""Photos that the store does not give, and those that are none."""

from __future__ import annotations

import json

import pytest

from examples.timelapse.studio.directory import DirectoryBucket

from .editor import Editor, Guarded, key


class TestRefusedPhotos:
    def test_a_refusal_that_ends_loses_nothing(self, bucket, shoot):
        """The video waits in front of a photo that it may not read, and goes on when it may; nothing is encoded in vain."""
        shoot(*range(30))
        guarded = Guarded(bucket, key(8))
        editor = Editor(guarded)
        for number in range(20):
            editor.now += 1
            editor.ring(number)
            if number == 10:
                encoder = editor.video._encoder

        assert 5 == editor.video.manifest.frames
        assert encoder is editor.video._encoder
        assert not editor.finish_what_is_there().ended
        guarded.refused.clear()
        editor.ring(*range(20, 30))
        assert list(range(30)) == editor.finish()
        assert 0 == editor.video.manifest.bad

    def test_a_photo_that_stays_refused_is_skipped_and_named(self, bucket, shoot):
        """When others can be read after ten minutes, it is that photo's fault: it is bad, and the reason says why."""
        shoot(*range(30))
        editor = Editor(Guarded(bucket, key(6), key(29)))
        editor.ring(*range(10))
        editor.now += 599
        editor.ring(*range(10, 20))
        assert 6 == editor.finish_what_is_there().frames
        editor.now += 1
        editor.ring(*range(20, 29))

        assert [number for number in range(29) if number != 6] == editor.finish()
        (note,) = bucket.list("video/notes/", "", 10)
        reason = json.loads(bucket.get(note)[0])["bad"][key(6)]
        assert f"refused for 600 s, and others are not: {key(6)}: 403 AccessDenied" == reason

    @pytest.mark.parametrize("every", [1, 2])
    def test_many_refused_ones_do_not_take_ten_minutes_each(self, bucket, shoot, every):
        """However many photos of a time span are refused, in a row or every other, each waits since its own event."""
        shoot(*range(80))
        editor = Editor(Guarded(bucket, *map(key, range(10, 60, every))))
        editor.ring(*range(70))
        editor.now += 600
        editor.ring(*range(70, 80))

        assert [*range(10), *(range(11, 60, 2) if every == 2 else ()), *range(60, 80)] == editor.finish()
        assert 50 // every == editor.video.manifest.bad

    def test_when_all_are_refused_it_is_no_photos_fault(self, bucket, shoot):
        """However long nothing may be read, nothing is skipped."""
        shoot(*range(12))
        guarded = Guarded(bucket, "*")
        editor = Editor(guarded)
        for number in range(12):
            editor.now += 1000
            editor.ring(number)
        guarded.refused.clear()

        assert list(range(12)) == editor.finish()
        assert 0 == editor.video.manifest.bad

    def test_what_another_instance_could_read_is_waited_for_no_longer(self, bucket, shoot):
        """Rights may differ between instances for a while: whoever loses to one that could read goes on behind it."""
        shoot(*range(20))
        barred, other = Editor(Guarded(bucket, key(3))), Editor(bucket)
        barred.ring(*range(12))
        other.ring(*range(12))
        barred.ring(*range(12, 20))

        assert list(range(20)) == barred.finish()
        assert 0 == barred.video.manifest.bad

    def test_a_refused_photo_that_is_deleted_holds_up_nothing(self, bucket, shoot):
        """Who removes what cannot be read lets the video go on at once."""
        shoot(*range(12))
        guarded = Guarded(bucket, key(6))
        editor = Editor(guarded)
        editor.ring(*range(12))
        guarded.refused.clear()
        if not isinstance(bucket, DirectoryBucket):
            return
        bucket._path(key(6)).unlink()

        assert [number for number in range(12) if number != 6] == editor.finish()


class TestBadPhotos:
    def test_bad_ones_are_recorded_and_the_good_ones_there(self, bucket, photos):
        """What cannot be a frame is skipped, counted and named with its reason; its neighbours are in the video."""
        bad = {2: b"", 3: b"no photo", 5: photos[5][:-1000], 6: b"\x89PNG\r\n\x1a\n" + bytes(100), 11: photos[11][:20]}
        for number in range(14):
            bucket.put(key(number), bad.get(number, photos[number]), match=None)
        editor = Editor(bucket)
        editor.ring(*range(14))
        numbers = editor.finish()
        notes = b"".join(bucket.get(name)[0] for name in bucket.list("video/notes/", "", 10))

        assert [number for number in range(14) if number not in bad] == numbers
        assert len(bad) == editor.video.manifest.bad
        assert all(key(number).encode() in notes for number in bad)

    def test_nothing_but_bad_photos_moves_on(self, bucket):
        """A camera that sends garbage for hours costs no loop and no memory: its photos are decided too."""
        for number in range(40):
            bucket.put(key(number), b"garbage", match=None)
        editor = Editor(bucket)
        editor.ring(*range(40))

        assert len(editor.tail) <= editor.options.flush_every + editor.options.settle
        assert editor.video.manifest.bad >= 30
        assert 0 == editor.video.manifest.frames
