"""The model as a slot that several invocations use at once."""

from __future__ import annotations

import weights  # type: ignore[import-not-found] # beside this file in the function's folder

from warmstate import Context, Event, State, StatefulHandler, state


class Model(StatefulHandler):
    """Answers from one copy."""

    concurrency = "threads"
    model: State[bytes] = state(factory=weights.load, pin=True)

    def handle(self, event: Event, context: Context) -> object:
        return {"bytes": len(self.model)}
