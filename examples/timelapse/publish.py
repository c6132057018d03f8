"""
One playable file of the whole video, its index at the front, made without reading the video.

The chunks of the playlist, joined, are already the inside of an MP4. New at each publication is the head: how to decode, and where
each GOP lies. S3 joins objects on its own side, but every piece except the last must have 5 MiB. So three pieces make the file:
the head with the first 5 MiB of video; what the published file has beyond those, copied in place; and the new chunks.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

from . import mp4
from .bucket import ABSENT, Conflict, Copy, Missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .bucket import Bucket
    from .manifest import Chunk, Manifest

KEY = "video/timelapse.mp4"
PIECE = 5 << 20
STEP = 64 << 20
"""How many bytes of video are added at a time, so that memory does not grow with what there is to catch up on."""


class Publisher:
    """Keeps the published file up to date; remembers what it published, and the first 5 MiB."""

    def __init__(self) -> None:
        self.frames = -1
        """How many frames the published file has; -1 while that is not known."""
        self._etag, self._body, self._kept = ABSENT, 0, 0  # _kept: how many of the manifest's segments are in the file
        self._lead = b""

    def look(self, bucket: Bucket, manifest: Manifest) -> None:
        """Reads from the published file what is in it."""
        self.frames = self._kept = 0
        try:
            start, self._etag = bucket.get(KEY, end=1 << 16)
            boxes = _boxes(start)
            note = json.loads(start[slice(*boxes["free"])])
            if manifest.segments[note["segments"] - 1].name == note["last"]:  # else it shows another video
                self.frames, self._kept, self._body = note["frames"], note["segments"], boxes["sidx"][1]
        except Missing:
            self._etag = ABSENT
        except (KeyError, ValueError, IndexError, struct.error):
            pass  # not a file of ours: it is replaced

    def publish(self, bucket: Bucket, manifest: Manifest, *, at_least: int = 1) -> None:
        """
        Brings the file up to the manifest, if that has `at_least` so many new frames; each step on the way is a file that plays.

        Raises:
            Conflict: somebody else published at the same time; theirs is as good.
        """
        if self.frames < 0:
            self.look(bucket, manifest)
        if manifest.frames - self.frames < at_least:
            return
        segments, end = manifest.segments, self._kept
        while self.frames != manifest.frames:
            size = 0
            while end < len(segments) and size < STEP:
                size += segments[end].size
                end += 1
            parts = manifest.parts if end == len(segments) else ()
            head = _head(bucket, manifest, segments[:end], parts)
            new = b"".join(_read(bucket, chunk) for chunk in (*segments[self._kept : end], *parts))
            had = sum(chunk.size for chunk in segments[: self._kept])
            if had < 3 * PIECE:
                pieces: list[bytes | Copy] = [
                    head + b"".join(_read(bucket, chunk) for chunk in segments[: self._kept]) + new
                ]
            else:
                for chunk in segments if not self._lead else ():
                    self._lead += _read(bucket, chunk)
                    if len(self._lead) >= PIECE:
                        break
                pieces = [head + self._lead, Copy(KEY, self._body + len(self._lead), self._body + had, self._etag), new]
            try:
                self._etag = bucket.compose(KEY, pieces, match=self._etag)
            except Conflict:
                self.frames = -1
                raise
            self.frames = sum(chunk.frames for chunk in (*segments[:end], *parts))
            self._kept, self._body = end, len(head)


def _head(bucket: Bucket, manifest: Manifest, segments: Sequence[Chunk], parts: Sequence[Chunk]) -> bytes:
    note = {
        "segments": len(segments),
        "last": segments[-1].name if segments else "",
        "frames": sum(c.frames for c in (*segments, *parts)),
    }
    entries = [(chunk.frames, chunk.size) for chunk in segments]
    if parts:
        entries.append((sum(part.frames for part in parts), sum(part.size for part in parts)))
    init, _ = bucket.get(f"video/{(*segments, *parts)[0].init}")
    return init + mp4.box(b"free", json.dumps(note).encode()) + mp4.index(manifest.frames_per_second, entries)


def _read(bucket: Bucket, chunk: Chunk) -> bytes:
    return bucket.get(f"video/{chunk.name}")[0]


def _boxes(data: bytes) -> dict[str, tuple[int, int]]:
    """Gives where the content of each top-level box up to the index begins and ends."""
    found: dict[str, tuple[int, int]] = {}
    start = 0
    while "sidx" not in found:
        size, kind = struct.unpack_from(">I4s", data, start)
        found[kind.decode("latin-1")] = start + 8, start + size
        start += max(8, size)
    return found
