"""The smallest handler that commits one of each: a slot that cannot change in place, one that can, a tail."""

from __future__ import annotations

from warmstate.handler import StatefulHandler
from warmstate.warm.slot import State, state
from warmstate.warm.tails.tail import Tail, tail


class Desk(StatefulHandler):
    number: State[int] = state(default=0, survives="reset")
    text: State[dict[str, str]] = state(factory=dict, survives="reset")
    lines: Tail[int] = tail(max_items=3, survives="reset")

    @lines.flush
    def write(self, batch):
        return None
