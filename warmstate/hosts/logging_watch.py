"""
How the user's `logging` finds its way to the function's log without being imported before they do.

`logging` costs milliseconds of every cold start. So it is left alone until the user's code imports it, which may be in the
middle of the hundredth invocation; the handler is there from its first record on.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmstate.hosts.logs import Log

__all__ = ["follow_logging"]


def follow_logging(log: Log, level: str | None = None) -> None:
    """
    Make `logging` write to `log`: at once if it is imported, else at the moment the user's code imports it.

    `level` is what `AWS_LAMBDA_LOG_LEVEL` says and becomes the root logger's.
    """
    if "logging" in sys.modules:
        _install(log, level)
    elif not any(isinstance(finder, _LoggingWatch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _LoggingWatch(log, level))


def _install(log: Log, level: str | None) -> None:
    from warmstate.hosts.logging_handler import install

    install(log, level)


class _LoggingWatch:
    """An import finder that finds nothing itself; it waits for `logging` and installs the handler once that has run."""

    def __init__(self, log: Log, level: str | None) -> None:
        self._log = log
        self._level = level

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "logging":
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    self._install_after(spec.loader)
                return spec
        return None

    def _install_after(self, loader: Any) -> None:
        run: Callable[[Any], None] = loader.exec_module

        def exec_module(module: Any) -> None:
            del loader.exec_module  # the loader's own again
            run(module)
            if hasattr(module, "LogRecord"):  # else it is a file of the function that bears the name
                _install(self._log, self._level)

        loader.exec_module = exec_module
