"""The fixtures that pytest finds by itself where warmstate is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from warmstate.testing.platform import Platform

__all__ = ["warm", "warm_context"]


@pytest.fixture
def warm() -> Iterator[Callable[..., Platform]]:
    """
    Give a maker of platforms, which are closed after the test.

        platform = warm(Counter, timeout=5)

    The arguments are those of `warmstate.testing.Platform`.
    """
    from warmstate.testing.platform import Platform

    made: list[Platform] = []

    def make(target: Any, **options: Any) -> Platform:
        made.append(Platform(target, **options))
        return made[-1]

    yield make
    for platform in made:
        platform.close()


@pytest.fixture
def warm_context() -> Callable[..., object]:
    """Make a context for a direct call of a handler's method; see `warmstate.testing.context`."""
    from warmstate.testing.contexts import context

    return context
