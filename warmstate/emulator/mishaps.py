"""What happens to environments now and then, and happens here more often: reset, killed or spun down before an event."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from warmstate.emulator.environment import Environment

__all__ = ["Mishap", "Mishaps"]

Mishap = Literal["reset", "kill", "spindown"]
_ALL: Final[tuple[Mishap, ...]] = ("reset", "kill", "spindown")


class Mishaps:
    """Draws one with probability `share` for each event that finds an instance; the same `seed` draws the same again."""

    def __init__(self, share: float, seed: int | None) -> None:
        self._share = share
        self._random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret

    def draw(self) -> Mishap | None:
        """What happens this time."""
        happens, kind = self._random.random(), self._random.choice(_ALL)
        return kind if happens < self._share else None

    async def strike(
        self, environment: Environment, replace: Callable[[], Awaitable[Environment]]
    ) -> Environment | None:
        """
        Let one happen, perhaps, to an environment that an event has taken.

        Returns what `replace` gave for it where it was spun down; None where it is still there.
        """
        if environment.life.state not in {"idle", "frozen", "snapshot"}:
            return None
        kind = self.draw()
        if kind is None:
            return None
        environment.journal.add("warmstate.chaos", environment.function.name, environment.instance, mishap=kind)
        if kind == "spindown":
            return await replace()
        if kind == "kill":
            await environment.die()
        else:
            await environment.reset("failure", "chaos")
        return None
