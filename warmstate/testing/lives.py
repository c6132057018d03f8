"""The Hypothesis machine behind `assert_survives`: its rules are what can happen to a handler, its invariants the promises."""

from __future__ import annotations

import copy
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import HealthCheck, Phase, seed as with_seed, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from warmstate.errors import ConfigurationError
from warmstate.testing.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.testing.survival import Promises

__all__ = ["Lives", "live", "machine_of"]

_FREEZE_MINUTES = 20.0
_DEATHS_MOST = 2
"""After one more in a row the runtime gives up what was committed: it may be why no process comes to an answer."""
_UNWATCHED = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.nested_given)


class Lives(RuleBasedStateMachine):
    """
    One life of a handler, step by step.

    Attributes:
        promises: What must hold.
        answered: How many invocations succeeded, in all lives; without any, nothing was tried.
        failed: How many of those meant to fail did.
    """

    promises: ClassVar[Promises]
    answered: ClassVar[int] = 0
    failed: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.platform = Platform(self.promises.target, **self.promises.options)
        self.series: list[str] = []
        self.before: dict[str, Any] = {}
        self.deaths = 0

    def teardown(self) -> None:
        """End the life."""
        self.platform.close()

    # ---- what can happen

    def do_invoke(self, event: object, word: str = "invoke") -> None:
        """Deliver an event; whatever makes it fail, the state must be as after a failure."""
        process = self._process()
        result = self.platform.invoke(event)
        self.deaths = 0
        if result.function_error is None:
            type(self).answered += 1
            self._check("invoke", told=word)
            self._check_bounds()
            return
        type(self).failed += word == "fail"
        same_process = process is None or self._process() is process
        self._check("fail" if same_process else "reset", told=word)

    def do_fail(self, event: object) -> None:
        """Deliver an event that is to fail."""
        self.do_invoke(event, "fail")

    def do_freeze(self) -> None:
        """Let twenty minutes pass."""
        self.platform.freeze(minutes=_FREEZE_MINUTES)
        self._check("freeze")

    def do_reset(self) -> None:
        """End the process after its last steps."""
        process = self._process()
        self.platform.reset()
        self._check("reset", flushed=(process, "freeze"))

    def do_kill(self) -> None:
        """End the process without any step."""
        self.deaths += 1
        self.platform.kill()
        self._check("kill")

    def do_die(self, event: object) -> None:
        """Kill it between commit and answer; what was committed may be there or not, and the event comes again."""
        dying: dict[str, Any] = {}
        self.deaths += 1
        request_id = str(uuid.uuid4())
        self.platform.invoke_and_die(event, request_id=request_id, just_before=lambda it: dying.update(self._look(it)))
        self._check("die", dying=dying)
        if self.deaths < _DEATHS_MOST:
            self.platform.invoke(event, request_id=request_id)
            self.deaths = 0
            self._remember()

    def do_spindown(self) -> None:
        """End the environment after the last steps; the next event starts from nothing."""
        process = self._process()
        self.platform.spindown()
        self.deaths = 0
        self._check("spindown", flushed=(process, ""))

    # ---- what must hold

    def _check(
        self, word: str, *, told: str = "", dying: dict[str, Any] | None = None, flushed: tuple[Any, str] = (None, "")
    ) -> None:
        self.series.append(told or word)
        now = self._remember_after(word)
        for name, events in self.promises.kept.items():
            allowed = [there[name] for there in (self.before, dying or {}) if name in there]
            if word in events and allowed and name in now and not any(_same(known, now[name]) for known in allowed):
                self._lost(f"{name} was {allowed[0]!r} and is {now[name]!r} after {told or word}")
        self._check_tails(word, now, dying or {})
        handler, survives = flushed
        for name, tail in self.promises.tails.items():
            waiting = 0 if handler is None or survives not in {"", tail.survives} else len(getattr(handler, name))
            if waiting:
                self._lost(f"{name} still held {waiting} items after the last steps of {word}, and they are gone")
        self.before = {name: _copy(value) for name, value in now.items()}

    def _check_tails(self, word: str, now: dict[str, Any], dying: dict[str, Any]) -> None:
        for name, tail in self.promises.tails.items():
            kept = {"freeze"} if tail.survives == "freeze" else {"freeze", "kill", "die"}
            allowed = [there[name] for there in (self.before, dying) if name in there]
            if word in kept and allowed and name in now and not any(_same(known, now[name]) for known in allowed):
                self._lost(f"{name} held {allowed[0]!r} and holds {now[name]!r} after {word}")

    def _check_bounds(self) -> None:
        for name, tail in self.promises.tails.items():
            waiting = getattr(self.platform.handler, name)
            for bound, held in ((tail.max_items, len(waiting)), (waiting.max_bytes, waiting.nbytes)):
                if bound is not None and held >= bound:
                    self._lost(f"{name} holds {held} after an answer, where its flush is due at {bound}")

    def _lost(self, what: str) -> None:
        handler = self.promises.target.__name__
        life = ", ".join(self.series)
        raise AssertionError(
            f"{handler}.{what}; the shortest life that shows it is {life}:\n\n{self.platform.timeline}"
        )

    # ---- looking

    def _process(self) -> Any:
        return self.platform.handler if self.platform.ps() else None

    def _remember_after(self, word: str) -> dict[str, Any]:
        """What is there now; a process that is gone is started, as the next event would."""
        if word == "spindown" or not self.platform.ps():
            return {}
        self.platform.ps()[0].start()
        return self._look(self.platform.handler)

    def _remember(self) -> None:
        self.before = {name: _copy(value) for name, value in self._remember_after("invoke").items()}

    def _look(self, handler: object) -> dict[str, Any]:
        kept = {name: getattr(handler, name) for name in self.promises.kept}
        return kept | {name: list(getattr(handler, name)) for name in self.promises.tails}


def machine_of(promises: Promises) -> type[Lives]:
    """The machine for a handler: a rule for each event that is promised something, and the first one always an invocation."""
    events = _strategy(promises.event)
    words = {word for kept in promises.kept.values() for word in kept} | {"spindown"}
    if promises.tails:
        words |= {"freeze", "reset", "kill", "die"}
    if promises.failing is None:
        words.discard("fail")
    rules: dict[str, Callable[..., None]] = {
        "begin": initialize(event=events)(_named("begin", Lives.do_invoke)),
        "invoke": rule(event=events)(_named("invoke", Lives.do_invoke)),
    }
    for word in sorted(words - {"invoke"}):
        method = _named(word, getattr(Lives, f"do_{word}"))
        if word in {"kill", "die"}:
            method = precondition(_may_die)(method)
        given = {"die": events, "fail": _strategy(promises.failing)}.get(word)
        rules[word] = (rule() if given is None else rule(event=given))(method)
    module = promises.target.__module__
    return type(f"{promises.target.__name__}Lives", (Lives,), {**rules, "promises": promises, "__module__": module})


def live(machine: type[RuleBasedStateMachine], *, examples: int, steps: int, seed: int | None) -> None:
    """
    Run a machine of `machine_of`.

    Raises:
        AssertionError: A promise was broken.
        ConfigurationError: The events were not what they are for.
    """
    assert issubclass(machine, Lives)
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        phases=set(Phase) - {Phase.explain},  # lines of the kit would say nothing to its users
        suppress_health_check=_UNWATCHED,
        report_multiple_bugs=False,
    )
    if seed is not None:
        chosen = settings(chosen, database=None)
        machine = with_seed(seed)(machine)
    run_state_machine_as_test(machine, settings=chosen)
    name = machine.promises.target.__name__
    if not machine.answered:
        raise ConfigurationError(f"{name} failed with every event, so no promise was tried: give event=")
    if machine.promises.failing is not None and not machine.failed:
        raise ConfigurationError(f"{name} did not fail with what failing= gives")


def _may_die(lives: Lives) -> bool:
    return lives.deaths < _DEATHS_MOST


def _named(name: str, method: Callable[..., None]) -> Callable[..., None]:
    """A function of that name, which Hypothesis shows in the steps of a life, that does what `method` does."""

    def step(self: Lives, **given: object) -> None:
        method(self, **given)

    step.__name__ = step.__qualname__ = name
    return step


def _strategy(event: object) -> strategies.SearchStrategy[Any]:
    given: Any = event
    return given if _is_a(event, strategies.SearchStrategy) else strategies.just(event)


def _is_a(value: object, kind: type) -> bool:
    return isinstance(value, kind)


def _copy(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - an encoder, a connection: then it is the object itself that must be there
        return value


def _same(before: Any, now: Any) -> bool:
    if _is_a(before, list) and _is_a(now, list):
        return len(before) == len(now) and all(map(_same, before, now))
    if (
        getattr(now.__class__, "__eq__", None) is object.__eq__
    ):  # it has no notion of being equal, so a copy says nothing
        return before.__class__ is now.__class__
    return bool(before == now)
