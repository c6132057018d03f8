"""
The user's own log records, on their way from `logging` to the function's log.

Imports `logging`, so it is imported itself only when the user's code has done that: see `warmstate.hosts.logging_watch`.
"""

from __future__ import annotations

import logging
import time

from warmstate.context import current
from warmstate.hosts.logs import LEVEL_NAMES, Log, request_facts
from warmstate.wire.failure import safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LambdaLoggerHandler", "install"]

_TEXT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"
_SECONDS = "%Y-%m-%dT%H:%M:%S"

_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "aws_request_id",
    "message",
    "errorMessage",
    "errorType",
    "location",
    "stackTrace",
    "taskName",
    "tenant_id",
    "timestamp",
    "warmstate",
}
"""Attributes of a record that are not `extra`, and names in a line that no extra can take."""


def install(log: Log, level: str | None) -> LambdaLoggerHandler:
    """Give the root logger the handler that writes to `log`, and the level `level` if it names one."""
    logging.Formatter.converter = time.gmtime  # as the stock runtime does: every formatter tells UTC
    handler = LambdaLoggerHandler(log)
    if log.json:
        handler.setFormatter(_JsonFormatter(log))
    else:
        handler.setFormatter(logging.Formatter(_TEXT, _SECONDS))
    root = logging.getLogger()
    name = {"TRACE": "DEBUG"}.get(level or "", level)
    if name in {"DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL"}:
        root.setLevel(name)
    root.addHandler(handler)
    return handler


class LambdaLoggerHandler(logging.Handler):
    """
    Writes records to the function's log; bears the name of its counterpart in the stock runtime, for those who look for it.

    Like that one it gives every record `aws_request_id` and `tenant_id`, for formatters of the user's own.
    """

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log
        self.addFilter(_add_request)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; what cannot be formatted is reported as `logging` always does."""
        try:
            self._log.write(self.format(record), _level(record))
        except Exception:  # noqa: BLE001 - formatting calls code of the user
            self.handleError(record)


class _JsonFormatter(logging.Formatter):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON, with the fields of the stock runtime and the `warmstate` object."""
        request_id, tenant, facts = request_facts(current.get())
        said: Any = record.msg
        fields: dict[str, Any] = {
            "level": LEVEL_NAMES.get(_level(record), "NOTSET"),
            # A dict is a structured message; it stays one.
            "message": said if isinstance(said, dict) and not record.args else record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[0] is not None:
            import traceback

            kind, error, stack = record.exc_info
            fields["stackTrace"] = traceback.format_tb(stack)
            fields["errorType"] = kind.__name__
            fields["errorMessage"] = safe_text(error)
            fields["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        fields["requestId"] = request_id
        fields["tenantId"] = tenant
        for name, value in record.__dict__.items():
            if name not in _STANDARD and name not in fields:
                fields[name] = value
        fields["warmstate"] = facts or None
        return self._log.json_text(fields, record.created)


def _add_request(record: logging.LogRecord) -> bool:
    record.aws_request_id, record.tenant_id, _ = request_facts(current.get())
    return True


def _level(record: logging.LogRecord) -> int:
    """The record's level floored to one that the platform has a word for."""
    return min(50, max(0, record.levelno)) // 10 * 10
