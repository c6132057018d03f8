"""
New code in a running environment: a new process, and what it finds of the old one's state.

1. The new code's init is tried in an environment of its own while the old processes go on serving; when it fails they
   stay, and nothing is lost.
2. Then each old process ends in the orderly way, and a new one starts in its place: only one process at a time owns an
   environment's committed state.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, Final

import attrs

from warmstate.emulator.failures import message_of
from warmstate.emulator.function import INSPECT_FILE

if TYPE_CHECKING:
    from warmstate.emulator.environment import Environment
    from warmstate.emulator.life import InitResult
    from warmstate.emulator.pool import Pool

__all__ = ["Reloaded", "reload"]

BUSY_POLL: Final = 0.02


@attrs.frozen
class Reloaded:
    """
    One instance after a reload.

    `status` is that of its init: "success", "error" or "timeout"; `kept` and `lost` name what it held before.
    `old_serves` is True where the new code failed its init and the instance was left as it was.
    """

    instance: str
    status: str
    kept: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    problem: str = ""
    old_serves: bool = False

    @property
    def summary(self) -> str:
        """One line about it."""
        if self.old_serves:
            return f"init of the new code failed, the old code goes on serving: {self.problem}"
        if self.status != "success":
            return f"init failed: {self.problem}"
        parts = [f"kept {', '.join(self.kept)}"] if self.kept else []
        parts += [f"lost {', '.join(self.lost)}"] if self.lost else []
        return " · ".join(parts) or "no state was held"


async def reload(pool: Pool, *, keep: bool) -> list[Reloaded]:
    """Reload every environment of a function, or none of them when the new code does not pass its init."""
    if not pool.environments or pool.function.attached:
        return []
    result = await pool.rehearse()
    if result.status != "success":
        problem = _problem(result)
        return [Reloaded(e.instance, result.status, problem=problem, old_serves=True) for e in pool.environments]
    return [found for environment in list(pool.environments) if (found := await _reload(pool, environment, keep=keep))]


async def _reload(pool: Pool, environment: Environment, *, keep: bool) -> Reloaded | None:
    pool.starting.add(environment)  # events wait for it, and none takes it meanwhile
    try:
        while not environment.is_idle:
            if environment.gone:
                return None
            await asyncio.sleep(BUSY_POLL)
        environment.reserved = True
        before = _inspected(environment)
        if not keep:
            pool.starting.discard(environment)
            await pool.spin_down(environment)
            return Reloaded(environment.instance, "success", *_fates(before, {}))
        await environment.reset("spindown", "reload")
        result = await environment.init(pool.function.init_limit)
    finally:
        pool.starting.discard(environment)
        pool.release(environment)
    return Reloaded(environment.instance, result.status, *_fates(before, _inspected(environment)), _problem(result))


def _problem(result: InitResult) -> str:
    return "" if result.answer is None else message_of(result.answer.payload)


def _inspected(environment: Environment) -> dict[str, Any]:
    """What the instance last wrote down about itself."""
    try:
        with open(os.path.join(environment.sandbox.tmp, INSPECT_FILE), "rb") as file:
            facts: dict[str, Any] = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return facts


def _fates(before: dict[str, Any], after: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """
    The names of what the new process found of what the old one held, and of the slots that it did not find.

    A tail that is empty now was flushed in the last steps of the old process, or the log says why not.
    """
    adopted = after.get("generation", 1) > 1  # one that takes nothing over begins to count anew
    slots: dict[str, dict[str, Any]] = before.get("slots") or {}
    there: dict[str, dict[str, Any]] = (after.get("slots") or {}) if adopted else {}
    tails: dict[str, dict[str, Any]] = (after.get("tails") or {}) if adopted else {}
    held = [name for name, about in slots.items() if about.get("committed_bytes") != 0]  # None: in memory
    found = [name for name in held if slots[name].get("committed_bytes") and there.get(name, {}).get("committed_bytes")]
    waiting = [name for name, about in tails.items() if about.get("items")]
    return (*found, *waiting), tuple(name for name in held if name not in found)
