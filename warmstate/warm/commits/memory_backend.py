"""A backend in memory, for where no disk can be used: commits roll back as promised, and none outlives the process."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from warmstate.warm.commits.backend import Part

__all__ = ["MemoryBackend"]


class MemoryBackend:
    """A `CommitBackend` whose records lie in one run of bytes."""

    __slots__ = ("_bytes", "_records", "damaged", "lost")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._records: list[tuple[int, int]] = []
        self.damaged = False
        self.lost = False

    def __repr__(self) -> str:
        return f"<MemoryBackend: {len(self._bytes)} bytes>"

    @property
    def size(self) -> int:
        """Bytes that all records take."""
        return len(self._bytes)

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Every record, oldest first."""
        for place, length in self._records:
            yield place, bytes(self._bytes[place : place + length])

    def append(self, parts: Sequence[Part]) -> int:
        """Adds one record and returns its place."""
        place = len(self._bytes)
        for part in parts:
            self._bytes += part
        self._records.append((place, len(self._bytes) - place))
        return place

    def fetch(self, place: int, length: int) -> bytes:
        """Bytes of a record."""
        return bytes(self._bytes[place : place + length])

    def rewrite(self, records: Iterable[Sequence[Part]]) -> list[int]:
        """Replaces all records by these and returns their places."""
        fresh = MemoryBackend()
        places = [fresh.append(parts) for parts in records]
        self._bytes, self._records = fresh._bytes, fresh._records
        return places

    def close(self) -> None:
        """Nothing is open."""
