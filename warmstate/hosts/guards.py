"""
What a handler leaves behind for the next event: put back where that is safe, named once where it is not.

1. The way things are when init ends is the way they shall be: what init set on purpose stays.
2. Put back are things of the process that no handler means to hand on: working directory, umask, limits, tracing, the
   garbage collector, the default timeout of sockets, variables of the platform that are gone.
3. Variables that were changed or added stay, as on the stock runtime: programs configure libraries with them.
4. Threads and child processes are the user's. They stop with a freeze and go on in the middle of a later event, so they
   are named once.
5. It runs between the answer and the next event, for each event: every check costs less than a microsecond.
"""

from __future__ import annotations

import gc
import os
import sys
from _socket import getdefaulttimeout, setdefaulttimeout
from _thread import _count as count_threads
from os import chdir, getcwd, umask, waitid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmstate.lifecycle.notices import Notices

__all__ = ["Guards"]

_PLATFORM = ("AWS_", "LAMBDA_", "_HANDLER", "_AWS_", "WARMSTATE_", "PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH")
_CHILDREN = os.P_ALL
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT  # leaves the child for whoever started it


class Guards:
    """Remembers the process as init left it, and puts it back after each event."""

    __slots__ = (
        "_collects",
        "_directory",
        "_least_modules",
        "_limit",
        "_mask",
        "_modules",
        "_notices",
        "_profile",
        "_threads",
        "_timeout",
        "_trace",
        "_variables",
    )

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._directory = getcwd()
        self._mask = umask(0o022)
        umask(self._mask)
        self._limit = sys.getrecursionlimit()
        self._trace = sys.gettrace()
        self._profile = sys.getprofile()
        self._collects = gc.isenabled()
        self._timeout = getdefaulttimeout()
        self._threads = count_threads()
        self._variables = dict(os.environ)
        self._modules = dict(sys.modules)
        self._least_modules = len(self._modules)

    def __repr__(self) -> str:
        return f"<Guards of {self._directory}>"

    def check(self) -> None:
        """Put back what the last handler changed; on the main thread, while no code of the user runs there."""
        try:
            moved = getcwd() != self._directory
        except OSError:  # it is gone
            moved = True
        if moved:
            self._go_home()
        if umask(self._mask) != self._mask:
            self._put_back("the umask")
        if getdefaulttimeout() != self._timeout:
            setdefaulttimeout(self._timeout)
            self._put_back("socket.setdefaulttimeout()")
        if sys.getrecursionlimit() != self._limit:
            sys.setrecursionlimit(self._limit)
            self._put_back("sys.setrecursionlimit()")
        if sys.gettrace() is not self._trace:
            sys.settrace(self._trace)
            self._put_back("sys.settrace()")
        if sys.getprofile() is not self._profile:
            sys.setprofile(self._profile)
            self._put_back("sys.setprofile()")
        if gc.isenabled() is not self._collects:
            (gc.enable if self._collects else gc.disable)()
            self._put_back("the garbage collector's switch")
        if len(os.environ) < len(self._variables):
            self._restore_variables()
        if "sys" not in sys.modules or len(sys.modules) < self._least_modules:
            self._restore_modules()
        if count_threads() > self._threads:
            self._name_threads()
        if "subprocess" in sys.modules or "multiprocessing" in sys.modules:
            self._look_for_children()

    def _put_back(self, what: str) -> None:
        self._notices.once(f"guard {what}", f"The handler changed {what} and did not change it back; it was put back.")

    def _go_home(self) -> None:
        try:
            chdir(self._directory)
        except OSError as error:
            self._notices.once(
                "guard home", f"The working directory {self._directory} cannot be entered again: {error}"
            )
            return
        self._put_back("the working directory")

    def _restore_variables(self) -> None:
        missing = [name for name in self._variables if name.startswith(_PLATFORM) and name not in os.environ]
        for name in missing:
            os.environ[name] = self._variables[name]
        if missing:
            self._put_back("variables of the platform (" + ", ".join(sorted(missing)[:5]) + ")")
        # What else is gone stays gone; it is not looked for again.
        self._variables = {name: value for name, value in self._variables.items() if name in os.environ}

    def _restore_modules(self) -> None:
        # Modules of the runtime and of Python are ours to keep; a module of the user that is gone may be gone on purpose.
        kept = sys.stdlib_module_names | {"warmstate"}
        missing = [name for name in self._modules if name not in sys.modules and name.partition(".")[0] in kept]
        sys.modules.update({name: self._modules[name] for name in missing})
        self._least_modules = min(self._least_modules, len(sys.modules))
        if missing:
            self._put_back("sys.modules")

    def _name_threads(self) -> None:
        threading = sys.modules.get("threading")
        # Baseline of the message: the next one is said when there are more still.
        self._threads = count_threads()
        running = (
            [thread for thread in threading.enumerate() if thread is not threading.main_thread()] if threading else []
        )
        names = ", ".join(thread.name for thread in running[:5]) or "unnamed"
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
