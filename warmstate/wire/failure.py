"""
What a caller is told when something was raised: the error object, with every part bounded and safe to send.

1. Nothing of the exception is trusted: its name may hold line breaks, its `__str__` may raise, its chain may be a loop, and
   any attribute may be a property of the user's that raises. So it is read past its class, as Python itself does.
2. Frames of warmstate itself, of the import machinery and of the event loop between us and the user are left out: the first
   frame shown is the user's.
3. The whole object stays below 64 KB, the X-Ray cause below 32 KB and within what a header may carry.
4. No module is imported here that a handler could have damaged: this has to work after `sys.modules.clear()`.

The object's keys, their order and the form of a frame are those of awslambdaric 4.2.2 (bootstrap.py, make_error).
"""

from __future__ import annotations

import os
from _json import encode_basestring_ascii as _quote
from os import close as _close, getcwd as _getcwd, open as _open, read as _read

from warmstate.errors import HandlerSyntaxError, WarmstateError
from warmstate.wire.runtime_api import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

__all__ = [
    "describe",
    "failure_from",
    "failure_of",
    "frames_of",
    "is_a",
    "message_of",
    "place_of",
    "safe_text",
    "type_name",
]

_MOST_MESSAGE = 16 * 1024  # characters
_MOST_FRAMES = 100
_MOST_CHAIN = 10
_MOST_STACK = 32 * 1024  # characters of all frames together
_MOST_BODY = 64 * 1024
_MOST_CAUSE = 32 * 1024  # bytes of the X-Ray header
_MOST_NAME = 128
_BLOCK = 64 * 1024
_MOST_SOURCE = 4 * 1024 * 1024  # bytes of a source file that is read for one line

_LIBRARY = os.path.dirname(os.__file__) + os.sep
_LOOP = (f"{_LIBRARY}asyncio{os.sep}", f"{_LIBRARY}concurrent{os.sep}futures{os.sep}")
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_NAME_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")

_name_of = type.__dict__["__name__"].__get__
_traceback_of = BaseException.__dict__["__traceback__"].__get__
_cause_of = BaseException.__dict__["__cause__"].__get__
_context_of = BaseException.__dict__["__context__"].__get__
_hides_context = BaseException.__dict__["__suppress_context__"].__get__

_UNDESCRIBED = b'{"errorMessage": "the failure itself could not be described", "errorType": "KIND", "requestId": "ID", "stackTrace": []}'


def is_a(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether `error` is of `kind`; `isinstance` would ask its class, which may be the user's."""
    return issubclass(type(error), kind)


def failure_from(error: BaseException, *, request_id: str = "") -> Failure:
    """The failure that `error`, raised by user code or by us, becomes on the wire; never raises."""
    kind = type_name(error)
    try:
        trace = _traceback_of(error)
        if is_a(error, MemoryError):
            _let_go(trace)
        message = message_of(error)
        frames = frames_of(trace) or frames_of(_where_it_ended(error))
        stack = [_format(frame) for frame in frames]
        unread = _cause_of(error) if is_a(error, HandlerSyntaxError) else error
        if not stack and isinstance(unread, SyntaxError):
            stack = [f'  File "{unread.filename}" Line {unread.lineno}\n    {unread.text}']
        cause = _xray_cause(error, kind, message, frames)
        return failure_of(kind, message, stack, request_id=request_id, xray_cause=cause)
    except BaseException:  # noqa: BLE001 - out of memory or of stack: the type alone is still an answer
        kind = _sendable(kind)
        return Failure(kind, _UNDESCRIBED.replace(b"KIND", kind.encode()).replace(b"ID", request_id.encode()))


def failure_of(
    kind: str, message: str, stack: list[str] | None = None, *, request_id: str = "", xray_cause: str | None = None
) -> Failure:
    """The failure with these words, cut to what may be sent."""
    shown: list[str] = []
    room = _MOST_STACK
    for entry in stack or ():
        room -= len(entry)
        if room < 0:
            shown.append(f"  ... {len(stack or ()) - len(shown)} more frames\n")
            break
        shown.append(entry)
    body = (
        f'{{"errorMessage": {_quote(_cut(message))}, "errorType": {_quote(kind)}, "requestId": {_quote(request_id)}, '
        f'"stackTrace": [{", ".join(map(_quote, shown))}]}}'
    )
    if len(body) > _MOST_BODY:  # text that needs escapes grows sixfold
        return failure_of(kind, message[:2048], (stack or [])[:4], request_id=request_id, xray_cause=xray_cause)
    return Failure(_sendable(kind), body.encode(), xray_cause)


def type_name(error: BaseException) -> str:
    """The `errorType` of `error`: the wire type of our own errors, else the class's name, its letters and digits at least."""
    try:
        if is_a(error, SystemExit):
            return "Runtime.HandlerExit"
        known: Any = error
        name = known.wire_type if is_a(error, WarmstateError) else _name_of(type(error))
        if _NAME_LETTERS.issuperset(name) and 0 < len(name) <= _MOST_NAME:
            return str(name)
        return (
            "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name[:_MOST_NAME])
            or "Exception"
        )
    except BaseException:  # noqa: BLE001 - user code
        return "Exception"


def _sendable(name: str) -> str:
    """`name` in letters that a header allows."""
    if _NAME_LETTERS.issuperset(name):
        return name
    return "".join(letter if letter in _NAME_LETTERS else "_" for letter in name)


def describe(error: BaseException) -> str:
    """The type and text of `error`, for a line of the log; never raises."""
    message = message_of(error)
    return f"{type_name(error)}: {message}" if message else type_name(error)


def place_of(error: BaseException) -> str:
    """The file and line that raised `error`, be they the user's or ours."""
    trace = _traceback_of(error)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "an unknown place" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def message_of(error: BaseException) -> str:
    """What `error` says of itself, cut to 16 KB; `<unprintable X>` where saying it fails."""
    if is_a(error, SystemExit):
        known: Any = error
        return f"The handler called sys.exit({safe_text(known.code)}); a handler ends by returning or raising."
    return _cut(safe_text(error))


def safe_text(value: object) -> str:
    """`str(value)`, whatever that does, with lone surrogates written as escapes."""
    try:
        text = str(value)
    except BaseException:  # noqa: BLE001 - user code, and this is the way out of its failure
        return f"<unprintable {_name_of(type(value))}>"
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode()
    return text


def frames_of(trace: TracebackType | None) -> list[tuple[str, int, str]]:
    """
    (file, line, function) of each frame from the user's first one on, oldest first, our own left out.

    Of a deep recursion the first and the last frames are kept.
    """
    frames: list[tuple[str, int, str]] = []
    unwanted: tuple[str, ...] = (_OURS, "<frozen ")
    while trace is not None:
        code = trace.tb_frame.f_code
        name = code.co_filename
        if not name.startswith(unwanted):
            frames.append((name, trace.tb_lineno or 0, code.co_name))
            unwanted = (_OURS, "<frozen ")  # the user's own use of a loop is shown
        elif name.startswith(_OURS):
            unwanted = (_OURS, "<frozen ", *_LOOP)
        trace = trace.tb_next
    if len(frames) > _MOST_FRAMES:
        half = _MOST_FRAMES // 2
        frames = [*frames[:half], ("...", 0, f"{len(frames) - 2 * half} frames left out"), *frames[-half:]]
    return frames


def _where_it_ended(error: BaseException) -> TracebackType | None:
    """Where a generator or coroutine raised the StopIteration that Python turned into `error`, which has no frame of it."""
    cause: BaseException | None = _cause_of(error)
    if cause is None or not (is_a(cause, StopIteration) or is_a(cause, StopAsyncIteration)):
        return None
    trace: TracebackType | None = _traceback_of(cause)
    return trace


def _let_go(trace: TracebackType | None) -> None:
    """Drops what the frames of the failed code still hold: it is what used the memory up."""
    while trace is not None:
        try:
            trace.tb_frame.clear()
        except RuntimeError:
            pass  # it still runs: one of ours
        trace = trace.tb_next


def _format(frame: tuple[str, int, str]) -> str:
    file, line, function = frame
    source = _source_line(file, line)
    return f'  File "{file}", line {line}, in {function}\n' + (f"    {source}\n" if source else "")


def _source_line(file: str, line: int) -> str:
    # linecache would import tokenize and re for what is one line of a file.
    if line < 1 or not file.endswith(".py"):
        return ""
    try:
        fd = _open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            data = b""
            while data.count(b"\n") < line and len(data) < _MOST_SOURCE:
                piece = _read(fd, _BLOCK)
                if not piece:
                    break
                data += piece
        finally:
            _close(fd)
    except OSError:
        return ""
    lines = data.split(b"\n", line)
    return lines[line - 1].decode("utf-8", "replace").strip()[:200] if len(lines) >= line else ""


def _cut(text: str) -> str:
    if len(text) <= _MOST_MESSAGE:
        return text
    return f"{text[:_MOST_MESSAGE]}... ({len(text)} characters in all)"


def _xray_cause(error: BaseException, kind: str, message: str, frames: list[tuple[str, int, str]]) -> str | None:
    """
    The X-Ray error cause: `error` and what led to it, as one line of ASCII JSON; None when it would not fit.

    Form: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html#api-segmentdocuments-errors
    """
    try:
        directory = _getcwd()
    except OSError:  # a handler that removed its own working directory
        directory = ""
    exceptions = [_xray_exception(kind, message, frames)]
    paths = {file for file, _, _ in frames}
    seen = {id(error)}
    link = _led_to(error)
    while link is not None and id(link) not in seen and len(exceptions) < _MOST_CHAIN:
        seen.add(id(link))
        link_frames = frames_of(_traceback_of(link))
        paths.update(file for file, _, _ in link_frames)
        exceptions.append(_xray_exception(type_name(link), message_of(link), link_frames))
        link = _led_to(link)
    text = (
        f'{{"working_directory": {_quote(directory)}, "exceptions": [{", ".join(exceptions)}], '
        f'"paths": [{", ".join(map(_quote, sorted(paths)))}]}}'
    )
    return text if len(text) <= _MOST_CAUSE else None


def _xray_exception(kind: str, message: str, frames: list[tuple[str, int, str]]) -> str:
    stack = ", ".join(
        f'{{"label": {_quote(function)}, "path": {_quote(file)}, "line": {line}}}' for file, line, function in frames
    )
    return f'{{"message": {_quote(message[:1024])}, "type": {_quote(kind)}, "stack": [{stack}]}}'


def _led_to(error: BaseException) -> BaseException | None:
    cause: BaseException | None = _cause_of(error)
    if cause is None and not _hides_context(error):
        cause = _context_of(error)
    return cause
