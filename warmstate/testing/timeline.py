"""What happened to the environments of a platform, in order, as a table that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Moment", "Timeline"]


@attrs.frozen
class Moment:
    """One thing that happened: when on the platform's clock, to which environment, what (a verb, or "says"), and more of it."""

    at: float
    instance: str
    what: str
    told: str


class Timeline:
    """
    Everything that was done to a platform's environments, and what the runtime said; `str()` draws it.

    pytest shows it below a failed test.

    Args:
        now: The platform's clock, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._begun = now()
        self.moments: list[Moment] = []

    def __repr__(self) -> str:
        return f"<Timeline of {len(self.moments)} moments>"

    def __str__(self) -> str:
        if not self.moments:
            return "nothing happened yet"
        rows = [(_clock(moment.at), moment.instance or "all", moment.what, moment.told) for moment in self.moments]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        below = "\n" + " " * (sum(widths) + 6)  # where what is told begins
        return "\n".join(
            f"{at:>{widths[0]}}  {instance:<{widths[1]}}  {what:<{widths[2]}}  {told}".rstrip().replace("\n", below)
            for at, instance, what, told in rows
        )

    def add(self, what: str, instance: str | None = None, told: str = "") -> None:
        """Note that something happened just now; without an instance, to all."""
        self.moments.append(Moment(self._now() - self._begun, instance or "", what, told))

    def words(self, instance: str | None = None) -> list[str]:
        """What happened, as words alone, to one environment or to any: `["invoke", "freeze", "invoke"]`."""
        return [
            moment.what
            for moment in self.moments
            if moment.what != "says" and (instance is None or moment.instance in {"", instance})
        ]

    def assert_order(self, *words: str, instance: str | None = None) -> None:
        """
        Fail unless these words happened in this order, with anything between them.

        Raises:
            AssertionError: It names the first that is not there, and shows the timeline.
        """
        happened = iter(self.words(instance))
        for number, word in enumerate(words):
            if word not in happened:
                after = f" after {', '.join(words[:number])}" if number else ""
                raise AssertionError(f"there was no {word}{after}\n\n{self}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60.0)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:06.3f}" if hours else f"{minutes}:{rest:06.3f}"
