"""
Events from bytes and answers to bytes: JSON as the stock runtime speaks it, with its traps closed.

1. The C scanner and encoder behind `json` are used directly: importing `json` itself costs as much as a small init.
   With orjson installed that does the work, wherever its result is the same but for spaces.
2. Events are strict UTF-8; a byte order mark is tolerated. NaN, Infinity and numbers that overflow to them are errors.
3. Answers are always valid JSON: NaN is an error, a lone surrogate is escaped, two keys that would be the same are an
   error (`{1: ..., "1": ...}`). The path to what is wrong is in the message.
4. What the stock runtime accepts is accepted: Decimal keeps its own digits, a named tuple is an object, bytes pass
   as they are.
5. The encoder keeps no list of containers on the way: a cycle runs into the recursion limit, which is cheaper for all
   answers that have none.

Source of the stock runtime's rules: awslambdaric 4.2.2, lambda_runtime_marshaller.py.
"""

from __future__ import annotations

from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner
from itertools import chain

from warmstate._typing import cast
from warmstate.errors import EventDecodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["BYTES", "JSON", "Raw", "decode_event", "encode_answer", "encode_text", "use_orjson"]

JSON = "application/json"
BYTES = "application/octet-stream"

_SPACE = " \t\n\r"
_SCALARS = frozenset((str, int, float, bool, type(None)))
_TEXT = frozenset((str,))
_values: Callable[[Any], Any] = dict[object, object].values
_flat: Callable[[Any], Any] = chain.from_iterable
_no_keys: frozenset[Any] = frozenset()


class Raw:
    """
    An answer whose bytes go out as they are, under a content type of your own.

        return Raw(png, "image/png")

    Args:
        body: The bytes, copied now; at most 6 MB where the answer is not streamed.
        content_type: What the caller is told that they are.

    Raises:
        TypeError: The body is text or a number.
        ValueError: The content type has characters that a header cannot carry.
    """

    __slots__ = ("body", "content_type")

    def __init__(self, body: bytes | bytearray | memoryview, content_type: str = BYTES) -> None:
        if isinstance(body, (str, int)):  # bytes(3) would be three zero bytes
            raise TypeError(f"Raw takes bytes, not {type(body).__name__}; encode text first: Raw(text.encode(), ...)")
        if not content_type.isascii() or not content_type.isprintable():
            raise ValueError(f"content type {content_type!r} has characters that a header cannot carry")
        self.body = bytes(body)
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"<Raw {len(self.body)} bytes, {self.content_type}>"


# ---- events


def decode_event(body: bytes, content_type: str = JSON) -> object:
    """
    The event in `body`: parsed when its content type is JSON, else the bytes themselves.

    Raises:
        EventDecodeError: the body is not the UTF-8 JSON that its content type promises.
    """
    if content_type != JSON and not _is_json(content_type):
        return body
    if _orjson_loads is not None:
        try:
            return _orjson_loads(body)
        except ValueError:
            pass  # our own scanner says what is wrong, and accepts a byte order mark and large integers
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise EventDecodeError(
            f"Unable to unmarshal input: the event is not UTF-8 (byte {error.start} of {len(body)}: {error.reason})"
        ) from None
    start = 0
    if text[:1] not in {"{", "["}:
        text = text.lstrip("\ufeff")
        start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        what = "the event is empty" if not text.strip(_SPACE) else f"expecting a value at character {stop.value}"
        raise EventDecodeError(f"Unable to unmarshal input: {what}") from None
    except RecursionError:
        raise EventDecodeError("Unable to unmarshal input: the event is nested too deeply") from None
    except SystemError:  # up to Python 3.11, where it cannot raise json's error because nobody imported json
        raise EventDecodeError(f"Unable to unmarshal input: {_what_is_wrong(text, start)}") from None
    except ValueError as error:  # JSONDecodeError, NaN, an integer of too many digits
        raise EventDecodeError(f"Unable to unmarshal input: {error}") from None
    if end != len(text) and text[end:].strip(_SPACE):
        raise EventDecodeError(f"Unable to unmarshal input: extra data after the value, at character {end}")
    return value


def _what_is_wrong(text: str, start: int) -> str:
    try:
        __import__("json.decoder")  # what the scanner looks for
        _scan(text, start)
    except ValueError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - a handler may have damaged what importing needs
        pass
    return "it is not JSON"


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))


def _parse_float(text: str) -> float:
    number = float(text)
    if number - number:  # infinite: the difference is NaN, which counts as true
        raise ValueError(f"the number {text[:40]} is larger than a float can be")
    return number


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


class _ScannerOptions:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = staticmethod(_parse_float)
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)


_scan: Callable[[str, int], tuple[object, int]] = make_scanner(cast("Any", _ScannerOptions()))


# ---- answers


def _refuse(value: object) -> object:
    raise TypeError(type(value).__name__)


def _encoder(default: Callable[[Any], object], text: Callable[[str], str]) -> Callable[[object, int], Any]:
    # In order: markers, default, string encoder, indent, key and item separator, sort_keys, skipkeys, allow_nan.
    encode: Callable[[object, int], Any] = make_encoder(None, default, text, None, ": ", ", ", False, False, False)
    return encode


_encode_ascii = _encoder(_refuse, encode_basestring_ascii)
_encode_utf8 = _encoder(_refuse, encode_basestring)


def encode_answer(value: object, *, escape: bool = True) -> tuple[bytes, str]:
    r"""
    The bytes of a handler's result and their content type.

    With `escape` (the default) non-ASCII text becomes `\u` escapes, without it UTF-8.

    Raises:
        AnswerEncodeError: the result has no JSON form; the message has the path to the value, as in `$.items[3].price`.
    """
    if isinstance(value, Raw):
        return value.body, value.content_type
    if isinstance(value, bytes):
        return value, BYTES
    if _orjson_dumps is not None:
        body = _by_orjson(value)
        if body is not None:
            return body, JSON
    try:
        return encode_text(value, escape=escape).encode(), JSON
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can carry
        return encode_text(value).encode(), JSON


def encode_text(value: object, *, escape: bool = True) -> str:
    """
    `value` as JSON text; ASCII with `escape`, else as the text in it is, lone surrogates and all.

    Raises:
        AnswerEncodeError: as `encode_answer`.
    """
    encode = _encode_ascii if escape else _encode_utf8
    try:
        text = "".join(encode(value, 0))
        if type(value) in _SCALARS or _is_plain(value):
            return text
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - what the value is made of may be the user's
        pass
    from warmstate.wire.plain import plain  # what is unusual, or wrong, is told there

    tree, mark = plain(value)
    text = "".join(encode(tree, 0))
    # A Decimal went through as marked text; without marks and quotes it is a number with its own digits.
    return text.replace(f'"{mark}', "").replace(f'{mark}"', "") if mark else text


def _is_plain(value: Any) -> bool:
    """
    Whether keys are text alone and tuples have no names, so that the encoder's output says what the value means.

    Only for values that were encoded: those have no cycles.
    """
    scalars = _SCALARS
    while True:  # down to where containers stand side by side; most answers end before that
        kind = value.__class__
        if kind is dict:
            if not _TEXT.issuperset(map(type, value)):
                return False
            value = value.values()
        elif kind is not list and kind is not tuple:
            return _are_plain_together([value])
        nested: list[Any] = []
        for item in value:
            if type(item) not in scalars:
                nested.append(item)  # noqa: PERF401 - a comprehension would be a call, for a handful of items
        if len(nested) != 1:
            return not nested or _are_plain_together(nested)
        value = nested[0]


def _are_plain_together(level: list[Any]) -> bool:
    """The same for containers of one depth, all at a time: the loops over what they hold then run in C, mostly."""
    scalars = _SCALARS
    while level:
        kind = level[0].__class__
        if len(set(map(type, level))) > 1:
            return _are_plain(level)
        if kind is dict or issubclass(kind, dict):
            keys: Any = _no_keys.union(*level)
            if not _TEXT.issuperset(map(type, keys)):
                return False
            items = _flat(map(_values, level))
        elif kind is list or kind is tuple or issubclass(kind, list):
            items = _flat(level)
        else:
            return not issubclass(kind, tuple)
        level = [item for item in items if type(item) not in scalars]
    return True


def _are_plain(containers: list[Any]) -> bool:
    """The same for containers of several kinds, one kind after the other."""
    kinds = set(map(type, containers))
    return all(_are_plain_together([item for item in containers if type(item) is kind]) for kind in kinds)


# ---- orjson, when the user has it

_orjson_loads: Callable[[bytes], object] | None = None
_orjson_dumps: Callable[[object], bytes] | None = None


def use_orjson() -> bool:
    """Lets orjson do the work from now on if it is installed, and tells whether; a host calls this before the first event."""
    global _orjson_dumps, _orjson_loads
    try:
        orjson: Any = __import__("orjson")
    except ImportError:
        return False
    options = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
    dumps = orjson.dumps
    _orjson_loads = orjson.loads
    _orjson_dumps = lambda value: dumps(value, _refuse, options)  # noqa: E731 - a def would need the same three names
    return True


def _by_orjson(value: object) -> bytes | None:
    """What orjson makes of `value`, or None where it fails or would silently write null for NaN."""
    try:
        body = _orjson_dumps(value) if _orjson_dumps else None
    except (TypeError, ValueError, RecursionError):
        return None
    return None if body is not None and b"null" in body and not _is_finite(value) else body


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return value - value == 0.0
    if issubclass(type(value), dict):
        return all(_is_finite(item) for item in value.values())
    return not isinstance(value, (list, tuple)) or all(_is_finite(item) for item in cast("Any", value))
