"""What the platform in this process and the one of real processes have in common: their options, and their book-keeping."""

from __future__ import annotations

import abc
from collections import Counter
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from warmstate.testing.result import Result
    from warmstate.testing.timeline import Timeline

__all__ = ["AnyPlatform"]


@attrs.define(slots=False, eq=False, repr=False)
class AnyPlatform(abc.ABC):
    """
    A platform that runs one handler.

    Attributes:
        timeline: What happened so far.
        starts: How many invocations found their environment how.
    """

    memory_mb: int = attrs.field(default=1024, kw_only=True)
    timeout: float = attrs.field(default=30.0, kw_only=True)
    thaw_after: float = attrs.field(default=1.0, kw_only=True)
    variables: Mapping[str, str] = attrs.field(factory=dict[str, str], kw_only=True)
    timeline: Timeline = attrs.field(init=False)
    starts: Counter[str] = attrs.field(factory=Counter[str], init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abc.abstractmethod
    def close(self) -> None:
        """End everything; nothing of it remains. Safe to repeat."""

    def _noted(self, verb: str, result: Result) -> Result:
        self.timeline.add(verb, result.instance, result.summary())
        if result.start is not None:
            self.starts[result.start] += 1
        return result
