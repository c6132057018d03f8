"""
One execution environment: init, invocations, freeze, thaw, reset, shutdown, as the platform drives them.

Sources: the lifecycle pages of the Lambda documentation (lambda-runtime-environment, runtimes-extensions-api) and the
public code of AWS's Runtime Interface Emulator. What a runtime may call when is decided by `lifecycle.machine`.
The calls themselves come in through `runtime_server`.
"""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from warmstate.emulator.extensions import Extensions
from warmstate.emulator.failures import restore_refusal, timeout_payload
from warmstate.emulator.init_phase import initialize, restore
from warmstate.emulator.life import InitResult, Life, Phase
from warmstate.emulator.processes.freezer import Freezer
from warmstate.emulator.processes.memory import MemoryWatch
from warmstate.emulator.processes.sandbox import Sandbox
from warmstate.emulator.reports import Reporter
from warmstate.emulator.servers.runtime_server import RuntimeServer
from warmstate.emulator.shutdown import shut_down
from warmstate.emulator.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.emulator.attempt import Attempt, StartKind
    from warmstate.emulator.function import Function, InitializationType
    from warmstate.emulator.journal import Journal
    from warmstate.emulator.processes.processes import Warden
    from warmstate.emulator.shutdown import ShutdownReason

__all__ = ["Environment"]

THAW_AFTER: Final = 1.0
"""Seconds of freeze from which a start counts as "thaw", as the runtime counts by default."""
_PHASES: Final = {
    "failed": "init",
    "restoring": "running",
    "invoking": "running",
    "streaming": "running",
    "answered": "running",
    "expired": "stopping",
}
"""The lifecycle's states that people know under another word."""


class Environment:
    """
    One environment of a function, one invocation at a time.

    `instance` is its name here ("i-1"); `generation` counts its processes.
    """

    def __init__(
        self, function: Function, warden: Warden, journal: Journal, instance: str, kind: InitializationType
    ) -> None:
        self.function: Final = function
        self.instance: Final = instance
        self.kind: Final = kind
        self.journal: Final = journal
        stream = time.strftime("%Y/%m/%d", time.gmtime()) + f"/[{function.version}]{uuid.uuid4().hex}"
        name = f"{instance}-{uuid.uuid4().hex[:8]}"
        self.sandbox: Final = Sandbox(function, warden, name, kind, stream, self._line)
        self.waits: Final = Waits(self._look_again)
        self.freezer: Final = Freezer(self.sandbox, self._note)
        self.reporter: Final = Reporter(function, instance, kind, journal, self.sandbox, self.freezer)
        self.memory: Final = MemoryWatch(self.sandbox, function.memory_mb << 20, self.waits.changed)
        self.server: Final = self._new_server()
        self.life = Life(0, self.sandbox, self.memory, self._new_extensions())
        self.invocations = 0
        self.starts: dict[StartKind, int] = {}
        self.tenant_id: str | None = None
        self.created: Final = time.time()
        self.last_used = self.now()
        self.reserved = True
        """Taken by the pool for an event or an init; nobody else may use it."""
        self.gone = False
        self._closing: Final = asyncio.Lock()
        """Held while /tmp and the Runtime API are made or given up: never both at once, and each once."""
        self.current: Attempt | None = None
        self.last_request_id = ""
        self._first_start: StartKind = "cold"
        self._next_start: StartKind = "cold"
        self.on_change: Callable[[], None] = lambda: None
        self.on_gone: Callable[[Environment], None] = lambda _: None

    def __repr__(self) -> str:
        return f"<Environment {self.instance} of {self.function.name}: {self.phase}, generation {self.generation}>"

    @property
    def phase(self) -> str:
        """One word for people: init, idle, frozen, running, stopping, reset (no process until the next event), gone."""
        if self.gone:
            return "gone"
        state = self.life.state
        if state == "ended":
            return "reset" if self.generation else "new"
        if state == "snapshot":
            return "frozen" if self.freezer.is_frozen else "init"
        return _PHASES.get(state, state)

    @property
    def generation(self) -> int:
        """How many times processes were started here."""
        return self.life.generation

    @property
    def is_free(self) -> bool:
        """Whether an event may be given to it."""
        return not self.reserved and not self.gone

    @property
    def is_idle(self) -> bool:
        """Whether nothing at all is going on in it."""
        return self.is_free

    def take(self) -> None:
        """An event, or a verb, has it now."""
        self.reserved = True

    def give_back(self) -> None:
        """Whoever took it is done."""
        self.reserved = False

    @property
    def is_settling(self) -> bool:
        """Whether its caller has the answer and the runtime is about to be back in next, or just is."""
        if not self.reserved or self.gone or self.current is None or not self.current.answer.done():
            return False
        return self.life.state in {"answered", "idle"}

    async def open(self) -> None:
        """Make its /tmp and its Runtime API."""
        async with self._closing:
            await self.server.start()
            await self.sandbox.open(self.server.address)
        self._note("warmstate.instance", kind=self.kind, tmp=self.sandbox.tmp)

    async def init(self, limit: float, phase: Phase = "init") -> InitResult:
        """Start new processes and wait until the runtime and all extensions called next."""
        self.memory.forget()
        self.life = Life(self.generation + 1, self.sandbox, self.memory, self._new_extensions())
        self.reporter.init_start(phase, self.generation)
        result = await initialize(self.life, self.waits, limit)
        self.reporter.init_done(phase, result)
        if result.status != "success":
            await self.end_processes()
            self._next_start = self._first_start  # whoever follows those that never called next is the first again
        else:
            self._first_start = "reset"
        if self.current is None and not self.function.is_managed:
            self.memory.stop()
        self.last_used = self.now()
        self.waits.changed()
        return result

    # --- invoke -------------------------------------------------------------------------------------------------------

    async def invoke(self, attempt: Attempt) -> None:
        """
        Run one attempt to the end of its invoke phase; its answer may be there earlier.

        Raises:
            ApiError: A snapshot could not be restored.
        """
        self.current, attempt.instance = attempt, self.instance
        self.tenant_id = self.tenant_id or attempt.tenant_id
        self.memory.start()
        try:
            if self.life.state != "ended" and (self.life.is_broken() or self.sandbox.has_died):  # while it was idle
                await self.reset("failure", self.life.why_broken)
            if self.kind == "snap-start":
                attempt.restore_ms = await self._restore()
            await self._run(attempt)
        finally:
            self.memory.stop()
            self.last_request_id, self.current = attempt.request_id, None
            self.last_used = self.now()
            self.waits.changed()

    async def _run(self, attempt: Attempt) -> None:
        begun = self.now()
        attempt.deadline = begun + self.function.timeout
        attempt.start = self._start_kind()
        self.starts[attempt.start] = self.starts.get(attempt.start, 0) + 1
        self.invocations += 1
        self.reporter.start(attempt)
        try:
            if await self._prepare(attempt):
                await self._deliver(attempt)
        finally:
            attempt.duration_ms = (self.now() - begun) * 1000
            attempt.max_memory_mb = self.memory.used_mb()
            self.reporter.report(attempt)

    def _start_kind(self) -> StartKind:
        if self._next_start != "warm":
            kind, self._next_start = self._next_start, "warm"
            return kind
        return "thaw" if self.freezer.frozen_for() > self._thaw_after() else "warm"

    def _thaw_after(self) -> float:
        try:
            return float(self.function.environment["WARMSTATE_THAW_AFTER"])
        except (KeyError, ValueError):
            return THAW_AFTER

    def mark_start(self, kind: StartKind) -> None:
        """The first process here that calls next will be found so; after it, whatever fails, there is none like it."""
        self._first_start = self._next_start = kind

    async def _restore(self) -> float | None:
        """
        Continue from the snapshot, if the runtime waits for that; returns the milliseconds that it took.

        A process that is gone is made once more up to its snapshot first, which takes none of the invocation's time.
        """
        if self.life.state == "ended":
            await self.init(self.function.init_limit, "snap-start")
        if self.life.state not in {"snapshot", "frozen"} or self.life.restore_waiter is None:
            return None
        self.thaw()
        self.reporter.restore_start()
        result = await restore(self.life, self.waits, self.function.init_timeout)
        self.reporter.restored(result)
        if result.answer is not None:
            await self.reset("failure", "restore failed")
            raise restore_refusal(result)
        self._next_start = "restore"
        return result.ms

    async def _prepare(self, attempt: Attempt) -> bool:
        """Make the runtime wait in next; False when it did not come to that, and the attempt is answered."""
        if self.life.state == "ended":
            result = await self.init(attempt.deadline - self.now(), "invoke")
            if result.status == "timeout":
                self._time_out(attempt)
                return False
            if result.answer is not None:
                attempt.init_failed = True
                attempt.fail(result.answer.error_type, result.answer.payload)
                return False
        return True

    async def _deliver(self, attempt: Attempt) -> None:
        life, frozen = self.life, self.freezer.is_frozen
        if frozen:
            life.lifecycle.push("thaw")
        life.lifecycle.push("invoke")
        life.extensions.send("INVOKE", self.reporter.invoke_event(attempt))
        self.hand_over()
        if frozen:  # only now: the processes wake once, and find what they wait for
            self.freezer.thaw()
        in_time = await self.waits.until(
            lambda: (life.state == "idle" and life.extensions.are_idle) or life.is_broken(), attempt.deadline
        )
        if life.is_broken():
            answer = life.last_words(attempt.request_id)
            attempt.fail(answer.error_type, answer.payload)
            attempt.failure = answer.error_type
            await self.reset("failure", life.why_broken)
        elif not in_time:
            self._time_out(attempt)
            await self.reset("timeout", "timeout")

    def _time_out(self, attempt: Attempt) -> None:
        self.life.push_if_allowed("timeout")
        attempt.fail("Sandbox.Timedout", timeout_payload(attempt.request_id, self.function.timeout))
        attempt.failure = "Sandbox.Timedout"

    def hand_over(self) -> None:
        """Give the current event to a runtime that waits in next; the newest call wins, as on the real thing."""
        attempt, waiters = self.current, self.life.waiters
        if attempt is None or self.life.state != "invoking":
            return
        while waiters:
            exchange = waiters.pop()
            if not exchange.gone:
                self.server.send_event(exchange, attempt)
                return

    # --- freeze and thaw ----------------------------------------------------------------------------------------------

    def freeze(self) -> bool:
        """Stop every process, if the runtime waits in next (or restore/next); False when it does not."""
        if self.life.state not in {"idle", "snapshot"} or self.freezer.is_frozen:
            return self.freezer.is_frozen
        self.life.lifecycle.push("freeze")
        self.freezer.freeze()
        return True

    def freeze_snapshot(self) -> None:
        """Stop what waits in restore/next, as every environment made from a snapshot begins."""
        if self.life.state == "snapshot":
            self.freeze()

    def thaw(self) -> None:
        """Let the processes go on, if they are frozen."""
        if self.freezer.is_frozen:
            self.life.lifecycle.push("thaw")
            self.freezer.thaw()

    # --- the end of processes -----------------------------------------------------------------------------------------

    async def reset(self, reason: ShutdownReason, why: str) -> None:
        """End the processes and keep the environment with its /tmp; the next event starts new ones."""
        await self.end_processes(reason)
        self._next_start = "reset"
        self._note("warmstate.reset", reason=why, generation=self.generation)

    async def crash(self) -> None:
        """Kill every process without a word, as the kernel does when memory runs out; /tmp stays."""
        if not self.is_idle:
            self.sandbox.signal(signal.SIGKILL)  # whoever waits for the invocation sees the end, and resets
            return
        self.reserved = True
        await self.die()
        self.reserved = False
        self.waits.changed()

    async def die(self) -> None:
        """Lose every process of an environment that nobody uses now; /tmp stays."""
        await self.sandbox.kill()
        self._note_end("kill")
        self._next_start = "reset"
        self._note("warmstate.reset", reason="kill", generation=self.generation)

    async def close(self, reason: ShutdownReason = "spindown", *, abrupt: bool = False) -> None:
        """End the environment: shutdown, then /tmp is gone."""
        self.reserved = True
        async with self._closing:
            if self.gone:
                return
            if not abrupt:
                await self.end_processes(reason)
            self.gone = True
            self.memory.stop()
            await self.sandbox.close()
            self.life.end("kill")
            await self.server.close()
        self._note("warmstate.gone", reason=reason, invocations=self.invocations)
        self.on_gone(self)
        self.waits.changed()

    async def end_processes(self, reason: ShutdownReason = "failure") -> None:
        """The Shutdown phase, then no process is left."""
        if self.sandbox.pid is not None:
            self.memory.note_peak()
            self.thaw()
            self.life.push_if_allowed("terminate")
            self._note("warmstate.shutdown", **await shut_down(self.life, self.waits, reason, self.freezer.clock_shift))
        await self.sandbox.kill()
        self._note_end("exit")

    def _note_end(self, event: str) -> None:
        self.freezer.forget()
        self.life.end(event)

    # --- the parts it is made of --------------------------------------------------------------------------------------

    def _new_server(self) -> RuntimeServer:
        return RuntimeServer(self)

    def _new_extensions(self) -> Extensions:
        """An empty registry for a new generation of processes."""
        names = frozenset(self.sandbox.external_extensions())
        return Extensions(names, managed=self.function.is_managed, changed=self.waits.changed)

    def _note(self, event_type: str, **record: Any) -> None:
        self.journal.add(event_type, self.function.name, self.instance, **record)

    def _line(self, source: str, text: str) -> None:
        self.reporter.line(source, text, self.current.request_id if self.current is not None else "")

    def _look_again(self) -> None:
        self.on_change()

    @staticmethod
    def now() -> float:
        """The event loop's clock, in seconds."""
        return asyncio.get_running_loop().time()
