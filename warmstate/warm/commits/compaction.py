"""Compaction: the live state alone in new records, when most of what the backend holds is outdated."""

from __future__ import annotations

from warmstate.errors import CommitError
from warmstate.warm.commits.commit_log import record
from warmstate.warm.slot import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from warmstate.warm.commits.backend import CommitBackend, Part
    from warmstate.warm.commits.commit_log import Segment
    from warmstate.warm.commits.committed import Cell

__all__ = ["Live", "is_worth_it", "rewrite"]

_TIMES_LIVE = 2
_SMALL = 256 * 1024
"""Below so many bytes rewriting saves nothing that matters."""


class Live:
    """What the first record says of all that follow."""

    __slots__ = ("generation", "identity", "known", "requests", "table", "tenant")

    def __init__(
        self,
        identity: str,
        generation: int,
        tenant: str | None,
        table: list[Any],
        requests: list[str],
        known: dict[str, list[Any]],
    ) -> None:
        self.identity = identity
        self.generation = generation
        self.tenant = tenant
        self.table = table
        self.requests = requests
        self.known = known


def is_worth_it(size: int, live: Callable[[], int]) -> bool:
    """Whether a backend of this size holds so little that is live that it should be rewritten."""
    return size > _SMALL and size > _TIMES_LIVE * live() + _SMALL // 4


def rewrite(
    backend: CommitBackend,
    live: Live,
    cells: dict[str, Cell],
    segments: dict[str, list[Segment]],
    encode: Callable[[Cell, Any], Sequence[Part]],
) -> None:
    """
    Replaces what the backend holds by the live state, and updates where it lies.

    Raises:
        CommitError: It could not be done; everything is as it was.
    """
    offsets: list[int] = []
    committed = [cell for cell in cells.values() if cell.place is not None]
    waiting = [(name, segment) for name, held in segments.items() for segment in held]
    numbers = {row[0]: number for number, row in enumerate(live.table)}

    def written(entries: list[Any], buffers: Sequence[Part]) -> list[Part]:
        parts, offset = record(live.generation, "", live.tenant, entries, buffers)
        offsets.append(offset)
        return parts

    def records() -> Iterator[list[Part]]:
        known = [["known", numbers[name], ids] for name, ids in live.known.items() if ids]
        yield written([["table", live.identity, live.table], ["requests", live.requests], *known], [])
        for cell in committed:
            yield written([["set", cell.number, cell.lengths]], _bytes_of(backend, cell, encode))
        for name, segment in waiting:
            ids = segment.ids if any(id is not None for id in segment.ids) else None
            entries: list[Any] = [["append", numbers[name], segment.count, ids, segment.wall, segment.lengths]]
            if segment.left:
                entries.append(["leave", numbers[name], segment.left])
            yield written(entries, [backend.fetch(segment.place, sum(segment.lengths))])

    places = backend.rewrite(records())
    written_items: list[Cell | Segment] = [*committed, *(segment for _, segment in waiting)]
    for item, place, offset in zip(written_items, places[1:], offsets[1:], strict=True):
        item.place = place + offset


def _bytes_of(backend: CommitBackend, cell: Cell, encode: Callable[[Cell, Any], Sequence[Part]]) -> Sequence[Part]:
    assert cell.place is not None
    try:
        return [backend.fetch(cell.place, sum(cell.lengths))]
    except CommitError:
        # The file lost its bytes; a value that cannot have changed since its commit still has them.
        if cell.value is MISSING or not cell.fixed:
            raise
        return encode(cell, cell.value)
