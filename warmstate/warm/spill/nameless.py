"""
Large spilled buffers: each in a file without a name, held by its descriptor.

1. `O_TMPFILE` makes an inode that no directory lists. Where the file system lacks it, a file with a random name is made and
   unlinked at once.
2. User code may close descriptors that are not its own (`os.closerange`), and the number then belongs to somebody else's
   file. So each is compared with the inode it had before it is read, mapped or closed.
3. Bytes are written once, from one end to the other, and a trailer after them. No checksum is taken: it would cost as much as
   the write, and nobody can reach the file. Who does all the same, through our descriptor, changes the inode's time of change,
   which no call can set back. `sealed` takes a checksum too.
"""

from __future__ import annotations

import errno
import os

from warmstate.warm.spill.spilled import Spilled, SpillLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from warmstate.warm.spill.files import Files
    from warmstate.warm.spill.spilled import Buffer

__all__ = ["NamelessFiles"]

_PAGE = 4096
_MOST_PARTS = 512  # the kernel takes 1,024 buffers in one write
_MAGIC = b"warmlrg1"


class NamelessFiles:
    """The files of one process's large buffers; `nbytes` is what they take on the disk, `count` how many are open."""

    __slots__ = ("_directory", "_files", "_key", "_open", "nbytes")

    def __init__(self, directory: str, files: Files) -> None:
        self._directory = directory
        self._files = files
        self._key = os.urandom(16)  # of this process: no other process's bytes carry it
        self._open: dict[int, Spilled] = {}
        self.nbytes = 0

    def __repr__(self) -> str:
        return f"<NamelessFiles {self.count}, {self.nbytes} bytes>"

    @property
    def count(self) -> int:
        """How many files are open."""
        return len(self._open)

    def write(self, spilled: Spilled, buffers: Sequence[Buffer]) -> None:
        """
        Write the buffers into a new file and note in `spilled` where they are.

        Raises:
            OSError: they could not be written; nothing is left behind.
        """
        fd = self._create()
        try:
            if spilled.sealed:
                spilled.digest = self._digest(spilled, buffers)
            parts = [memoryview(buffer).cast("B") for buffer in buffers if memoryview(buffer).nbytes]
            parts.append(memoryview(self._trailer(spilled)))
            offset = 0
            while parts:
                written = self._files.pwritev(fd, parts[:_MOST_PARTS], offset)
                if written <= 0:
                    raise OSError(errno.EIO, "nothing was written")
                offset += written
                while parts and written >= parts[0].nbytes:
                    written -= parts.pop(0).nbytes
                if written:
                    parts[0] = parts[0][written:]
            status = self._files.fstat(fd)
        except BaseException:
            self._files.close(fd)
            raise
        spilled.fd = fd
        spilled.identity = (status.st_dev, status.st_ino)
        spilled.changed = status.st_ctime_ns
        spilled.disk_bytes = -(-offset // _PAGE) * _PAGE
        self._open[spilled.serial] = spilled
        self.nbytes += spilled.disk_bytes

    def read(self, spilled: Spilled) -> bytes:
        """
        Read the bytes.

        Raises:
            SpillLost: the descriptor is no longer our file, or the file is not what was written.
            OSError: the disk failed.
        """
        fd = self._verified(spilled)
        found = self._files.pread(fd, spilled.nbytes, 0)
        while len(found) < spilled.nbytes:  # one read returns at most 2 GB
            more = self._files.pread(fd, spilled.nbytes - len(found), len(found))
            if not more:
                raise SpillLost(f"{spilled!r}: the file is too short")
            found += more
        if spilled.sealed and self._digest(spilled, (found,)) != spilled.digest:
            raise SpillLost(f"{spilled!r}: the bytes are not those that were written")
        return found

    def map(self, spilled: Spilled) -> memoryview:
        """
        Map the bytes privately: changes stay in memory. The mapping holds the file, so the buffer may be dropped meanwhile.

        Raises:
            SpillLost: as `read`.
            OSError: the disk failed.
        """
        import mmap

        fd = self._verified(spilled)
        return memoryview(mmap.mmap(fd, spilled.nbytes, access=mmap.ACCESS_COPY))

    def drop(self, spilled: Spilled) -> None:
        """Close the file, which frees its bytes; safe to repeat."""
        if self._open.pop(spilled.serial, None) is None:
            return
        self.nbytes -= spilled.disk_bytes
        fd, spilled.fd = spilled.fd, None
        try:
            if fd is not None and self._is_ours(fd, spilled):
                self._files.close(fd)
        except OSError:
            pass

    def close(self) -> None:
        """Drop everything."""
        for spilled in list(self._open.values()):
            self.drop(spilled)

    def _create(self) -> int:
        for attempt in (1, 2):
            try:
                return self._files.open(self._directory, os.O_TMPFILE | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                if attempt == 2:
                    raise
                self._files.mkdir(self._directory, 0o700)
            except OSError as error:
                if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
                    raise
                return self._create_and_unlink()
        raise AssertionError("unreachable")

    def _create_and_unlink(self) -> int:
        path = f"{self._directory}/spill-{os.urandom(8).hex()}"
        fd = self._files.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._files.unlink(path)
        return fd

    def _verified(self, spilled: Spilled) -> int:
        fd = spilled.fd
        if fd is None or spilled.serial not in self._open:
            raise SpillLost(f"{spilled!r} was dropped")
        try:
            ours = self._is_ours(fd, spilled, unchanged=True)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            ours = False
        if not ours or self._files.pread(fd, 64, spilled.nbytes) != self._trailer(spilled):
            raise SpillLost(f"{spilled!r}: its descriptor was closed by somebody else, or its file was changed")
        return fd

    def _is_ours(self, fd: int, spilled: Spilled, *, unchanged: bool = False) -> bool:
        status = self._files.fstat(fd)
        if (status.st_dev, status.st_ino) != spilled.identity or status.st_nlink:
            return False
        return not unchanged or status.st_ctime_ns == spilled.changed

    def _trailer(self, spilled: Spilled) -> bytes:
        return b"".join((_MAGIC, self._key, spilled.serial.to_bytes(8, "little"), spilled.nbytes.to_bytes(8, "little")))

    def _digest(self, spilled: Spilled, buffers: Sequence[Buffer]) -> bytes:
        from _blake2 import blake2b

        digest = blake2b(self._trailer(spilled), key=self._key, digest_size=16)
        for buffer in buffers:
            digest.update(buffer)
        return digest.digest()
