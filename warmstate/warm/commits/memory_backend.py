"""A backend in memory, for a handler without a platform around it: commits roll back as promised, and none outlives the process."""

from __future__ import annotations

from warmstate.errors import CommitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from warmstate.warm.commits.backend import Part

__all__ = ["MemoryBackend"]


class MemoryBackend:
    """
    A `CommitBackend` whose records lie in one run of bytes.

    Args:
        refusal: Why there is no disk, where a platform promises one: then no commit is taken, as it would not outlive a reset.
    """

    __slots__ = ("_bytes", "_records", "_refusal", "damaged", "lost")

    def __init__(self, refusal: str = "") -> None:
        self._refusal = refusal
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
        """
        Adds one record and returns its place.

        Raises:
            CommitError: None is taken.
        """
        if self._refusal:
            raise CommitError(
                f"{self._refusal}, so nothing that survives a reset can be committed: point WARMSTATE_TMP at a directory that this user "
                "may write to"
            )
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
        fresh = MemoryBackend(self._refusal)
        places = [fresh.append(parts) for parts in records]
        self._bytes, self._records = fresh._bytes, fresh._records
        return places

    def close(self) -> None:
        """Nothing is open."""
