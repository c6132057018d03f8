"""
Forms of single values that JSON has no word for: times, decimals, UUIDs, enums, arrays.

Their modules are never imported to build a codec: a value, or an annotation, of such a type means that its module is loaded.
Only a form made from a shape imports what it needs.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# What is read back can be anything, and checking it is the work of this module.
from __future__ import annotations

import sys

from warmstate.warm.codecs.form import Form, Misfit, buffer_at, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from warmstate.warm.codecs.form import Buffer

__all__ = ["ArrayForm", "EnumForm", "LiteralForm", "NameForm", "TextForm", "text_form"]

_ARRAY_KINDS = "biufcmMSU"
"""Kinds of array items that are plain memory: no objects, no records."""


class TextForm(Form):
    """A value written as its text."""

    __slots__ = ("kind", "read", "write")

    def __init__(self, kind: type, write: Callable[[Any], Any], read: Callable[[Any], Any]) -> None:
        self.kind = kind
        self.write = write
        self.read = read

    @property
    def shape(self) -> Any:
        return f"{self.kind.__module__}.{self.kind.__qualname__}"

    def fits(self, value: object) -> bool:
        return type(value) is self.kind

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        if type(value) is not self.kind:
            raise Misfit(f"{kind_of(value)} does not fit {self.kind.__name__}")
        return self.write(value)

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        try:
            value = self.read(plain)
        except Misfit:
            raise
        except Exception as error:  # noqa: BLE001 - a type's own parser raises anything
            raise Misfit(f"no {self.kind.__name__}: {type(error).__name__}") from None
        return value


class EnumForm(Form):
    """A member of an enum, by its name; of a flag, by its number, because combinations have no name."""

    __slots__ = ("is_flag", "kind")

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.is_flag = issubclass(kind, sys.modules["enum"].Flag)

    @property
    def shape(self) -> Any:
        return ["flag" if self.is_flag else "enum", self.kind.__qualname__]

    def fits(self, value: object) -> bool:
        return isinstance(value, self.kind)

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        if not isinstance(value, self.kind):
            raise Misfit(f"{kind_of(value)} does not fit {self.kind.__name__}")
        plain = value.value if self.is_flag else value.name
        if type(plain) is not (int if self.is_flag else str):
            raise Misfit(f"a member of {self.kind.__name__} that is not written by name")
        return plain

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        try:
            return self.kind(plain) if self.is_flag else self.kind[plain]
        except (KeyError, TypeError, ValueError):
            raise Misfit(f"no member of {self.kind.__name__}") from None


class LiteralForm(Form):
    """One of a few values that the annotation spells out."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = list(values)

    @property
    def shape(self) -> Any:
        return ["literal", [repr(value) for value in self.values]]

    def _place(self, value: object) -> int:
        for place, known in enumerate(self.values):
            if type(known) is type(value) and known == value:
                return place
        return -1

    def fits(self, value: object) -> bool:
        return self._place(value) >= 0

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        place = self._place(value)
        if place < 0:
            raise Misfit(f"{kind_of(value)} is none of the literal values")
        return place

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        if type(plain) is not int or not 0 <= plain < len(self.values):
            raise Misfit("none of the literal values")
        return self.values[plain]


class ArrayForm(Form):
    """A NumPy array of numbers, times or fixed-length text; its memory is a buffer."""

    __slots__ = ()

    @property
    def shape(self) -> Any:
        return "numpy.ndarray"

    def fits(self, value: object) -> bool:
        return type(value) is sys.modules["numpy"].ndarray

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        numpy: Any = sys.modules["numpy"]
        if type(value) is not numpy.ndarray:
            raise Misfit(f"{kind_of(value)} does not fit numpy.ndarray")
        if value.dtype.kind == "b" or value.dtype.kind in _ARRAY_KINDS:
            order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
            flat = numpy.ascontiguousarray(value.T if order == "F" else value).reshape(-1).view(numpy.uint8)
            buffers.append(memoryview(flat).cast("B") if flat.size else b"")
            return [value.dtype.str, list(value.shape), order, len(buffers) - 1]
        raise Misfit(
            f"an array of {value.dtype} has no codec: use arrays of numbers, times or text, one for each field"
        )

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        import numpy

        if type(plain) is not list or len(plain) != 4 or type(plain[0]) is not str or type(plain[1]) is not list:
            raise Misfit(f"{kind_of(plain)} where an array was written")
        kind, shape, order, place = plain
        memory = buffer_at(place, buffers)
        try:
            dtype = numpy.dtype(kind)
            if dtype.kind not in _ARRAY_KINDS or any(type(length) is not int or length < 0 for length in shape):
                raise Misfit("an array of something else than plain memory")
            if memoryview(memory).readonly:
                memory = bytearray(memory)  # type: ignore[assignment]  # the slot's array can be written to, as it could before
            array: Any = numpy.frombuffer(memory, dtype=dtype)
            return array.reshape(shape[::-1]).T if order == "F" else array.reshape(shape)
        except (TypeError, ValueError, OverflowError) as error:
            raise Misfit(f"no array: {type(error).__name__}") from None


class NameForm(Form):
    """What stands for an enum's member or a literal when the types that wrote it are gone: its plain value."""

    __slots__ = ("_shape",)

    def __init__(self, shape: Any) -> None:
        self._shape = shape

    @property
    def shape(self) -> Any:
        return self._shape

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        if type(plain) not in {str, int}:
            raise Misfit(f"{kind_of(plain)} where a name was written")
        return plain


def text_form(name: str) -> Form | None:
    """The form of a type by its module and name, if its module is loaded; None if it is no such type."""
    make = _TEXT_FORMS.get(name)
    return None if make is None else make()


def _datetime_form() -> Form:
    kind = sys.modules["datetime"].datetime

    def write(value: Any) -> Any:
        zone = value.tzinfo
        fixed = zone is None or type(zone) is sys.modules["datetime"].timezone
        if fixed and not value.fold:
            return value.isoformat()
        key = None if fixed else getattr(zone, "key", None)
        if not fixed and not (isinstance(key, str) and type(zone).__module__.startswith("zoneinfo")):
            raise Misfit(
                f"a datetime in a time zone of type {type(zone).__qualname__}: use datetime.timezone or zoneinfo.ZoneInfo"
            )
        return [value.isoformat() if fixed else value.replace(tzinfo=None).isoformat(), key, value.fold]

    def read(plain: Any) -> Any:
        if type(plain) is str:
            return kind.fromisoformat(plain)
        text, key, fold = plain
        value = kind.fromisoformat(text).replace(fold=fold)
        if key is None:
            return value
        from zoneinfo import ZoneInfo

        return value.replace(tzinfo=ZoneInfo(key))

    return TextForm(kind, write, read)


def _time_form() -> Form:
    kind = sys.modules["datetime"].time

    def write(value: Any) -> Any:
        if value.tzinfo is not None and type(value.tzinfo) is not sys.modules["datetime"].timezone:
            raise Misfit("a time in a named time zone has no offset of its own: use datetime.timezone")
        return [value.isoformat(), value.fold]

    def read(plain: Any) -> Any:
        text, fold = plain
        return kind.fromisoformat(text).replace(fold=fold)

    return TextForm(kind, write, read)


def _date_form() -> Form:
    kind = sys.modules["datetime"].date
    return TextForm(kind, lambda value: value.isoformat(), kind.fromisoformat)


def _timedelta_form() -> Form:
    kind = sys.modules["datetime"].timedelta
    return TextForm(
        kind, lambda value: [value.days, value.seconds, value.microseconds], lambda plain: kind(*map(int, plain))
    )


def _decimal_form() -> Form:
    kind = sys.modules["decimal"].Decimal
    return TextForm(kind, str, lambda plain: kind(_text(plain)))


def _uuid_form() -> Form:
    kind = sys.modules["uuid"].UUID
    return TextForm(kind, lambda value: value.hex, lambda plain: kind(hex=_text(plain)))


def _complex_form() -> Form:
    return TextForm(complex, lambda value: [value.real, value.imag], lambda plain: complex(*map(float, plain)))


def _text(plain: Any) -> str:
    if type(plain) is not str:
        raise Misfit(f"{kind_of(plain)} where text was written")
    return plain


_TEXT_FORMS: dict[str, Callable[[], Form]] = {
    "builtins.complex": _complex_form,
    "datetime.date": _date_form,
    "datetime.datetime": _datetime_form,
    "datetime.time": _time_form,
    "datetime.timedelta": _timedelta_form,
    "decimal.Decimal": _decimal_form,
    "uuid.UUID": _uuid_form,
}
