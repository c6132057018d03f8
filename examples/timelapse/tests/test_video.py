"""The growing video, driven step by step without a runtime around it."""

from __future__ import annotations

import io
import itertools
import json
from typing import TYPE_CHECKING

import pytest

from examples.timelapse import manifest as manifests
from examples.timelapse.bucket import Conflict, Refused
from examples.timelapse.options import Options
from examples.timelapse.publish import KEY as MP4, publish
from examples.timelapse.studio.directory import DirectoryBucket
from examples.timelapse.studio.verify import examine, join_live
from examples.timelapse.video import Video

if TYPE_CHECKING:
    from PIL import Image


def key(number: int) -> str:
    """Photo keys, a second apart."""
    return f"frames/2026-11-20T{number // 3600:02d}-{number // 60 % 60:02d}-{number % 60:02d}.000Z.jpg"


def make_options(**changes) -> Options:
    return Options(**{"bucket": "-", "width": 320, "height": 180, "flush_every": 5, "settle": 2} | changes)


class Editor:
    """What the handler does with a video, on a plain list as tail and a clock that stands still."""

    def __init__(self, bucket, options: Options | None = None) -> None:
        self.bucket, self.options, self.now = bucket, options or make_options(), 0.0
        self.tail = []
        self.video = Video(bucket, self.options, lambda: self.now)

    def catch_up(self, end: str = "g") -> None:
        """Takes the photos before `end` whose events never came."""
        for name in self.bucket.list("frames/", self.video.manifest.last_key, 1000):
            if name < end:
                self.take(name)

    def take(self, name: str) -> None:
        if self.video.wants(name) and all(photo.key != name for photo in self.tail):
            photo = self.video.fetch(self.bucket, name)
            if photo:
                self.tail.append(photo)
        self.video.encode_settled(self.tail)
        if len(self.tail) >= self.options.flush_every + self.options.settle:
            self.flush()

    def ring(self, *numbers: int) -> None:
        """Doorbells for photos."""
        for number in numbers:
            self.take(key(number))

    def flush(self, **how) -> None:
        del self.tail[: self.video.flush(self.bucket, list(self.tail), **how)]

    def finish_what_is_there(self) -> manifests.Manifest:
        """Tries to end the video."""
        self.flush(ended=True)
        return self.video.manifest

    def finish(self) -> list[int | None]:
        """Ends the video and gives the numbers of the photos in it; live and published must agree."""
        self.catch_up()
        self.flush(ended=True)
        publish(self.bucket, self.video.manifest)
        published, live = examine(self.bucket.get(MP4)[0]), examine(join_live(self.bucket))

        assert published.is_sound, published
        assert live == published
        return published.numbers


@pytest.fixture
def shoot(bucket, photos):
    """Puts photos into the bucket."""

    def put(*numbers: int) -> None:
        for number in numbers:
            bucket.put(key(number), photos[number], match=None)

    return put


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
            editor = Editor(bucket, make_options(flush_every=flush_every))
            editor.video.load(_Fresh(bucket))
            editor.bucket = _Fresh(bucket)
            editor.ring(*range(130))
            editor.flush(ended=True)
            sizes[flush_every] = sum(chunk.size for chunk in editor.video.manifest.segments)

        assert sizes[1] < sizes[60] + 130 * 120


class _Fresh:
    """A bucket with the photos of another and a video of its own."""

    def __init__(self, bucket) -> None:
        self._photos, self._video = bucket, {}

    def get(self, key, start=0, end=None):
        from examples.timelapse.bucket import Missing

        if not key.startswith("video/"):
            return self._photos.get(key, start, end)
        if key not in self._video:
            raise Missing(key)
        return self._video[key][start:end], "etag"

    def put(self, key, data, *, match):
        self._video[key] = data
        return "etag"

    def list(self, prefix, after, limit):
        return self._photos.list(prefix, after, limit)

    def test_resting_closes_the_group(self, bucket, shoot):
        """When the camera sleeps the open GOP becomes a segment, so that plain players see it and no part is needed any more."""
        shoot(*range(20))
        editor = Editor(bucket)
        editor.ring(*range(12))
        assert [5, 5] == [part.frames for part in editor.video.manifest.parts]
        editor.video.flush(bucket, [])
        generation = editor.video.manifest.generation
        editor.video.flush(bucket, [])

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
            editor = Editor(_Fresh(bucket), make_options(flush_every=flush_every))
            editor.ring(*range(130))

            assert len(editor.video.manifest.parts) == len(editor.video._part_bytes)


class TestRecovery:
    def test_another_instance_goes_on(self, bucket, shoot):
        """Whatever an instance had in memory when it died, the next one's video is complete and decodes without a gap."""
        shoot(*range(40))
        for start in range(0, 40, 10):
            editor = Editor(bucket)
            editor.ring(*range(start, start + 9))

        assert list(range(40)) == editor.finish()

    def test_whole_groups_are_the_same_bytes(self, tmp_path, photos):
        """With chunks of whole GOPs, dying changes not one byte of the video."""
        files = []
        for deaths in (set(), {10, 75, 76, 129}):
            bucket = DirectoryBucket(tmp_path / str(len(deaths)))
            for number in range(130):
                bucket.put(key(number), photos[number], match=None)
            editor = Editor(bucket, make_options(flush_every=60))
            for number in range(130):
                if number in deaths:
                    editor = Editor(bucket, make_options(flush_every=60))
                    editor.catch_up(key(number))
                editor.ring(number)
            editor.finish()
            files.append(bucket.get(MP4)[0])

        assert files[0] == files[1]

    def test_hurry_commits_what_is_encoded_and_fetches_nothing(self, bucket, shoot):
        """At shutdown the tail up to the first hole is committed, less what must settle; the hole is filled by the next instance."""
        shoot(*range(12))
        editor = Editor(bucket, make_options(flush_every=60))
        editor.ring(*(number for number in range(12) if number != 6))
        editor.video.hurry = True
        editor.flush()

        assert 6 == editor.video.manifest.frames
        heir = Editor(bucket)
        heir.ring(*range(12))
        assert list(range(12)) == heir.finish()


class TestFencing:
    def test_a_zombie_does_no_harm(self, bucket, shoot):
        """An instance that slept while another one went on loses its commit, reads what there is, and goes on from there."""
        shoot(*range(30))
        zombie, other = Editor(bucket), Editor(bucket)
        zombie.ring(*range(4))
        other.ring(*range(14))
        zombie.ring(*range(4, 30))

        assert 1 == zombie.video.fenced
        assert list(range(30)) == zombie.finish()

    def test_two_at_once_make_one_video(self, bucket, shoot):
        """Two live instances that share the events are slower than one, and not wrong."""
        shoot(*range(40))
        editors = [Editor(bucket), Editor(bucket)]
        for number in range(40):
            editors[number % 2].ring(number)

        assert sum(editor.video.fenced for editor in editors) > 0
        assert list(range(40)) == editors[0].finish()

    def test_refresh_notices_another_writer(self, bucket, shoot):
        """After a long freeze one request tells whether anything must be read again."""
        shoot(*range(14))
        sleeper, other = Editor(bucket), Editor(bucket)
        sleeper.ring(0)
        other.ring(*range(14))
        sleeper.video.load(bucket)

        assert other.video.manifest == sleeper.video.manifest

    def test_damaged_manifest_is_refused(self, bucket, shoot):
        """A manifest with a flipped byte stops the function instead of becoming the video's new truth."""
        shoot(*range(14))
        editor = Editor(bucket)
        editor.ring(*range(14))
        text = bucket.get(manifests.KEY)[0]
        bucket.put(
            manifests.KEY, text.replace(b"#EXTINF:0", b"#EXTINF:9").replace(b"DURATION=0", b"DURATION=9"), match=None
        )

        with pytest.raises(manifests.ManifestDamaged, match="previous version"):
            Editor(bucket)
        bucket.put(manifests.KEY, text[: len(text) // 2], match=None)
        with pytest.raises(manifests.ManifestDamaged):
            Editor(bucket)

    def test_gives_up_when_it_always_loses(self, bucket, shoot):
        """An instance that never wins says so instead of trying for ever; its photos wait for the next flush."""
        shoot(*range(7))
        editor = Editor(bucket)
        editor.ring(*range(6))
        real = editor.bucket.put

        def always_late(name, data, *, match):
            if name == manifests.KEY:
                raise Conflict(name)
            return real(name, data, match=match)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(bucket), "put", lambda _self, name, data, *, match: always_late(name, data, match=match))
            with pytest.raises(Conflict, match="times another instance"):
                editor.ring(6)
        assert list(range(7)) == editor.finish()


class TestPublishing:
    def test_after_a_conflict_publishing_goes_on_from_what_is_there(self, bucket, shoot, monkeypatch):
        """Whether another instance published or its own answer was lost: it reads the file, and goes on from there."""
        shoot(*range(30))
        editor = Editor(bucket)
        editor.ring(*range(20))
        editor.video.flush(bucket, [])
        real = type(bucket).compose

        def compose_and_lose_the_answer(bucket, *arguments, **how):
            real(bucket, *arguments, **how)
            raise Conflict

        with monkeypatch.context() as patch:
            patch.setattr(type(bucket), "compose", compose_and_lose_the_answer)
            with pytest.raises(Conflict):
                publish(bucket, editor.video.manifest)
        assert list(range(15)) == examine(bucket.get(MP4)[0]).numbers
        editor.ring(*range(20, 30))
        assert 15 == publish(bucket, editor.video.manifest, 20)
        assert list(range(15)) == examine(bucket.get(MP4)[0]).numbers
        assert 25 == publish(bucket, editor.video.manifest, 10)

        assert list(range(25)) == examine(bucket.get(MP4)[0]).numbers
        assert list(range(30)) == editor.finish()


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


def _jpeg(picture: Image.Image, **how) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90, **how)
    return file.getvalue()


class Guarded:
    """A bucket that refuses some photos, or all, though it lists them."""

    def __init__(self, bucket, *refused: str) -> None:
        self._bucket, self.refused = bucket, set(refused)

    def __getattr__(self, name):
        return getattr(self._bucket, name)

    def get(self, key, start=0, end=None):
        if key in self.refused or ("*" in self.refused and key.startswith("frames/")):
            raise Refused(f"{key}: 403 AccessDenied")
        return self._bucket.get(key, start, end)


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
        """When others could be read meanwhile for ten minutes, it is that photo's fault: it is bad, and the reason says why."""
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
        assert f"refused for 600 s while others were read: {key(6)}: 403 AccessDenied" == reason

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
