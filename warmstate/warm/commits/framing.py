"""
How records lie in a journal file, and what a dying process may have left behind the last one.

Layout, little endian: `MAGIC`, then records of length (4 bytes, never 0), check of the length (4), check of the body (4), body, `TRAILER`.
Checks are CRC-32 and chained, each over the one before, so records cannot change places.

The file is a whole number of blocks, has room for the header of the next record, and zeros behind the last one. A process that dies
at any byte of a write therefore leaves a record without its last bytes, followed by zeros: the torn end. Everything else that does not fit is
damage.
"""

from __future__ import annotations

from binascii import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from warmstate.warm.commits.backend import Part
    from warmstate.warm.spill.files import Files

__all__ = ["BLOCK", "HEADER", "MAGIC", "TRAILER", "Records", "framed", "read_bytes"]

MAGIC = b"warmjnl1"
TRAILER = b"done"
HEADER = 12
BLOCK = 4096

_STRETCH = 4 * 1024 * 1024
"""Bytes read at once: bounded memory for large records, few calls for many small ones."""
_JOINED = 64 * 1024
"""Bytes up to which a record is copied into one piece: that costs less than handing many pieces to the kernel."""


def framed(parts: Sequence[Part], length: int, chain: int) -> tuple[list[Part], int]:
    """A record of these parts as it is written, and the chain after it."""
    size = length.to_bytes(4, "little")
    chain = crc32(size, chain)
    header = size + chain.to_bytes(4, "little")
    if length <= _JOINED:
        body = b"".join(parts)
        chain = crc32(body, chain)
        return [b"".join((header, chain.to_bytes(4, "little"), body, TRAILER))], chain
    for part in parts:
        chain = crc32(part, chain)
    return [header + chain.to_bytes(4, "little"), *parts, TRAILER], chain


class Records:
    """
    The records of an open file, read in stretches; iterate once.

    Afterwards `end` and `chain` are those of the last whole record, `torn` counts the bytes of a torn end, and `damaged` says
    that something else follows, so that none of the records may be trusted.
    """

    __slots__ = ("_at", "_buffer", "_fd", "_files", "chain", "damaged", "end", "size", "torn")

    def __init__(self, files: Files, fd: int) -> None:
        self._files = files
        self._fd = fd
        self._buffer = b""
        self._at = 0
        self.size = files.fstat(fd).st_size
        self.end = len(MAGIC)
        self.chain: int = crc32(MAGIC)
        self.torn: int = 0
        self.damaged = self.size % BLOCK != 0 or self._take(0, len(MAGIC)) != MAGIC

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Each record's place and body, oldest first."""
        while not self.damaged:
            header = self._take(self.end, HEADER)
            length = int.from_bytes(header[:4], "little")
            begun = crc32(header[:4], self.chain)
            if length == 0 or begun.to_bytes(4, "little") != header[4:8]:
                self._end_in_header(header)
                return
            place = self.end + HEADER
            body = self._take(place, length)
            checked = crc32(body, begun)
            trailer = self._take(place + length, len(TRAILER))
            fits = checked.to_bytes(4, "little") == header[8:]
            if not fits or trailer != TRAILER:
                self._end_in_body(place + length + len(TRAILER), trailer, fits=fits)
                return
            yield place, body
            self.end, self.chain = place + length + len(TRAILER), checked

    def _end_in_header(self, header: bytes) -> None:
        # A header is written front to back, so a check that is not whole has nothing behind it.
        if len(header) != HEADER or not self._is_zero_from(self.end + 8):
            self.damaged = True
        elif any(header):
            self.torn = HEADER

    def _end_in_body(self, after: int, trailer: bytes, *, fits: bool) -> None:
        begun = len(trailer.rstrip(b"\0"))
        # Once a byte of the trailer is there, all of the body is.
        torn = trailer[:begun] == TRAILER[:begun] and begun < len(TRAILER) and (fits or not begun)
        if torn and after + HEADER <= self.size and self._is_zero_from(after):
            self.torn = after - self.end
        else:
            self.damaged = True

    def _take(self, offset: int, length: int) -> bytes:
        """So many bytes from `offset`; fewer at the end of the file."""
        start = offset - self._at
        if start < 0 or start + length > len(self._buffer):
            length = max(0, min(length, self.size - offset))
            if length >= _STRETCH:
                return read_bytes(self._files, self._fd, offset, length)
            self._at, start, self._buffer = offset, 0, read_bytes(self._files, self._fd, offset, _STRETCH)
        return self._buffer[start : start + length]

    def _is_zero_from(self, offset: int) -> bool:
        """Whether nothing but zeros follows."""
        while offset < self.size:
            stretch = self._take(offset, min(16 * BLOCK, self.size - offset))
            if not stretch or stretch.count(0) != len(stretch):
                return False
            offset += len(stretch)
        return True


def read_bytes(files: Files, fd: int, offset: int, length: int) -> bytes:
    """Reads so many bytes; fewer at the end of the file."""
    parts: list[bytes] = []
    while length > 0:
        part = files.pread(fd, min(length, 1 << 30), offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
