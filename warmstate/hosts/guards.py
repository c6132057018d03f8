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
from gc import isenabled as collects
from os import chdir, fsdecode, getcwdb, umask, waitid
from sys import getprofile, getrecursionlimit, gettrace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sized

    from warmstate.lifecycle.notices import Notices

__all__ = ["Guards"]

_PLATFORM = ("AWS_", "LAMBDA_", "_HANDLER", "_AWS_", "WARMSTATE_", "PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH")
_CHILDREN = os.P_ALL
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT  # leaves the child for whoever started it


class Guards:
    """Remembers the process as init left it, and puts it back after each event."""

    __slots__ = (
        "_directory",
        "_environ",
        "_environ_data",
        "_least_modules",
        "_least_variables",
        "_mask",
        "_modules",
        "_notices",
        "_profile",
        "_switches",
        "_threads",
        "_trace",
        "_variables",
    )

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._directory = getcwdb()
        self._mask = umask(0o022)
        umask(self._mask)
        self._switches = getdefaulttimeout(), getrecursionlimit(), collects()
        self._trace = gettrace()
        self._profile = getprofile()
        self._threads = count_threads()
        self._variables = dict(os.environ)
        self._least_variables = len(self._variables)
        self._environ = os.environ
        # Counting them through the mapping itself runs code of Python.
        self._environ_data: Sized = getattr(os.environ, "_data", os.environ)
        self._modules = dict(sys.modules)
        self._least_modules = len(self._modules)

    def __repr__(self) -> str:
        return f"<Guards of {fsdecode(self._directory)}>"

    def check(self) -> None:
        """Put back what the last handler changed; on the main thread, while no code of the user runs there."""
        try:
            moved = getcwdb() != self._directory
        except OSError:  # it is gone
            moved = True
        if moved:
            self._go_home()
        if umask(self._mask) != self._mask:
            self._put_back("the umask")
        if (getdefaulttimeout(), getrecursionlimit(), collects()) != self._switches:
            self._switch_back()
        if gettrace() is not self._trace:
            sys.settrace(self._trace)
            self._put_back("sys.settrace()")
        if getprofile() is not self._profile:
            sys.setprofile(self._profile)
            self._put_back("sys.setprofile()")
        if self._environ is not os.environ or len(self._environ_data) < self._least_variables:
            self._restore_variables()
        modules = sys.modules
        if "sys" not in modules or len(modules) < self._least_modules:
            self._restore_modules()
        if count_threads() > self._threads:
            self._name_threads()
        if "subprocess" in modules or "multiprocessing" in modules:
            self._look_for_children()

    def _switch_back(self) -> None:
        timeout, limit, collected = self._switches
        if getdefaulttimeout() != timeout:
            setdefaulttimeout(timeout)
            self._put_back("socket.setdefaulttimeout()")
        if getrecursionlimit() != limit:
            sys.setrecursionlimit(limit)
            self._put_back("sys.setrecursionlimit()")
        if collects() is not collected:
            (gc.enable if collected else gc.disable)()
            self._put_back("the garbage collector's switch")

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
