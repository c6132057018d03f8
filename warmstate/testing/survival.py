"""
Does a handler keep what it says it keeps? Every short series of events is tried, and some long ones.

The promises are those of the declarations: a memory slot outlives freezes, a `survives="reset"` slot outlives resets, kills
and a death between commit and answer as well. What a caller was told is never taken back.
"""

from __future__ import annotations

import copy
import itertools
import random
from typing import TYPE_CHECKING, Any

import attrs

from warmstate.errors import ConfigurationError
from warmstate.testing.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from warmstate.handler import StatefulHandler

__all__ = ["assert_survives"]

_FREEZE_MINUTES = 20.0
_LONG = 12
_SHORTEST = 2
"""Events of the shortest life in which something can be lost: an invocation, and what loses its state."""
_CRASH_LOOP = 3
_DEATHS = ("kill", "die")
_ANSWERED = ("invoke", "fail")
_MEMORY = ("freeze",)
_COMMITTED = ("freeze", "fail", "reset", "kill", "die")
_EVENTS = ("invoke", "freeze", "fail", "reset", "kill", "die")


def assert_survives(
    target: type[StatefulHandler],
    state: Mapping[str, Iterable[str]] | None = None,
    *,
    event: object = None,
    failing: object = None,
    length: int = 4,
    long_lives: int = 20,
    seed: int = 0,
    **options: Any,
) -> None:
    """
    Try lifecycles on `target`, and fail with the shortest one in which state is lost that must survive.

    The events are "invoke" (with `event`), "freeze" (twenty minutes), "reset" (after the last steps), "kill" (without any),
    "die" (killed after the commit, before the answer leaves) and, where `failing` is given, "fail" (an invocation with it).
    Lives with three deaths in a row are left out: there the runtime drops what was committed, as it may be the cause.

    Args:
        target: The handler class.
        state: What must survive which events, by the names of attributes: `{"frames": ["freeze", "reset", "kill"]}`. None takes
            the slots that the class declares, and what they promise.
        event: The event of the invocations.
        failing: An event that makes the handler fail; what it changed in committed slots must be rolled back.
        length: Every series of so many events is tried, beginning with an invocation.
        long_lives: How many random series of twelve events are tried after them.
        seed: Chooses these.
        options: As for `Platform`.

    Raises:
        AssertionError: State was lost; the message shows what, and the timeline.
        ConfigurationError: There is nothing to look at.
    """
    promised = _declared(target) if state is None else {name: frozenset(events) for name, events in state.items()}
    if not promised:
        raise ConfigurationError(
            f"{target.__name__} declares no slot: name the attributes that must survive, as in "
            'assert_survives(Handler, {"frames": ["freeze"]})'
        )
    wanted = {"invoke"}.union(*promised.values())
    events = [word for word in _EVENTS if word in wanted and (word != "fail" or failing is not None)]
    unknown = sorted(wanted.difference(_EVENTS))
    if unknown:
        raise ConfigurationError(f"there is no event {', '.join(unknown)}; there are: {', '.join(_EVENTS)}")
    life = _Life(target, promised, event, failing, options)
    lost = _shortest(life, itertools.product(("invoke",), *[events] * (length - 1)))
    if lost is None:
        chance = random.Random(seed)  # noqa: S311 - a test must be repeatable, not secret
        lost = _shortest(life, (("invoke", *chance.choices(events, k=_LONG - 1)) for _ in range(long_lives)))
    if lost is not None:
        lost = life.shrink(lost)
        raise AssertionError(
            f"{lost.text}; the shortest life that shows it is {', '.join(lost.series)}:\n\n{lost.timeline}"
        )


@attrs.frozen
class _Lost:
    """What was lost at the end of a series of events."""

    series: Sequence[str]
    text: str
    timeline: str


@attrs.frozen
class _Life:
    """Runs series of events on a platform of their own, and looks at the state after each event."""

    target: type[StatefulHandler]
    promised: Mapping[str, frozenset[str]]
    event: object
    failing: object
    options: Mapping[str, Any]

    def run(self, series: Sequence[str]) -> _Lost | None:
        """What was lost first, or None."""
        with Platform(self.target, **self.options) as platform:
            before: dict[str, Any] = {}
            for steps, word in enumerate(series, 1):
                dying: dict[str, Any] = {}
                self._do(platform, word, dying)
                platform.ps()[0].start()
                now = self._look(platform.handler)
                for name, events in self.promised.items():
                    allowed = [there[name] for there in (before, dying) if name in there]
                    if word in events and allowed and not any(_same(known, now[name]) for known in allowed):
                        text = f"{self.target.__name__}.{name} was {allowed[0]!r} and is {now[name]!r} after {word}"
                        return _Lost(series[:steps], text, str(platform.timeline))
                before = {name: _copy(value) for name, value in now.items()}
        return None

    def shrink(self, lost: _Lost) -> _Lost:
        """The same in a life without the events that do not matter."""
        for skipped in range(len(lost.series) - 2, 0, -1):
            shorter = [*lost.series[:skipped], *lost.series[skipped + 1 :]]
            again = None if _is_crash_loop(shorter) else self.run(shorter)
            if again is not None:
                return self.shrink(again)
        return lost

    def _look(self, handler: object) -> dict[str, Any]:
        return {name: getattr(handler, name) for name in self.promised}

    def _do(self, platform: Platform, word: str, dying: dict[str, Any]) -> None:
        if word == "invoke":
            platform.invoke(self.event)
        elif word == "fail":
            platform.invoke(self.failing)
        elif word == "die":
            platform.invoke_and_die(self.event, just_before=lambda handler: dying.update(self._look(handler)))
        elif word == "freeze":
            platform.freeze(minutes=_FREEZE_MINUTES)
        elif word == "reset":
            platform.reset()
        else:
            platform.kill()


def _shortest(life: _Life, lives: Iterable[Sequence[str]]) -> _Lost | None:
    found: _Lost | None = None
    for series in lives:
        lost = None if _is_crash_loop(series) else life.run(series)
        if lost is not None and (found is None or len(lost.series) < len(found.series)):
            found = lost
            if len(found.series) == _SHORTEST:
                break
    return found


def _is_crash_loop(series: Sequence[str]) -> bool:
    """Whether the runtime gives up what was committed, because it may be why no process comes to an answer."""
    deaths = 0
    for word in series:
        deaths = deaths + (word in _DEATHS) if word not in _ANSWERED else 0
        if deaths == _CRASH_LOOP:
            return True
    return False


def _declared(target: type[StatefulHandler]) -> dict[str, frozenset[str]]:
    return {
        name: frozenset(_COMMITTED if slot.commits else _MEMORY) for name, slot in target.__warmstate__.slots.items()
    }


def _copy(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - an encoder, a connection: then it is the object itself that must be there
        return value


def _same(before: object, now: object) -> bool:
    if getattr(type(now), "__eq__", None) is object.__eq__:  # it has no notion of being equal, so a copy says nothing
        return type(before) is type(now)
    return bool(before == now)
