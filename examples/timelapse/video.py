"""
The growing video: a pure function of the sorted photos, moved forward by one compare-and-set at a time.

1. A photo enters only if its key sorts behind the last one that is decided (`wants`, `line_up`), whoever told of it.
2. Photos are encoded in the order of their keys, and only once they are settled: late events may still sort in before.
3. Every commit is audited: the bucket is listed first, so a photo whose event was lost cannot be passed over.
4. Chunks are written before the manifest that names them; a chunk's name is a digest of its bytes, so writing it twice is harmless.
5. A photo that the store refuses is waited for. Only when it gave others meanwhile, for ten minutes, is it that photo's fault.
6. Whoever loses the compare-and-set reads the manifest anew and encodes again. It never tries the old bytes a second time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import attrs

from . import manifest as manifests, mp4
from .bucket import ABSENT, Bucket, Conflict, Missing, Refused
from .encoder import Encoder
from .manifest import Chunk, Manifest
from .photo import MAX_BYTES, BadPhoto, Photo, PhotoDecoder
from .triggers import PHOTOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .options import Options

_REMEMBERED = 1000
"""How many decided keys are kept, to tell a photo that came too late from an event that came twice."""
_ROUNDS = 10
"""How often in a row another instance may be faster before a flush gives up and leaves its photos for the next one."""
_HEAVY = 48 << 20
"""Bytes of photos that wait for a whole chunk; with more, a part of one is committed."""
_LAST = chr(0x10FFFF)
"""Sorts behind every key."""
_PATIENCE = 600
"""Seconds that the video waits for a photo which the store refuses, while it gives others."""


class Encoded(NamedTuple):
    """A photo and its frame, or why it has none."""

    key: str
    sample: mp4.Sample | None
    fault: str = ""


class Video:
    """The video as the manifest last told it, and the settled photos that were encoded since."""

    def __init__(self, bucket: Bucket, options: Options, clock: Callable[[], float]) -> None:
        self._options, self._clock = options, clock
        self._owner = os.urandom(4).hex()
        self._decoder = PhotoDecoder(options.width, options.height)
        self._found: dict[str, Photo] = {}  # by listing, not by event
        self._refused: dict[str, float] = {}  # since when
        self._last_read = -1.0
        self._late: set[str] = set()
        self.encoded: list[Encoded] = []
        self.etag: str | None = None
        self.hurry = False
        """Set when the process is about to end: what is encoded is committed, and nothing more is fetched for it."""
        self.fenced = 0
        """How often another instance was faster."""
        self.load(bucket)

    def __repr__(self) -> str:
        return (
            f"<Video frames={self.manifest.frames} encoded={len(self.encoded)} generation={self.manifest.generation}>"
        )

    def load(self, bucket: Bucket) -> None:
        """Reads the manifest; if somebody else has replaced it, forgets what was encoded on top of the earlier one."""
        try:
            text, etag = bucket.get(manifests.KEY)
        except Missing:
            text, etag = b"", ABSENT
        if etag == self.etag:
            return
        self.etag = etag
        if etag:
            self.manifest = manifests.from_text(text.decode(errors="replace"))
        else:
            self.manifest = Manifest(frames_per_second=self._options.frames_per_second, gop=self._options.gop)
        # A video keeps the clock it began with; all other settings may change on the way.
        self._options = attrs.evolve(self._options, frames_per_second=self.manifest.frames_per_second)
        self._decided = deque([self.manifest.last_key], maxlen=_REMEMBERED)
        self._part_bytes: dict[str, bytes] = {}
        self._restart()

    def wants(self, key: str) -> bool:
        """Tells whether the photo can still enter the video; one that is known to come too late is noted."""
        if key > self.manifest.last_key:
            return True
        if key > self._decided[0] and key not in self._decided:
            self._late.add(key)
        return False

    def undecided(self, bucket: Bucket) -> Iterator[str]:
        """Lists the photos behind the last decided one."""
        after = self.manifest.last_key
        while keys := bucket.list(PHOTOS, after, 200):
            yield from keys
            after = keys[-1]

    def fetch(self, bucket: Bucket, key: str) -> Photo | None:
        """Reads a photo; None if it is no longer there, or refused for now."""
        now = self._clock()
        since = self._refused.pop(key, now)
        try:
            if self.hurry:
                raise Refused("there is no time")
            jpeg, _ = bucket.get(key, end=MAX_BYTES + 1)
        except Missing:
            return None
        except Refused as refused:
            if now - since >= _PATIENCE and self._last_read > since and not self.hurry:
                return Photo(key, b"", now, f"refused for {now - since:.0f} s while others were read: {refused}")
            self._refused[key] = since
            return None
        self._last_read = now
        if len(jpeg) > MAX_BYTES:
            return Photo(key, b"", now, f"larger than {MAX_BYTES >> 20} MiB")
        return Photo(key, jpeg, now)

    def line_up(self, tail: Iterable[Photo]) -> list[Photo]:
        """Gives the photos that are not decided yet, in order, up to one that is refused for now."""
        last = self.manifest.last_key
        self._refused = {key: since for key, since in self._refused.items() if key > last}
        self._found = {key: photo for key, photo in self._found.items() if key > last}
        held = {photo.key: photo for photo in tail} | self._found
        end = min(self._refused, default=_LAST)
        return [held[key] for key in sorted(held) if last < key < end]

    def encode_settled(self, tail: Iterable[Photo]) -> None:
        """Encodes what can be, so that a flush finds it done."""
        line = self.line_up(tail)
        self._encode(line[: self._settled(line, self._options.settle)])

    def flush(self, bucket: Bucket, tail: Sequence[Photo], *, ended: bool = False) -> int:
        """
        Commits the settled photos and gives how many of `tail` are decided from the front.

        Chunks are whole, unless photos wait for too long or take too much memory. Without a tail the open GOP is closed, because
        nothing may come for a while. `ended` brings in all photos that there are, and marks the video as complete.

        Raises:
            Conflict: other instances were faster, again and again.
        """
        if self.hurry and not self.encoded:
            return 0  # there is nothing that a commit could add, and no time to look
        lost = 0
        while lost < _ROUNDS:
            line, more = self._audited(bucket, tail, to_the_end=ended)
            last = ended and not more
            count = self._settled(line, 0 if ended else self._options.settle)
            self._encode(line[:count])
            if not (ended or self.hurry or self._is_urgent(line)):
                count = self._whole_chunks(count)
            try:
                self._commit(bucket, count, rest=last if ended else not tail, ended=last and not self._refused)
            except Conflict:
                lost, self.fenced = lost + 1, self.fenced + 1
                self.load(bucket)
            else:
                if last or not ended:
                    undecided = (number for number, photo in enumerate(tail) if photo.key > self.manifest.last_key)
                    return next(undecided, len(tail))
        raise Conflict(f"{manifests.KEY}: {_ROUNDS} times another instance committed first")

    def _settled(self, line: Sequence[Photo], settle: int) -> int:
        """Counts the photos from the front that nothing is expected to sort in before; in a hurry, those that are encoded."""
        if self.hurry:
            return min(len(line), len(self.encoded))
        return max(0, len(line) - settle, *(number for number, photo in enumerate(line, 1) if self._is_old(photo)))

    def _encode(self, line: Sequence[Photo]) -> None:
        """Encodes `line` as what follows the committed frames; what was encoded in vain is encoded again."""
        if any(photo.key != encoded.key for photo, encoded in zip(line, self.encoded, strict=False)):
            self._restart()
        for photo in line[len(self.encoded) :]:
            try:
                self.encoded.append(Encoded(photo.key, self._encoder.encode(self._decoder.decode(photo))))
            except BadPhoto as error:
                self.encoded.append(Encoded(photo.key, None, str(error)))

    def _is_old(self, photo: Photo) -> bool:
        return photo.since <= self._clock() - self._options.max_age

    def _is_urgent(self, line: Sequence[Photo]) -> bool:
        return any(map(self._is_old, line[:1])) or sum(len(photo.jpeg) for photo in line) > _HEAVY

    def _whole_chunks(self, count: int) -> int:
        """Gives how many of so many encoded photos fill whole chunks, so that a busy video is cut at the same frames every time."""
        every, are_frames = self._options.flush_every, (bool(encoded.sample) for encoded in self.encoded[:count])
        frames = itertools.accumulate(are_frames, initial=self.manifest.frames)
        whole = max(number for number, total in enumerate(frames) if total % every == 0 or number == 0)
        return whole or (count if count >= every else 0)

    def _audited(self, bucket: Bucket, tail: Sequence[Photo], *, to_the_end: bool) -> tuple[list[Photo], bool]:
        """Lines `tail` up with the photos in it, or behind it, that no event told of; also tells whether there are more to read."""
        self._find(bucket, list(self._refused))
        line = self.line_up(tail)
        if not (line or to_the_end):
            return line, False
        room = len(line) + 16
        listed = bucket.list(PHOTOS, self.manifest.last_key, room)
        horizon = min([_LAST if to_the_end else line[-1].key, *listed[room - 1 :]])
        held = {photo.key for photo in line}
        self._find(bucket, [key for key in listed if key <= horizon and key not in held])
        line = [photo for photo in self.line_up(tail) if photo.key <= horizon]
        return line, len(listed) == room and not self._refused

    def _find(self, bucket: Bucket, keys: Iterable[str]) -> None:
        found = (self.fetch(bucket, key) for key in keys)
        self._found |= {photo.key: photo for photo in found if photo is not None}

    def _commit(self, bucket: Bucket, count: int, *, rest: bool, ended: bool) -> None:
        done, late = self.encoded[:count], sorted(self._late)
        if not (done or late or (rest and self.manifest.parts) or (ended and not self.manifest.ended)):
            return
        bad = {encoded.key: encoded.fault for encoded in done if encoded.sample is None}
        if bad or late:
            self._put_once(bucket, "notes/{}.json", json.dumps({"bad": bad, "late": late}).encode())
        new = attrs.evolve(
            self._grown(bucket, [encoded.sample for encoded in done if encoded.sample], rest=rest),
            generation=self.manifest.generation + 1,
            owner=self._owner,
            last_key=done[-1].key if done else self.manifest.last_key,
            bad=self.manifest.bad + len(bad),
            late=self.manifest.late + len(late),
            ended=ended or (self.manifest.ended and not done),
        )
        self.etag = bucket.put(manifests.KEY, new.to_text().encode(), match=self.etag)
        self.manifest, self.encoded = new, self.encoded[count:]
        if rest:
            self._restart()  # the GOP is closed: what comes next begins another
        self._late.clear()
        self._decided.extend(encoded.key for encoded in done)

    def _grown(self, bucket: Bucket, samples: Sequence[mp4.Sample], *, rest: bool) -> Manifest:
        """Writes `samples` as chunks and gives the manifest that names them."""
        segments, parts, frames = list(self.manifest.segments), list(self.manifest.parts), self.manifest.frames
        init = self._init(bucket) if samples else ""

        def close_gop() -> None:
            if parts:
                data = b"".join(self._part_bytes.pop(p.name, b"") or bucket.get(f"video/{p.name}")[0] for p in parts)
                length = sum(part.frames for part in parts)
                name = self._put_once(bucket, f"seg/{frames - length:08d}-{{}}.m4s", data)
                segments.append(Chunk(name, length, len(data), parts[0].init))
                parts.clear()

        starts = [number for number, sample in enumerate(samples) if sample.idr or number == 0]
        for start, end in itertools.pairwise([*starts, len(samples)]):
            if samples[start].idr:
                close_gop()  # the encoder of the open GOP is gone: another instance's, or one with other settings
            data = mp4.fragment(frames, samples[start:end])
            name = _digested(f"parts/{frames:08d}-{{}}.m4s", data)
            parts.append(Chunk(name, end - start, len(data), init))
            self._part_bytes[name] = data
            frames += end - start
            if frames % self._options.gop == 0:
                close_gop()
        if rest:
            close_gop()
        for part in parts:
            if part not in self.manifest.parts:
                bucket.put(f"video/{part.name}", self._part_bytes[part.name], match=ABSENT)
        gop = max(self.manifest.gop, self._options.gop)
        return attrs.evolve(self.manifest, segments=tuple(segments), parts=tuple(parts), frames=frames, gop=gop)

    def _init(self, bucket: Bucket) -> str:
        """Gives the name of the encoder's init segment, written if the manifest does not name it yet."""
        chunks = self.manifest.segments + self.manifest.parts
        name = _digested("init-{}.mp4", self._encoder.init)
        return name if chunks and chunks[-1].init == name else self._put_once(bucket, name, self._encoder.init)

    def _put_once(self, bucket: Bucket, name: str, data: bytes) -> str:
        """Writes an object that is named by its content, so that writing it twice is as good as once."""
        name = _digested(name, data)
        bucket.put(f"video/{name}", data, match=ABSENT)
        return name

    def _restart(self) -> None:
        self.encoded = []
        self._encoder = Encoder(self._options, self.manifest.frames)


def _digested(name: str, data: bytes) -> str:
    return name.format(hashlib.sha256(data).hexdigest()[:12])
