"""
Breaks the connections that this process has opened, as a freeze on Lambda breaks them.

While an environment is frozen, nobody answers for it: peers, load balancers and NAT gateways drop what has been silent for
minutes. The handler finds out at its next use. Here the sockets are shut down under whoever holds them, C libraries included.
"""

from __future__ import annotations

import os
import socket

__all__ = ["Connections"]

_ESTABLISHED = "01"
_LISTEN = "0A"
_TABLES = ("/proc/self/net/tcp", "/proc/self/net/tcp6")


class Connections:
    """The TCP connections that this process opened since this object was made; those it accepted are not among them."""

    def __init__(self) -> None:
        self._before = set(_sockets())

    def __repr__(self) -> str:
        return f"<Connections: {len(self._opened())} open>"

    def cut(self) -> int:
        """Break them all; returns how many."""
        opened = self._opened()
        for descriptor in opened:
            with socket.socket(fileno=os.dup(descriptor)) as connection:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the peer was faster
        return len(opened)

    def _opened(self) -> list[int]:
        rows = list(_tcp())
        listening = {port for state, port, _ in rows if state == _LISTEN}
        ours = {inode for state, port, inode in rows if state == _ESTABLISHED and port not in listening}
        return [descriptor for inode, descriptor in _sockets().items() if inode in ours and inode not in self._before]


def _sockets() -> dict[str, int]:
    """Inode and descriptor of every socket of this process."""
    found: dict[str, int] = {}
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return found  # no Linux: nothing is known, so nothing is cut
    for name in names:
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor of this very listing
        if target.startswith("socket:["):
            found[target[8:-1]] = int(name)
    return found


def _tcp() -> list[tuple[str, int, str]]:
    """State, local port and inode of every TCP socket of this network."""
    found: list[tuple[str, int, str]] = []
    for table in _TABLES:
        try:
            with open(table, encoding="ascii") as rows:
                next(rows)
                for row in rows:
                    fields = row.split()
                    found.append((fields[3], int(fields[1].rpartition(":")[2], 16), fields[9]))
        except (OSError, StopIteration):
            continue  # no IPv6 here, say
    return found
