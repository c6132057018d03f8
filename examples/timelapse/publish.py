"""
One playable file of the whole video, its index at the front, made without reading the video.

The chunks of the playlist, joined, are already the inside of an MP4. New at each publication is the head: how to decode, and where
each GOP lies. S3 joins objects on its own side, but every piece except the last must have 5 MiB. So three pieces make the file:
the head with the first 5 MiB of video; what the published file has beyond those, copied in place; and the new chunks.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from . import mp4
from .bucket import ABSENT, Copy, Missing

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


class Published(NamedTuple):
    """What is in the published file: its first bytes up to `body` are the head, then come so many of the manifest's segments."""

    etag: str
    frames: int = 0
    segments: int = 0
    body: int = 0


def publish(bucket: Bucket, manifest: Manifest, at_least: int = 1) -> int:
    """
    Brings the file up to the manifest if that has `at_least` so many new frames; gives how many frames the file has then.

    Each step on the way is a file that plays.

    Raises:
        Conflict: somebody else published at the same time; theirs is as good.
    """
    file, segments = _look(bucket, manifest), manifest.segments
    while manifest.frames - file.frames >= at_least:
        end, size = file.segments, 0
        while end < len(segments) and size < STEP:
            size += segments[end].size
            end += 1
        parts = manifest.parts if end == len(segments) else ()
        head = _head(bucket, manifest, segments[:end], parts)
        new = b"".join(bucket.get(f"video/{chunk.name}")[0] for chunk in segments[file.segments : end] + parts)
        had = sum(chunk.size for chunk in segments[: file.segments])
        first = had if had < 3 * PIECE else PIECE
        lead = head + (bucket.get(KEY, file.body, file.body + first)[0] if first else b"")
        kept = Copy(KEY, file.body + first, file.body + had, file.etag)
        etag = bucket.compose(KEY, [lead, kept, new] if had > first else [lead + new], match=file.etag)
        frames = sum(chunk.frames for chunk in segments[:end] + parts)
        file = Published(etag, frames, end, len(head))
    return file.frames


def _look(bucket: Bucket, manifest: Manifest) -> Published:
    """Reads from the published file what is in it."""
    try:
        start, etag = bucket.get(KEY, end=1 << 16)
    except Missing:
        return Published(ABSENT)
    try:
        note = json.loads(start[start.index(_NOTE) + len(_NOTE) :][:NOTE_SIZE])
        if manifest.segments[note["segments"] - 1].name == note["last"]:
            return Published(etag, note["frames"], note["segments"], note["body"])
    except (KeyError, ValueError, IndexError, TypeError):
        pass
    return Published(etag)  # not a file of ours, or it shows another video: it is replaced


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
