"""Compaction: the live state alone in new records, when most of what the backend holds is outdated."""

from __future__ import annotations

from warmstate.errors import CommitError
from warmstate.warm.commits.commit_log import entry, record, set_entry
from warmstate.warm.commits.committed import digest_of
from warmstate.warm.slot import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from warmstate.warm.commits.backend import Part
    from warmstate.warm.commits.commit_log import Segment
    from warmstate.warm.commits.committed import Cell
    from warmstate.warm.commits.committing import Committing
    from warmstate.warm.tails.buffer import Buffer

__all__ = ["Gone", "Live", "is_worth_it", "rewrite"]

_TIMES_LIVE = 2
_SMALL = 256 * 1024
"""Below so many bytes rewriting saves nothing that matters."""


class Gone(CommitError):
    """Raised when what was committed can be had neither from the backend nor from memory."""

    is_final = True


class Live:
    """What the first record says of all that follow."""

    __slots__ = ("environment", "generation", "identity", "known", "number", "requests", "table", "tenant")

    def __init__(
        self,
        identity: str,
        environment: str,
        generation: int,
        number: int,
        tenant: str | None,
        table: list[Any],
        requests: list[str],
        known: dict[str, list[Any]],
    ) -> None:
        self.identity = identity
        self.environment = environment
        self.generation = generation
        self.number = number
        self.tenant = tenant
        self.table = table
        self.requests = requests
        self.known = known


def is_worth_it(size: int, live: Callable[[], int]) -> bool:
    """Whether a backend of this size holds so little that is live that it should be rewritten."""
    return size > _SMALL and size > _TIMES_LIVE * live() + _SMALL // 4


def rewrite(
    committing: Committing, live: Live, cells: Sequence[Cell], tails: Mapping[str, Buffer[Any]], last: Sequence[Part]
) -> int:
    """
    Replaces what the backend holds by the live state, and updates where it lies; the place of the last record.

    Raises:
        CommitError: It could not be done; everything is as it was. `Gone` if it never can be.
    """
    offsets: list[tuple[Cell | Segment, int]] = []
    numbers = {row[0]: number for number, row in enumerate(live.table)}

    def written(entries: list[str], buffers: Sequence[Part], what: Cell | Segment | None = None) -> list[Part]:
        parts, offset = record(live.generation, live.number, "", live.tenant, entries, buffers)
        if what is not None:
            offsets.append((what, offset))
        return parts

    def records() -> Iterator[Sequence[Part]]:
        known = [entry("known", numbers[name], ids) for name, ids in live.known.items() if ids]
        table = entry("table", live.identity, live.table, live.environment)
        yield written([table, entry("requests", live.requests), *known], [])
        for cell in cells:
            if cell.holds:
                yield written([set_entry(cell.number, cell.lengths)], _bytes_of(committing, cell), cell)
        for name, buffer in tails.items():
            first = 0
            for segment in committing.segments[name]:
                items = _items_of(committing, segment, buffer, first)
                entries = [segment.entry(numbers[name])]
                if segment.left:
                    entries.append(entry("leave", numbers[name], segment.left))
                yield written(entries, items, segment)
                first += segment.count - segment.left
        if last:
            yield last

    places = committing.backend.rewrite(records())
    for (what, offset), place in zip(offsets, places[1:], strict=False):
        what.moved(place + offset)
    return places[-1]


def _bytes_of(committing: Committing, cell: Cell) -> Sequence[Part]:
    if cell.unwritten is not None:
        return cell.unwritten
    assert cell.place is not None
    try:
        return [committing.backend.fetch(cell.place, sum(cell.lengths))]
    except CommitError as error:
        # The file lost its bytes. A small value keeps them, and a large one that has not changed since its commit still has them.
        if cell.kept is not None:
            return [cell.kept]
        if cell.value is not MISSING:
            buffers = committing.encode(cell, cell.value)
            if cell.fixed or digest_of(buffers) == cell.digest:
                return [b"".join(buffers)]
        if committing.backend.lost:
            raise Gone(str(error)) from error
        raise


def _items_of(committing: Committing, segment: Segment, buffer: Buffer[Any], first: int) -> Sequence[Part]:
    try:
        return [committing.backend.fetch(segment.place, sum(segment.lengths))]
    except CommitError:
        if not committing.backend.lost:
            raise
        # As above: the items that still wait are in memory. Those that left are not, and nobody asks for them again.
        items = buffer.committed_items(first, segment.count - segment.left)
        buffers = committing.item_codecs[buffer.tail.name].encode(items)
        segment.ids = segment.ids[segment.left :]
        segment.count, segment.left = len(items), 0
        segment.lengths = list(map(len, buffers))
        return buffers
