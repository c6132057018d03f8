"""
The journal: where commits to /tmp go, so that they outlive the process and nothing more.

1. One commit is one record, written by one call, behind the last one. Space for it is reserved first; how it lies there is in `framing`.
2. A dying process leaves a torn end at most, which was never acknowledged and is dropped. If anything else does not fit, the whole
   journal is dropped, because an earlier commit in the place of a later one would be a wrong value.
3. Nothing syncs: what survives a reset is the kernel, and if the machine dies, /tmp dies with it.
4. A record that could not be written whole is wiped before the next one. So the file never holds what was not acknowledged, but
   for a process that dies between its write and its answer.
5. Records never change. Old ones go when the live ones are written to a new file that takes the old one's name.
6. The directory is ours alone (mode 0700, held by a lock). A link, a pipe or another's file under our name is not followed, not
   read and not written to; the next new file takes its name.
7. A journal has a record from the moment it has its name. One without any is damaged: it was emptied.
"""

from __future__ import annotations

import os
from binascii import crc32

from warmstate.errors import CommitError
from warmstate.warm.commits.framing import BLOCK, HEADER, MAGIC, TRAILER, Records, framed, read_bytes
from warmstate.warm.spill.files import SYSTEM_FILES, Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from warmstate.warm.commits.backend import Part

__all__ = ["Journal"]

LARGEST_RECORD = 2**32 - 1

_GROWTH = 16 * BLOCK
"""Bytes reserved at once, so that most commits are a single call, and the first ones fit on a disk that others have filled since."""
_MOST_PARTS = 512
"""Parts given to one vectored write; the kernel takes 1,024."""

_ADVICE = {
    2: "the directory was cleared or moved: leave WARMSTATE_TMP/warmstate alone when you clean /tmp",
    17: "something else has that name: remove it, and leave WARMSTATE_TMP/warmstate alone",
    21: "a directory has that name: remove it, and leave WARMSTATE_TMP/warmstate alone",
    23: "this machine has no file descriptor left",
    24: "no file descriptor is left: something keeps files or connections open",
    28: "the disk is full: free space in /tmp, give the function more of it, or keep less in committed slots",
    30: "the file system is read-only: let WARMSTATE_TMP name a directory that can be written",
    122: "the disk quota is used up: free space in /tmp",
}


class Journal:
    """
    The commits of one execution environment in a directory of its /tmp; a `CommitBackend`.

    Args:
        directory: A directory that no other process uses.
        files: The file system; another one in tests.
    """

    __slots__ = (
        "_allocated",
        "_chain",
        "_directory",
        "_end",
        "_fd",
        "_file",
        "_files",
        "_path",
        "_torn",
        "damaged",
        "lost",
    )

    def __init__(self, directory: str, *, files: Files = SYSTEM_FILES) -> None:
        self._directory = directory
        self._path = f"{directory}/journal"
        self._files = files
        self._fd = -1
        self._file: tuple[int, int] | None = None
        self._allocated = 0
        self._end = 0
        self._chain = 0
        self._torn = 0
        self.damaged = False
        self.lost = False

    def __repr__(self) -> str:
        return f"<Journal {self._path}: {self._end} bytes>"

    @property
    def size(self) -> int:
        """Bytes that the records take."""
        return self._end

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Every whole record with its place, oldest first; sets `damaged` if something else than a torn end follows."""
        self._remove_unfinished()
        self.close()
        self.damaged = False
        if not self._open_existing():
            return
        try:
            records = Records(self._files, self._fd)
            yield from records
        except OSError:
            self.damaged = True
        else:
            self.damaged = records.damaged or records.end == len(MAGIC)
            self._end, self._chain, self._torn = records.end, records.chain, records.torn
            self._allocated = records.size
        finally:
            if self.damaged:
                self.close()

    def append(self, parts: Sequence[Part]) -> int:
        """
        Writes one record and returns its place.

        Raises:
            CommitError: It could not be written; the records before it are as they were.
        """
        length = sum(map(len, parts))
        if not 0 < length <= LARGEST_RECORD:
            raise CommitError(
                f"{self._path}: a commit of {length} bytes cannot be written, the limit is 4 GiB: keep less in committed slots"
            )
        if self._fd < 0:
            return self.rewrite([parts])[0]
        try:
            self._check_in_place()
            if self._torn:
                self._wipe()
            whole = HEADER + length + len(TRAILER)
            self._reserve(self._end + whole + HEADER)
            record, chain = framed(parts, length, self._chain)
            self._torn = whole
            self._write(self._fd, record, self._end)
        except OSError as error:
            self._try_wipe()
            raise self._failed(error) from error
        self._torn = 0
        place = self._end + HEADER
        self._end, self._chain = self._end + whole, chain
        return place

    def fetch(self, place: int, length: int) -> bytes:
        """
        Reads bytes of a record again.

        Raises:
            CommitError: They cannot be read.
        """
        try:
            body = read_bytes(self._files, self._fd, place, length)
        except OSError as error:
            raise self._failed(error, "read") from error
        if len(body) != length:
            self.lost = True
            raise CommitError(
                f"{self._path} lost committed bytes: another program shortened it; leave WARMSTATE_TMP/warmstate alone"
            )
        return body

    def rewrite(self, records: Iterable[Sequence[Part]]) -> list[int]:
        """
        Replaces all records by these, in a new file, and returns their places; makes the directory again if it is gone.

        Raises:
            CommitError: It could not be done; the records are as they were.
        """
        new = Journal(self._directory, files=self._files)
        new._path = f"{self._path}.new"
        try:
            self._remove_unfinished()
            new._fd = self._open_new(new._path)
            new._reserve(_GROWTH)
            new._write(new._fd, [MAGIC], 0)
            new._end, new._chain = len(MAGIC), crc32(MAGIC)
            new._file = self._identity(self._files.fstat(new._fd))
            places = [new.append(parts) for parts in records]
            self._files.rename(new._path, self._path)
        except BaseException as error:
            new.close()
            self._remove_unfinished()
            if isinstance(error, OSError):
                raise self._failed(error, "rewritten") from error
            raise
        self.close()
        self._fd, self._file = new._fd, new._file
        self._end, self._chain, self._allocated = new._end, new._chain, new._allocated
        self.lost = self.damaged = False
        return places

    def close(self) -> None:
        """Lets go of the file; what was committed stays."""
        fd, self._fd, self._file = self._fd, -1, None
        self._end = self._chain = self._allocated = self._torn = 0
        if fd >= 0:
            try:
                self._files.close(fd)
            except OSError:
                pass  # the kernel has the bytes, and the descriptor is gone either way

    def _open_existing(self) -> bool:
        try:
            if not _is_ours(self._files.stat(self._path)):
                self.damaged = True
                return False
            # A pipe that took the name between the two calls would block without O_NONBLOCK.
            self._fd = self._files.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            opened = self._files.fstat(self._fd)
        except FileNotFoundError:
            return False
        except OSError:
            self.close()
            self.damaged = True
            return False
        if not _is_ours(opened):
            self.close()
            self.damaged = True
            return False
        self._file = self._identity(opened)
        return True

    def _open_new(self, path: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return self._files.open(path, flags, 0o600)
        except FileNotFoundError:
            for directory in (os.path.dirname(self._directory), self._directory):
                try:
                    self._files.mkdir(directory, 0o700)
                except FileExistsError:
                    pass
            return self._files.open(path, flags, 0o600)

    def _check_in_place(self) -> None:
        """
        Raises if the file lost its name or its end: what is written to it then would be gone with this process.

        That happens when user code clears /tmp.
        """
        try:
            found = self._files.stat(self._path)
        except FileNotFoundError:
            self.lost = True
            raise
        if (found.st_dev, found.st_ino) != self._file or found.st_size < self._allocated:
            self.lost = True
            raise FileNotFoundError(2, "it was replaced or shortened")

    def _reserve(self, needed: int) -> None:
        """Makes the file long enough, in whole blocks of zeros."""
        if needed <= self._allocated:
            return
        wanted = -(-needed // _GROWTH) * _GROWTH
        try:
            self._files.allocate(self._fd, self._allocated, wanted - self._allocated)
        except OSError:
            wanted = -(-needed // BLOCK) * BLOCK
            self._files.allocate(self._fd, self._allocated, wanted - self._allocated)
        self._allocated = wanted

    def _wipe(self) -> None:
        """Zeros over a record that is not whole, in an order that leaves a torn end wherever a kill interrupts it."""
        stop = min(self._end + self._torn, self._allocated)
        body = min(self._end + HEADER, stop)
        trailer = max(stop - len(TRAILER), body)
        for place in range(
            stop - 1, trailer - 1, -1
        ):  # its last byte first: what is left is the beginning of a trailer
            self._zero(place, place + 1)
        self._zero(body, trailer)
        for place in (self._end + 8, self._end + 4, self._end):  # the check of the body, that of the length, the length
            self._zero(place, min(place + 4, body))
        self._torn = 0

    def _zero(self, start: int, stop: int) -> None:
        while start < stop:
            part = min(stop - start, _GROWTH)
            self._write(self._fd, [bytes(part)], start)
            start += part

    def _try_wipe(self) -> None:
        if self._torn and self._fd >= 0:
            try:
                self._wipe()
            except OSError:
                pass  # `_torn` still says so, and the next record begins with it

    def _write(self, fd: int, parts: list[Part], offset: int) -> None:
        if len(parts) > _MOST_PARTS:
            parts = [*parts[: _MOST_PARTS - 1], b"".join(parts[_MOST_PARTS - 1 :])]
        left = sum(map(len, parts))
        while left:
            written = self._files.pwritev(fd, parts, offset)
            if written == left:
                return
            if written <= 0:
                raise OSError(5, "nothing was written")
            left -= written
            offset += written
            parts = [memoryview(b"".join(parts))[written:]]

    def _remove_unfinished(self) -> None:
        try:
            self._files.unlink(f"{self._path}.new")
        except OSError:
            pass  # mostly there is none; what stands in the way is said by the rewrite that meets it

    def _failed(self, error: OSError, what: str = "written") -> CommitError:
        advice = _ADVICE.get(error.errno or 0, "the file system failed")
        return CommitError(
            f"{self._path} could not be {what} ({error.strerror or error}): {advice}. The last commit stays valid."
        )

    @staticmethod
    def _identity(found: os.stat_result) -> tuple[int, int]:
        return found.st_dev, found.st_ino


def _is_ours(found: os.stat_result) -> bool:
    regular = (found.st_mode & 0o170000) == 0o100000
    return regular and found.st_nlink == 1 and found.st_uid == os.geteuid()
