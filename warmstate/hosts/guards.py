"""
What a handler leaves behind for the next event: put back where that is safe, named once where it is not.

1. The way things are when init ends is the way they shall be: what init set on purpose stays.
2. Put back are things of the process that no handler means to hand on: working directory, umask, limits, tracing, the
   garbage collector, the default timeout of sockets, signals, closed streams, variables of the platform that are gone.
3. Variables that were changed or added stay, as on the stock runtime: programs configure libraries with them.
4. Threads and child processes are the user's. They stop with a freeze and go on in the middle of a later event, so they
   are named once.
5. `check` runs between the answer and the next event, for each event: every look costs less than a microsecond.
   `look_closer` asks the kernel. It runs where something may have gone wrong, where nobody waits, and else now and then.
"""

from __future__ import annotations

import builtins
import gc
import os
import sys
from _io import open as _open
from _locale import LC_ALL as _LC_ALL, setlocale as _setlocale
from _socket import getdefaulttimeout, setdefaulttimeout
from _thread import _count as count_threads
from gc import isenabled as collects
from os import chdir, fsdecode, get_inheritable, getcwdb, umask, waitid
from sys import getprofile, getrecursionlimit, getswitchinterval, gettrace

from warmstate.hosts.descriptors import leads_to
from warmstate.hosts.logs import flush_printed
from warmstate.hosts.watcher import take_short_turns

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Sized
    from typing import Any

    from warmstate.lifecycle.notices import Notices
else:
    import _signal  # what `signal` is made of, without the enums

__all__ = ["Guards"]

_get_handler = _signal.getsignal  # before `signals` puts another in its place
_PLATFORM = ("AWS_", "LAMBDA_", "_HANDLER", "_AWS_", "WARMSTATE_", "PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH")
_CHILDREN = os.P_ALL
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT  # leaves the child for whoever started it
_EVERY = 64  # events between two closer looks, where nothing else asks for one
_STANDARD = ((0, "stdin"), (1, "stdout"), (2, "stderr"))


class Guards:
    """
    Remembers the process as init left it, and puts it back after each event.

    Args:
        notices: Receives what was found.
        kept: A descriptor of the runtime's own that leads where stdout led, or None.
        also: Called with each closer look.
        freezes: Whether the process stops after an event; where it never does, threads and children may well go on.
        own_threads: How many threads the runtime has started, of which some may not have begun.
    """

    __slots__ = (
        "_alarm",
        "_also",
        "_blocked",
        "_builtins",
        "_descriptors",
        "_directory",
        "_environ",
        "_environ_data",
        "_events",
        "_freezes",
        "_handlers",
        "_kept",
        "_least_modules",
        "_least_path",
        "_least_variables",
        "_locale",
        "_mask",
        "_modules",
        "_notices",
        "_path",
        "_profile",
        "_streams",
        "_strict",
        "_switches",
        "_threads",
        "_trace",
        "_variables",
        "_written",
    )

    def __init__(
        self,
        notices: Notices,
        *,
        kept: int | None = None,
        also: Callable[[], object] = lambda: None,
        freezes: bool = True,
        own_threads: int = 0,
    ) -> None:
        self._notices = notices
        self._also = also
        self._events = 0  # since the last closer look
        self._directory = getcwdb()
        self._mask = umask(0o022)
        umask(self._mask)
        self._switches = getdefaulttimeout(), getrecursionlimit(), collects(), getswitchinterval()
        self._trace = gettrace()
        self._profile = getprofile()
        self._freezes = freezes
        self._threads = max(count_threads(), own_threads) if freezes else sys.maxsize
        self._variables = dict(os.environ)
        self._least_variables = len(self._variables)
        self._environ: Any = os.environ
        # Counting them through the mapping itself runs code of Python.
        self._environ_data: Sized = getattr(os.environ, "_data", os.environ)
        self._modules = dict(sys.modules)
        self._least_modules = len(self._modules)
        self._path = list(sys.path)
        self._least_path = len(self._path)
        self._builtins = dict(builtins.__dict__)
        self._blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
        self._alarm = _signal.getitimer(_signal.ITIMER_REAL)[0]
        self._handlers = _handlers()
        self._locale = _locale_now()
        self._strict = _warnings_are_errors()
        self._kept = (kept, leads_to(kept))
        self._descriptors = [leads_to(number) for number, _ in _STANDARD]
        self._written = [number for number in (1, 2) if self._descriptors[number]]
        self._streams = [getattr(sys, name, None) for _, name in _STANDARD]

    def __repr__(self) -> str:
        return f"<Guards of {fsdecode(self._directory)}>"

    def check(self, *, doubtful: bool = False) -> None:
        """
        Put back what the last handler changed; on the main thread, while no code of the user runs there.

        `doubtful` asks for a closer look: the handler failed, or the process was frozen.
        """
        if not flush_printed():
            doubtful = True
        try:
            for number in self._written:
                get_inheritable(number)  # the look at a descriptor that keeps the interpreter
        except OSError:
            doubtful = True
        self._events += 1
        if doubtful or self._events >= _EVERY:
            self.look_closer()
        try:
            moved = getcwdb() != self._directory
        except OSError:  # it is gone
            moved = True
        if moved:
            self._go_home()
        if umask(self._mask) != self._mask:
            self._put_back("the umask")
        if (getdefaulttimeout(), getrecursionlimit(), collects(), getswitchinterval()) != self._switches:
            self._switch_back()
        if gettrace() is not self._trace:
            sys.settrace(self._trace)
            self._put_back("sys.settrace()")
        if getprofile() is not self._profile:
            sys.setprofile(self._profile)
            self._put_back("sys.setprofile()")
        if self._environ is not os.environ or len(self._environ_data) < self._least_variables:
            self._restore_variables()
        if len(sys.path) < self._least_path:
            self._restore_path()
        modules = sys.modules
        if "sys" not in modules or len(modules) < self._least_modules:
            self._restore_modules()
        if count_threads() > self._threads:
            self._name_threads()
        if self._freezes and ("subprocess" in modules or "multiprocessing" in modules):
            self._look_for_children()

    def check_busy(self) -> None:
        """Put back what nobody can want to be gone, on the main thread, while handlers run on others."""
        self.mend_builtins()
        self._restore_variables()
        self._restore_path()
        self._restore_modules()
        self._look_at_streams()

    def check_idle(self) -> None:
        """A closer look where nobody waits for anything, once after each event."""
        if self._events:
            self.look_closer()

    def look_closer(self) -> None:
        """Put back, or name, what only the kernel can tell of; on the main thread."""
        self._events = 0
        self.mend_builtins()
        if _signal.pthread_sigmask(_signal.SIG_BLOCK, ()) != self._blocked:
            # Noted first: a signal that was held back comes in the moment it may.
            self._put_back("the signal mask")
            _signal.pthread_sigmask(_signal.SIG_SETMASK, self._blocked)
        if not self._alarm and _signal.getitimer(_signal.ITIMER_REAL)[0]:
            _signal.setitimer(_signal.ITIMER_REAL, 0.0)
            self._put_back("the alarm clock, which was left running")
        if (handlers := _handlers()) != self._handlers:
            self._look_at_handlers(handlers)
        if _locale_now() != self._locale:
            _setlocale(_LC_ALL, self._locale)
            self._put_back("the locale")
        self._look_at_streams()
        self._look_at_warnings()
        self._also()

    def mend_builtins(self) -> None:
        """Bring back functions of Python that are gone; one that was replaced by another stays."""
        now = builtins.__dict__
        mended = ""
        for name, value in self._builtins.items():
            if value is not None and now.get(name) is None:
                now[name] = value
                mended += f" {name}"
        if mended:  # all are back first: saying it needs some of them
            self._put_back(f"builtins ({mended[1:60]})")

    def _switch_back(self) -> None:
        timeout, limit, collected, interval = self._switches
        if getdefaulttimeout() != timeout:
            setdefaulttimeout(timeout)
            self._put_back("socket.setdefaulttimeout()")
        if getrecursionlimit() != limit:
            sys.setrecursionlimit(limit)
            self._put_back("sys.setrecursionlimit()")
        if collects() is not collected:
            (gc.enable if collected else gc.disable)()
            self._put_back("the garbage collector's switch")
        if getswitchinterval() != interval:
            sys.setswitchinterval(interval)
            self._put_back("sys.setswitchinterval()")

    def _put_back(self, what: str) -> None:
        self._notices.once(f"guard {what}", f"The handler changed {what} and did not change it back; it was put back.")

    def _go_home(self) -> None:
        try:
            chdir(self._directory)
        except OSError as error:
            self._notices.once(
                "guard home", f"The working directory {fsdecode(self._directory)} cannot be entered again: {error}"
            )
            return
        self._put_back("the working directory")

    def _restore_variables(self) -> None:
        if not hasattr(os.environ, "__contains__"):  # None, or some other thing that holds no variables
            os.environ = self._environ  # noqa: B003 - the very object that was there
            self._put_back("os.environ")
        missing = [name for name in self._variables if name.startswith(_PLATFORM) and name not in os.environ]
        for name in missing:
            os.environ[name] = self._variables[name]
        if missing:
            self._put_back("variables of the platform (" + ", ".join(sorted(missing)[:5]) + ")")
        # What else is gone stays gone; it is not looked for again.
        self._variables = {name: value for name, value in self._variables.items() if name in os.environ}
        self._least_variables = len(self._variables)
        self._environ = os.environ
        self._environ_data = getattr(os.environ, "_data", os.environ)

    def _restore_path(self) -> None:
        missing = [place for place in self._path if place not in sys.path]
        sys.path += missing
        self._least_path = min(self._least_path, len(sys.path))
        if missing:
            self._put_back("sys.path")

    def _restore_modules(self) -> None:
        # Modules of the runtime and of Python are ours to keep; a module of the user that is gone may be gone on purpose.
        kept = sys.stdlib_module_names | {"warmstate"}
        missing = [name for name in self._modules if name not in sys.modules and name.partition(".")[0] in kept]
        sys.modules.update({name: self._modules[name] for name in missing})
        self._least_modules = min(self._least_modules, len(sys.modules))
        if missing:
            self._put_back("sys.modules")

    def _look_at_handlers(self, handlers: list[Any]) -> None:
        # A broken pipe must be an error where it happens, not the end of the process.
        if _signal.getsignal(_signal.SIGPIPE) == _signal.SIG_DFL:
            _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
            self._put_back("the handler of SIGPIPE")
        changed = [number for number, before in enumerate(self._handlers) if handlers[number] != before]
        self._handlers = _handlers()
        signal = sys.modules.get("signal")
        names = [signal.Signals(number).name if signal else str(number) for number in changed]
        others = ", ".join(name for name in names if name not in {"SIGPIPE", "SIGTERM"})
        if others:
            self._notices.once(
                "guard signals",
                f"The handler left other signal handlers behind ({others}): they stay, and may run in the middle of any event.",
            )

    def _look_at_streams(self) -> None:
        for (number, name), before in zip(_STANDARD, self._descriptors, strict=True):
            now = leads_to(number)
            if now is None and before is not None:
                self._reopen(number)
                self._put_back(f"descriptor {number}, which was closed")
            elif now != before:
                self._notices.once(
                    f"guard descriptor {number}",
                    f"Descriptor {number} ({name}) leads elsewhere since an event: what is printed goes there.",
                )
        for (number, name), before in zip(_STANDARD, self._streams, strict=True):
            now = getattr(sys, name, None)
            if before is not None and _is_closed(now):
                # Not closed with the object: the number must not go to somebody's socket.
                again = _open(number, "w" if number else "r", 1, None, "backslashreplace", None, False)
                setattr(sys, name, again)
                self._put_back(f"sys.{name}, which was closed")
            elif now is not before:
                self._notices.once(
                    f"guard {name}", f"The handler replaced sys.{name} and did not put it back; it stays."
                )

    def _reopen(self, number: int) -> None:
        kept, place = self._kept
        if number and kept is not None and place is not None and leads_to(kept) == place:
            os.dup2(kept, number)
            return
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)

    def _look_at_warnings(self) -> None:
        if not self._strict and _warnings_are_errors():
            self._notices.once(
                "guard warnings", "Warnings are errors since an event: warnings.simplefilter('error') stays."
            )

    def _name_threads(self) -> None:
        threading = sys.modules.get("threading")
        # Baseline of the message: the next one is said when there are more still.
        self._threads = count_threads()
        take_short_turns()
        self._switches = (*self._switches[:3], getswitchinterval())
        running = (
            [thread for thread in threading.enumerate() if thread is not threading.main_thread()] if threading else []
        )
        names = ", ".join(thread.name for thread in running[-5:]) or "unnamed"  # the newest are the last ones
        self._notices.once(
            "guard threads",
            f"Threads of the handler still run after its answer ({names}): they stop with the next freeze and go on in the "
            "middle of a later event. End them in the handler, or do the work in after_response.",
        )

    def _look_for_children(self) -> None:
        try:
            waitid(_CHILDREN, 0, _LOOK)
        except ChildProcessError:
            return  # none, which is how it should be
        except OSError:
            return
        self._notices.once(
            "guard children",
            "Child processes of the handler are left after its answer: they freeze with the environment. Wait for them in the handler.",
        )


def _is_closed(stream: object) -> bool:
    try:
        return stream is None or getattr(stream, "closed", False) is True
    except ValueError:  # it was detached from what it wrote to
        return True
    except Exception:  # noqa: BLE001 - the user's own
        return False


def _handlers() -> list[Any]:
    return [_get_handler(number) if number else None for number in range(_signal.NSIG)]


def _locale_now() -> str:
    return _setlocale(_LC_ALL, None)


def _warnings_are_errors() -> bool:
    filters: Any = getattr(sys.modules.get("warnings"), "filters", None)
    return bool(filters) and filters[0][0] == "error" and filters[0][2] is Warning
