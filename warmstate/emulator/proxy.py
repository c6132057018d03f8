"""
A TCP forwarder whose connections can be broken as a real thaw breaks them.

While a process is stopped, the kernel goes on answering for it; a paused machine does not. So what a thawed function
finds of its connections on Lambda (closed, reset, dead without a word) must be made here.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Final, Literal

from warmstate.emulator.processes import family

__all__ = ["Cut", "Forwarder"]

Cut = Literal["close", "reset", "silent"]
"""close: the peer said goodbye. reset: the peer is gone, and says so at once. silent: nothing arrives any more."""

LINGER: Final = struct.pack("ii", 1, 0)


class Forwarder:
    """Listens on a loopback port and forwards each connection to `host`:`port`."""

    def __init__(self, host: str, port: int) -> None:
        self.target: Final = (host, port)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()

    def __repr__(self) -> str:
        return f"<Forwarder 127.0.0.1:{self.port} → {self.target[0]}:{self.target[1]}, {len(self._links)} connections>"

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self, how: Cut, pid: int | None = None) -> int:
        """Break the connections of a process and its descendants (None: all); returns how many."""
        sockets = None if pid is None else _sockets_of(pid)
        found = [link for link in self._links if sockets is None or link.inode() in sockets]
        for link in found:
            link.cut(how)
        return len(found)

    async def close(self) -> None:
        """Stop listening and close all connections."""
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.cut("reset")

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, far_writer)
        self._links.add(link)
        try:
            await asyncio.gather(link.pump(reader, far_writer), link.pump(far_reader, writer))
        finally:
            self._links.discard(link)
            for end in (writer, far_writer):
                end.close()


class _Link:
    """One forwarded connection."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._near, self._far = near, far
        self._silent = False

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand on what comes until it ends."""
        try:
            while data := await reader.read(65_536):
                if not self._silent:
                    writer.write(data)
                    await writer.drain()
            if not self._silent and writer.can_write_eof():
                writer.write_eof()
        except (ConnectionError, OSError):
            writer.transport.abort()

    def cut(self, how: Cut) -> None:
        """Break it."""
        if how == "silent":
            self._silent = True
        elif how == "close":
            self._near.close()
            self._far.close()
        else:
            for end in (self._near, self._far):
                sock = end.get_extra_info("socket")
                if sock is not None:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
                end.transport.abort()

    def inode(self) -> str:
        """The inode of the client's socket, which tells whose it is."""
        client, ours = self._near.get_extra_info("peername"), self._near.get_extra_info("sockname")
        return _inode_between(client[1], ours[1]) if client and ours else ""


def _inode_between(port: int, remote: int) -> str:
    """The inode of the IPv4 socket with these ports, "" when there is none; a port alone may belong to several."""
    wanted = [f"{port:04X}", f"{remote:04X}"]
    with open("/proc/net/tcp", encoding="ascii") as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            if [address.rpartition(":")[2] for address in fields[1:3]] == wanted:
                return fields[9]
    return ""


def _sockets_of(pid: int) -> set[str]:
    """The inodes of the sockets that a process or one of its descendants holds."""
    found = set[str]()
    for member in (pid, *family.descendants(pid)):
        try:
            for name in os.listdir(f"/proc/{member}/fd"):
                target = os.readlink(f"/proc/{member}/fd/{name}")
                if target.startswith("socket:["):
                    found.add(target[8:-1])
        except OSError:
            continue
    return found
