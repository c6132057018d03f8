"""Files that call themselves photos and are not, or not quite: made from a good one, by a seed."""

from __future__ import annotations

import io
import random
import struct

from PIL import Image

__all__ = ["spoil"]

FORMATS = ("PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000")
MARKERS = (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xCC, 0xD0, 0xD8, 0xDA, 0xDB, 0xDC, 0xDD, 0xE1, 0xFE)


def spoil(good: bytes, seed: int) -> bytes:
    """Gives something hostile, or at least strange, made of the JPEG `good`."""
    chance = random.Random(seed)  # noqa: S311  # mischief, not secrets
    kinds = (
        _flip,
        _overwrite,
        _cut,
        _splice,
        _resize,
        _marker,
        _length,
        _orientation,
        _other_format,
        _mode,
        _noise,
        _bloat,
    )
    data = bytearray(chance.choice(kinds)(bytearray(good), chance))
    return bytes(_flip(data, chance) if chance.random() < 0.1 and data else data)


def _flip(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice((1, 3, 30))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def _overwrite(data: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.choice((1, 16, 4000)))
    data[start:end] = chance.choice((bytes(end - start), b"\xff" * (end - start), chance.randbytes(end - start)))
    return data


def _cut(data: bytearray, chance: random.Random) -> bytearray:
    return data[: chance.choice((0, 1, 2, 3, 20, len(data) // 2, len(data) - 2, chance.randrange(len(data))))]


def _splice(data: bytearray, chance: random.Random) -> bytearray:
    start, end = sorted(chance.randrange(len(data)) for _ in range(2))
    return chance.choice((data[:start] + data[end:], data + data, data[:end] + data[start:], data[start:]))


def _resize(data: bytearray, chance: random.Random) -> bytearray:
    """Lets the header claim another size, up to a bomb's."""
    at = data.find(b"\xff\xc0")
    if at >= 0:
        size = chance.choice((0, 1, 7, 320, 7000, 8000, 30_000, 65_535)), chance.choice((0, 1, 9, 180, 7000, 65_535))
        data[at + 5 : at + 9] = struct.pack(">HH", *size)
    return data


def _marker(data: bytearray, chance: random.Random) -> bytearray:
    """Turns a marker into another: lossless, arithmetic coding, a second start, tables that are missing."""
    places = [at for at in range(2, min(len(data) - 1, 2000)) if data[at] == 0xFF and data[at + 1] >= 0xC0]
    if places:
        data[chance.choice(places) + 1] = chance.choice(MARKERS)
    return data


def _length(data: bytearray, chance: random.Random) -> bytearray:
    """Lets a segment claim another length than it has."""
    places = [at for at in range(2, min(len(data) - 4, 1000)) if data[at] == 0xFF and data[at + 1] >= 0xC0]
    if places:
        at = chance.choice(places)
        data[at + 2 : at + 4] = struct.pack(">H", chance.choice((0, 1, 2, 3, 0xFFFF, chance.randrange(65_536))))
    return data


def _orientation(data: bytearray, chance: random.Random) -> bytearray:
    """Puts in EXIF data that is broken, or points anywhere."""
    directory = struct.pack(
        "<HHHII", chance.choice((0, 1, 2, 65_535)), 0x0112, 3, 1, chance.choice((0, 3, 8, 9, 0xFFFFFFFF))
    )
    exif = (
        b"Exif\0\0"
        + chance.choice((b"II*\0", b"MM\0*", b"??*\0"))
        + struct.pack("<I", chance.choice((8, 4, 0xFFFFFFFF)))
        + directory
    )
    exif = exif[: chance.choice((4, 8, 14, len(exif)))]
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def _other_format(data: bytearray, chance: random.Random) -> bytearray:
    return _saved(data, chance.choice(FORMATS), chance.choice(("RGB", "L")))


def _mode(data: bytearray, chance: random.Random) -> bytearray:
    """A true JPEG of an unusual kind."""
    return _saved(
        data,
        "JPEG",
        chance.choice(("L", "CMYK", "RGB")),
        quality=chance.choice((1, 50, 100)),
        progressive=chance.random() < 0.5,
        subsampling=chance.choice((0, 1, 2)),
        size=chance.choice(((1, 1), (8, 8), (17, 3), (2000, 9), (641, 359))),
    )


def _noise(data: bytearray, chance: random.Random) -> bytearray:
    return bytearray(
        chance.choice((b"", b"\xff\xd8\xff", bytes(data[:623]))) + chance.randbytes(chance.choice((0, 1, 100, 20_000)))
    )


def _bloat(data: bytearray, chance: random.Random) -> bytearray:
    """Buries the picture under comments."""
    comment = b"\xff\xfe\xff\xff" + bytes(65_533)
    return data[:2] + comment * chance.choice((1, 20)) + data[2:]


def _saved(data: bytearray, kind: str, mode: str, *, size: tuple[int, int] | None = None, **how: object) -> bytearray:
    picture = Image.open(io.BytesIO(data)).convert(mode)
    file = io.BytesIO()
    (picture.resize(size) if size else picture).save(file, kind, **how)
    return bytearray(file.getvalue())
