"""
What commits say: records as units of work write them; what a later process makes of them is in `past`.

A record is a head (4 bytes of length, then plain text) and the buffers it describes.
Its head is a list: format, generation, number of the last commit, request id, tenant, entries.
The first record of a journal, and the first after a rewrite, also carries the table of what is declared: numbers in entries are places in it.

Entries: `["table", identity, [[name, kind, schema, shape], ...], environment]` · `["set", slot, lengths]` · `["reset", slot]` ·
`["append", tail, count, ids, wall, lengths]` · `["leave", tail, count]` · `["known", tail, ids]` · `["requests", ids]`
"""

from __future__ import annotations

from warmstate.warm.codecs.plain import dumps, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from warmstate.warm.codecs.form import Buffer

__all__ = ["FORMAT", "REMEMBERED_REQUESTS", "Segment", "entry", "record", "set_entry"]

FORMAT = 1
REMEMBERED_REQUESTS = 64
"""Request ids kept: at most one invocation was under way when a process died, and the platform retries within a few more."""


class Segment:
    """Items of a tail that were committed together: where their buffers lie, and how many of them have left since."""

    __slots__ = ("body", "count", "ids", "left", "lengths", "place", "wall")

    def __init__(
        self, count: int, ids: list[Any], wall: float, place: int, lengths: list[int], body: bytes = b""
    ) -> None:
        self.count = count
        self.ids = ids
        self.wall = wall
        self.place = place
        self.lengths = lengths
        self.body = body
        self.left = 0

    def moved(self, place: int) -> None:
        """The buffers lie there now."""
        self.place = place

    def entry(self, tail: int) -> str:
        """The entry that appends these items to a tail."""
        ids = self.ids if any(id is not None for id in self.ids) else None
        return entry("append", tail, self.count, ids, self.wall, self.lengths)


def entry(word: str, *rest: Any) -> str:
    """One entry of a head, as text."""
    return str(dumps([word, *rest]), "utf-8", "surrogatepass")


def set_entry(slot: int, lengths: list[int]) -> str:
    """The entry for a slot's new value: the one that every commit of a slot writes."""
    return f'["set",{slot},{lengths}]'


def record(
    generation: int, number: int, request_id: str, tenant: str | None, entries: list[str], buffers: Sequence[Buffer]
) -> tuple[list[Buffer], int]:
    """A record in parts, and where in it the buffers begin."""
    whose = "null" if tenant is None else quoted(tenant)
    text = f"[{FORMAT},{generation},{number},{quoted(request_id)},{whose},[{','.join(entries)}]]"
    head = text.encode("utf-8", "surrogatepass")
    return [len(head).to_bytes(4, "little") + head, *buffers], 4 + len(head)
