"""What a flush method says it wrote, judged."""

from __future__ import annotations

from warmstate.errors import FlushError, LifecycleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from warmstate.warm.tails.buffer import Buffer

__all__ = ["flushed_count"]


def flushed_count(buffer: Buffer[Any], result: object, offered: int) -> int:
    """
    How many items the flush method says it wrote.

    Raises:
        FlushError: It said something that is no such number.
    """
    if result is None:
        return offered
    if type(result) is int and 0 <= result <= offered:
        return result
    method = f"{type(buffer._handler).__qualname__}.{buffer.tail.flush_method}"  # noqa: SLF001 - the method's class, for the message
    if hasattr(result, "__await__"):
        raise LifecycleError(
            f"{method} is async: it needs the runtime's event loop, so drive the class with warmstate.testing"
        )
    raise FlushError(
        f"{method} got {offered} items and returned {result!r}: return how many items from the front are written "
        f"(0 to {offered}), or None for all"
    )
