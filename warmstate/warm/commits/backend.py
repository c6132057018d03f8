"""
The port through which a ledger commits: the journal in /tmp implements it, and a durable backend can.

A record is whole or absent, whatever happens during `append` or `rewrite`, and records stay in the order of their commits.
"""

from __future__ import annotations

from warmstate._typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TypeAlias

    Part: TypeAlias = bytes | memoryview

__all__ = ["CommitBackend"]


class CommitBackend(Protocol):
    """Where commits go."""

    damaged: bool
    """After `read`: what an earlier process left cannot be trusted, so none of it may be adopted."""
    lost: bool
    """What was committed is no longer where another process would find it; `rewrite` brings it back."""

    @property
    def size(self) -> int:
        """Bytes that all records take, live or not."""
        ...

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Every record that an earlier process left with its place, oldest first; a torn end is dropped. Never raises."""
        ...

    def append(self, parts: Sequence[Part]) -> int:
        """
        Writes one record, given in parts, and returns its place.

        Raises:
            CommitError: It could not be written; the records before it are as they were.
        """
        ...

    def fetch(self, place: int, length: int) -> bytes:
        """
        Reads bytes of a record again.

        Raises:
            CommitError: They cannot be read.
        """
        ...

    def rewrite(self, records: Iterable[Sequence[Part]]) -> list[int]:
        """
        Replaces all records by these and returns their places.

        Raises:
            CommitError: It could not be done; the records are as they were.
        """
        ...

    def close(self) -> None:
        """Lets go of what is open; what was committed stays."""
        ...
