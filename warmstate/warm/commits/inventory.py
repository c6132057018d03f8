"""What a ledger keeps warm, as plain values: names, sizes and counts, never a value itself."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from warmstate.warm.commits.committing import Committing
    from warmstate.warm.commits.residents import Residents
    from warmstate.warm.commits.unit import Ledger
    from warmstate.warm.tails.buffer import Buffer

__all__ = ["inventory"]


def inventory(
    ledger: Ledger, buffers: Sequence[Buffer[Any]], committing: Committing | None, residents: Residents | None
) -> dict[str, object]:
    """Each slot and tail with its rules and figures, and the figures of all commits."""
    slots: dict[str, object] = {}
    for name, slot in ledger.declarations.slots.items():
        cell = None if committing is None else committing.cells.get(name)
        slots[name] = {
            "survives": slot.survives,
            "schema": slot.schema,
            "pinned": slot.pin,
            "secret": slot.secret,
            "touched": name in ledger.handler.__dict__,
            "spilled": residents is not None and residents.holds(name),
            "committed_bytes": None if cell is None else sum(cell.lengths) if cell.holds else 0,
        }
    return {
        "slots": slots,
        "tails": {buffer.tail.name: _tail(buffer) for buffer in buffers},
        "generation": ledger.generation,
        "commits": 0 if committing is None else committing.commits,
        "rollbacks": ledger.rollbacks,
        "journal_bytes": 0 if committing is None else committing.backend.size,
        "live_bytes": 0 if committing is None else committing.live_bytes(),
    }


def _tail(buffer: Buffer[Any]) -> dict[str, object]:
    return {
        "survives": buffer.tail.survives,
        "items": len(buffer),
        "bytes": buffer.nbytes,
        "age": round(buffer.age(), 3),
        "max_items": buffer.tail.max_items,
        "max_bytes": buffer.max_bytes,
        "max_age": buffer.tail.max_age,
        "flushes": buffer.flushes,
        "failures_in_a_row": buffer.failures,
        "spilled_items": buffer.away,
    }
