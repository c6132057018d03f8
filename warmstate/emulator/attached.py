"""
An environment whose process is somebody else's: started by hand, or by an editor that debugs it.

1. Nothing is started, stopped or frozen. The process calls the Runtime API at `/.rt/NAME` of the emulator's address; there
   is one at a time.
2. An event waits, within the function's timeout, until a process asks for it. A process that was started anew in the
   middle of an invocation gets the same event again.
3. After a timeout the caller has its error; the process, which may stand at a breakpoint, is refused its late answer and
   then served again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from warmstate.emulator.environment import Environment
from warmstate.emulator.life import InitResult, Life, Phase

if TYPE_CHECKING:
    from warmstate.emulator.attempt import Attempt

__all__ = ["PREFIX", "AttachedEnvironment"]

PREFIX: Final = "/.rt/"
"""Where the Runtime API of a function begins, as with cargo-lambda."""


class AttachedEnvironment(Environment):
    """One environment without processes of its own."""

    async def open(self) -> None:
        """Make its folder, and wait for whoever comes."""
        await self.sandbox.open("")
        self._begin()
        self._note("warmstate.instance", kind=self.kind, tmp=self.sandbox.tmp)

    async def init(self, limit: float, phase: Phase = "init") -> InitResult:
        """Wait until a process is there and asks for an event."""
        begun = self.now()
        await self.waits.until(lambda: self.life.is_ready or self.life.is_broken(), begun + limit)
        ms = (self.now() - begun) * 1000
        if self.life.is_broken():
            return InitResult("error", ms, self.life.last_words(""))
        return InitResult("success" if self.life.is_ready else "timeout", ms)

    async def _prepare(self, attempt: Attempt) -> bool:
        result = await self.init(attempt.deadline - self.now())
        if result.status == "timeout":
            self._time_out(attempt)
            await self.reset("timeout", "timeout")
        elif result.answer is not None:
            attempt.init_failed = True
            attempt.fail(result.answer.error_type, result.answer.payload)
            await self.reset("failure", "init failed")
        return result.status == "success"

    def freeze(self) -> bool:
        """It is never frozen."""
        return False

    async def crash(self) -> None:
        """Give up on what is in flight, as when a process was killed; the process itself is not ours to kill."""
        if self.is_free:
            await super().crash()
        elif self.current is not None:
            self.life.failure = self.life.last_words(self.current.request_id)
            self.waits.changed()

    def _note_end(self, event: str) -> None:
        """None of ours has ended: who waited loses its connection, and whoever calls next begins another generation."""
        waiting = self.life.waiters
        super()._note_end(event)
        self._begin()
        for exchange in waiting:
            exchange.abort()

    def _begin(self) -> None:
        self.life = Life(self.generation + 1, self.sandbox, self.memory, self._new_extensions())
