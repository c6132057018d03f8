"""A handler with slots and tails that commit and some that do not, and a ledger for it."""

from __future__ import annotations

import dataclasses

from warmstate.handler import StatefulHandler
from warmstate.warm.commits.journal import Journal
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.slot import State, state
from warmstate.warm.tails.tail import Tail, tail


class Wordless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@dataclasses.dataclass
class Seen:
    names: list[str]
    total: int = 0


class Shop(StatefulHandler):
    count: State[int] = state(default=0, survives="reset")
    seen: State[Seen] = state(factory=lambda: Seen([]), survives="reset")
    stock: State[dict[str, int]] = state(factory=dict, survives="reset")
    scratch: State[list[int]] = state(factory=list)
    orders: Tail[str] = tail(max_items=3, survives="reset")
    notes: Tail[str] = tail(max_items=4)
    refuse = False
    partly = None

    @orders.flush
    def write_orders(self, batch):
        self.count += len(batch)
        self.stock["flushes"] = self.stock.get("flushes", 0) + 1
        if self.refuse:
            raise OSError("no")
        self.outside.extend(batch if self.partly is None else batch[: self.partly])
        return self.partly

    @notes.flush
    def write_notes(self, batch):
        if self.refuse:
            raise OSError("no")
        self.outside_notes.extend(batch)

    def __init__(self):
        self.outside = []
        self.outside_notes = []


def start(directory, kind=Shop, **options):
    handler = kind()
    files = options.pop("files", None)
    backend = Journal(str(directory), files=files) if files is not None else Journal(str(directory))
    ledger = Ledger(handler, kind.__warmstate__, backend=backend, **options)
    return handler, ledger, ledger.open()
