"""Single flight: of all who want the same thing made, one makes it and the others wait."""

from __future__ import annotations

import _thread

from warmstate.errors import LifecycleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Flight", "Flights"]


class Flights:
    """The flights under way, by key."""

    __slots__ = ("_lock", "_under_way", "_waiting")

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._under_way: dict[Hashable, Flight] = {}
        self._waiting: dict[int, Flight] = {}  # by thread

    def __repr__(self) -> str:
        return f"<Flights {len(self._under_way)} under way>"

    def flight(self, key: Hashable, name: str) -> Flight:
        """The flight for `key` (`name` in messages), to enter as a context manager: one at a time is inside."""
        with self._lock:
            flight = self._under_way.get(key)
            if flight is None:
                flight = self._under_way[key] = Flight(self, key, name)
            flight.passengers += 1
            return flight

    def wait_for(self, flight: Flight) -> bool:
        """Whether this thread may wait for the end of `flight`: not where that waits, through others, for this thread."""
        me = _thread.get_ident()
        with self._lock:
            ahead: Flight | None = flight
            while ahead is not None:
                if ahead.owner == me:
                    return False
                ahead = self._waiting.get(ahead.owner)
            self._waiting[me] = flight
            return True

    def boarded(self, flight: Flight) -> None:
        """This thread is inside now."""
        me = _thread.get_ident()
        with self._lock:
            self._waiting.pop(me, None)
            flight.owner = me

    def landed(self, flight: Flight) -> None:
        """One passenger is done; the last one ends the flight."""
        with self._lock:
            flight.passengers -= 1
            if not flight.passengers:
                del self._under_way[flight.key]


class Flight:
    """The turn to make one thing."""

    __slots__ = ("_flights", "_lock", "key", "name", "owner", "passengers")

    def __init__(self, flights: Flights, key: Hashable, name: str) -> None:
        self._flights = flights
        self._lock = _thread.allocate_lock()
        self.owner = 0
        self.key = key
        self.name = name
        self.passengers = 0

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            if not self._flights.wait_for(self):
                itself = self.owner == _thread.get_ident()
                self._flights.landed(self)
                raise LifecycleError(
                    f"the factory of {self.name!r} asks for {self.name!r} itself, so it would wait for its own end"
                    if itself
                    else f"a factory asks for {self.name!r}, whose factory waits for it on another thread: both would wait for ever"
                )
            self._lock.acquire()
        self._flights.boarded(self)

    def __exit__(self, *_: object) -> None:
        self.owner = 0
        self._lock.release()
        self._flights.landed(self)
