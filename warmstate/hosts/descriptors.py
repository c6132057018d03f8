"""
Descriptors by what they lead to: a handler may close any number, and whatever is opened next gets it.

1. Ours are remembered with device and inode, and are not written to, read from or closed where those have changed.
2. A few are kept back: code of the user may use up all others, and the runtime must still reach the platform.
"""

from __future__ import annotations

import _thread
from errno import EMFILE, ENFILE
from fcntl import F_DUPFD_CLOEXEC, fcntl
from os import O_CLOEXEC as _O_CLOEXEC, close as _close, fstat as _fstat, open as _open, pipe2 as _pipe2

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

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
    """Descriptors that are kept back from the first `fill` on, and are free inside `with reserve:`."""

    __slots__ = ("_held", "_identity", "_lock")

    def __init__(self) -> None:
        self._held: list[int] = []
        self._identity: tuple[int, int] | None = None
        self._lock = _thread.RLock()

    def __repr__(self) -> str:
        return f"<Reserve of {len(self._held)} descriptors>"

    def fill(self) -> None:
        """Keep back as many as there should be, or as can be had."""
        self.release()
        try:
            end, other = _pipe2(_O_CLOEXEC)
        except OSError:
            return
        _close(other)
        self._identity = leads_to(end)  # that of no other descriptor
        try:
            while len(self._held) < _KEPT_BACK:
                self._held.append(fcntl(end, F_DUPFD_CLOEXEC, LOWEST_OWN))
        except (OSError, ValueError):
            pass
        _close(end)

    def release(self) -> None:
        """Give them back; numbers that a handler closed have other owners now."""
        held, self._held = self._held, []
        for number in held:
            if leads_to(number) == self._identity:
                _close(number)

    def __enter__(self) -> None:
        self._lock.acquire()
        self.release()

    def __exit__(self, *_: object) -> None:
        try:
            if self._identity is not None:
                self.fill()
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
