"""
SIGTERM and the deadline: what must be noticed while the main thread is busy with code of the user.

1. Python runs signal handlers on the main thread, between bytecodes. While that thread waits in `next`, the handler raises
   `Terminated` out of the wait; at any other time nothing is ever raised: user code is not interrupted.
2. The watcher thread learns of a signal from the wake-up descriptor, which is written at once whatever the main thread does.
3. On SIGTERM a busy main thread has a third of the budget to end its handler. Then the watcher runs the last steps itself.
4. Whatever hangs, the process ends when the budget is used up.
5. Beside N threads that compute, each call that lets go of the interpreter waits for up to N turns. So nothing on the way
   from the signal to the hook makes one, when the process is idle, but for the wait itself.
"""

from __future__ import annotations

import _thread
import os
import sys
from select import POLLIN as _POLLIN, poll as _poll
from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

    from warmstate.lifecycle.events import ShutdownReason
else:
    import _signal  # what `signal` is made of, without the enums

__all__ = ["Terminated", "Watcher", "outlive", "take_short_turns", "write_stacks"]

_TICK = 0.25
"""Seconds between looks at the deadline; a deadline nearer than this when an invocation begins is not dumped in time."""
_SLACK = 0.05
"""Seconds after the budget at which the process ends, whatever still hangs."""

_USUAL_TURN = sys.getswitchinterval()
_SHORT_TURN = 0.0003
"""Seconds a thread may keep the interpreter while others wait: of sixteen that compute, each with Python's 5 ms, SIGTERM would get
its turn when a quarter of the budget is over. Shorter ones cost more than they bring: all that wait wake at each."""

_set_handler, _get_handler = _signal.signal, _signal.getsignal  # before `signals` puts others in their place
_OTHER_SIGNALS = _signal.valid_signals() - {_signal.SIGTERM}


class Terminated(BaseException):
    """Raised by the SIGTERM handler out of a wait for the next event, and nowhere else."""


def take_short_turns() -> None:
    """Where threads of the user may compute beside the main thread: let it have its turn soon, unless the user chose otherwise."""
    # Looked for at the end, each of its files would wait for a turn.
    import warmstate.instance.closing  # noqa: F401  # pyright: ignore[reportUnusedImport]

    if sys.getswitchinterval() == _USUAL_TURN:
        sys.setswitchinterval(_SHORT_TURN)


def outlive(steps: Callable[[], NoReturn], broke: Callable[[BaseException], object]) -> NoReturn:
    """
    Run `steps`, and again after `broke` was told of what they raised; on the main thread.

    A signal handler of the user may raise between any two steps, also while what the last one raised is told. So signals are
    held back for that, by the very first step after it, which is one call into C: before it Python runs no handler.
    """
    mask = _signal.pthread_sigmask
    usual = mask(_signal.SIG_BLOCK, ())
    held = _signal.valid_signals()
    while True:
        try:
            try:
                mask(_signal.SIG_SETMASK, usual)
                steps()
            except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt and SystemExit as well
                mask(_signal.SIG_BLOCK, held)
                broke(error)
        except BaseException:  # noqa: BLE001
            pass


def write_stacks(fd: int | None) -> None:
    """What every thread does now."""
    if fd is not None:
        import faulthandler

        faulthandler.dump_traceback(fd, all_threads=True)


class Watcher:
    """
    Watches over the main thread.

    The main thread keeps `waiting` True while it waits for an event, and calls `begin` and `end` around an invocation.
    `terminated` is the monotonic time of the first SIGTERM, or 0.0.

    Args:
        budget: Seconds from SIGTERM in which everything must be over.
        dump_before: Seconds before a deadline at which `near_deadline` is called, 0.0 for never.
        near_deadline: Called on the watcher's thread, at most once per invocation.
        take_over: Called on the watcher's thread when the handler did not end in time: (reason, seconds left).
        on_sigterm: Called in the signal handler on the main thread, once; must not block.
    """

    __slots__ = (
        "_budget",
        "_deadline",
        "_dump_before",
        "_forking",
        "_identity",
        "_last_steps",
        "_lost",
        "_near_deadline",
        "_on_sigterm",
        "_over",
        "_read",
        "_take_over",
        "_write",
        "terminated",
        "waiting",
    )

    def __init__(
        self,
        *,
        budget: float,
        dump_before: float,
        near_deadline: Callable[[], object],
        take_over: Callable[[ShutdownReason, float], object],
        on_sigterm: Callable[[], object],
    ) -> None:
        self._budget = budget
        self._dump_before = dump_before
        self._near_deadline = near_deadline
        self._take_over = take_over
        self._on_sigterm = on_sigterm
        self._deadline = 0.0
        self._over = _thread.allocate_lock()
        self._over.acquire()
        self._last_steps = _thread.allocate_lock()
        self._read = self._write = -1
        self._identity = 0
        self._lost = False
        self._forking: dict[int, set[int]] = {}  # the signal mask of each thread that forks just now
        self.waiting = False
        self.terminated = 0.0

    def __repr__(self) -> str:
        return f"<Watcher {'terminated' if self.terminated else 'waiting' if self.waiting else 'busy'}>"

    def start(self, *, thread: bool = True) -> None:
        """Install the signal handler and start the thread, unless the main thread watches itself; on the main thread only."""
        self._open_pipe()
        self.install()
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._let_child_go
        )
        if thread:
            _thread.start_new_thread(self._watch, ())

    # A child that a handler forks has a copy of the SIGTERM handler and of the wake-up descriptor, and what is written there
    # arrives here: SIGTERM for the child would end this process. So it gets none of either, before it can get a signal.

    def _before_fork(self) -> None:
        self._forking[_thread.get_ident()] = _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTERM,))

    def _after_fork(self) -> None:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._forking.pop(_thread.get_ident()))

    def _let_child_go(self) -> None:
        if _get_handler(_signal.SIGTERM) == self._arrived:
            _set_handler(_signal.SIGTERM, _signal.SIG_DFL)
        other = _signal.set_wakeup_fd(-1)
        if other not in (-1, self._write):
            _signal.set_wakeup_fd(other, warn_on_full_buffer=False)
        self._after_fork()

    def install(self) -> None:
        """Put the SIGTERM handler and the wake-up descriptor in place, again where user code replaced or closed them."""
        if self._lost:
            self._open_pipe()
        _set_handler(_signal.SIGTERM, self._arrived)
        _signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def is_installed(self) -> bool:
        """Whether SIGTERM still comes here."""
        return not self._lost and _get_handler(_signal.SIGTERM) == self._arrived

    def holds_wakeup(self) -> bool:
        """Whether the wake-up descriptor is ours; where other code took or closed it, `install` it. On the main thread."""
        try:
            if os.fstat(self._write).st_ino == self._identity:
                return _signal.set_wakeup_fd(self._write, warn_on_full_buffer=False) == self._write
        except (OSError, ValueError):
            pass
        self._lost = True  # closed: it takes another pipe
        return False

    def _open_pipe(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._identity = os.fstat(self._read).st_ino
        self._lost = False

    def _signals(self, milliseconds: float) -> bytes | None:
        """
        The signals that came within this time; None when the pipe is gone.

        After a handler closed every descriptor, the number may lead to our own connection: never read from that.
        """
        try:
            poll = _poll()
            poll.register(self._read, _POLLIN)
            if not poll.poll(milliseconds):
                return b""
            if os.fstat(self._read).st_ino == self._identity:
                return os.read(self._read, 512)
        except OSError:
            pass
        return None

    def pause(self, seconds: float) -> None:
        """Wait so long, or until a signal comes; where the main thread watches by itself."""
        try:
            self.waiting = True
            if self.terminated:
                raise Terminated
            if self._signals(seconds * 1000.0) is None:
                self._lost = True
                sleep(seconds)
            self.waiting = False
        except Terminated:
            self.waiting = False  # also where it was raised by hand: the next SIGTERM must not end the last steps

    def begin(self, deadline: float) -> None:
        """An invocation begins; `deadline` is on the monotonic clock, 0.0 for none."""
        self._deadline = deadline

    def end(self) -> None:
        """The invocation's code is over."""
        self._deadline = 0.0

    def seconds_left(self) -> float:
        """What remains of the budget after SIGTERM."""
        return max(0.0, self.terminated + self._budget - monotonic())

    def main_is_free(self) -> bool:
        """
        The main thread is out of user code after SIGTERM and wants to run the last steps; False when the watcher does.

        Whoever comes first has them, so they run once.
        """
        won = self._last_steps.acquire(blocking=False)
        if won:
            self._over.release()
        return won

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        first = not self.terminated
        if first:
            self.terminated = monotonic()
        if self.waiting:
            self.waiting = False
            raise Terminated
        if first:  # an invocation may end badly: who comes after it shall know why
            self._on_sigterm()

    def _watch(self) -> None:
        # The main thread holds signals back at times; they must not come in here instead. SIGTERM may.
        mask = _signal.pthread_sigmask
        usual = mask(_signal.SIG_BLOCK, _OTHER_SIGNALS)
        while True:
            if self._lost:
                sleep(self._pause())  # until the main thread has opened another
                signals: bytes | None = b""
            else:
                signals = self._signals(self._pause() * 1000.0)
            if signals is None:
                self._lost = True
            elif _signal.SIGTERM in signals or self.terminated:
                break
            elif self._deadline and self._dump_before and monotonic() >= self._deadline - self._dump_before:
                self._deadline = 0.0
                mask(_signal.SIG_SETMASK, usual)  # what the user starts in there inherits it
                try:
                    self._near_deadline()
                except Exception:  # noqa: BLE001 - without this thread nobody would see SIGTERM
                    pass
                mask(_signal.SIG_BLOCK, _OTHER_SIGNALS)
        mask(_signal.SIG_SETMASK, usual)
        self._end()

    def _pause(self) -> float:
        if not self._deadline or not self._dump_before:
            return _TICK
        return min(_TICK, max(0.001, self._deadline - self._dump_before - monotonic()))

    def _end(self) -> None:
        arrived = monotonic()
        # The handler in the main thread may not have run yet: C code of the user can hold it up.
        if not self.terminated:
            self.terminated = arrived
            self._on_sigterm()
        deadline = self._deadline
        if not self._over.acquire(timeout=self._budget / 3.0) and self._last_steps.acquire(blocking=False):
            reason: ShutdownReason = "timeout" if deadline and arrived >= deadline - 0.1 else "spindown"
            try:
                self._take_over(reason, self.seconds_left())
            except BaseException:  # noqa: BLE001 - whatever breaks there, the process ends
                pass
        sleep(self.seconds_left() + _SLACK)
        os._exit(1)
