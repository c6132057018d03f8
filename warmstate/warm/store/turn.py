"""A lock for sections that take less time than a lock."""

from __future__ import annotations

import _thread
from time import sleep

__all__ = ["Turn"]


class Turn:
    """
    Mutual exclusion by one token: who pops it from the list has the turn, and appends it again at the end.

    Both are single operations of the interpreter and take a quarter of the time of a lock's atomic instructions, which is
    what lets a store's write be as fast as a dictionary's plus its bookkeeping.
    Short sections pop and append themselves; long ones use `with`, and then waiting threads sleep on a real lock.
    """

    __slots__ = ("_long", "_owner", "tokens")

    def __init__(self) -> None:
        self.tokens = [None]
        self._long = _thread.allocate_lock()
        self._owner = 0

    def __repr__(self) -> str:
        return f"<Turn, {'free' if self.tokens else 'taken'}>"

    def wait(self) -> None:
        """
        Take the token as soon as it is there.

        Raises:
            RuntimeError: this thread has the turn already, so waiting would never end.
        """
        pauses = 0
        while True:
            if self._owner == _thread.get_ident():
                raise RuntimeError(
                    "the store was used from inside one of its own operations: a value's property or __del__ that runs while it "
                    "is measured or spilled must not use the store"
                )
            try:
                return self.tokens.pop()
            except IndexError:
                pass
            with self._long:  # until the end of a long section, if one is the reason
                pass
            pauses += 1
            sleep(0.0 if pauses < 100 else 0.0005)

    def __enter__(self) -> None:
        if self._owner == _thread.get_ident():
            self.wait()
        self._long.acquire()
        try:
            while True:
                try:
                    self.tokens.pop()
                    break
                except IndexError:
                    sleep(0.0)  # somebody is in a short section
        except BaseException:
            self._long.release()
            raise
        self._owner = _thread.get_ident()

    def __exit__(self, *_: object) -> None:
        self._owner = 0
        self.tokens.append(None)
        self._long.release()
