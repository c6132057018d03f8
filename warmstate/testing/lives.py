"""The Hypothesis machine behind `assert_survives`: its rules are what can happen to a handler, its invariants the promises."""

from __future__ import annotations

import functools
import json
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import HealthCheck, Phase, seed as with_seed, settings, strategies
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from warmstate.errors import CommitError, ConfigurationError
from warmstate.testing.platform import Platform
from warmstate.testing.sameness import is_same, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from warmstate.testing.result import Result
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
        before: What there was after the last event.
        seen: What there was when the last event's "handle" began, and when it was "answered"; nothing where it did not come to that.
    """

    promises: ClassVar[Promises]
    answered: ClassVar[int] = 0
    failed: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.platform = Platform(self.promises.target, **self.promises.options)
        self.platform.watcher = self._sees
        if self.promises.before_life is not None:
            self.promises.before_life()
        self.series: list[str] = []
        self.before: dict[str, Any] = {}
        self.seen: dict[str, dict[str, Any]] = {}
        self.deaths = 0
        self._met: list[object] = []
        self._first: dict[str, tuple[object, object]] = {}
        self._problem = ""

    def teardown(self) -> None:
        """End the life."""
        self.platform.close()

    # ---- what can happen

    def do_invoke(self, event: object, word: str = "invoke") -> None:
        """Deliver an event; whatever makes it fail, the state must be as after a failure."""
        process = self._process()
        self.seen.clear()
        result = self.platform.invoke(event)
        self.deaths = 0
        if result.function_error is None:
            type(self).answered += 1
            self._check("invoke", told=word)
            self._check_bounds()
            return
        if "handle" not in self.seen and self.series and word == "invoke":
            self._refused(result)
        type(self).failed += word == "fail"
        if process is None or self._process() is process:
            self._check("fail", told=word, since=self.seen.get("handle"), until=self.seen.get("answered"))
        else:
            self._check("reset", told=word, since=self._left_by(process) or self.seen.get("handle"))

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
        self._check("reset", since=self._left_by(process), flushed=(process, "freeze"))

    def do_kill(self) -> None:
        """End the process without any step."""
        self.deaths += 1
        self.platform.kill()
        self._check("kill")

    def do_die(self, event: object) -> None:
        """Kill it between commit and answer; what was committed may be there or not, and the event comes again."""
        dying: dict[str, Any] = {}
        self.seen.clear()
        self.deaths += 1
        request_id = str(uuid.uuid4())
        self.platform.invoke_and_die(event, request_id=request_id, just_before=lambda it: dying.update(self._look(it)))
        self._check("die", since=self.seen.get("handle"), dying=dying)
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
        self,
        word: str,
        *,
        told: str = "",
        since: dict[str, Any] | None = None,
        until: dict[str, Any] | None = None,
        dying: dict[str, Any] | None = None,
        flushed: tuple[Any, str] = (None, ""),
    ) -> None:
        """Compare what is there after an event, or was `until` then, with what was before it, or `since` then."""
        self.series.append(told or word)
        now = self._remember_after(word)
        if self._problem:
            self._broken(self._problem)
        earlier = self.before if since is None else since
        later = now if until is None else until
        for name, events in self.promises.kept.items():
            allowed = [there[name] for there in (earlier, dying or {}) if name in there]
            if word in events and allowed and name in later and not any(is_same(had, later[name]) for had in allowed):
                self._lost(f"{name} was {allowed[0]!r} and is {later[name]!r} after {told or word}")
        self._check_tails(word, now, dying or {})
        handler, survives = flushed
        for name, tail in self.promises.tails.items():
            waiting = 0 if handler is None or survives not in {"", tail.survives} else len(getattr(handler, name))
            if waiting:
                self._lost(f"{name} still held {waiting} items after the last steps of {word}, and they are gone")
        self.before = {name: snapshot(value) for name, value in now.items()}

    def _check_tails(self, word: str, now: dict[str, Any], dying: dict[str, Any]) -> None:
        for name, tail in self.promises.tails.items():
            kept = {"freeze"} if tail.survives == "freeze" else {"freeze", "kill", "die"}
            allowed = [there[name] for there in (self.before, dying) if name in there]
            if word in kept and allowed and name in now and not any(is_same(known, now[name]) for known in allowed):
                self._lost(f"{name} held {allowed[0]!r} and holds {now[name]!r} after {word}")

    def _check_bounds(self) -> None:
        for name, tail in self.promises.tails.items():
            waiting = getattr(self.platform.handler, name)
            for bound, held in ((tail.max_items, len(waiting)), (waiting.max_bytes, waiting.nbytes)):
                if bound is not None and held >= bound:
                    self._lost(f"{name} holds {held} after an answer, where its flush is due at {bound}")

    def _refused(self, result: Result) -> None:
        told = json.loads(result.payload)
        self._broken(
            f"{self._name} did not come as far as handle after {self.series[-1]}: "
            f"{result.error_type}: {told.get('errorMessage', '')}"
        )

    def _lost(self, what: str) -> None:
        self._broken(f"{self._name}.{what}")

    def _broken(self, what: str) -> None:
        life = ", ".join(self.series)
        raise AssertionError(f"{what}; the shortest life that shows it is {life}:\n\n{self.platform.timeline}")

    @property
    def _name(self) -> str:
        return self.promises.target.__name__

    # ---- looking

    def _process(self) -> Any:
        return self.platform.handler if self.platform.ps() else None

    def _remember_after(self, word: str) -> dict[str, Any]:
        """What is there now; a process that is gone is started, as the next event would."""
        if word == "spindown" or not self.platform.ps():
            return {}
        self.platform.ps()[0].start()
        return self._look(self.platform.handler)

    def _left_by(self, process: object) -> dict[str, Any] | None:
        """What a process left behind: its last steps, a flush among them, may change slots, and those commit as ever."""
        if process is None:
            return None
        try:
            return {name: snapshot(value) for name, value in self._look(process).items()}
        except CommitError:  # its last step failed, and what it rolled back to is in a file that is closed
            return None

    def _remember(self) -> None:
        self.before = {name: snapshot(value) for name, value in self._remember_after("invoke").items()}

    def _sees(self, moment: str, handler: object) -> None:
        self.seen[moment] = {name: snapshot(value) for name, value in self._look(handler).items()}

    def _look(self, handler: Any) -> dict[str, Any]:
        """The values that are watched. Those that commit are put back where they were: only who touches them commits them."""
        held = handler.__dict__
        there = frozenset(held)
        found = {name: getattr(handler, name) for name in self.promises.kept}
        for name, slot in self.promises.target.__warmstate__.slots.items():
            if slot.commits and name not in there:
                held.pop(name, None)
        if not any(handler is known for known in self._met):
            self._met.append(handler)
            self._meet(handler, found)
        return found | {name: list(getattr(handler, name)) for name in self.promises.tails}

    def _meet(self, handler: Any, found: dict[str, Any]) -> None:
        """A process is seen for the first time."""
        for name, value in found.items():
            known, begun = self._first.setdefault(name, (value, snapshot(value)))
            if known is value and not is_same(begun, value):
                self._problem = (
                    f"{self._name}.{name} began as {begun!r}, and begins as {value!r} in a new process: its factory gives the same "
                    "object each time, and what one process did to it is there for the next"
                )
        for name, delivered in self.promises.delivered.items():
            method = self.promises.target.__warmstate__.tails[name].flush_method
            handler.__dict__[method] = attended(
                getattr(handler, method), functools.partial(self._flushed, name, delivered)
            )

    def _flushed(self, name: str, delivered: Callable[[], Iterable[object]], done: list[object]) -> None:
        there = list(delivered())
        for item in done:
            if not any(is_same(item, known) for known in there):
                self._problem = (
                    f"{self._name}.{name}: its flush called {item!r} done, which is not in what it delivered"
                )
                return


def attended(flush: Callable[[Any], Any], tell: Callable[[list[object]], None]) -> Callable[[Any], Any]:
    """A flush method, plain or async, that tells after each call which items it says are done."""

    def told(items: list[object], result: Any) -> Any:
        tell(items if result is None else items[:result])
        return result

    async def waited(items: list[object], result: Any) -> Any:
        return told(items, await result)

    def attended_flush(batch: Any) -> Any:
        items = [snapshot(item) for item in batch]
        result = flush(batch)
        return waited(items, result) if hasattr(result, "__await__") else told(items, result)

    return attended_flush


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
    try:
        run_state_machine_as_test(machine, settings=chosen)
    except Flaky as error:
        raise AssertionError(
            f"{machine.promises.target.__name__} does not live the same life twice, so none can be judged: something beside its events "
            "has a say in it, as threads do, the time, random numbers, or globals, which live on in this process"
        ) from error
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
