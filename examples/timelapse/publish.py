"""
One playable file of the whole video, its index at the front, made without reading the video.

The chunks of the playlist, joined, are already the inside of an MP4. New at each publication is the head: how to decode, and where
each GOP lies. S3 joins objects on its own side, but every piece except the last must have 5 MiB. So three pieces make the file:
the head with the first 5 MiB of video; what the published file has beyond those, copied in place; and the new chunks.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from . import mp4
from .bucket import ABSENT, Conflict, Copy, Missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .bucket import Bucket
    from .manifest import Chunk, Manifest

KEY = "video/timelapse.mp4"
PIECE = 5 << 20
_NOTE, NOTE_SIZE = b"free", 200
"""The box that says what is in the file; players pass over it."""
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
            note = json.loads(start[start.index(_NOTE) + len(_NOTE) :][:NOTE_SIZE])
            if manifest.segments[note["segments"] - 1].name == note["last"]:  # else it shows another video
                self.frames, self._kept, self._body = note["frames"], note["segments"], note["body"]
        except Missing:
            self._etag = ABSENT
        except (KeyError, ValueError, IndexError, TypeError):
            pass  # not a file of ours: it is replaced

    def renew(self, bucket: Bucket, manifest: Manifest, at_least: int) -> None:
        """Publishes if there are `at_least` so many new frames, and nobody else does."""
        if self.frames < 0:
            self.look(bucket, manifest)
        if manifest.frames - self.frames >= at_least:
            with suppress(Conflict):
                self.publish(bucket, manifest)

    def publish(self, bucket: Bucket, manifest: Manifest) -> None:
        """
        Brings the file up to the manifest; each step on the way is a file that plays.

        Raises:
            Conflict: somebody else published at the same time; theirs is as good.
        """
        if self.frames < 0:
            self.look(bucket, manifest)
        segments, end = manifest.segments, self._kept
        while self.frames != manifest.frames:
            size = 0
            while end < len(segments) and size < STEP:
                size += segments[end].size
                end += 1
            old, new = segments[: self._kept], segments[self._kept : end]
            parts = manifest.parts if end == len(segments) else ()
            head = _head(bucket, manifest, segments[:end], parts)
            had = sum(chunk.size for chunk in old)
            if had < 3 * PIECE:
                pieces: list[bytes | Copy] = [head + _read(bucket, *old, *new, *parts)]
            else:
                for chunk in segments:
                    if len(self._lead) < PIECE:
                        self._lead += _read(bucket, chunk)
                kept = Copy(KEY, self._body + len(self._lead), self._body + had, self._etag)
                pieces = [head + self._lead, kept, _read(bucket, *new, *parts)]
            try:
                self._etag = bucket.compose(KEY, pieces, match=self._etag)
            except Conflict:
                self.frames = -1
                raise
            self.frames = sum(chunk.frames for chunk in (*segments[:end], *parts))
            self._kept, self._body = end, len(head)


def _head(bucket: Bucket, manifest: Manifest, segments: Sequence[Chunk], parts: Sequence[Chunk]) -> bytes:
    entries = [(chunk.frames, chunk.size) for chunk in segments]
    if parts:
        entries.append((sum(part.frames for part in parts), sum(part.size for part in parts)))
    init, _ = bucket.get(f"video/{(*segments, *parts)[0].init}")
    table = mp4.index(manifest.frames_per_second, entries)
    note = {
        "segments": len(segments),
        "last": segments[-1].name if segments else "",
        "frames": sum(frames for frames, _ in entries),
        "body": len(init) + 8 + NOTE_SIZE + len(table),
    }
    return init + mp4.box(_NOTE, json.dumps(note).encode().ljust(NOTE_SIZE)) + table


def _read(bucket: Bucket, *chunks: Chunk) -> bytes:
    return b"".join(bucket.get(f"video/{chunk.name}")[0] for chunk in chunks)
