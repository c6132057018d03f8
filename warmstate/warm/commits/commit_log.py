"""
What commits say: records as the ledger writes them, and what a later process makes of them.

A record is a head (4 bytes of length, then plain text) and the buffers it describes.
Its head is a list: format, generation, request id, tenant, entries.
The first record of a journal, and the first after a rewrite, also carries the table of what is declared: numbers in entries are places in it.

Entries: `["table", identity, [[name, kind, schema, shape], ...]]` · `["set", slot, lengths]` · `["reset", slot]` ·
`["append", tail, count, ids, wall, lengths]` · `["leave", tail, count]` · `["known", tail, ids]` · `["requests", ids]`
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# What is read back can be anything, and checking it is the work of this module.
from __future__ import annotations

from warmstate.warm.codecs.plain import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from warmstate.warm.codecs.form import Buffer

__all__ = ["FORMAT", "Past", "Segment", "Unreadable", "record"]

FORMAT = 1
REMEMBERED_REQUESTS = 64
"""Request ids kept: at most one invocation was under way when a process died, and the platform retries within a few more."""


class Unreadable(Exception):
    """Raised when records make no sense; the message says why, and nothing of them may be adopted."""


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


def record(
    generation: int, request_id: str, tenant: str | None, entries: list[Any], buffers: Iterable[Buffer]
) -> tuple[list[Buffer], int]:
    """A record in parts, and where in it the buffers begin."""
    head = dumps([FORMAT, generation, request_id, tenant, entries])
    return [len(head).to_bytes(4, "little") + head, *buffers], 4 + len(head)


class Past:
    """What an earlier process committed, as far as its records have been read."""

    __slots__ = ("generation", "identity", "known", "requests", "segments", "table", "tenant", "values")

    def __init__(self) -> None:
        self.identity = ""
        self.table: list[tuple[str, str, int, Any]] = []
        self.tenant: str | None = None
        self.generation = 0
        self.requests: list[str] = []
        self.values: dict[int, tuple[int, list[int], bytes]] = {}
        self.segments: dict[int, list[Segment]] = {}
        self.known: dict[int, list[Any]] = {}

    def add(self, place: int, body: bytes) -> None:
        """
        Takes in the next record.

        Raises:
            Unreadable: It makes no sense.
        """
        try:
            length = int.from_bytes(body[:4], "little")
            version, generation, request_id, tenant, entries = loads(body[4 : 4 + length])
            if version != FORMAT:
                raise Unreadable(f"it has format {version}, this is format {FORMAT}")
            if generation < self.generation:
                raise Unreadable("its records are of several processes at once")
            if self.tenant is not None and tenant is not None and tenant != self.tenant:
                raise Unreadable("it holds the state of several tenants")
            self.generation, self.tenant = generation, tenant if self.tenant is None else self.tenant
            at = 4 + length
            for word, *rest in entries:
                at += self._entry(word, rest, place, body, at)
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            raise Unreadable(f"it is damaged ({type(error).__name__})") from None
        if at != len(body):
            raise Unreadable("it is damaged (lengths)")
        if request_id:
            self.requests = [*(known for known in self.requests if known != request_id), request_id][
                -REMEMBERED_REQUESTS:
            ]

    def _entry(self, word: str, rest: list[Any], place: int, body: bytes, at: int) -> int:
        if word == "table":
            self.identity = rest[0]
            self.table = [(name, kind, schema, shape) for name, kind, schema, shape in rest[1]]
            return 0
        if word == "requests":
            self.requests = [str(known) for known in rest[0]]
            return 0
        number = rest[0]
        self.table[number]
        if word == "set":
            lengths = _lengths(rest[1], len(body) - at)
            self.values[number] = (place + at, lengths, body[at : at + sum(lengths)])
            return sum(lengths)
        if word == "reset":
            self.values.pop(number, None)
            return 0
        if word == "known":
            self.known.setdefault(number, []).extend(rest[1])
            return 0
        if word == "leave":
            self._leave(number, rest[1])
            return 0
        if word != "append":
            raise Unreadable(f"it has an unknown entry {word!r}")
        count, ids, wall, lengths = rest[1:]
        lengths = _lengths(lengths, len(body) - at)
        ids = [None] * count if ids is None else ids
        if type(count) is not int or count < 1 or len(ids) != count:
            raise Unreadable("it is damaged (items)")
        segment = Segment(count, ids, float(wall), place + at, lengths, body[at : at + sum(lengths)])
        self.segments.setdefault(number, []).append(segment)
        return sum(lengths)

    def _leave(self, number: int, count: int) -> None:
        segments = self.segments.get(number, [])
        for segment in segments:
            gone = min(count, segment.count - segment.left)
            ids = segment.ids[segment.left : segment.left + gone]
            self.known.setdefault(number, []).extend(id for id in ids if id is not None)
            segment.left += gone
            count -= gone
        if count:
            raise Unreadable("it is damaged (more items left than came)")
        self.segments[number] = [segment for segment in segments if segment.left < segment.count]


def _lengths(lengths: Sequence[Any], room: int) -> list[int]:
    if not lengths or any(type(length) is not int or length < 0 for length in lengths) or sum(lengths) > room:
        raise Unreadable("it is damaged (lengths)")
    return list(lengths)
