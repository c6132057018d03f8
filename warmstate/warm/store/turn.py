"""
A lock for sections that take less time than a lock.

A signal handler of the user may raise between any two steps of the main thread, also in here. So no step lies between taking
something and the `try` or `with` that gives it back, and what takes it is a single call into C. Before Python 3.11 a signal
may come between any two bytecodes, also of a `finally`: there nothing written in Python is safe from it.
"""

from __future__ import annotations

import _thread
from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Concatenate, ParamSpec, TypeVar

    Options = ParamSpec("Options")
    Result = TypeVar("Result")

__all__ = ["Turn", "in_turn"]


class Turn:
    """
    Mutual exclusion by one token: who pops it from the list has the turn, and appends it again at the end.

    Both are single operations of the interpreter and take a quarter of the time of a lock's atomic instructions, which is
    what lets a store's write be as fast as a dictionary's plus its bookkeeping.
    Short sections pop and append themselves; long ones are `run`, and then waiting threads sleep on a real lock.
    """

    __slots__ = ("_long", "_owner", "tokens")

    def __init__(self) -> None:
        self.tokens = [None]
        self._long = _thread.allocate_lock()
        self._owner = 0

    def __repr__(self) -> str:
        return f"<Turn, {'free' if self.tokens else 'taken'}>"

    def run(self, section: Callable[Options, Result], *arguments: Options.args, **options: Options.kwargs) -> Result:
        """
        Call `section` and return its result, while nobody else has the turn.

        Raises:
            RuntimeError: this thread has the turn already, so waiting would never end.
        """
        if self._owner == _thread.get_ident():
            raise RuntimeError(
                "the store was used from inside one of its own operations: a value's property or __del__ that runs while it "
                "is measured or spilled must not use the store"
            )
        tokens = self.tokens
        with self._long:
            while True:
                try:
                    tokens.pop()
                except IndexError:
                    sleep(0.0)  # somebody is in a short section
                except BaseException:  # of a signal that came while it was taken
                    tokens.append(None)
                    raise
                else:
                    break
            try:
                self._owner = _thread.get_ident()
                return section(*arguments, **options)
            finally:
                self._owner = 0
                tokens.append(None)


def in_turn(
    section: Callable[Concatenate[Any, Options], Result],
) -> Callable[Concatenate[Any, Options], Result]:
    """A method of what has a `turn`, as a section of that. What it drops ends within the turn, unless it returns it."""

    def whole(self: Any, /, *arguments: Options.args, **options: Options.kwargs) -> Result:
        turn: Turn = self.turn
        return turn.run(section, self, *arguments, **options)

    whole.__doc__ = section.__doc__
    return whole
