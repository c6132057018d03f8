"""
Plain values as bytes: the JSON text in which codecs and journal records are written.

Only what JSON keeps exactly comes in: None, bool, int, float, str, and lists and dictionaries (with text keys) of these.
NaN and infinities are written by name, and text keeps lone surrogates, so every value comes back equal.
Runs on the accelerators under the `json` module, which is slow to import.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# What is read back can be anything, and checking it is the work of this module.
from __future__ import annotations

import _json

from warmstate._typing import cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["dumps", "loads", "quoted"]


quoted: Callable[[str], str] = _json.encode_basestring
"""A text as JSON writes it."""


class _Scanner:
    """What `make_scanner` asks for."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


_scan: Any = cast("Any", _json.make_scanner)(_Scanner())


def dumps(value: object) -> bytes:
    """
    The text of a plain value.

    Raises:
        ValueError: It contains itself, or a whole number of more than 4,300 digits.
        RecursionError: It is nested too deeply.
    """
    kind = type(value)
    if kind is int:
        return str(value).encode()
    if kind is str:
        return quoted(value).encode("utf-8", "surrogatepass")  # type: ignore[arg-type]  # told by `kind`
    return "".join(_encoder()(value, 0)).encode("utf-8", "surrogatepass")


def loads(text: bytes | memoryview) -> Any:
    """
    The plain value of a text.

    Raises:
        ValueError: It is no such text.
        RecursionError: It is nested too deeply.
    """
    decoded = str(text, "utf-8", "surrogatepass")
    try:
        value, end = _scan(decoded, 0)
    except StopIteration:
        raise ValueError("no value in the text") from None
    if end != len(decoded):
        raise ValueError("more than one value in the text")
    return value


def _encoder() -> Any:
    # One with markers of its own: a shared set of markers would keep entries of an encoding that failed, and of other threads.
    return cast("Any", _json.make_encoder)({}, None, _json.encode_basestring, None, ":", ",", False, False, True)
