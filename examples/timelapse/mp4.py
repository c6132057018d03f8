"""
The few boxes of fragmented MP4 that one H.264 track needs, written by hand.

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

_SPS, _PPS, _SLICE, _IDR_SLICE = 7, 8, 1, 5
_IDENTITY = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
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


def init_segment(width: int, height: int, frames_per_second: int, headers: bytes) -> bytes:
    """Describes the track: size, clock, and the encoder's parameter sets `headers`."""
    sps, pps = (next(unit for unit in nal_units(headers) if unit[0] & 31 == kind) for kind in (_SPS, _PPS))
    high_profile = b"\xfd\xf8\xf8\0" if sps[1] >= 100 else b""  # 4:2:0, 8 bits, no further sets
    avcc = box(
        b"avcC",
        bytes([1, sps[1], sps[2], sps[3], 0xFF, 0xE1]),
        struct.pack(">H", len(sps)) + sps,
        b"\1" + struct.pack(">H", len(pps)) + pps,
        high_profile,
    )
    entry = box(
        b"avc1",
        bytes(6) + b"\0\1" + bytes(16) + struct.pack(">HHIIIH", width, height, 72 << 16, 72 << 16, 0, 1),
        bytes(32) + b"\0\x18\xff\xff",
        avcc,
    )
    empty = bytes(4)
    table = box(
        b"stbl",
        full_box(b"stsd", 0, 0, struct.pack(">I", 1), entry),
        full_box(b"stts", 0, 0, empty),
        full_box(b"stsc", 0, 0, empty),
        full_box(b"stsz", 0, 0, empty, empty),
        full_box(b"stco", 0, 0, empty),
    )
    data_here = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
    media = box(
        b"mdia",
        full_box(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, frames_per_second * FRAME_TICKS, 0, 0x55C4, 0)),
        full_box(b"hdlr", 0, 0, bytes(4) + b"vide" + bytes(12) + b"timelapse\0"),
        box(b"minf", full_box(b"vmhd", 0, 1, bytes(8)), data_here, table),
    )
    track = box(
        b"trak",
        full_box(
            b"tkhd",
            0,
            3,
            struct.pack(">5I", 0, 0, 1, 0, 0),
            bytes(16),
            _IDENTITY,
            struct.pack(">II", width << 16, height << 16),
        ),
        media,
    )
    movie = full_box(
        b"mvhd",
        0,
        0,
        struct.pack(">4I", 0, 0, 1000, 0),
        struct.pack(">IH", 0x10000, 0x100),
        bytes(10),
        _IDENTITY,
        bytes(24),
        struct.pack(">I", 2),
    )
    extends = box(b"mvex", full_box(b"trex", 0, 0, struct.pack(">5I", 1, 1, FRAME_TICKS, 0, 0)))
    kind = box(b"ftyp", b"iso6", struct.pack(">I", 1), b"iso6cmfcmp41")
    return kind + box(b"moov", movie, track, extends)


def fragment(first_frame: int, samples: Sequence[Sample]) -> bytes:
    """Writes `samples` as the frames from number `first_frame` on."""
    rows = b"".join(struct.pack(">II", len(s.data), _STARTS_GOP if s.idr else _FOLLOWS) for s in samples)

    def moof(data_offset: int) -> bytes:
        track = box(
            b"traf",
            full_box(b"tfhd", 0, 0x020000, struct.pack(">I", 1)),
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
