"""
The few boxes of fragmented MP4 that change from chunk to chunk, written by hand: a muxer starts each file at time zero.

A video in this form is an *init segment* (what is in here and how to decode it), followed by *fragments*: a `moof` box
that lists the frames, then an `mdat` box with their bytes. Fragments know their own place in time (`tfdt`), so they can be
joined with nothing but concatenation. A file whose *index* (`sidx`) stands before the fragments starts and seeks after a
few kilobytes; without one a browser reads through all of it first. Layout: ISO/IEC 14496-12, and -15 for H.264.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FRAME_TICKS = 512
"""How long a frame lasts on the track's clock, which ticks 512 times the frame rate."""

_SLICE, _IDR_SLICE = 1, 5
_STARTS_GOP, _FOLLOWS = 0x02000000, 0x01010000


class Sample(NamedTuple):
    """One frame as MP4 stores it: its NAL units, each behind its length; `idr` when decoding can start here."""

    data: bytes
    idr: bool


def box(kind: bytes, *content: bytes) -> bytes:
    """Wraps `content` in a box: length, kind, content."""
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, version: int, flags: int, *content: bytes) -> bytes:
    """Wraps `content` in a box with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


def nal_units(stream: bytes) -> Iterator[bytes]:
    """Splits what an H.264 encoder gives (start codes between units) into its NAL units."""
    yield from stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]


def sample(packet: bytes, headers: bytes, *, idr: bool) -> Sample:
    """
    Turns an encoder's packet into a sample.

    Each GOP carries its own parameter sets (40 bytes), so that one published file still decodes after a change of settings.
    """
    units = [unit for unit in nal_units(packet) if unit[0] & 31 in {_SLICE, _IDR_SLICE}]
    if idr:
        units = [*nal_units(headers), *units]
    return Sample(b"".join(struct.pack(">I", len(unit)) + unit for unit in units), idr)


def fragment(first_frame: int, samples: Sequence[Sample]) -> bytes:
    """Writes `samples` as the frames from number `first_frame` on."""
    rows = b"".join(struct.pack(">II", len(s.data), _STARTS_GOP if s.idr else _FOLLOWS) for s in samples)

    def moof(data_offset: int) -> bytes:
        track = box(
            b"traf",
            full_box(b"tfhd", 0, 0x020008, struct.pack(">II", 1, FRAME_TICKS)),
            full_box(b"tfdt", 1, 0, struct.pack(">Q", first_frame * FRAME_TICKS)),
            full_box(b"trun", 0, 0x601, struct.pack(">Ii", len(samples), data_offset), rows),
        )
        return box(b"moof", full_box(b"mfhd", 0, 0, struct.pack(">I", first_frame + 1)), track)

    return moof(len(moof(0)) + 8) + box(b"mdat", *(s.data for s in samples))


def index(frames_per_second: int, entries: Iterable[tuple[int, int]]) -> bytes:
    """Lists what follows as `(frames, bytes)`, each beginning with a frame that decoding can start at."""
    rows = [struct.pack(">III", size, frames * FRAME_TICKS, 0x90000000) for frames, size in entries]
    head = struct.pack(">IIQQHH", 1, frames_per_second * FRAME_TICKS, 0, 0, 0, len(rows))
    return full_box(b"sidx", 1, 0, head, *rows)
