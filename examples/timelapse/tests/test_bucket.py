"""What the video relies on, checked for every bucket there is."""

from __future__ import annotations

import multiprocessing
import threading

import pytest

from examples.timelapse.bench.meter import Meter
from examples.timelapse.bucket import ABSENT, Conflict, Copy, Missing, Refused, open_bucket
from examples.timelapse.s3 import S3Bucket
from examples.timelapse.studio.directory import DirectoryBucket

BIG = 5 << 20


class TestReading:
    def test_gives_what_was_put_with_its_etag(self, bucket):
        """An object comes back whole, under the etag that its write returned."""
        etag = bucket.put("a/b.txt", b"hello", match=None)

        assert (b"hello", etag) == bucket.get("a/b.txt")

    def test_gives_a_range(self, bucket):
        """A range ends before `end`, and at the end of the object at the latest."""
        bucket.put("r", b"0123456789", match=None)

        assert b"234" == bucket.get("r", 2, 5)[0]
        assert b"89" == bucket.get("r", 8)[0]
        assert b"0123456789" == bucket.get("r", 0, 99)[0]

    def test_range_of_an_empty_object_is_empty(self, bucket):
        """An upload of zero bytes reads as nothing, also in a range."""
        bucket.put("empty", b"", match=None)

        assert b"" == bucket.get("empty", end=100)[0]
        assert b"" == bucket.get("empty")[0]

    @pytest.mark.parametrize("key", ["none", "none/../none", "a" * 1000, "ä/ü b+c.jpg"])
    def test_missing_object_is_named(self, bucket, key):
        """Whatever the key, an object that is not there is Missing."""
        with pytest.raises(Missing):
            bucket.get(key)

    def test_keys_are_taken_literally(self, bucket):
        """Spaces, plus signs, percent signs and other scripts are part of the name."""
        key = "frames/Ä b+c%20d é雲.jpg"
        bucket.put(key, b"x", match=None)

        assert b"x" == bucket.get(key)[0]
        assert [key] == bucket.list("frames/", "", 10)


class TestListing:
    def test_sorts_and_continues_behind_a_key(self, bucket):
        """A listing is in order, begins behind `after`, and ends at `limit`."""
        for name in ("frames/3", "frames/1", "frames/2", "video/1", "framesx"):
            bucket.put(name, b"x", match=None)

        assert ["frames/1", "frames/2", "frames/3"] == bucket.list("frames/", "", 10)
        assert ["frames/2"] == bucket.list("frames/", "frames/1", 1)
        assert [] == bucket.list("frames/", "frames/3", 10)
        assert [] == bucket.list("nothing/", "", 10)

    def test_goes_on_over_pages(self, bucket):
        """More keys than one page of S3 holds come in one listing."""
        for number in range(1005):
            bucket.put(f"frames/{number:04d}", b"", match=None)

        assert [f"frames/{number:04d}" for number in range(1004)] == bucket.list("frames/", "", 1004)

    def test_includes_folders_inside(self, bucket):
        """Keys may go through folders of the same depth; order is that of the whole key."""
        for name in ("frames/b/1", "frames/a/2", "frames/a/1"):
            bucket.put(name, b"x", match=None)

        assert ["frames/a/1", "frames/a/2", "frames/b/1"] == bucket.list("frames/", "", 10)

    @pytest.mark.process
    def test_a_folder_is_no_object_in_it(self, s3_bucket):
        """S3's console makes empty objects for folders; one that sorts behind the photos would make all that come too late."""
        for name in (
            "frames/",
            "frames/1",
            "frames/a/",
            "frames/a/2",
            "frames/b/",
            "frames/b/c/",
            "frames/d/3",
            "frames/z/",
        ):
            s3_bucket.put(name, b"", match=None)

        assert ["frames/1", "frames/a/2", "frames/d/3"] == s3_bucket.list("frames/", "", 10)
        assert ["frames/1", "frames/a/2"] == s3_bucket.list("frames/", "", 2)
        assert ["frames/d/3"] == s3_bucket.list("frames/", "frames/a/2", 2)


class TestConditions:
    def test_creates_only_what_is_absent(self, bucket):
        """With ABSENT an object is created, never replaced."""
        bucket.put("k", b"first", match=ABSENT)

        with pytest.raises(Conflict):
            bucket.put("k", b"second", match=ABSENT)
        assert b"first" == bucket.get("k")[0]

    def test_replaces_only_what_was_read(self, bucket):
        """With an etag only that version is replaced; a stale one changes nothing."""
        old = bucket.put("k", b"1", match=None)
        new = bucket.put("k", b"2", match=old)

        with pytest.raises(Conflict):
            bucket.put("k", b"3", match=old)
        assert (b"2", new) == bucket.get("k")

    def test_replaces_nothing_that_is_gone(self, bucket):
        """An etag of an object that does not exist is a conflict."""
        etag = bucket.put("other", b"1", match=None)

        with pytest.raises(Conflict):
            bucket.put("k", b"2", match=etag)
        with pytest.raises(Missing):
            bucket.get("k")

    def test_repeating_a_write_is_no_conflict(self, bucket):
        """Who writes what is there already has written it: so a lost acknowledgement looks like success."""
        first = bucket.put("k", b"mine", match=ABSENT)

        assert first == bucket.put("k", b"mine", match=ABSENT)
        assert first == bucket.put("k", b"mine", match="a stale etag")

    def test_one_of_many_threads_wins_each_round(self, bucket):
        """Compare-and-set by many writers counts every success exactly once."""
        bucket.put("n", b"0", match=None)
        wins = []

        def add(name: int) -> None:
            for _ in range(10):
                data, etag = bucket.get("n")
                try:
                    bucket.put("n", b"%d %d" % (int(data.split()[0]) + 1, name), match=etag)
                    wins.append(1)
                except Conflict:
                    pass

        threads = [threading.Thread(target=add, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(wins) == int(bucket.get("n")[0].split()[0])


class TestComposing:
    def test_joins_bytes_and_a_copy_of_itself(self, bucket):
        """A new head, a copied middle and a new end make the next version of the same object."""
        old = bytes(range(256)) * (2 * BIG // 256)
        etag = bucket.put("file", old, match=None)
        head = b"h" * BIG
        new = bucket.compose("file", [head, Copy("file", BIG, 2 * BIG, etag), b"end"], match=etag)

        assert (head + old[BIG:] + b"end", new) == bucket.get("file")

    def test_refuses_when_the_target_changed(self, bucket):
        """Two publishers cannot both replace the same version."""
        etag = bucket.put("file", b"x" * 2 * BIG, match=None)
        bucket.put("file", b"y" * 2 * BIG, match=etag)

        with pytest.raises(Conflict):
            bucket.compose("file", [b"h" * BIG, b"end"], match=etag)
        assert b"y" == bucket.get("file", 0, 1)[0]

    def test_creates_only_what_is_absent(self, bucket):
        """A composed object obeys ABSENT as a put one does."""
        bucket.compose("file", [b"h" * BIG, b"end"], match=ABSENT)

        with pytest.raises(Conflict):
            bucket.compose("file", [b"g" * BIG, b"end"], match=ABSENT)
        with pytest.raises(Conflict):
            bucket.compose("file", [b"one piece"], match=ABSENT)
        assert b"h" == bucket.get("file", 0, 1)[0]

    def test_copies_only_the_version_it_was_told(self, bucket):
        """A source that changed under the copy is a conflict."""
        etag = bucket.put("source", b"x" * 2 * BIG, match=None)
        bucket.put("source", b"y" * 2 * BIG, match=etag)

        with pytest.raises(Conflict):
            bucket.compose("file", [b"h" * BIG, Copy("source", 0, BIG, etag), b"end"], match=ABSENT)
        with pytest.raises(Missing):
            bucket.get("file")


def _count_up(root: str, name: int, rounds: int) -> int:
    bucket, wins = DirectoryBucket(root), 0
    for _ in range(rounds):
        data, etag = bucket.get("n")
        try:
            bucket.put("n", b"%d %d" % (int(data.split()[0]) + 1, name), match=etag)
            wins += 1
        except Conflict:
            pass
    return wins


@pytest.mark.process
def test_directory_keeps_conditions_between_processes(tmp_path):
    """The lock of a directory bucket holds between processes, not only between threads."""
    DirectoryBucket(tmp_path).put("n", b"0", match=None)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        wins = pool.starmap(_count_up, [(str(tmp_path), name, 50) for name in range(3)])

    assert sum(wins) == int(DirectoryBucket(tmp_path).get("n")[0].split()[0])


@pytest.mark.process
@pytest.mark.parametrize("there", [b"#EXTM3U", b"\x1f\x8b no gzip", b""])
def test_playlist_is_packed_on_its_way(s3_bucket, there):
    """A playlist comes back as it was, whoever put it there; on its way to S3 its lines take a third of their bytes."""
    text = b"".join(b"#EXTINF:2.4,498211\nseg/%08d-5be1a3f0c2d4.m4s\n" % n for n in range(1440))
    with Meter() as meter:
        etag = s3_bucket.put("video/live.m3u8", text, match=None)

    assert (text, etag) == s3_bucket.get("video/live.m3u8")
    assert 1 == meter.requests
    assert meter.bytes_moved < len(text) / 3
    s3_bucket._send("PUT", "video/live.m3u8", body=there)
    assert there == s3_bucket.get("video/live.m3u8")[0]


@pytest.mark.process
def test_what_a_stranger_may_not_is_refused(s3_bucket, seaweed, monkeypatch):
    """A wrong secret is no missing object, no conflict and no reason to try again: each operation says what the store said."""
    s3_bucket.put("k", b"1", match=None)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    stranger = S3Bucket("tests", s3_bucket.prefix, endpoint_url=seaweed.url)
    for operation in (
        lambda: stranger.get("k"),
        lambda: stranger.list("", "", 10),
        lambda: stranger.put("k", b"2", match=ABSENT),
        lambda: stranger.compose("k", [b"2", b"3"], match=ABSENT),
    ):
        with Meter() as meter, pytest.raises(Refused, match="403 SignatureDoesNotMatch"):
            operation()
        assert 1 == meter.requests
    assert b"1" == s3_bucket.get("k")[0]
    stranger.close()


@pytest.mark.process
def test_meter_counts_requests_and_bytes(s3_bucket):
    """What the measurements count is what goes over the wire, in either direction; what a store copies by itself is not."""
    head = bytes(5 << 20)
    with Meter() as meter:
        etag = s3_bucket.put("a", head, match=None)
        s3_bucket.get("a", 0, 3)
        assert (2, len(head) + 3) == (meter.requests, meter.bytes_moved)
        s3_bucket.compose("b", [head, Copy("a", 0, 5, etag)], match=ABSENT)

    assert 2 + 4 == meter.requests
    assert 2 * len(head) <= meter.bytes_moved < 2 * len(head) + 3000


def test_url_chooses_the_bucket(tmp_path, aws):
    """A path opens a directory; s3:// opens S3 with the rest as prefix."""
    assert f"<DirectoryBucket {tmp_path}>" == repr(open_bucket(str(tmp_path)))
    assert "some/prefix/" == open_bucket("s3://name/some/prefix").prefix
