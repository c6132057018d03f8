"""
The marker in /tmp that tells a reset from a cold start, and why the process before this one ended.

1. A process owns the first directory `WARMSTATE_TMP/warmstate/<n>/` whose marker it can lock. POSIX record locks die
   with their process and, unlike flock, are not inherited by children.
2. The fields of the marker (see `predecessor`) are each replaced by one pwrite.
3. Nothing here may fail an invocation. Where /tmp cannot be used the claim has no directory, and the instance is cold.
4. Nobody else opens the marker in this process: closing any descriptor of a file drops the process's locks on it.
"""

from __future__ import annotations

import fcntl
import os
from os import pwrite

from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.lifecycle.notices import Notices
from warmstate.lifecycle.predecessor import FORMAT, SIZE, WHAT, WHO, WORD, Predecessor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmstate.lifecycle.environment import Environment
    from warmstate.lifecycle.events import ResetReason, StartKind

__all__ = ["Claim", "LastCommit", "claim"]

_MOST_CLAIMS = 64  # more live processes than this in one environment are a mistake
_MOST_STRIKES = 3  # crashes in a row without one completed invocation
_LOWEST_FD = 100
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_OURS: set[str] = set()
"""Directories that this process holds. Record locks are between processes: a second claim in this one would get, and break, the first's."""


class LastCommit:
    """
    How far the commits of this environment are, counted over its processes; 0 where there is none.

    Who commits raises `number` when the commit is written, and the marker tells it whenever it says what the process does. So a
    journal may be ahead of the marker, by what a killed process did last, and never behind it.

    `in_doubt` is raised when the journal is a new file, or could not be written: whoever cleared its directory took the marker too, and
    without a marker the next process would take over nothing.
    """

    __slots__ = ("in_doubt", "number")

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.in_doubt = False

    def __repr__(self) -> str:
        return f"<LastCommit {self.number}>"


class Claim:
    """
    This process's hold on its directory, and what it learned on taking it.

    `directory` is a path of mode 0700 that is ours alone while the process lives; None where /tmp cannot be used.
    `generation` counts the processes of this environment from 1; `start` and `reset_reason` are those of `Init`.
    `environment_id` outlives resets; `fence` is unique to this process.
    `predecessor` is what the marker held, or None. `last_commit` begins as it told.
    `refusal` says why there is no directory.
    """

    __slots__ = (
        "_clock",
        "_fd",
        "_identity",
        "_notices",
        "_path",
        "_strikes",
        "directory",
        "environment_id",
        "fence",
        "generation",
        "last_commit",
        "predecessor",
        "refusal",
        "reset_reason",
        "start",
    )

    def __init__(self, environment: Environment, clock: Clock, notices: Notices) -> None:
        self._clock = clock
        self._notices = notices
        self._identity = _digest(environment.identity)
        self._fd = -1
        self._path = ""
        self._strikes = 0
        self.directory: str | None = None
        self.refusal = ""
        self.environment_id = _random_id()
        self.generation = 1
        provisioned = environment.initialization_type == "provisioned-concurrency"
        self.start: StartKind = "provisioned" if provisioned else "cold"
        self.reset_reason: ResetReason | None = None
        self.predecessor: Predecessor | None = None
        self.last_commit = LastCommit()
        self.fence = f"{self.environment_id}.1.{_random_id()}"

    def write(self, phase: str, request_id: str = "", deadline_ms: int = 0) -> None:
        """Notes what the process does now (`next`, `invoke` or `snapshot`; init is noted already), in one write; never raises."""
        if self._fd >= 0:
            what = f"{phase} {request_id} {deadline_ms} {self.last_commit.number:x}\n".encode()
            try:
                if self.last_commit.in_doubt:
                    self._look()
                pwrite(self._fd, what, WHAT)
            except OSError:
                self._reopen(what)

    def answered(self) -> None:
        """Notes that an invocation was completed: what follows is no crash loop. Cheap after the first time."""
        if self._strikes:
            self._strikes = 0
            self._write_who()

    def say(self, word: str) -> None:
        """Leaves a last word, with the time: "term" when SIGTERM arrives, "exit" when the process ends by itself."""
        if self._fd >= 0:
            try:
                text = b"%b %d\n" % (word.encode(), int(self._clock.wall() * 1000))
                pwrite(self._fd, text, WORD)
            except OSError:
                pass  # the next process then reads a crash, which is the honest guess

    def close(self, word: str = "exit") -> None:
        """Leaves `word` and lets go of the directory; later calls do nothing."""
        if self._fd >= 0:
            self.say(word)
            try:
                os.close(self._fd)
            except OSError:
                pass
            self._fd = -1
        _OURS.discard(self._path)

    def abandon(self) -> None:
        """Gives the directory up without a word; what was learned from it stays known."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self.directory = None
        _OURS.discard(self._path)

    def renew(self) -> None:
        """
        A snapshot was restored: this is another environment now, and every clone gets ids of its own.

        What was committed before the snapshot stays behind; `directory` is emptied.
        """
        self.environment_id = _random_id()
        self.generation = 1
        self.start = "restore"
        self.reset_reason = None
        self.fence = f"{self.environment_id}.1.{_random_id()}"
        self.last_commit.number = 0
        if self.directory is not None:
            _empty(self.directory)
        self._write_who()
        self.write("init")

    def adopt(self, fd: int, path: str, record: bytes) -> None:
        """Takes over the locked marker `fd` in the directory `path`, whose marker held `record`."""
        self._fd = fd
        self._path = path
        self.directory = path
        _OURS.add(path)
        predecessor = Predecessor.read(record)
        if predecessor is not None and predecessor.identity == self._identity:
            self.predecessor = predecessor
            self._follow(predecessor)
        elif _is_used(path):
            if predecessor is None:
                self._notices.warning(
                    "What an earlier process committed is not taken over: its marker is damaged or was removed: "
                    "leave WARMSTATE_TMP/warmstate alone when you clean /tmp."
                )
            # Else left by another sandbox that shared this /tmp, which is not our past.
            _empty(path)
        pwrite(fd, b" " * SIZE, 0)
        self._write_who()
        self.write("reinit" if self.start == "reset" else "init")

    def _follow(self, predecessor: Predecessor) -> None:
        self.environment_id = predecessor.environment_id
        self.generation = predecessor.generation + 1
        self.last_commit.number = predecessor.last_commit
        self.fence = f"{self.environment_id}.{self.generation}.{_random_id()}"
        reason = predecessor.reason
        if predecessor.phase != "init":
            self.start = "reset"
            self.reset_reason = reason
        if reason == "crash":
            self._strikes = predecessor.strikes + 1
        if self._strikes >= _MOST_STRIKES and self.directory is not None:
            self._notices.error(
                f"The last {self._strikes} processes of this environment crashed before they completed an invocation; "
                "what they had committed is dropped, because it may be the cause.",
                strikes=self._strikes,
            )
            _empty(self.directory)
            self.last_commit.number = 0
            self._strikes = 0

    def _write_who(self) -> None:
        if self._fd < 0:
            return
        who = f"{FORMAT} {self.environment_id} {os.getpid()} {self.generation} {self._strikes} {self._identity}\n"
        try:
            pwrite(self._fd, who.encode().ljust(WHAT), WHO)
        except OSError:
            pass  # the next write of the phase opens it again, and then this field is written too

    def _look(self) -> None:
        self.last_commit.in_doubt = False
        if not os.fstat(self._fd).st_nlink:
            os.close(self._fd)
            raise FileNotFoundError(2, "the marker was removed")

    def _reopen(self, what: bytes) -> None:
        # A handler that closes every descriptor closes ours, and the lock with it; one that clears /tmp removes the directory.
        self._fd = -1
        try:
            _private(os.path.dirname(self._path))
            _private(self._path)
            fd = _open(self._path)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            pwrite(fd, what, WHAT)
        except OSError as error:
            self._notices.once("marker", f"The marker in {self._path} cannot be written any more: {error}.")
            return
        self._fd = fd
        self._write_who()

    def __repr__(self) -> str:
        return f"<Claim {self.directory}, generation={self.generation}, start={self.start}>"


def claim(tmp: str, *, environment: Environment, clock: Clock = SYSTEM_CLOCK, notices: Notices | None = None) -> Claim:
    """
    Claims a directory under `tmp` for this process and reads what the process before it left there.

    Never raises: where `tmp` cannot be used the claim has no directory, and a notice says why.
    """
    notices = notices or Notices()
    taken = Claim(environment, clock, notices)
    try:
        root = tmp.rstrip("/") + "/warmstate"
        _private(root)
        for number in range(_MOST_CLAIMS):
            path = f"{root}/{number}"
            if path in _OURS:
                continue
            _private(path)
            fd = _open(path)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)  # another process lives there
                continue
            taken.adopt(fd, path, os.pread(fd, SIZE, 0))
            return taken
        reason = f"all of its {_MOST_CLAIMS} directories belong to live processes"
    except OSError as error:
        reason = str(error)
        taken.abandon()
        taken.last_commit.number = 0  # without a directory there is no journal to miss
    taken.refusal = f"{tmp}/warmstate cannot be used ({reason})"
    notices.warning(
        f"{taken.refusal}, so this instance keeps its state in memory only: "
        "commits fail and resets look like cold starts. Point WARMSTATE_TMP at a directory that this user may write to."
    )
    return taken


def _open(path: str) -> int:
    """The marker in `path`, under a number that no program hands around: writing to somebody else's file would be worse."""
    low = os.open(path + "/marker", _FILE, 0o600)
    try:
        high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _LOWEST_FD)
    except OSError:  # fewer descriptors are allowed
        return low
    os.close(low)  # before the lock is taken, which closing any descriptor would drop
    return high


def _private(path: str) -> None:
    """Makes `path` unless it is there, and checks that it is a directory of ours that nobody else can enter."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        fd = os.open(path, _DIRECTORY)
        try:
            found = os.fstat(fd)
            if found.st_uid != os.geteuid():
                raise PermissionError(f"{path} belongs to another user") from None
            if found.st_mode & 0o077:
                os.fchmod(fd, 0o700)
        finally:
            os.close(fd)


def _is_used(path: str) -> bool:
    with os.scandir(path) as entries:
        return any(entry.name != "marker" for entry in entries)


def _empty(path: str) -> None:
    """Removes everything in `path` but the marker; does not follow links."""
    with os.scandir(path) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                _empty(entry.path)
                os.rmdir(entry.path)
            elif entry.name != "marker":
                os.unlink(entry.path)


def _random_id() -> str:
    return os.urandom(8).hex()


def _digest(identity: str) -> str:
    """Eight characters that tell one sandbox from another: the remainder by the largest prime of 32 bits, which imports nothing."""
    return f"{int.from_bytes(identity.encode('utf-8', 'surrogateescape'), 'big') % 4_294_967_291:08x}"
