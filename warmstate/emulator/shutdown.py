"""
The Shutdown phase: who is told, in which order, and how long each may take.

No extension: nothing but SIGKILL. Internal ones only: SIGTERM, 500 ms, SIGKILL. With external ones 2,000 ms in all: SIGTERM
to the runtime, which has 300 ms (500 ms with an internal one too), then SHUTDOWN to the external ones for the rest.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from warmstate.emulator.life import Life
    from warmstate.emulator.waits import Waits

__all__ = ["ShutdownReason", "shut_down"]

ShutdownReason = Literal["spindown", "timeout", "failure"]


async def shut_down(life: Life, waits: Waits, reason: ShutdownReason, clock_shift: float) -> dict[str, Any]:
    """Run the Shutdown phase of thawed processes; afterwards none is alive that was given time. Returns how it went."""
    loop = asyncio.get_running_loop()
    sandbox, extensions = life.sandbox, life.extensions
    total, share = extensions.shutdown_budget
    begun = loop.time()
    killed = total == 0
    hook_ms = 0.0
    if total:
        sandbox.terminate_runtime()
        ended = await waits.until(lambda: sandbox.runtime_exit is not None, begun + share)
        hook_ms, killed = (loop.time() - begun) * 1000, not ended
    await sandbox.kill_runtime()
    outside = [extension for extension in extensions if extension.external]
    told = [extension for extension in outside if "SHUTDOWN" in extension.events]
    await sandbox.kill_extensions([extension.name for extension in outside if extension not in told])
    if told:
        left = begun + total - loop.time()
        deadline_ms = int((time.time() + clock_shift + left) * 1000)
        extensions.send("SHUTDOWN", {"shutdownReason": reason, "deadlineMs": deadline_ms})
        await waits.until(lambda: not any(sandbox.extension_alive(extension.name) for extension in told), begun + total)
    return {
        "reason": reason,
        "budgetMs": round(total * 1000),
        "runtimeBudgetMs": round(share * 1000),
        "runtimeMs": round(hook_ms, 3),
        "totalMs": round((loop.time() - begun) * 1000, 3),
        "killed": killed,
    }
