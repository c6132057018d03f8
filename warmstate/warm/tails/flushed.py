"""What a flush method says that it wrote."""

from __future__ import annotations

from warmstate.errors import FlushError, LifecycleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from warmstate.warm.tails.buffer import Buffer

__all__ = ["flushed_count", "method_of"]


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
    method = method_of(buffer)
    if hasattr(result, "__await__"):
        raise LifecycleError(
            f"{method} is async: it needs the runtime's event loop, so drive the class with warmstate.testing"
        )
    raise FlushError(
        f"{method} got {offered} items and returned {result!r}: return how many items from the front are written "
        f"(0 to {offered}), or None for all"
    )


def method_of(buffer: Buffer[Any]) -> str:
    """The flush method with its class, for messages."""
    return f"{type(buffer._handler).__qualname__}.{buffer.tail.flush_method}"  # noqa: SLF001 - the method's class
