"""
Descriptors by what they lead to: a handler may close any number, and whatever is opened next gets it.

Ours are remembered with device and inode, and are not written to, read from or closed where those have changed.
"""

from __future__ import annotations

from os import fstat as _fstat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

__all__ = ["end_own", "leads_to"]


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
