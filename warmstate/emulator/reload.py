"""
New code in a running environment: a new process, and what it finds of the old one's state.

The old process ends in the orderly way first: only one process at a time owns the environment's committed state.
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
    from warmstate.emulator.pool import Pool

__all__ = ["Reloaded", "reload"]

BUSY_POLL: Final = 0.02


@attrs.frozen
class Reloaded:
    """
    One instance after a reload.

    `status` is that of its init: "success", "error" or "timeout"; `kept` and `lost` name slots and tails.
    """

    instance: str
    status: str
    kept: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    problem: str = ""

    @property
    def summary(self) -> str:
        """One line about it."""
        if self.status != "success":
            return f"init failed: {self.problem}"
        parts = [f"kept {', '.join(self.kept)}"] if self.kept else []
        parts += [f"lost {', '.join(self.lost)} (in memory only)"] if self.lost else []
        return " · ".join(parts) or "no state was held"


async def reload(pool: Pool, *, keep: bool) -> list[Reloaded]:
    """Reload every environment of a function."""
    return [found for environment in list(pool.environments) if (found := await _reload(pool, environment, keep=keep))]


async def _reload(pool: Pool, environment: Environment, *, keep: bool) -> Reloaded | None:
    while not environment.is_free:
        if environment.gone:
            return None
        await asyncio.sleep(BUSY_POLL)
    environment.reserved = True
    committed, memory = _held(environment)
    if not keep:
        await pool.spin_down(environment)
        return Reloaded(environment.instance, "success", (), (*committed, *memory))
    try:
        await environment.reset("spindown", "reload")
        result = await environment.init(pool.function.init_limit)
    finally:
        pool.release(environment)
    problem = "" if result.answer is None else message_of(result.answer.payload)
    return Reloaded(environment.instance, result.status, committed, memory, problem)


def _held(environment: Environment) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of what outlives a process, and of what does not, as the instance last wrote them down."""
    try:
        with open(os.path.join(environment.sandbox.tmp, INSPECT_FILE), "rb") as file:
            facts: dict[str, Any] = json.loads(file.read())
    except (OSError, ValueError):
        return (), ()
    committed, memory = list[str](), list[str]()
    for group in ("slots", "tails"):
        members: dict[str, dict[str, Any]] = facts.get(group) or {}
        for name, about in members.items():
            (memory if about.get("survives") in {None, "freeze"} else committed).append(name)
    return tuple(committed), tuple(memory)
