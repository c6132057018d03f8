"""Calling user code that may hang, for a bounded time: a connection's health check, the close of a broken client."""

from __future__ import annotations

import _thread
from _contextvars import copy_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Overran", "bounded"]


class Overran(TimeoutError):
    """Raised when a call was given up; what the call itself raises in time is raised as it is, timeouts too."""


_THREAD_BOUND = frozenset(("sqlite3", "_sqlite3"))


def bounded(
    function: Callable[..., object],
    *arguments: object,
    budget: float,
    subject: object = None,
    late: Callable[[], object] | None = None,
) -> object:
    """
    Call `function` and return what it returns, or give up on it after `budget` seconds.

    Nothing can interrupt a thread that waits in C code, so the call runs on a thread of its own, in a copy of the caller's
    context, and one that overruns is left where it hangs. If it ends after all, `late` is called on that thread: until
    then nobody else may touch what it is about.
    An SQLite `subject` may only be touched by the thread that made it (and local files do not hang), so it is called here.

    Raises:
        Overran: the budget is used up.
        BaseException: whatever `function` raised.
    """
    if type(subject).__module__.partition(".")[0] in _THREAD_BOUND:
        return function(*arguments)
    over = _thread.allocate_lock()
    over.acquire()
    deciding = _thread.allocate_lock()
    given_up: list[bool] = []
    results: list[object] = []
    errors: list[BaseException] = []
    context = copy_context()

    def run() -> None:
        try:
            results.append(context.run(function, *arguments))
        except BaseException as error:  # noqa: BLE001 - handed to the caller, who decides
            errors.append(error)
        with deciding:
            over.release()
        if given_up and late is not None:
            late()

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:  # no thread to be had: at the end of the interpreter, or at the limit of processes
        return function(*arguments)
    if not over.acquire(timeout=max(budget, 0.0)):
        with deciding:
            if not over.acquire(blocking=False):  # it did not end while we decided
                given_up.append(True)
                raise Overran(f"it did not end within {budget:.3g} s")
    if errors:
        raise errors[0]
    return results[0]
