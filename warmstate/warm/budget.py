"""
The bytes of memory that slots, tails and the store may keep together.

1. Each may use what the others leave.
2. Where they want more than there is, neither slots and tails nor the store take more than half from the other: both spill.
3. What cannot leave memory counts all the same (pinned values, values without a codec). Then the store, whose values can always be
   evicted, makes do with what is left, a sixteenth at least.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MemoryBudget"]

_LEAST_SHARE = 16


def _nothing() -> int:
    return 0


class MemoryBudget:
    """
    `total` bytes for all that one handler keeps warm.

    `in_slots` is what slots and tails took when they were last measured; `in_store` tells what the store takes now, and
    `store_is_short` that it had to let values go since then.
    """

    __slots__ = ("in_slots", "in_store", "store_is_short", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.in_slots = 0
        self.in_store: Callable[[], int] = _nothing
        self.store_is_short = False

    def __repr__(self) -> str:
        return (
            f"<MemoryBudget {self.in_slots} in slots and tails, {self.in_store()} in the store, of {self.total} bytes>"
        )

    @property
    def for_slots(self) -> int:
        """Bytes that slots and tails may keep now."""
        half = self.total // 2
        return half if self.store_is_short else self.total - min(self.in_store(), half)

    @property
    def for_store(self) -> int:
        """Bytes that the store may keep now."""
        return max(self.total - self.in_slots, self.total // _LEAST_SHARE)
