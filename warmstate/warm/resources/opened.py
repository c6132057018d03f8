"""One open object of a resource: when it must be checked or replaced, who uses it, and how it is closed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from typing import Any

    from warmstate.lifecycle.clock import Clock
    from warmstate.warm.resources.resource import AsyncResource, Resource

__all__ = ["Opened"]

CLOCK_FAULT = 5.0
"""Seconds by which the wall clock may run backwards (a host corrects it) before what depends on it counts as over."""


class Opened:
    """
    A value that a resource's generator yielded, and the generator that will close it.

    `leases` counts the invocations that hold it, `dependents` the other resources that were opened with it; `retired` says
    that a newer one takes its place, so it is closed when the last of them ends.
    """

    __slots__ = (
        "closed",
        "dependents",
        "expires_at",
        "frozen",
        "generator",
        "leases",
        "needs",
        "number",
        "opened_mono",
        "opened_wall",
        "resource",
        "retired",
        "stuck",
        "used_mono",
        "used_wall",
        "value",
    )

    def __init__(
        self,
        resource: Resource[Any] | AsyncResource[Any],
        value: object,
        generator: Generator[object, None, None] | AsyncGenerator[object, None],
        clock: Clock,
        *,
        number: int,
        needs: list[Opened],
    ) -> None:
        self.resource = resource
        self.value = value
        self.generator = generator
        self.number = number
        self.needs = needs
        self.leases = 0
        self.dependents = 0
        self.retired = False
        self.closed = False
        self.stuck = False  # a check hangs in it, on a thread that closes it when it comes back
        self.frozen = 0.0  # seconds of freezes since it was last used
        self.begin(clock)
        self.expires_at = None if resource.expires is None else _instant(resource.expires(value))

    def __repr__(self) -> str:
        phase = "retired" if self.retired else "open"
        return f"<Opened {self.resource.qualified_name} #{self.number}, {phase}, {self.leases} leases>"

    def begin(self, clock: Clock) -> None:
        """Its age counts from here, on this clock."""
        self.opened_wall = clock.wall()
        self.opened_mono = clock.monotonic()
        self.touch(clock)

    def touch(self, clock: Clock) -> None:
        """It is alive now: idling counts from here."""
        self.used_wall = clock.wall()
        self.used_mono = clock.monotonic()
        self.frozen = 0.0

    def age(self, clock: Clock) -> float:
        """Seconds since it was opened, by whichever clock says more: a freeze may stop one of them."""
        return max(clock.wall() - self.opened_wall, clock.monotonic() - self.opened_mono, 0.0)

    def idle(self, clock: Clock) -> float:
        """Seconds since it was last used, frozen time included."""
        return max(clock.wall() - self.used_wall, clock.monotonic() - self.used_mono, self.frozen)

    def over(self, clock: Clock) -> str | None:
        """Why it must be replaced without asking it, or None."""
        resource = self.resource
        wall = clock.wall()
        if resource.max_age is not None and self.age(clock) >= resource.max_age:
            return f"older than {resource.max_age:g} s"
        if self.expires_at is not None and wall >= self.expires_at:
            return "expired"
        if (resource.max_age is not None or self.expires_at is not None) and wall < self.opened_wall - CLOCK_FAULT:
            return "the wall clock ran backwards, so its age is unknown"
        for need in self.needs:
            if need.retired:
                return f"{need.resource.name} was replaced"
        return None

    def is_due(self, clock: Clock) -> bool:
        """Whether the check must run before the next use; what another invocation uses now is alive, and not disturbed."""
        resource = self.resource
        return resource.check_name is not None and not self.leases and self.idle(clock) >= resource.check_after

    @property
    def is_free(self) -> bool:
        """Whether it was replaced and nobody uses it any more, so it can be closed."""
        return self.retired and not self.stuck and not self.leases and not self.dependents


def _instant(moment: Any) -> float | None:
    """Seconds since the epoch of what `expires` returned: a number, a datetime, or None."""
    if moment is None:
        return None
    timestamp = getattr(moment, "timestamp", None)
    end = moment if timestamp is None else timestamp()
    if type(end) not in {int, float} or end != end:  # noqa: PLR0124 - only NaN differs from itself
        raise TypeError(f"expires returned {end!r}: return seconds since the epoch, a datetime, or None for never")
    return float(end)
