"""One instance after another, and two at once: the video is one."""

from __future__ import annotations

import pytest

from examples.timelapse import manifest as manifests
from examples.timelapse.bucket import Conflict
from examples.timelapse.publish import KEY as MP4, publish
from examples.timelapse.studio.directory import DirectoryBucket
from examples.timelapse.studio.verify import examine

from .editor import Editor, key, make_options


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
        sleeper.video.load()

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

    def test_damage_while_it_runs_is_refused_each_time(self, bucket, shoot):
        """An instance with a good manifest in memory never writes over a damaged one, and goes on when that is restored."""
        shoot(*range(14))
        editor = Editor(bucket)
        editor.ring(*range(7))
        text = bucket.get(manifests.KEY)[0]
        bucket.put(manifests.KEY, text[:-9], match=None)
        for _ in range(2):
            with pytest.raises(manifests.ManifestDamaged):
                editor.ring(*range(7, 14))
        bucket.put(manifests.KEY, text, match=None)

        assert list(range(14)) == editor.finish()

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
        editor.video.flush([])
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
