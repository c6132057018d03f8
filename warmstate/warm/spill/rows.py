"""
Small spilled buffers: rows of a diskcache database, the only place where diskcache is used.

1. diskcache unpickles what a row tells it to (CVE-2025-69872), reads and removes any file that a row names, and takes settings
   from the database it opens. `SealedDisk` knows one kind of row, framed bytes under a str key, and refuses every other on
   write and on read; it never opens, names or removes a file.
2. The database is made in a new directory with a random name, and unlinked as soon as it is open: no foreign one is ever
   opened, and nobody can change this one.
3. Nobody reads it after a crash, so its rollback journal is kept in memory: then rows can be deleted on a full disk too.
   No mapped memory, because a file that shrinks under a mapping kills the process.
4. One connection, used under the spill's lock: diskcache's own keeps one open for each thread that ever lived.
"""

from __future__ import annotations

import os
import sqlite3
from struct import Struct
from zlib import crc32

import diskcache

from warmstate.warm.spill.spilled import Spilled, SpillLost, is_full

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from warmstate.warm.spill.files import Files
    from warmstate.warm.spill.spilled import Buffer

__all__ = ["Rows", "SealedDisk"]

_HEADER = Struct("<8sB3xIQQ")  # magic, flags, checksum, serial, length
_MAGIC = b"warmrow1"
_SEALED = 1
_DIGEST_BYTES = 16
_PAGE = 4096
_ROW_OVERHEAD = 160
"""Bytes that diskcache's table and index add to a row, about."""


class SealedDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache ships no types
    """Stores framed bytes under str keys, in the row itself; refuses everything else, pickles above all."""

    def put(self, key: Any) -> Any:
        """Take a str as the key of a row, and nothing else."""
        if type(key) is not str:
            raise TypeError(f"spilled rows have str keys, not {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        """Give the key of a row back, unless it is something that would be unpickled."""
        if not raw or type(key) is not str:
            raise SpillLost("a row whose key is a pickle or no str")
        return key

    def store(self, value: Any, read: Any, key: Any = None) -> Any:
        """Take framed bytes as the value of a row, and nothing else."""
        if type(value) is not bytes or read or not value.startswith(_MAGIC):
            raise TypeError(f"spilled rows are framed bytes, not {type(value).__name__}")
        return 0, diskcache.core.MODE_RAW, None, sqlite3.Binary(value)

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        """Give the bytes of a row back, unless it is of a kind that is never written here."""
        if mode != diskcache.core.MODE_RAW or filename is not None or type(value) is not bytes or read:
            raise SpillLost("a row that is not plain bytes")
        return value

    def filename(self, key: object = None, value: object = None) -> tuple[str, str]:
        """Name no file: rows hold their values themselves."""
        raise TypeError("spilled rows have no files")

    def remove(self, file_path: object) -> None:
        """Remove nothing: no row of ours names a file."""


class _OneConnection(diskcache.Cache):  # type: ignore[misc]  # as above
    """A cache that uses one connection for all threads, under a lock that its owner holds."""

    @property
    def _con(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = self.__dict__.get("_connection")
        if connection is None:
            connection = sqlite3.connect(
                os.path.join(self._directory, diskcache.core.DBNAME),
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection = connection
        return connection

    def close(self) -> None:
        """Keep the connection, which the constructor wants to close and open again; `Rows.close` ends it."""


class Rows:
    """Framed buffers in a database that nobody else can reach; `nbytes` is the size of its file, `count` the rows in it."""

    __slots__ = ("_cache", "_fd", "_files", "_free", "_identity", "_key", "_serials", "nbytes")

    def __init__(self, directory: str, files: Files) -> None:
        """
        Open a new database.

        Raises:
            OSError: its directory cannot be made.
            sqlite3.Error: it cannot be written.
        """
        self._files = files
        self._key = os.urandom(16)
        self._serials: set[int] = set()
        self._free = 0  # bytes of the pages that deleted rows left
        self.nbytes = 0
        place = f"{directory}/spill-{os.urandom(8).hex()}"
        try:
            _sweep(directory, files)
            files.mkdir(place, 0o700)
        except FileNotFoundError:  # the directory of this process vanished
            files.mkdir(directory, 0o700)
            files.mkdir(place, 0o700)
        database = os.path.join(place, diskcache.core.DBNAME)
        self._fd: int | None = None
        self._identity = (0, 0)
        kind: Any = _OneConnection
        self._cache: Any = kind.__new__(kind)
        try:
            kind.__init__(  # apart from making it: where this fails, the connection is closed below
                self._cache,
                place,
                disk=SealedDisk,
                eviction_policy="none",
                cull_limit=0,
                statistics=0,
                tag_index=0,
                size_limit=2**62,
                sqlite_auto_vacuum=2,
                sqlite_cache_size=-1024,
                sqlite_journal_mode="memory",
                sqlite_mmap_size=0,
                sqlite_synchronous=0,
                sqlite_temp_store=2,
                sqlite_trusted_schema=0,
            )
            status = files.stat(database)
            files.unlink(database)  # or it is not used: what has a name can be changed by others
            self._identity = (status.st_dev, status.st_ino)
            self._fd = _descriptor_of(self._identity)
            self.nbytes = status.st_size
        except BaseException:
            self.close()
            raise
        finally:
            _remove(files, database)
            _remove_directory(place)

    def __repr__(self) -> str:
        return f"<Rows {self.count}, {self.nbytes} bytes>"

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._serials)

    @property
    def live_bytes(self) -> int:
        """Bytes of the file that rows are in, without the pages that deleted ones left."""
        return self.nbytes - self._free

    def growth(self, nbytes: int) -> int:
        """About how many bytes the file grows when so many are written: pages that deleted rows left are used first."""
        return max(0, int((nbytes + _ROW_OVERHEAD) * 1.05) - self._free)

    def write(self, items: Sequence[tuple[Spilled, Sequence[Buffer]]]) -> None:
        """
        Write rows in one transaction, all or none.

        Raises:
            Exception: whatever SQLite or the disk had to say.
        """
        self._require_ours()
        with self._cache.transact():
            for spilled, buffers in items:
                self._cache.set(_name(spilled), self._frame(spilled, buffers))
        for spilled, _ in items:
            spilled.epoch = self
            self._serials.add(spilled.serial)
        self._measure()

    def read(self, spilled: Spilled) -> bytes:
        """
        Read one row.

        Raises:
            SpillLost: it is not there, or not what was written.
            Exception: whatever SQLite or the disk had to say.
        """
        self._require_ours()
        missing = object()
        frame = self._cache.get(_name(spilled), default=missing)
        if frame is missing:
            raise SpillLost(f"{spilled!r}: there is no such row")
        return self._unframe(spilled, frame)

    def drop(self, dropped: Sequence[Spilled]) -> None:
        """
        Delete rows in one transaction; those that are not here are ignored.

        Raises:
            Exception: whatever SQLite or the disk had to say.
        """
        mine = [spilled for spilled in dropped if spilled.epoch is self and spilled.serial in self._serials]
        if not mine:
            return
        self._require_ours()
        with self._cache.transact():
            for spilled in mine:
                self._cache.delete(_name(spilled))
        for spilled in mine:
            spilled.epoch = None
            self._serials.discard(spilled.serial)
        self._measure()

    def compact(self, *, at_once: bool = False) -> None:
        """
        Give pages that no row uses back to the file system, once they are a quarter of the file, or `at_once`.

        Raises:
            Exception: whatever SQLite or the disk had to say.
        """
        if self._free and (at_once or (self._free * 4 > self.nbytes and self.nbytes > 1 << 20)):
            self._require_ours()
            # One step frees one page, and `execute` takes one step of a statement without columns; a script is run to its end.
            self._cache._con.executescript(f"PRAGMA incremental_vacuum({2**30 if at_once else 4096})")  # noqa: SLF001 - diskcache has no public way
            self._measure()

    def is_sound(self, error: Exception, *, patient: bool) -> bool:
        """Whether the database can be used further after `error`; `patient` if a failing disk may be tried again."""
        if not self._is_ours():
            return False
        connection = self._cache._con  # noqa: SLF001 - diskcache has no public way
        passing = patient and isinstance(error, (sqlite3.OperationalError, diskcache.Timeout, OSError))
        if passing or is_full(error) or isinstance(error, (SpillLost, TypeError)):
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except sqlite3.Error:
                return False
            return True
        return False

    def close(self) -> None:
        """End the connection, and the database with it; safe to repeat."""
        self._serials.clear()
        connection: sqlite3.Connection | None = self._cache.__dict__.get("_connection")
        if connection is None:
            return
        # A connection whose descriptor now belongs to somebody else must not close it: it is left to the end of the process.
        if self._is_ours():
            try:
                connection.close()
            except sqlite3.Error:
                pass
        else:
            _ABANDONED.append(connection)

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # noqa: BLE001 - at the end of the interpreter anything may be gone already
            pass

    def _frame(self, spilled: Spilled, buffers: Sequence[Buffer]) -> bytes:
        body = b"".join(buffers)
        if spilled.sealed:
            spilled.digest = self._digest(spilled, body)
            body = spilled.digest + body
        spilled.checksum = crc32(body, crc32(self._key, spilled.serial & 0xFFFFFFFF))
        flags = _SEALED if spilled.sealed else 0
        frame = _HEADER.pack(_MAGIC, flags, spilled.checksum, spilled.serial, spilled.nbytes) + body
        spilled.disk_bytes = len(frame) + _ROW_OVERHEAD
        return frame

    def _unframe(self, spilled: Spilled, frame: bytes) -> bytes:
        sealed = _DIGEST_BYTES if spilled.sealed else 0
        expected = _HEADER.pack(
            _MAGIC, _SEALED if spilled.sealed else 0, spilled.checksum, spilled.serial, spilled.nbytes
        )
        start = len(expected)
        if len(frame) != start + sealed + spilled.nbytes or frame[:start] != expected:
            raise SpillLost(f"{spilled!r}: the row is not the one that was written")
        if crc32(memoryview(frame)[start:], crc32(self._key, spilled.serial & 0xFFFFFFFF)) != spilled.checksum:
            raise SpillLost(f"{spilled!r}: the row was damaged")
        body = frame[start + sealed :]
        if sealed and self._digest(spilled, body) != spilled.digest:
            raise SpillLost(f"{spilled!r}: the row is not sealed by this process")
        return body

    def _digest(self, spilled: Spilled, body: bytes) -> bytes:
        from _blake2 import blake2b

        return blake2b(
            body, key=self._key, salt=spilled.serial.to_bytes(8, "little"), digest_size=_DIGEST_BYTES
        ).digest()

    def _measure(self) -> None:
        pages: int = self._cache._sql("PRAGMA page_count").fetchone()[0]  # noqa: SLF001 - diskcache has no public way
        free: int = self._cache._sql("PRAGMA freelist_count").fetchone()[0]  # noqa: SLF001 - as above
        self.nbytes = pages * _PAGE
        self._free = free * _PAGE

    def _require_ours(self) -> None:
        if not self._is_ours():
            raise SpillLost("the database's descriptor was closed by somebody else")

    def _is_ours(self) -> bool:
        if self._fd is None:
            return True
        try:
            status = self._files.fstat(self._fd)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity


_ABANDONED: list[Any] = []
"""Connections whose descriptor was taken over: kept, because collecting one closes a descriptor that is somebody else's now."""


def _remove(files: Files, path: str) -> None:
    try:
        files.unlink(path)
    except OSError:
        pass


def _remove_directory(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass


def _sweep(directory: str, files: Files) -> None:
    """Remove what a process left that was killed in the moment between making a database and unlinking it."""
    for name in os.listdir(directory):
        place = f"{directory}/{name}"
        if len(name) == 22 and name.startswith("spill-") and not os.path.islink(place):
            _remove(files, os.path.join(place, diskcache.core.DBNAME))
            _remove_directory(place)


def _name(spilled: Spilled) -> str:
    """Rows are numbered: a user's key is never written, and no two buffers ever share a name."""
    return f"{spilled.serial:x}"


def _descriptor_of(identity: tuple[int, int]) -> int | None:
    """The number of the descriptor that SQLite opened for this inode, or None where /proc does not tell."""
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return None
    for number in numbers:
        try:
            status = os.fstat(int(number))
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == identity:
            return int(number)
    return None
