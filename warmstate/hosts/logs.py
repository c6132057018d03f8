"""
What reaches the function's log: one line per event on stdout, or one frame where the platform offers a descriptor for them.

1. The descriptor is a copy of our own, so a handler may close 0 to 2, replace `sys.stdout` or shut `logging` down.
2. Nothing here raises: a log that is gone drops what it is given and counts it.
3. Which request a line belongs to is read from the context variable at the moment of writing and kept nowhere, so nothing
   of one request can appear in a line of another.
4. `logging` costs milliseconds of a cold start, so nothing here needs it; see `warmstate.hosts.logging_watch`.

Formats as in AWS's own Python client, awslambdaric 4.2.2 (bootstrap.py, lambda_runtime_log_utils.py), with milliseconds.
"""

from __future__ import annotations

import _thread
import os
import sys
from fcntl import F_DUPFD_CLOEXEC, fcntl
from os import write as _write
from time import gmtime as _gmtime, strftime as _strftime

from warmstate._typing import cast
from warmstate.context import current
from warmstate.errors import AnswerEncodeError, EventDecodeError
from warmstate.hosts.descriptors import LOWEST_OWN, leads_to
from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.lifecycle.environment import LOG_LEVELS
from warmstate.lifecycle.notices import Notices
from warmstate.wire.payload import decode_event, encode_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from typing import Any

    from warmstate.context import Context
    from warmstate.lifecycle.environment import Environment
    from warmstate.wire.runtime_api import Failure

__all__ = [
    "CRITICAL",
    "DEBUG",
    "ERROR",
    "INFO",
    "WARNING",
    "HostNotices",
    "Log",
    "flush_printed",
    "open_log",
    "request_facts",
]

DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
"""The numbers of `logging`, which is not imported for them."""

LEVEL_NAMES = {DEBUG: "DEBUG", INFO: "INFO", WARNING: "WARNING", ERROR: "ERROR", CRITICAL: "CRITICAL"}

_NOTHING_IS_LOGGED = 100
_PLATFORM_LEVELS = {"TRACE": 5, "DEBUG": DEBUG, "INFO": INFO, "WARN": WARNING, "ERROR": ERROR, "FATAL": CRITICAL}

# A frame begins with a word for level and format; text is odd, JSON even. Level 0 is an event without a level.
_FRAME = 0xA55A0002
_FRAME_STEP = {0: 0, 5: 4, DEBUG: 8, INFO: 12, WARNING: 16, ERROR: 20, CRITICAL: 24}


class Log:
    """
    Writes events to one descriptor, each whole and in one piece.

    Args:
        fd: The descriptor, which this object owns from now on; None drops everything.
        json: Whether events are JSON objects instead of text.
        framed: Whether `fd` takes the platform's frames instead of lines.
        plain_fd: A descriptor for what cannot be framed, such as stacks dumped by `faulthandler`; `fd` if it takes lines.
        clock: Gives the timestamps.
    """

    __slots__ = ("_clock", "_fd", "_framed", "_identity", "_lock", "dropped", "json", "plain_fd")

    def __init__(
        self,
        fd: int | None,
        *,
        json: bool = False,
        framed: bool = False,
        plain_fd: int | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._fd = fd
        self._identity = leads_to(fd)
        self._framed = framed
        self._clock = clock
        # Reentrant: a signal handler may log in the middle of a write of the same thread.
        self._lock = _thread.RLock()
        self.json = json
        self.plain_fd = fd if plain_fd is None and not framed else plain_fd
        self.dropped = 0
        """Events that could not be written."""

    def __repr__(self) -> str:
        shape = ("json" if self.json else "text") + (" frames" if self._framed else " lines")
        return f"<Log of {shape} on descriptor {self._fd}, {self.dropped} dropped>"

    def write(self, text: str, level: int = 0) -> None:
        """Write one formatted event; a line end at its end is not needed."""
        text = text.removesuffix("\n")
        if self._framed:
            body = text.encode("utf-8", "backslashreplace")
            kind = _FRAME + _FRAME_STEP.get(level, 0) + (0 if self.json else 1)
            microseconds = int(self._clock.wall() * 1_000_000)
            data = kind.to_bytes(4, "big") + len(body).to_bytes(4, "big") + microseconds.to_bytes(8, "big") + body
        else:
            # The log keeps lines between carriage returns together as one event, and shows them as lines.
            data = text.replace("\n", "\r").encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            self._write(data)

    def event(self, level: int, message: str, fields: Mapping[str, object]) -> None:
        """
        Write an event of the runtime itself.

        `fields` are plain values; `request_id` among them names the request where none is running, the others are added to
        the text or to the `warmstate` object.
        """
        details = dict(fields)
        request_id, tenant, facts = request_facts(current.get())
        request_id = str(details.pop("request_id", request_id))
        if self.json:
            self.write(
                self.json_text({
                    "level": LEVEL_NAMES[level],
                    "message": message,
                    "logger": "warmstate",
                    "requestId": request_id,
                    "tenantId": tenant,
                    "warmstate": {**facts, **details} or None,
                }),
                level,
            )  # fmt: skip
            return
        if details:
            message += " (" + ", ".join(f"{name}={value}" for name, value in details.items()) + ")"
        self.write(f"[{LEVEL_NAMES[level]}]\t{self.timestamp()}\t{request_id}\twarmstate: {message}", level)

    def failure(self, failure: Failure, context: Context | None = None) -> None:
        """Write the report of a failed invocation, or of a failed init where there is no `context`."""
        try:
            report: Any = decode_event(failure.body)
        except EventDecodeError:
            report = {}
        report = cast("dict[str, Any]", report) if isinstance(report, dict) else {}
        if self.json:
            _, tenant, facts = request_facts(context)
            self.write(
                self.json_text({"level": "ERROR", **report, "tenantId": tenant, "warmstate": facts or None}), ERROR
            )
            return
        head = f"[ERROR] {report.get('errorType') or failure.error_type}"
        if report.get("errorMessage"):
            head += f": {report['errorMessage']}"
        lines = [head, "Traceback (most recent call last):"]
        for frame in report.get("stackTrace") or ():
            for line in str(frame).splitlines():
                code = line.lstrip(" ")
                # The log's viewer swallows spaces at the beginning of a line, not these.
                lines.append("\u00a0" * (len(line) - len(code)) + code)
        self.write("\n".join(lines if len(lines) > 2 else lines[:1]), ERROR)

    def json_text(self, fields: dict[str, Any], created: float | None = None) -> str:
        """`fields` without those that are None as one line of JSON, after a timestamp; never fails."""
        line = {"timestamp": self.timestamp(created)}
        line.update((name, value) for name, value in fields.items() if value is not None)
        try:
            return encode_text(line, escape=False)
        except AnswerEncodeError:
            return _encode_anything(line)

    def timestamp(self, seconds: float | None = None) -> str:
        """An instant, now by default, in UTC with milliseconds: `2026-01-02T03:04:05.678Z`."""
        if seconds is None:
            seconds = self._clock.wall()
        milliseconds = int(seconds * 1000)
        return _strftime("%Y-%m-%dT%H:%M:%S", _gmtime(milliseconds // 1000)) + f".{milliseconds % 1000:03d}Z"

    def _write(self, data: bytes) -> None:
        try:
            # A handler that closes all descriptors and opens one of its own may have got our number: never write there.
            if self._fd is None or leads_to(self._fd) != self._identity:
                self._fd = self._found_again()
            while data:
                data = data[_write(self._fd, data) :]
        except OSError:
            self.dropped += 1

    def _found_again(self) -> int:
        """Our copy was closed: take another where stdout or stderr still lead to the same place."""
        for fd in (1, 2):
            if self._identity is not None and leads_to(fd) == self._identity:
                return fcntl(fd, F_DUPFD_CLOEXEC, LOWEST_OWN)
        raise OSError("the log is closed")


class HostNotices(Notices):
    """
    The notices of the lower floors, written to the log from a level on.

    Args:
        log: Where they go.
        level: Notices below it are dropped.
    """

    __slots__ = ("_level", "_log", "_said")

    def __init__(self, log: Log, level: int = WARNING) -> None:
        self._log = log
        self._level = level
        self._said: set[str] = set()

    def __repr__(self) -> str:
        return f"<HostNotices from level {self._level}, {len(self._said)} said once>"

    @classmethod
    def for_environment(cls, log: Log, environment: Environment) -> HostNotices:
        """Notices from the level that `WARMSTATE_LOG` says, and never below the function's own log level."""
        own = {**dict(zip(LOG_LEVELS, (DEBUG, INFO, WARNING, ERROR), strict=False)), "off": _NOTHING_IS_LOGGED}
        return cls(log, max(own[environment.log], _PLATFORM_LEVELS.get(environment.log_level or "", 0)))

    def info(self, message: str, **fields: object) -> None:
        """Something worth knowing happened, nothing is wrong."""
        self._say(INFO, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Something degraded or was dropped, and the instance goes on."""
        self._say(WARNING, message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Something failed that the user must look at."""
        self._say(ERROR, message, fields)

    def once(self, key: str, message: str, **fields: object) -> None:
        """A warning that is said only the first time for `key` in the life of this process."""
        if key not in self._said:
            self._said.add(key)
            self._say(WARNING, message, fields)

    def _say(self, level: int, message: str, fields: dict[str, object]) -> None:
        if level >= self._level:
            self._log.event(level, message, fields)


def open_log(
    environment: Environment | None = None,
    variables: MutableMapping[str, str] | None = None,
    *,
    clock: Clock = SYSTEM_CLOCK,
) -> Log:
    """
    The log of this process: the platform's descriptor for frames if it offers one, else a copy of stdout.

    Before the environment could be read (`environment` is None) it is text on stdout.
    `sys.stdout` and `sys.stderr` write each line as it ends from now on, and never fail over a character.
    The variable that names the platform's descriptor is taken out of `variables`, so that no child process writes to it.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
        except (AttributeError, ValueError, OSError):
            pass  # closed, or replaced by the user's own
    if variables is not None:
        variables.pop("_LAMBDA_TELEMETRY_LOG_FD", None)
    json = environment is not None and environment.log_format == "json"
    frames = None if environment is None else environment.telemetry_log_fd
    stdout = _copy(1)
    if stdout is None:
        stdout = _copy(2)
    if frames is not None and leads_to(frames) is not None:
        os.set_inheritable(frames, False)
        return Log(frames, json=json, framed=True, plain_fd=stdout, clock=clock)
    return Log(stdout, json=json, clock=clock)


def request_facts(context: Context | None) -> tuple[str, str | None, dict[str, object]]:
    """
    What a line says about the request it belongs to: its id, its tenant, and the `warmstate` object.

    The object has the kind of start, the generation, the number of the invocation in its process and the milliseconds that
    the instance was frozen before it; the X-Ray trace too where there is one.
    """
    if context is None:
        return "", None, {}
    thaw = context.thaw
    facts: dict[str, object] = {
        "kind": context.start,
        "generation": context.generation,
        "seq": context.invocation_number,
        "frozen_ms": 0 if thaw is None else round(thaw.frozen_for * 1000),
    }
    trace = getattr(context, "_trace_id", None)
    if trace:
        facts["trace"] = trace
    return context.aws_request_id, context.tenant_id, facts


def flush_printed() -> bool:
    """
    Write what was printed without a line end; it belongs to the event that ends now, not to the next one.

    False where that failed.
    """
    written = True
    try:
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - closed, or replaced by the user's own, which may raise anything
        written = False
    try:
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - as above
        written = False
    return written


def _copy(fd: int) -> int | None:
    try:
        return fcntl(fd, F_DUPFD_CLOEXEC, LOWEST_OWN)
    except OSError:
        return None


def _encode_anything(line: dict[str, Any]) -> str:
    """JSON in spite of values that have no JSON form: text stands for each of them."""
    formed: dict[str, Any] = {}
    for name, value in line.items():
        try:
            formed[name] = _formed(value)
        except Exception:  # noqa: BLE001 - a cycle, or somebody's class: it is text as a whole
            formed[name] = _as_text(value)
    return encode_text(formed, escape=False)


def _formed(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("list[tuple[Any, Any]]", value.items())
        return {name if isinstance(name, str) else _as_text(name): _formed(item) for name, item in items}
    if isinstance(value, (list, tuple)):
        return [_formed(item) for item in cast("list[Any]", value)]
    return value if _has_form(value) else _as_text(value)


def _as_text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - somebody's __str__
        return f"<unprintable {type(value).__name__}>"


def _has_form(value: object) -> bool:
    try:
        encode_text(value)
    except AnswerEncodeError:
        return False
    return True
