"""A bucket in a directory, for those who have no S3 at hand: the same operations, and the same conditions."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..bucket import ABSENT, Conflict, Copy, Missing

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

__all__ = ["DirectoryBucket"]

_BLOCK = 1 << 20


class DirectoryBucket:
    """A bucket in a directory: writes are atomic, conditions hold between processes, `kill -9` leaves nothing half done."""

    prefix = ""

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).absolute()
        self._root.mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"<DirectoryBucket {self._root}>"

    def get(self, key: str, start: int = 0, end: int | None = None) -> tuple[bytes, str]:
        with self._open(key) as file:
            etag = _etag(file)
            file.seek(start)
            return file.read(-1 if end is None else max(0, end - start)), etag

    def put(self, key: str, data: bytes, *, match: str | None) -> str:
        return self.compose(key, [data], match=match)

    def compose(self, key: str, pieces: Sequence[bytes | Copy], *, match: str | None) -> str:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._root / f".draft-{os.getpid()}-{os.urandom(4).hex()}"
        try:
            with draft.open("w+b") as file:
                for piece in pieces:
                    file.writelines(self._blocks(piece) if isinstance(piece, Copy) else [piece])
                etag = _etag(file)
            with self._locked():
                there = ABSENT
                with suppress(Missing), self._open(key) as file:
                    there = _etag(file)
                if match is not None and there not in {match, etag}:
                    raise Conflict(key)
                draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return etag

    def list(self, prefix: str, after: str, limit: int) -> list[str]:
        folder = prefix.rpartition("/")[0]
        found: list[str] = []
        for where, _, names in os.walk(self._root / folder):
            base = Path(where).relative_to(self._root).as_posix()
            found += [key for name in names if (key := f"{base}/{name}") > after and key.startswith(prefix)]
        return sorted(found)[:limit]

    def close(self) -> None:
        pass

    def is_locked(self) -> bool:
        """Whether a process is writing, or was stopped as it wrote."""
        with (self._root / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _open(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb")
        except OSError as error:  # not there, a directory, or a name too long to be there
            raise Missing(key) from error

    def _blocks(self, piece: Copy) -> Iterator[bytes]:
        with self._open(piece.key) as file:
            if _etag(file) != piece.etag:
                raise Conflict(piece.key)
            file.seek(piece.start)
            while block := file.read(min(_BLOCK, piece.end - file.tell())):
                yield block

    def _path(self, key: str) -> Path:
        if not key or any(part in {"", ".", ".."} for part in key.split("/")) or "\0" in key:
            raise Missing(key)  # S3 has such keys; no file can
        return self._root / key

    @contextmanager
    def _locked(self) -> Generator[None]:
        with (self._root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed, at the latest when the process dies
            yield


def _etag(file: BinaryIO) -> str:
    digest = hashlib.blake2b(digest_size=16)
    file.seek(0)
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
