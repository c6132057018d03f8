"""
What an earlier process committed, as far as its records have been read; how they are written is in `commit_log`.

A record that makes no sense stops everything: slots and tails are only coherent together.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# What is read back can be anything, and checking it is the work of this module.
from __future__ import annotations

from warmstate.warm.codecs.plain import loads
from warmstate.warm.commits.commit_log import FORMAT, REMEMBERED_REQUESTS, Segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["Past", "Unreadable"]


class Unreadable(Exception):
    """Raised when records make no sense; the message says why, and nothing of them may be adopted."""


class Past:
    """What an earlier process committed, as far as its records have been read."""

    __slots__ = (
        "environment",
        "generation",
        "identity",
        "known",
        "number",
        "requests",
        "segments",
        "table",
        "tenant",
        "values",
    )

    def __init__(self) -> None:
        self.identity = ""
        self.environment = ""
        self.table: list[tuple[str, str, int, Any]] = []
        self.tenant: str | None = None
        self.generation = 0
        self.number = 0
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
            version, generation, number, request_id, tenant, entries = loads(body[4 : 4 + length])
            if version != FORMAT:
                raise Unreadable(f"it has format {version}, this is format {FORMAT}")
            if generation < self.generation or number < self.number:
                raise Unreadable("its records are of several processes at once")
            if self.tenant is not None and tenant is not None and tenant != self.tenant:
                raise Unreadable("it holds the state of several tenants")
            self.generation, self.number = generation, number
            self.tenant = tenant if self.tenant is None else self.tenant
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
            self.identity, table, self.environment = rest
            self.table = [(name, kind, schema, shape) for name, kind, schema, shape in table]
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
