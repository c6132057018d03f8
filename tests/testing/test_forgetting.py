"""assert_forgets finds the words of one event wherever another one could come upon them, and leaves declared state alone."""

from __future__ import annotations

import contextvars
import logging
import os
import tempfile
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from warmstate import State, StatefulHandler, Tail, state, tail
from warmstate.errors import ConfigurationError
from warmstate.testing import assert_forgets

ALICE = {"user": "alice@example.com"}
BOB = {"user": "bob@example.com"}
LAST: list[object] = []
LOCAL = threading.local()
CALLER = contextvars.ContextVar("caller", default="")
log = logging.getLogger("tests.forgetting")


@pytest.fixture(autouse=True)
def logging_as_at_the_start(caplog, monkeypatch):
    """Others who ran in this process may have changed it."""
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(log, "disabled", False)


def answers(event, user):
    LAST.append(event["user"])
    return {"users": LAST}


def raises(event, user):
    if LAST:
        raise ValueError(f"after {LAST[0]}")
    LAST.append(event["user"])


def prints(event, user):
    print("before:", user)


def logs(event, user):
    log.warning("before: %s", user)


def sets_a_variable(event, user):
    os.environ["WORK_FOR"] = event["user"]


def writes_a_file(event, user):
    (Path(tempfile.gettempdir()) / "jobs").mkdir(exist_ok=True)
    (Path(tempfile.gettempdir()) / "jobs" / "mail.txt").write_text(event["user"])


def names_a_file(event, user):
    Path(event["user"]).touch()


def keeps_deep_in_a_global(event, user):
    LAST.append({"jobs": [threading.Event(), lambda: event]})


def keeps_in_a_thread_local(event, user):
    LOCAL.user = event["user"]


class Handler(StatefulHandler):
    """Keeps the last user where it says so, and does something besides."""

    user: State[str] = state(default="")
    all: State[list[str]] = state(factory=list, survives="reset")
    mails: Tail[str] = tail(max_items=10)

    @mails.flush
    def send(self, batch):
        pass

    def handle(self, event, context):
        try:
            return self.besides(event)
        finally:
            self.user = event["user"]
            self.all.append(event["user"])
            self.mails.append(event["user"])
            self.store.partition("users")[event["user"]] = event

    def besides(self, event):
        return event


class Attribute(Handler):
    def besides(self, event):
        self.session = event


class ClassAttribute(Handler):
    sessions: ClassVar[list[object]] = []

    def besides(self, event):
        self.sessions.append(event)


class InContext(Handler):
    """Sets it around its own calls, which each have a context of their own."""

    def besides(self, event):
        assert not CALLER.get()
        CALLER.set(event["user"])


@pytest.fixture(autouse=True)
def _places(tmp_path, monkeypatch):
    """Every place is as it was, and the temporary folder the test's own."""
    LAST.clear()
    ClassAttribute.sessions.clear()
    vars(LOCAL).clear()
    monkeypatch.setenv("WORK_FOR", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize(
    ("besides", "where"),
    [
        (answers, "the answer to the second event"),
        (raises, "the answer to the second event"),
        (prints, "the log of the second event"),
        (logs, "the log of the second event"),
        (sets_a_variable, "the variable WORK_FOR"),
        (writes_a_file, "the file .*/jobs/mail.txt"),
        (names_a_file, "the file .*/alice@example.com"),
        (keeps_deep_in_a_global, "the global LAST"),
        (keeps_in_a_thread_local, "the global LOCAL"),
    ],
)
def test_it_is_found_where_it_is(besides, where) -> None:
    """Each place is named, with the word."""

    class Leaks(Handler):
        def besides(self, event):
            return besides(event, self.user)

    with pytest.raises(AssertionError, match=rf"{where} holds 'alice@example\.com', which only the first one sent"):
        assert_forgets(Leaks, ALICE, BOB)


@pytest.mark.parametrize(("target", "name"), [(Attribute, "session"), (ClassAttribute, "sessions")])
def test_what_is_not_declared_is_looked_into(target, name) -> None:
    """An attribute that is no slot; places= says that it is meant so."""
    with pytest.raises(AssertionError, match=rf"the attribute {name} holds .*\nWhat may stay belongs into a slot"):
        assert_forgets(target, ALICE, BOB)
    assert_forgets(target, ALICE, BOB, places=["answer", "log"])


@pytest.mark.parametrize("target", [Handler, InContext])
def test_what_a_handler_declares_to_keep_may_stay(target) -> None:
    """Slots, tails, the store; and a context ends with its invocation."""
    assert_forgets(target, ALICE, BOB)


def test_a_context_that_stays_is_found() -> None:
    """What is set before the first event is there for all of them."""

    class Opens(Handler):
        seen: list[object]

        def on_init(self, init):
            self.seen = []
            CALLER.set(self.seen)

        def besides(self, event):
            self.seen[:] = [event["user"]]

    with pytest.raises(AssertionError, match=r"the context variable caller holds"):
        assert_forgets(Opens, ALICE, BOB)


def test_a_plain_function_is_looked_into_as_well() -> None:
    """It has an answer, a log and globals; what was there before it is not its doing."""
    LAST.append(ALICE)
    assert_forgets(lambda event, _context: event, ALICE, BOB)
    with pytest.raises(AssertionError, match="the answer to the second event"):
        assert_forgets(answers, ALICE, BOB)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"secrets": ()}, ValueError), ({"secrets": ("word",), "places": ["anser"]}, ConfigurationError)],
)
def test_a_check_that_cannot_fail_is_refused(options, error) -> None:
    """No word to look for, and a place that is none."""
    with pytest.raises(error, match=r"secrets=|no place anser"):
        assert_forgets(lambda event, _context: event, {"n": 1}, {"n": 2}, **options)
