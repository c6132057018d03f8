"""
Does a handler keep what it says it keeps? Hypothesis tries lives of freezes, failures, resets and deaths, and shrinks the one that loses.

The promises are those of the declarations: a memory slot outlives freezes, a `survives="reset"` slot outlives resets, kills
and a death between commit and answer as well; a tail never holds more than its bounds after an answer, and nothing after the
last steps. What a caller was told is never taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from warmstate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hypothesis.stateful import RuleBasedStateMachine

    from warmstate.handler import StatefulHandler
    from warmstate.warm.tails.tail import Tail

__all__ = ["EVENTS", "Promises", "assert_survives", "survival_machine"]

EVENTS = ("invoke", "freeze", "fail", "reset", "kill", "die")
_OF_MEMORY = frozenset({"freeze"})
_OF_COMMITS = frozenset({"freeze", "fail", "reset", "kill", "die"})


@attrs.frozen
class Promises:
    """
    What must hold for a handler, and how to try it.

    Attributes:
        kept: The events that each attribute outlives unchanged.
        tails: Those whose bounds are held to.
        delivered: For a tail, what tells the items that came out of it.
        before_life: Called before each life.
        event: What it is invoked with, or a Hypothesis strategy of that.
        failing: What makes it fail, or a strategy of that; None for nothing.
        options: As for `Platform`.
    """

    target: type[StatefulHandler]
    kept: Mapping[str, frozenset[str]]
    tails: Mapping[str, Tail[Any]]
    delivered: Mapping[str, Callable[[], Iterable[object]]]
    before_life: Callable[[], object] | None
    event: object
    failing: object
    options: Mapping[str, Any]


def assert_survives(
    target: type[StatefulHandler],
    state: Mapping[str, Iterable[str]] | None = None,
    *,
    event: object = None,
    failing: object = None,
    delivered: Mapping[str, Callable[[], Iterable[object]]] | None = None,
    before_life: Callable[[], object] | None = None,
    examples: int = 50,
    steps: int = 12,
    seed: int | None = None,
    **options: Any,
) -> None:
    """
    Try random lives of `target`, and fail with the shortest one in which something is lost that must survive.

    A life is a series of "invoke" (with `event`), "freeze" (twenty minutes), "reset" (after the last steps), "kill" (without any),
    "die" (killed after the commit, before the answer leaves; then the event comes again), "spindown" and, where `failing` is
    given, "fail" (an invocation with it). Three deaths in a row are left out: there the runtime drops what was committed, as it
    may be the cause. An event must come as far as `handle` each time, so an `on_thaw` or `on_init` that raises is told too. Values are
    compared down to their fields; what their own `==` says is not asked. Needs Hypothesis: `warmstate[testing]`.

    Args:
        target: The handler class.
        state: What must survive which events, by the names of attributes: `{"frames": ["freeze", "reset", "kill"]}`. None takes
            the slots and tails that the class declares, and what they promise.
        event: The event of the invocations; a Hypothesis strategy makes another one each time.
        failing: An event that makes the handler fail, or a strategy; what it changed in committed slots must be rolled back.
        delivered: What the flushes wrote to the outside, by the names of tails: `{"photos": lambda: BUCKET}`. Then each item that a
            flush calls done must be there. Have the events make items that differ, or one stands for the other.
        before_life: Called before each life, to empty what the handler wrote to.
        examples: How many lives are tried.
        steps: How many events each has.
        seed: Tries the same lives each time. None leaves that to Hypothesis, which remembers what failed and tries it first.
        options: As for `Platform`.

    Raises:
        AssertionError: State was lost; the message shows what, and the timeline.
        ConfigurationError: There is nothing to look at, no event did what it is for, or Hypothesis is not installed.
    """
    machine = survival_machine(
        target, state, event=event, failing=failing, delivered=delivered, before_life=before_life, **options
    )
    from warmstate.testing.lives import live

    live(machine, examples=examples, steps=steps, seed=seed)


def survival_machine(
    target: type[StatefulHandler],
    state: Mapping[str, Iterable[str]] | None = None,
    *,
    event: object = None,
    failing: object = None,
    delivered: Mapping[str, Callable[[], Iterable[object]]] | None = None,
    before_life: Callable[[], object] | None = None,
    **options: Any,
) -> type[RuleBasedStateMachine]:
    """
    Make the Hypothesis state machine behind `assert_survives`, to run with settings of one's own or to add rules to.

        TestCounter = survival_machine(Counter).TestCase

    Args:
        target: As for `assert_survives`.
        state: The same.
        event: The same.
        failing: The same.
        delivered: The same.
        before_life: The same.
        options: The same.

    Raises:
        ConfigurationError: There is nothing to look at, or Hypothesis is not installed.
    """
    declared = target.__warmstate__
    tails = declared.tails if state is None else {}
    if state is None:
        kept = {name: _OF_COMMITS if slot.commits else _OF_MEMORY for name, slot in declared.slots.items()}
    else:
        kept = {name: frozenset(events) for name, events in state.items()}
    if not kept and not tails:
        raise ConfigurationError(
            f"{target.__name__} declares no slot and no tail: name the attributes that must survive, as in "
            'assert_survives(Handler, {"frames": ["freeze"]})'
        )
    strangers = sorted(set(delivered or {}).difference(declared.tails))
    if strangers:
        raise ConfigurationError(
            f"{target.__name__} has no tail {', '.join(strangers)} for delivered=; its tails: {', '.join(declared.tails) or 'none'}"
        )
    unknown = sorted({word for events in kept.values() for word in events}.difference(EVENTS))
    if unknown:
        raise ConfigurationError(f"there is no event {', '.join(unknown)}; there are: {', '.join(EVENTS)}")
    try:
        from warmstate.testing.lives import machine_of
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise ConfigurationError(
            "assert_survives tries its lives with Hypothesis, which is not installed: pip install 'warmstate[testing]'"
        ) from None
    return machine_of(Promises(target, kept, tails, delivered or {}, before_life, event, failing, options))
