"""
A disk in memory that remembers what was done to it, byte by byte, so that a test can look at it as a kill at any moment left it.

`CrashDisk` is a `Files` port. Each byte of a write is a moment of its own, each block of an allocation, and each change of a name.
`disk_at(moment)` is a disk as it was then, for the process that comes after.
"""

from __future__ import annotations

import errno
import os
import stat

from warmstate.warm.spill.files import Files

BLOCK = 4096


class CrashDisk(Files):
    """Holds files by name; `moments` counts what a kill could have come after."""

    __slots__ = ("content", "descriptors", "fail_after", "fail_errno", "inodes", "log", "moments", "names", "started")

    def __init__(self):
        self.content = {}
        self.names = {}
        self.descriptors = {}
        self.inodes = 0
        self.log = []
        self.moments = 0
        self.started = {}, {}
        self.fail_after = None
        self.fail_errno = errno.ENOSPC

    # What happens to it

    def _note(self, *change, moments=1):
        self.log.append((self.moments, *change))
        self.moments += moments

    def disk_at(self, moment):
        """A disk with the files as a kill left them after so many moments."""
        disk = CrashDisk()
        content, names = self.started
        disk.content = {inode: bytearray(body) for inode, body in content.items()}
        disk.names = dict(names)
        for begun, word, *change in self.log:
            if begun >= moment:
                break
            if word == "write":
                inode, offset, body = change
                body = body[: moment - begun]
                disk.content[inode][offset : offset + len(body)] = body
            elif word == "grow":
                inode, length = change
                held = disk.content[inode]
                held.extend(bytes(min(length, (moment - begun) * BLOCK)))
            elif word == "make":
                path, inode = change
                disk.content[inode] = bytearray()
                disk.names[path] = inode
            elif word == "rename":
                source, target = change
                disk.names[target] = disk.names.pop(source)
            else:
                del disk.names[change[0]]
        disk.inodes = self.inodes
        disk.started = {inode: bytes(body) for inode, body in disk.content.items()}, dict(disk.names)
        return disk

    # The port

    def open(self, path, flags, mode=0o600):
        if flags & os.O_CREAT:
            if path in self.names:
                raise FileExistsError(errno.EEXIST, "it is there", path)
            self.inodes += 1
            self._note("make", path, self.inodes)
            self.content[self.inodes] = bytearray()
            self.names[path] = self.inodes
        elif path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "it is not there", path)
        fd = len(self.descriptors) + 100
        self.descriptors[fd] = self.names[path]
        return fd

    def close(self, fd):
        self.descriptors[fd] = None

    def _status(self, inode):
        links = sum(known == inode for known in self.names.values())
        return os.stat_result(
            (stat.S_IFREG | 0o600, inode, 1, links, os.geteuid(), 0, len(self.content[inode]), 0, 0, 0)
        )

    def stat(self, path):
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "it is not there", path)
        return self._status(self.names[path])

    def fstat(self, fd):
        return self._status(self.descriptors[fd])

    def pread(self, fd, length, offset):
        return bytes(self.content[self.descriptors[fd]][offset : offset + length])

    def pwritev(self, fd, parts, offset):
        body = b"".join(parts)
        if self.fail_after is not None:
            body, self.fail_after = body[: self.fail_after], None
            if not body:
                raise OSError(self.fail_errno, "injected")
            self.fail_after = 0  # the next call says why it wrote so little
        inode = self.descriptors[fd]
        held = self.content[inode]
        assert offset + len(body) <= len(held), "space is reserved before it is written to"
        self._note("write", inode, offset, body, moments=len(body))
        held[offset : offset + len(body)] = body
        return len(body)

    def allocate(self, fd, offset, length):
        inode = self.descriptors[fd]
        assert len(self.content[inode]) == offset
        self._note("grow", inode, length, moments=-(-length // BLOCK))
        self.content[inode].extend(bytes(length))

    def rename(self, source, target):
        self._note("rename", source, target)
        self.names[target] = self.names.pop(source)

    def unlink(self, path):
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "it is not there", path)
        self._note("unlink", path)
        del self.names[path]

    def mkdir(self, path, mode):
        raise AssertionError("the directory is there")
