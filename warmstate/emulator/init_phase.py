"""The Init phase and the Restore phase of an environment: from starting its processes to the runtime's first next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from warmstate.emulator.attempt import Answer, error_payload
from warmstate.emulator.life import InitResult
from warmstate.emulator.processes.processes import SpawnError

if TYPE_CHECKING:
    from warmstate.emulator.life import Life
    from warmstate.emulator.waits import Waits

__all__ = ["initialize", "restore"]

EXIT_GRACE: Final = 0.5
"""Seconds that a runtime gets to exit by itself after it reported an init error."""


async def initialize(life: Life, waits: Waits, limit: float) -> InitResult:
    """Start the processes, and wait for `limit` seconds until the runtime and all extensions called next."""
    begun = _now()
    sandbox = life.sandbox
    life.memory.start()
    try:
        await sandbox.start_extensions(waits.changed)
        await waits.until(lambda: not life.extensions.missing or life.is_broken(), begun + limit)
        if not life.is_broken():
            await sandbox.start_runtime(waits.changed)
        in_time = await waits.until(lambda: life.is_ready or life.is_broken(), begun + limit)
    except SpawnError as error:
        kind, in_time = "Runtime.InvalidEntrypoint", True
        life.failure = Answer(error_payload(kind, str(error)), error_type=kind)
    ms = (_now() - begun) * 1000
    if life.is_ready:
        return InitResult("success", ms)
    if not in_time:
        life.push_if_allowed("timeout")
        payload = error_payload("Sandbox.Timedout", f"Init phase timed out after {limit:.2f} seconds")
        return InitResult("timeout", ms, Answer(payload, error_type="Sandbox.Timedout"))
    if life.failure is not None:
        await waits.until(lambda: sandbox.runtime_exit is not None, _now() + EXIT_GRACE)
    return InitResult("error", ms, life.last_words(""))


async def restore(life: Life, waits: Waits, limit: float) -> InitResult:
    """Wake the runtime from restore/next and wait for its first next; 10 s, as after a SnapStart restore."""
    begun = _now()
    life.lifecycle.push("restored")
    if life.restore_waiter is not None:
        life.restore_waiter.respond(200, b"")
        life.restore_waiter = None
    in_time = await waits.until(lambda: life.state == "idle" or life.is_broken(), begun + limit)
    ms = (_now() - begun) * 1000
    if not in_time:
        life.push_if_allowed("timeout")
        payload = error_payload("Sandbox.Timedout", f"Restore phase timed out after {limit:.2f} seconds")
        return InitResult("timeout", ms, Answer(payload, error_type="Sandbox.Timedout"))
    if life.is_broken():
        return InitResult("error", ms, life.last_words(""))
    return InitResult("success", ms)


def _now() -> float:
    return asyncio.get_running_loop().time()
