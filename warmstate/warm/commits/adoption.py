"""
Adoption: what an earlier process of this environment committed becomes this one's state, whole or not at all.

1. Slots are only coherent together. So one value that cannot be read drops them all, and the log says why.
2. Everything is decoded before anything is taken over.
3. A journal that ends before the commit that the marker tells of is an older copy, or was emptied or removed.
4. Only the same environment, code, tenant and shapes are adopted; a slot whose `schema` was raised needs its migration.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# What is read back can be anything, and checking it is the work of this module.
from __future__ import annotations

from warmstate.errors import CodecError
from warmstate.warm.codecs.codec import codec_from_shape
from warmstate.warm.commits.committed import cut
from warmstate.warm.commits.past import Past, Unreadable
from warmstate.wire.failure import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from warmstate.warm.codecs.codec import Codec
    from warmstate.warm.commits.backend import CommitBackend
    from warmstate.warm.commits.commit_log import Segment
    from warmstate.warm.commits.committed import Cell
    from warmstate.warm.commits.committing import Committing
    from warmstate.warm.commits.unit import Ledger
    from warmstate.warm.tails.buffer import Buffer

__all__ = ["Adoption", "adopt"]


class Adoption:
    """
    What became of an earlier process's commits.

    `adopted` is True when its state is this one's now; `dropped_reason` says why there was some and it is not.
    `last_request_ids` are the requests whose work is in the adopted state, oldest first; `tenant` is whose state it is.
    """

    __slots__ = ("adopted", "dropped_reason", "last_request_ids", "tenant")

    def __init__(
        self,
        adopted: bool = False,
        dropped_reason: str | None = None,
        last_request_ids: tuple[str, ...] = (),
        tenant: str | None = None,
    ) -> None:
        self.adopted = adopted
        self.dropped_reason = dropped_reason
        self.last_request_ids = last_request_ids
        self.tenant = tenant

    def __repr__(self) -> str:
        return f"<Adoption {'of all' if self.adopted else f'of nothing: {self.dropped_reason}'}>"


def adopt(committing: Committing, ledger: Ledger, buffers: Sequence[Buffer[Any]]) -> Adoption:
    """Takes over what the backend holds, if all of it can be."""
    backend = committing.backend
    past = Past()
    found = False
    try:
        for place, body in backend.read():
            found = True
            past.add(place, body)
        if backend.damaged:
            return _dropped(backend, "the journal is damaged")
        _refuse_older(past, committing.last_commit.number, found=found)
        if not found:
            return Adoption()
        _refuse_foreign(past, ledger)
        values = [
            _value(past, number, committing.cells[name], ledger)
            for number, name in _numbers(past, "slot")
            if number in past.values and name in committing.cells  # else the class no longer has this slot
        ]
        tails = {
            name: _items(past, number, committing.item_codecs.get(name)) for number, name in _numbers(past, "tail")
        }
    except (Unreadable, CodecError) as error:
        return _dropped(backend, str(error))
    committing.generation = past.generation + 1
    committing.last_commit.number = past.number
    committing.requests = dict.fromkeys(past.requests)
    ledger.tenant = past.tenant if ledger.tenant is None else ledger.tenant
    committing.table_is_written = past.table == [tuple(row) for row in committing.table()]
    for name in committing.cells:
        ledger.handler.__dict__.pop(name, None)
    for take_over in values:
        take_over()
    for buffer in buffers:
        adopted = tails.get(buffer.tail.name)
        if adopted is not None:
            segments, known = adopted
            buffer.adopt([(items, segment.ids[segment.left :], segment.wall) for segment, items in segments], known)
            committing.segments[buffer.tail.name] = [segment for segment, _ in segments]
    return Adoption(True, None, tuple(past.requests), past.tenant)


def _dropped(backend: CommitBackend, reason: str) -> Adoption:
    # The file stays until the next commit replaces it: whoever comes before that must drop it for the same reason.
    backend.close()
    return Adoption(dropped_reason=reason)


def _refuse_older(past: Past, told: int, *, found: bool) -> None:
    if past.number < told:
        raise Unreadable(
            f"the journal ends with commit {past.number}, and {told} had been made: it was replaced by an older copy"
            if found
            else f"the journal of {told} commits was removed: leave WARMSTATE_TMP/warmstate alone when you clean /tmp"
        )


def _refuse_foreign(past: Past, ledger: Ledger) -> None:
    if not past.table:
        raise Unreadable("it does not say what it holds")
    if past.identity != ledger.identity:
        raise Unreadable("other code wrote it")
    if past.environment != ledger.environment:
        raise Unreadable("another execution environment wrote it")
    if past.tenant is not None and ledger.tenant is not None and past.tenant != ledger.tenant:
        raise Unreadable("another tenant's invocations wrote it")


def _numbers(past: Past, kind: str) -> list[tuple[int, str]]:
    return [(number, row[0]) for number, row in enumerate(past.table) if row[1] == kind]


def _value(past: Past, number: int, cell: Cell, ledger: Ledger) -> Callable[[], None]:
    """What makes the committed value of one slot this process's, once all of them could be read."""
    name, _, schema, shape = past.table[number]
    place, lengths, body = past.values[number]
    buffers = cut(body, lengths)
    where = f"{type(ledger.handler).__qualname__}.{name}"
    if schema == cell.slot.schema:
        if shape != cell.codec.shape:
            raise Unreadable(
                f"{where} had another type: raise its schema= and write a @{name}.migrate({schema}) method"
            )
        try:
            value = cell.codec.decode(buffers)
        except CodecError as error:
            raise Unreadable(f"{where} cannot be read ({error})") from None
        return lambda: cell.adopt(value, buffers, place)
    method = cell.slot.migrations.get(schema)
    if method is None:
        raise Unreadable(
            f"{where} was written with schema {schema}, now it is {cell.slot.schema}: write a @{name}.migrate({schema}) method"
        )
    try:
        old = codec_from_shape(shape).decode(buffers)
    except CodecError as error:
        raise Unreadable(f"{where} cannot be read ({error})") from None
    try:
        migrated = getattr(ledger.handler, method)(old)
        written = [bytes(buffer) for buffer in cell.codec.encode(migrated)]
    except Exception as error:
        raise Unreadable(f"{where}: {method} failed ({describe(error)})") from error
    return lambda: cell.adopt(migrated, written, None)


def _items(
    past: Past, number: int, codec: Codec[Any] | None
) -> tuple[list[tuple[Segment, list[Any]]], list[Any]] | None:
    name, _, _, shape = past.table[number]
    if codec is None:
        if past.segments.get(number):
            raise Unreadable(f"its tail {name} still held items, and the class no longer has that tail")
        return None
    if shape != codec.shape:
        if past.segments.get(number):
            raise Unreadable(f"its tail {name} still held items of another type")
        return None
    read: list[tuple[Segment, list[Any]]] = []
    for segment in past.segments.get(number, []):
        try:
            items = codec.decode(cut(segment.body, segment.lengths))
        except CodecError as error:
            raise Unreadable(f"an item of tail {name} cannot be read ({error})") from None
        if len(items) != segment.count:
            raise Unreadable(f"tail {name} has another number of items than it says")
        segment.body = b""
        read.append((segment, items[segment.left :]))
    return read, past.known.get(number, [])
