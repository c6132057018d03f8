"""
One table of what may happen to a process of an execution environment, and when.

1. The table has no role in it: the runtime, the test kit and the emulator each hold their own `Lifecycle` and push the
   same events. What the runtime may not do, the emulator answers with 403 from this same table.
2. Events are named after what happens on the wire (`next`, `response`, `error`, ...) or to the process (`freeze`,
   `terminate`, `kill`, ...).
3. An event that is missing from a state's row is not allowed there.
4. On Managed Instances there is one `Lifecycle` per slot.

The diagram in docs/architecture.md is drawn from this table.
"""

from __future__ import annotations

from warmstate.errors import LifecycleError

__all__ = ["TRANSITIONS", "Lifecycle", "diagram"]

TRANSITIONS: dict[str, dict[str, str]] = {
    # The process runs its init; the first next, or restore/next, ends it.
    "init": {
        "register": "init",
        "next": "idle",
        "restore_next": "snapshot",
        "init_error": "failed",
        "timeout": "expired",
        "terminate": "stopping",
        "exit": "ended",
        "kill": "ended",
    },
    # An init or restore error is posted; all that may follow is the end.
    "failed": {"terminate": "stopping", "exit": "ended", "kill": "ended"},
    # Blocked in restore/next: the snapshot is taken here, and cloned environments wake from here.
    "snapshot": {
        "freeze": "snapshot",
        "thaw": "snapshot",
        "restored": "restoring",
        "init_error": "failed",
        "exit": "ended",
        "kill": "ended",
    },
    "restoring": {
        "next": "idle",
        "restore_error": "failed",
        "timeout": "expired",
        "terminate": "stopping",
        "exit": "ended",
        "kill": "ended",
    },
    # Blocked in next. A second next is a runtime that lost its connection and asks again.
    "idle": {
        "next": "idle",
        "freeze": "frozen",
        "invoke": "invoking",
        "terminate": "stopping",
        "exit": "ended",
        "kill": "ended",
    },
    "frozen": {"thaw": "idle", "kill": "ended"},
    # The handler has the event. Asking again delivers the same event again.
    "invoking": {
        "next": "invoking",
        "response": "answered",
        "stream": "streaming",
        "error": "answered",
        "timeout": "expired",
        "terminate": "stopping",
        "exit": "ended",
        "kill": "ended",
    },
    # The first byte of a streamed answer left; an error can only travel in its trailers now.
    "streaming": {
        "response": "answered",
        "truncate": "answered",
        "timeout": "expired",
        "terminate": "stopping",
        "exit": "ended",
        "kill": "ended",
    },
    # The caller has the answer; after_response and settle run until the next next.
    "answered": {
        "next": "idle",
        "timeout": "expired",
        "terminate": "stopping",
        "exit": "ended",
        "kill": "ended",
    },
    # Over the deadline or the init limit; the platform now ends the process. A late answer counts for nothing.
    "expired": {
        "response": "expired",
        "error": "expired",
        "next": "expired",
        "terminate": "stopping",
        "exit": "ended",
        "kill": "ended",
    },
    # SIGTERM arrived: what still runs may end, then the hooks run.
    "stopping": {
        "response": "stopping",
        "stream": "stopping",
        "error": "stopping",
        "next": "stopping",
        "terminate": "stopping",
        "exit": "ended",
        "kill": "ended",
    },
    # No process. A reset starts a new one in the same environment, with the same /tmp.
    "ended": {"start": "init"},
}
"""state → event → next state."""


class Lifecycle:
    """
    Where one process, or one slot of it, is in the table.

    `push` moves it and returns the new state; what the table does not allow raises and changes nothing.
    """

    __slots__ = ("state",)

    def __init__(self, state: str = "init") -> None:
        if state not in TRANSITIONS:
            raise LifecycleError(f"{state!r} is no state of the lifecycle; states are: {', '.join(TRANSITIONS)}.")
        self.state = state

    def push(self, event: str) -> str:
        """
        Takes note that `event` happened.

        Raises:
            LifecycleError: `event` cannot happen in the present state, which stays as it is.
        """
        row = TRANSITIONS[self.state]
        if event not in row:
            raise LifecycleError(
                f"{event!r} is not allowed while {self.state!r}; allowed there: {', '.join(row) or 'nothing'}."
            )
        self.state = state = row[event]
        return state

    def allows(self, event: str) -> bool:
        """Whether `event` may happen now."""
        return event in TRANSITIONS[self.state]

    def __repr__(self) -> str:
        return f"<Lifecycle {self.state}>"


def diagram() -> str:
    """The table as a Mermaid state diagram; events that leave a state as it is are left out."""
    lines = ["stateDiagram-v2", "    [*] --> init"]
    for state, row in TRANSITIONS.items():
        edges: dict[str, list[str]] = {}
        for event, target in row.items():
            if target != state:
                edges.setdefault(target, []).append(event)
        lines += [f"    {state} --> {target}: {', '.join(events)}" for target, events in edges.items()]
    return "\n".join([*lines, ""])
