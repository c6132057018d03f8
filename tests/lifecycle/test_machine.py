"""The table of what may happen to a process, and when."""

from __future__ import annotations

import pytest

from warmstate.errors import LifecycleError
from warmstate.lifecycle.machine import TRANSITIONS, Lifecycle, diagram


def after(*events: str) -> str:
    lifecycle = Lifecycle()
    for event in events:
        lifecycle.push(event)
    return lifecycle.state


def test_every_target_is_a_state():
    """No event leads out of the table."""
    targets = {target for row in TRANSITIONS.values() for target in row.values()}

    assert targets <= set(TRANSITIONS)


def test_every_state_can_be_reached():
    """Each state has a way to it from init, or the table describes what cannot happen."""
    reached = {"init"}
    for _ in TRANSITIONS:
        reached |= {target for state in reached for target in TRANSITIONS[state].values()}

    assert set(TRANSITIONS) == reached


@pytest.mark.parametrize("state", sorted(set(TRANSITIONS) - {"ended"}))
def test_every_process_can_be_killed(state):
    """There is no state in which the platform cannot end the process."""
    assert TRANSITIONS[state]["kill"] == "ended"


@pytest.mark.parametrize(
    ("events", "state"),
    [
        (("register", "next", "invoke", "response", "next"), "idle"),
        (("next", "freeze", "thaw", "invoke", "error", "next"), "idle"),
        (("next", "invoke", "stream", "response", "next"), "idle"),
        (("next", "invoke", "next", "response"), "answered"),
        (("next", "invoke", "timeout", "response"), "expired"),
        (("next", "invoke", "timeout", "terminate", "kill", "start"), "init"),
        (("init_error", "exit", "start", "next"), "idle"),
        (("restore_next", "freeze", "thaw", "restored", "next"), "idle"),
        (("restore_next", "restored", "restore_error", "exit"), "ended"),
        (("next", "terminate", "terminate", "exit"), "ended"),
    ],
)
def test_ordinary_lives(events, state):
    """The sequences that the platform documents are possible."""
    assert state == after(*events)


@pytest.mark.parametrize(
    ("events", "refused"),
    [
        (("next",), "register"),
        (("next",), "response"),
        (("next", "invoke", "response"), "response"),
        (("next", "invoke", "response"), "error"),
        (("next", "invoke", "error"), "response"),
        (("next", "invoke", "stream"), "error"),
        (("next",), "init_error"),
        (("next",), "restore_next"),
        (("next", "freeze"), "invoke"),
        (("next", "freeze"), "terminate"),
        (("next", "kill"), "next"),
        (("init_error",), "next"),
    ],
)
def test_what_the_platform_refuses(events, refused):
    """A call at the wrong time raises, names what is allowed, and leaves the state as it was."""
    lifecycle = Lifecycle()
    for event in events:
        lifecycle.push(event)
    before = lifecycle.state

    with pytest.raises(LifecycleError, match=f"'{refused}' is not allowed while '{before}'"):
        lifecycle.push(refused)
    assert not lifecycle.allows(refused)
    assert before == lifecycle.state


def test_an_unknown_state_is_an_error():
    """A lifecycle begins in a state of the table."""
    with pytest.raises(LifecycleError, match="no state"):
        Lifecycle("asleep")


def test_the_diagram_shows_every_change_of_state():
    """What is drawn is the table: each pair of states it connects is an edge."""
    drawn = diagram()
    edges = {(state, target) for state, row in TRANSITIONS.items() for target in row.values() if state != target}

    assert all(f"    {state} --> {target}: " in drawn for state, target in edges)
    assert len(edges) == drawn.count(" --> ") - 1
