"""
The slow way of an answer: every value that the encoder alone gets wrong, and the path to every value that is wrong.

Only walked when the fast way met something unusual: a key that is no text, a named tuple, a Decimal, or an error.
"""

from __future__ import annotations

import os
import sys
from binascii import hexlify

from warmstate.errors import AnswerEncodeError
from warmstate.wire.failure import safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["plain"]

_MOST_PATH = 300  # characters of a path shown in a message
_BARE = frozenset((dict, list, tuple))
_SURELY_SHORT = 2000  # bits of an integer that Python writes whatever sys.set_int_max_str_digits() says


def plain(value: object) -> tuple[object, str]:
    """
    `value` as dicts with text keys, lists and scalars, and the mark around the text of each Decimal ("" if there is none).

    Raises:
        AnswerEncodeError: a value has no JSON form, or two keys become the same; the message has the path.
    """
    walk = _Walk()
    try:
        tree = walk.convert(value, ("$", None))
    except RecursionError:
        raise AnswerEncodeError(
            "Unable to marshal response: the answer is nested too deeply to be written as JSON"
        ) from None
    except (AnswerEncodeError, MemoryError):
        raise
    except Exception as error:  # a method of what the answer is made of
        raise AnswerEncodeError(f"Unable to marshal response: {safe_text(error)}") from error
    return tree, walk.mark if walk.marked else ""


class _Walk:
    """One walk: `_open` holds the containers on the way down, so that a cycle is recognised."""

    __slots__ = ("_decimal", "_open", "mark", "marked")

    def __init__(self) -> None:
        self._open: set[int] = set()
        # Nobody's Decimal before the module was imported.
        decimal = sys.modules.get("decimal")
        self._decimal: type = decimal.Decimal if decimal else type(None)
        self.mark = hexlify(os.urandom(12)).decode()
        self.marked = False

    def convert(self, value: Any, path: tuple[Any, ...]) -> object:
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, int):
            if int.bit_length(value) > _SURELY_SHORT:
                _digits_of(value, path)
            return value
        if isinstance(value, float):
            if value - value != 0.0:
                raise _error(path, f"{float(value)!r} is not a JSON number; send None or text in its place")
            return value
        if isinstance(value, self._decimal):
            return self._number(value, path)
        container: Any = value
        as_dict = None if type(value) in _BARE else getattr(container, "_asdict", None)
        if not callable(as_dict):
            as_dict = None
        if as_dict is None and not isinstance(value, (dict, list, tuple)):
            raise _error(path, f"Object of type {type(value).__name__} is not JSON serializable{_advice(value)}")
        if id(container) in self._open:
            raise _error(path, "the value contains itself")
        self._open.add(id(container))
        try:
            if as_dict is not None:
                named: Any = as_dict()
                if not issubclass(type(named), dict):
                    raise _error(
                        path, f"_asdict() of {type(container).__name__} returned {type(named).__name__}, not a dict"
                    )
                return self._mapping(named, path)
            if isinstance(value, dict):
                return self._mapping(container, path)
            return [self.convert(item, (path, number)) for number, item in enumerate(container)]
        finally:
            self._open.discard(id(container))

    def _mapping(self, value: dict[Any, Any], path: tuple[Any, ...]) -> dict[str, object]:
        tree: dict[str, object] = {}
        for key, item in value.items():
            name = self._key(key, path)
            if name in tree:
                raise _error(path, f"two keys become the same JSON name {name!r}; the second is {_show(key)}")
            tree[name] = self.convert(item, (path, name))
        return tree

    def _key(self, key: Any, path: tuple[Any, ...]) -> str:
        if isinstance(key, str):
            return key
        if key is None:
            return "null"
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, int):
            return _digits_of(key, path)
        if isinstance(key, float) and key - key == 0.0:
            return float.__repr__(key)
        raise _error(
            path, f"a key of type {type(key).__name__} ({_show(key)}) has no JSON form; keys must be text or numbers"
        )

    def _number(self, value: Any, path: tuple[Any, ...]) -> str:
        if not value.is_finite():
            raise _error(path, f"{value} is not a JSON number; send None or text in its place")
        self.marked = True
        return f"{self.mark}{value}{self.mark}"


def _digits_of(value: int, path: tuple[Any, ...]) -> str:
    try:
        return int.__repr__(value)
    except ValueError as error:  # longer than Python writes
        raise _error(path, str(error)) from None


def _error(path: tuple[Any, ...], what: str) -> AnswerEncodeError:
    steps: list[str] = []
    while path[1] is not None:
        path, step = path
        if isinstance(step, int):
            steps.append(f"[{step}]")
        else:
            steps.append(f".{step}" if step.isidentifier() else f"[{_show(step)}]")
    text = "$" + "".join(reversed(steps))
    if len(text) > _MOST_PATH:
        text = text[:_MOST_PATH] + "..."
    return AnswerEncodeError(f"Unable to marshal response: {what} (at {text})")


def _show(key: object) -> str:
    try:
        return repr(key)[:60]
    except Exception:  # noqa: BLE001 - somebody's __repr__
        return f"<{type(key).__name__}>"


def _advice(value: object) -> str:
    name = type(value).__name__
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "; return the bytes themselves or warmstate.Raw, or encode them as base64 text"
    if isinstance(value, (set, frozenset)):
        return "; make it a list"
    if hasattr(value, "isoformat"):
        return "; write value.isoformat()"
    if name == "HttpResponse":
        return "; yield it before the body, or return a dict with statusCode"
    if name == "coroutine":
        return "; was an `await` forgotten?"
    return ""
