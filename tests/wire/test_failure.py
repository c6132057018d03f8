"""What a caller is told when something was raised."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given, strategies as st

from warmstate.errors import AnswerTooLarge, DeadlinePassed
from warmstate.wire.failure import failure_from, failure_of


def raised(error):
    """The failure of `error`, raised here."""
    try:
        raise error
    except BaseException as caught:
        return failure_from(caught, request_id="id-1")


def body_of(failure):
    return json.loads(failure.body)


def test_the_object_is_that_of_the_stock_client():
    """Keys, their order, and one string for each frame, with its line of source."""
    failure = raised(KeyError("x"))
    body = body_of(failure)

    assert ["errorMessage", "errorType", "requestId", "stackTrace"] == list(body)
    assert ("'x'", "KeyError", "id-1") == (body["errorMessage"], body["errorType"], body["requestId"])
    assert body["stackTrace"][0].startswith(f'  File "{__file__}", line ')
    assert body["stackTrace"][0].endswith(", in raised\n    raise error\n")
    assert failure.error_type == "KeyError"


def test_frames_of_warmstate_are_left_out():
    """The first frame is the user's: ours tell nobody anything."""
    from warmstate.wire.payload import Raw

    try:
        Raw("text")
    except TypeError as error:
        stack = body_of(failure_from(error))["stackTrace"]

    assert [True] == [__file__ in frame for frame in stack]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (SystemExit(3), "Runtime.HandlerExit", "sys.exit(3)"),
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (GeneratorExit("end"), "GeneratorExit", "end"),
        (DeadlinePassed("late"), "Runtime.DeadlinePassed", "late"),
        (AnswerTooLarge(7, 6), "Function.ResponseSizeTooLarge", "exceeded maximum allowed payload size (6 bytes)"),
    ],
)
def test_types(error, kind, words):
    """Our errors have their wire type, the exit of a handler has a name, all others that of their class."""
    failure = raised(error)

    assert kind == failure.error_type == body_of(failure)["errorType"]
    assert words in body_of(failure)["errorMessage"]


def test_an_exception_that_cannot_be_shown():
    """A raising `__str__` and `__repr__` do not stop the report."""

    class Unprintable(Exception):
        def __str__(self):
            raise SystemExit

        __repr__ = __str__

    assert "<unprintable Unprintable>" == body_of(raised(Unprintable()))["errorMessage"]


@pytest.mark.parametrize("name", ["a\r\nX-Evil: 1", "ä", "x" * 1000, "", "a b"])
def test_a_class_name_that_no_header_carries(name):
    """The type is cut to letters, digits and `._-`."""
    kind = raised(type(name, (Exception,), {})()).error_type

    assert 0 < len(kind) <= 128
    assert kind.replace(".", "").replace("_", "").replace("-", "").isalnum() or set(kind) <= set("._-")
    assert kind.isascii()


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Z", "C", "Cs"])))
def test_any_message_can_be_sent(text):
    """The body is UTF-8 JSON and the cause is one line of ASCII, whatever was said."""
    failure = raised(ValueError(text))

    assert isinstance(body_of(failure)["errorMessage"], str)
    assert failure.xray_cause is not None
    assert failure.xray_cause.isascii()
    assert not {"\r", "\n"} & set(failure.xray_cause)
    json.loads(failure.xray_cause)


@pytest.mark.parametrize("text", ["x" * 10_000_000, "\U0001f600" * 1_000_000, "\x00" * 100_000])
def test_size(text):
    """However long the message, the body stays below 64 KB and the header below 32 KB."""
    failure = raised(ValueError(text))

    assert len(failure.body) <= 64 * 1024
    assert len(failure.xray_cause or "") <= 32 * 1024
    json.loads(failure.body)


def test_deep_recursion():
    """Of a thousand frames the first and the last are shown."""

    def down(depth):
        return down(depth + 1)

    try:
        down(0)
    except RecursionError as error:
        failure = failure_from(error)
    stack = body_of(failure)["stackTrace"]

    assert 50 < len(stack) <= 101
    assert any("frames left out" in frame for frame in stack)


def test_an_exhausted_iterator_in_a_generator_shows_its_place():
    """Python turns the StopIteration into an error that has no frame of the generator."""

    def handler():
        yield next(iter(()))

    generator = handler()
    try:
        generator.send(None)
    except RuntimeError as error:
        error.__traceback__ = None  # what is left where nobody but the runtime called it
        stack = body_of(failure_from(error))["stackTrace"]

    assert ["    yield next(iter(()))"] == [frame.splitlines()[1] for frame in stack]


def test_a_chain_of_causes():
    """The X-Ray cause has the exceptions that led here, at most ten, also where the chain is a loop."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    looped = json.loads(raised(first).xray_cause)
    error = ValueError("0")
    for number in range(3000):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following

    assert ["first", "second"] == [entry["message"] for entry in looped["exceptions"]]
    assert 10 == len(json.loads(raised(error).xray_cause)["exceptions"])


def test_a_suppressed_context_stays_unsaid():
    """`raise ... from None` is respected."""
    try:
        try:
            raise KeyError("secret")
        except KeyError:
            raise ValueError("public") from None
    except ValueError as error:
        failure = failure_from(error)

    assert "secret" not in (failure.xray_cause or "")


def test_a_syntax_error_shows_its_place():
    """Where no frame is the user's, the place in the source is the trace."""
    try:
        compile("a b", "app.py", "exec")
    except SyntaxError as error:
        error.__traceback__ = None
        stack = body_of(failure_from(error))["stackTrace"]

    assert ['  File "app.py" Line 1\n    a b'] == [frame.rstrip("\n") for frame in stack]


def test_it_needs_no_module(monkeypatch):
    """A report is made after a handler emptied `sys.modules`."""
    modules = dict(sys.modules)
    sys.modules.clear()
    try:
        failure = raised(ValueError("x"))
    finally:
        sys.modules.update(modules)

    assert "x" == body_of(failure)["errorMessage"]


def test_words_without_an_exception():
    """A failure can be made of words alone."""
    assert {"errorMessage": "m", "errorType": "T", "requestId": "", "stackTrace": []} == body_of(failure_of("T", "m"))
