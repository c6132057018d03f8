"""One life of an environment's processes: where it is in the lifecycle, who waits in next, and what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

from warmstate.emulator.failures import exit_answer
from warmstate.lifecycle.machine import Lifecycle

if TYPE_CHECKING:
    from warmstate.emulator.attempt import Answer
    from warmstate.emulator.extensions import Extensions
    from warmstate.emulator.processes.memory import MemoryWatch
    from warmstate.emulator.processes.sandbox import Sandbox
    from warmstate.emulator.servers.exchange import Exchange

__all__ = ["InitResult", "Life", "Phase", "ResetReason"]

Phase = Literal["init", "invoke", "snap-start"]
"""Whether init runs before any invocation, as a part of one, or before a snapshot."""
ResetReason = Literal["memory", "extension", "crash"]


@attrs.frozen
class InitResult:
    """How an init phase ended: "success", "error" or "timeout", after `ms` milliseconds, with what it leaves a caller."""

    status: Literal["success", "error", "timeout"]
    ms: float
    answer: Answer | None = None


class Life:
    """
    One generation of an environment's processes; a reset begins the next one.

    `failure` is what the runtime or an extension reported of its own end.
    """

    def __init__(self, generation: int, sandbox: Sandbox, memory: MemoryWatch, extensions: Extensions) -> None:
        self.generation: Final = generation
        self.sandbox: Final = sandbox
        self.memory: Final = memory
        self.extensions: Final = extensions
        self.lifecycle = Lifecycle("init" if generation else "ended")
        self.waiters: list[Exchange] = []
        """Calls of next that nobody has an event for yet, oldest first."""
        self.restore_waiter: Exchange | None = None
        self.failure: Answer | None = None
        self.wedged = False
        """The runtime said what the platform cannot get over; every further next is refused."""

    def __repr__(self) -> str:
        return f"<Life {self.generation}: {self.lifecycle.state}>"

    @property
    def state(self) -> str:
        """Where the lifecycle is."""
        return self.lifecycle.state

    @property
    def is_ready(self) -> bool:
        """Whether the runtime and all extensions called next."""
        in_next = self.state in {"idle", "snapshot"}
        return in_next and self.extensions.are_ready and not self.is_broken()

    def is_broken(self) -> bool:
        """Whether these processes cannot go on, or were ended."""
        return (
            self.failure is not None
            or (self.state == "ended" and self.generation > 0)
            or self.memory.exceeded
            or self.sandbox.runtime_exit is not None
            or self.sandbox.failed_extension is not None
        )

    @property
    def why_broken(self) -> ResetReason:
        """What broke, in one word."""
        if self.memory.exceeded:
            return "memory"
        return "extension" if self.sandbox.failed_extension else "crash"

    def last_words(self, request_id: str) -> Answer:
        """What a caller is told about the end of these processes."""
        if self.failure is not None:
            return self.failure
        return exit_answer(self.sandbox, request_id, out_of_memory=self.memory.exceeded)

    def push_if_allowed(self, event: str) -> None:
        """Move the lifecycle, where it has not gone elsewhere already."""
        if self.lifecycle.allows(event):
            self.lifecycle.push(event)

    def end(self, event: str) -> None:
        """No process is left, by an "exit" or a "kill"."""
        self.waiters, self.restore_waiter = [], None
        self.push_if_allowed(event)
        if self.state != "ended":
            self.lifecycle = Lifecycle("ended")
