"""
Descriptors by what they lead to: a handler may close any number, and whatever is opened next gets it.

1. Ours are remembered with device and inode, and are not written to, read from or closed where those have changed.
2. A few are kept back: code of the user may use up all others, and the runtime must still reach the platform.
"""

from __future__ import annotations

import _thread
from errno import EMFILE, ENFILE
from os import O_CLOEXEC as _O_CLOEXEC, close as _close, fstat as _fstat, open as _open

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from types import ModuleType
    from typing import Any

__all__ = ["LOWEST_OWN", "Reserve", "end_own", "is_for_want_of_one", "is_one_left", "leads_to"]

LOWEST_OWN = 100
"""Ours lie above what programs hand around by number."""
_KEPT_BACK = 8


def leads_to(fd: int | None) -> tuple[int, int] | None:
    """What a descriptor leads to, or None if it is closed."""
    if fd is None:
        return None
    try:
        status = _fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def end_own(connection: _socket.socket, identity: tuple[int, int] | None) -> None:
    """Close `connection`, unless its descriptor no longer leads to where `identity` says that it led."""
    if identity is None or leads_to(connection.fileno()) != identity:
        connection.detach()
        return
    try:
        connection.close()
    except OSError:
        pass


class Reserve:
    """
    Descriptors that are kept back from `fill` on, and are free inside `with reserve:`.

    They are numbers below the process's limit and not open files. So a handler that closes everything cannot take them, and
    to give them back is one call that keeps the interpreter: beside threads that compute, each call that lets go of it waits.
    """

    __slots__ = ("_limits", "_lock", "_most")

    def __init__(self) -> None:
        self._limits: ModuleType | None = None  # `resource`, which nobody needs before the first event
        self._most = 0
        self._lock = _thread.RLock()

    def __repr__(self) -> str:
        return f"<Reserve of {_KEPT_BACK if self._limits else 0} descriptors>"

    def fill(self) -> None:
        """Keep them back from now on."""
        import resource

        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if self._most > 2 * _KEPT_BACK:
            self._limits = resource
            self._limit_to(self._most - _KEPT_BACK)

    def release(self) -> None:
        """Give them back, with what a handler took from the limit."""
        if self._limits is not None:
            self._limit_to(self._most)

    def _limit_to(self, number: int) -> None:
        limits: Any = self._limits
        now, most = limits.getrlimit(limits.RLIMIT_NOFILE)
        if now > self._most or now < 0:
            return  # a handler raised it since, and may have that many open
        try:
            limits.setrlimit(limits.RLIMIT_NOFILE, (number if most < 0 else min(number, most), most))
        except (OSError, ValueError):
            pass  # a sandbox that does not allow it

    def __enter__(self) -> None:
        self._lock.acquire()
        self.release()

    def __exit__(self, *_: object) -> None:
        try:
            if self._limits is not None:
                self._limit_to(self._most - _KEPT_BACK)
        finally:
            self._lock.release()


def is_one_left() -> bool:
    """Whether code of the user can still open something."""
    try:
        _close(_open("/", _O_CLOEXEC))
    except OSError as error:
        return not is_for_want_of_one(error)
    return True


def is_for_want_of_one(error: BaseException | None) -> bool:
    """Whether this is the error of a process, or a machine, that has no descriptor left."""
    return isinstance(error, OSError) and error.errno in {EMFILE, ENFILE}
