"""
The growing video: a pure function of the sorted photos, moved forward by one compare-and-set at a time.

1. A photo enters only if its key sorts behind the last one that is decided, whoever told of it.
2. Photos are encoded in the order of their keys, and only once they are settled: late events may still sort in before.
3. What is committed is what the bucket lists, so a photo whose event was lost cannot be passed over, and one that never was cannot enter.
4. Chunks are written before the manifest that names them; a chunk's name is a digest of its bytes, so writing it twice is harmless.
5. A photo that the store refuses is waited for. Only when it gives others after ten minutes is it that photo's fault.
6. Whoever loses the compare-and-set reads the manifest anew and encodes again. It never tries the old bytes a second time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import deque
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, NamedTuple

import attrs

from . import manifest as manifests, mp4
from .bucket import ABSENT, Bucket, Conflict, Missing, Refused
from .encoder import Encoder
from .manifest import Chunk, Manifest
from .photo import MAX_BYTES, BadPhoto, PhotoDecoder
from .triggers import PHOTOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .options import Options

_REMEMBERED = 1000
"""How many decided keys are kept, to tell a photo that came too late from an event that came twice."""
_ROUNDS = 10
"""How often in a row another instance may be faster before a flush gives up and leaves its photos for the next one."""
_SPARE = 16
"""How many photos more than a flush needs are listed, because no event told of them."""
_LAST = chr(0x10FFFF)
"""Sorts behind every key."""
_PATIENCE = 600
"""Seconds that the video waits for a photo which the store refuses."""


class Doorbell(NamedTuple):
    """Says that there may be a photo, and since when (wall clock, s)."""

    key: str
    since: float


class Video:
    """The video as the manifest last told it, and the settled photos that were encoded since."""

    def __init__(self, bucket: Bucket, options: Options, clock: Callable[[], float]) -> None:
        self.bucket, self._options, self._clock = bucket, options, clock
        self._owner = os.urandom(4).hex()
        self._decoder, self._encoders = PhotoDecoder(options.width, options.height), ExitStack()
        self._room = options.flush_every + options.settle + _SPARE
        self._refused: dict[str, float] = {}  # since when
        self._late: set[str] = set()
        self.encoded: dict[str, mp4.Sample | str] = {}
        """By key, the frames that are not committed yet, or why there is none."""
        self.etag: str | None = None
        self.hurry = False
        """Set when the process is about to end: what is encoded is committed, and nothing more is read for it."""
        self.fenced = 0
        """How often another instance was faster."""
        self.load()

    def load(self) -> None:
        """Reads the manifest; if somebody else has replaced it, forgets what was encoded on top of the earlier one."""
        try:
            text, etag = self.bucket.get(manifests.KEY)
        except Missing:
            text, etag = b"", ABSENT
        if etag == self.etag:
            return
        if etag:
            self.manifest = manifests.from_text(text.decode(errors="replace"))
        else:
            self.manifest = Manifest(frames_per_second=self._options.frames_per_second, gop=self._options.gop)
        self.etag = etag  # not before: a manifest that is damaged must never be replaced
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

    def undecided(self) -> Iterator[str]:
        """Lists the photos behind the last decided one."""
        after = self.manifest.last_key
        while keys := self.bucket.list(PHOTOS, after, 200):
            yield from keys
            after = keys[-1]

    def encode_settled(self, tail: Sequence[Doorbell]) -> None:
        """Encodes what can be, so that a flush finds it done."""
        line = sorted({bell.key for bell in tail if bell.key > self.manifest.last_key})[: self._room]
        with suppress(Missing):  # whether it is gone or not there yet, the list tells at the flush
            self._encode(line[: max(len(line) - self._options.settle, self._overdue(line, tail))], tail)

    def flush(self, tail: Sequence[Doorbell], *, ended: bool = False) -> int:
        """
        Commits the settled photos and gives how many of `tail` are decided, or gone, from the front.

        Chunks are whole, unless photos wait for too long. Without a tail the open GOP is closed, because nothing may come for a
        while. `ended` brings in all photos that there are, and marks the video as complete.

        Raises:
            Conflict: other instances were faster, again and again.
        """
        if self.hurry and not self.encoded:
            return 0  # there is nothing that a commit could add, and no time to look
        lost = 0
        while lost < _ROUNDS:
            line = self._audited(_LAST if ended else max((bell.key for bell in tail), default=""))
            more = len(line) == self._room
            overdue = self._overdue(line, tail)
            count = self._encode(
                line if ended else line[: max(len(line) - self._options.settle, overdue)], tail, gone="no longer there"
            )
            goes_on = ended and more and count == len(line)
            if not (ended or self.hurry or overdue):
                count = self._whole_chunks(count)
            try:
                is_end = ended and not more and count == len(line)
                self._commit(count, rest=not goes_on and (ended or not tail), ended=is_end)
            except Conflict:
                lost, self.fenced = lost + 1, self.fenced + 1
                self.load()
            else:
                if not goes_on:
                    last = self.manifest.last_key
                    waiting = (n for n, bell in enumerate(tail) if bell.key > last and (more or bell.key in line))
                    return next(waiting, len(tail))
        raise Conflict(f"{manifests.KEY}: {_ROUNDS} times another instance committed first")

    def _audited(self, horizon: str) -> list[str]:
        """Lists the undecided photos up to `horizon`, whether or not an event told of them, as many as there is room for."""
        after = self.manifest.last_key
        listed = self.bucket.list(PHOTOS, after, self._room) if horizon > after else []
        return [key for key in listed if key <= horizon]

    def _overdue(self, line: Sequence[str], tail: Sequence[Doorbell]) -> int:
        """Counts the photos up to the last one that has waited for too long."""
        limit = self._clock() - self._options.max_age
        last = max((bell.key for bell in tail if bell.since <= limit), default="")
        return sum(key <= last for key in line)

    def _encode(self, line: list[str], tail: Sequence[Doorbell], gone: str = "") -> int:
        """
        Encodes `line` as what follows the committed frames; what was encoded in vain is encoded again.

        Gives how many of them are encoded: all, up to one that is refused for now, or in a hurry those that were before.

        Raises:
            Missing: a photo is not there, and `gone` does not say what to record of it.
        """
        done = sum(itertools.takewhile(bool, map(str.__eq__, line, self.encoded)))  # in the same order, from the front
        if self.hurry:
            return done
        if done < min(len(line), len(self.encoded)):
            self._restart()
        for key in line[len(self.encoded) :]:
            try:
                jpeg, _ = self.bucket.get(key, end=MAX_BYTES + 1)
                self.encoded[key] = self._encoder.encode(self._decoder.decode(jpeg))
            except BadPhoto as error:
                self.encoded[key] = str(error)
            except Missing:
                if not gone:
                    raise
                self.encoded[key] = gone
            except Refused as refused:
                now, rung = self._clock(), dict(tail)
                waited = now - self._refused.setdefault(key, rung.get(key, now))
                if waited < _PATIENCE or not any(map(self._is_readable, {line[-1], max(rung, default=key)})):
                    return len(self.encoded)
                self.encoded[key] = f"refused for {waited:.0f} s, and others are not: {refused}"
        return len(line)

    def _is_readable(self, key: str) -> bool:
        with suppress(Missing, Refused):
            return bool(self.bucket.get(key, end=1))
        return False

    def _whole_chunks(self, count: int) -> int:
        """Gives how many of so many encoded photos fill whole chunks, so that a busy video is cut at the same frames every time."""
        every, photos = self._options.flush_every, list(self.encoded.values())[:count]
        frames = itertools.accumulate((not isinstance(frame, str) for frame in photos), initial=self.manifest.frames)
        whole = max(number for number, total in enumerate(frames) if total % every == 0 or number == 0)
        return whole or (count if count >= every else 0)

    def _commit(self, count: int, *, rest: bool, ended: bool) -> None:
        done, late = list(self.encoded)[:count], sorted(self._late)
        if not (done or late or (rest and self.manifest.parts) or (ended and not self.manifest.ended)):
            return
        frames = {key: self.encoded[key] for key in done}
        bad = {key: fault for key, fault in frames.items() if isinstance(fault, str)}
        if bad or late:
            self._put_once("notes/{}.json", json.dumps({"bad": bad, "late": late}).encode())
        new = attrs.evolve(
            self._grown([frame for frame in frames.values() if not isinstance(frame, str)], rest=rest),
            generation=self.manifest.generation + 1,
            owner=self._owner,
            last_key=done[-1] if done else self.manifest.last_key,
            bad=self.manifest.bad + len(bad),
            late=self.manifest.late + len(late),
            ended=ended or (self.manifest.ended and not done),
        )
        self.etag = self.bucket.put(manifests.KEY, new.to_text().encode(), match=self.etag)
        self.manifest = new
        for key in done:
            del self.encoded[key]
            self._refused.pop(key, None)
        if rest:
            self._restart()  # the GOP is closed: what comes next begins another
        self._late.clear()
        self._decided.extend(done)

    def _grown(self, samples: Sequence[mp4.Sample], *, rest: bool) -> Manifest:
        """Writes `samples` as chunks and gives the manifest that names them."""
        segments, parts, frames = list(self.manifest.segments), list(self.manifest.parts), self.manifest.frames
        init = self._init() if samples else ""

        def close_gop() -> None:
            if parts:
                data = b"".join(
                    self._part_bytes.pop(p.name, b"") or self.bucket.get(f"video/{p.name}")[0] for p in parts
                )
                length = sum(part.frames for part in parts)
                name = self._put_once(f"seg/{frames - length:08d}-{{}}.m4s", data)
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
                self.bucket.put(f"video/{part.name}", self._part_bytes[part.name], match=ABSENT)
        gop = max(self.manifest.gop, self._options.gop)
        return attrs.evolve(self.manifest, segments=tuple(segments), parts=tuple(parts), frames=frames, gop=gop)

    def _init(self) -> str:
        """Gives the name of the encoder's init segment, written if the manifest does not name it yet."""
        chunks = self.manifest.segments + self.manifest.parts
        name = _digested("init-{}.mp4", self._encoder.init)
        return name if chunks and chunks[-1].init == name else self._put_once(name, self._encoder.init)

    def _put_once(self, name: str, data: bytes) -> str:
        """Writes an object that is named by its content, so that writing it twice is as good as once."""
        name = _digested(name, data)
        self.bucket.put(f"video/{name}", data, match=ABSENT)
        return name

    def _restart(self) -> None:
        self.encoded = {}
        self._encoders.close()
        self._encoder = self._encoders.enter_context(closing(Encoder(self._options, self.manifest.frames)))


def _digested(name: str, data: bytes) -> str:
    return name.format(hashlib.sha256(data).hexdigest()[:12])
