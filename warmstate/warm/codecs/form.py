"""
Forms: how values of one type become plain values and back, the parts that codecs are built of.

1. A form checks: a value that is not exactly of its type is a `Misfit`, on the way out and on the way back. So a wrong value is
   an error where it is written, and damaged or planted bytes never become an object that the annotation does not allow.
2. A `shape` is a plain description of a form. Two codecs with equal shapes read each other's bytes, and a form made from a shape reads
   old bytes without the classes that wrote them: those become dictionaries.
3. Bytes and arrays do not go into the text: they are appended to the list of buffers, and their place in it stands for them.
4. No class is ever found by a name taken from data.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# What is read back can be anything, and checking it is the work of this module.
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Buffer = bytes | memoryview

__all__ = [
    "BytesForm",
    "DictForm",
    "Form",
    "ListForm",
    "Misfit",
    "OptionalForm",
    "ScalarForm",
    "TupleForm",
    "UnionForm",
    "kind_of",
]

_NONE = type(None)


class Misfit(Exception):
    """Raised when a value is not of a form's type; gathers the path to it on the way up."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path: list[str] = []

    def under(self, step: str) -> Misfit:
        """The same, one step closer to the root."""
        self.path.append(step)
        return self

    @property
    def full_path(self) -> str:
        """The path from the root, as `$.photos[3].taken`."""
        return "$" + "".join(reversed(self.path))


def kind_of(value: object) -> str:
    """What a value is, for messages that must not show the value itself."""
    return "None" if value is None else f"a value of type {type(value).__qualname__}"


class Form:
    """How values of one type become plain values and back."""

    __slots__ = ()

    @property
    def shape(self) -> Any:
        """A plain description: equal shapes read each other's bytes."""
        raise NotImplementedError

    def fits(self, value: object) -> bool:
        """Whether a value is of this type, judged without looking inside it; tells the members of a union apart."""
        raise NotImplementedError

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        """
        The value as a plain one; raw bytes in it go to `buffers`.

        Raises:
            Misfit: The value is not of this type.
        """
        raise NotImplementedError

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        """
        The value that was written as this plain one.

        Raises:
            Misfit: It is nothing that `to_plain` makes.
        """
        raise NotImplementedError


class ScalarForm(Form):
    """A value that JSON keeps as it is: None, bool, int, float, str."""

    __slots__ = ("name", "types")

    def __init__(self, name: str, types: frozenset[type]) -> None:
        self.name = name
        self.types = types

    @property
    def shape(self) -> Any:
        return self.name

    def fits(self, value: object) -> bool:
        return type(value) in self.types

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        if type(value) not in self.types:
            raise Misfit(f"{kind_of(value)} does not fit {self.name}")
        return value

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        return self.to_plain(plain, [])


class BytesForm(Form):
    """bytes or bytearray, kept out of the text."""

    __slots__ = ("kind",)

    def __init__(self, kind: type) -> None:
        self.kind: Any = kind

    @property
    def shape(self) -> Any:
        return self.kind.__name__

    def fits(self, value: object) -> bool:
        return type(value) is self.kind

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        if type(value) is not self.kind:
            raise Misfit(f"{kind_of(value)} does not fit {self.kind.__name__}")
        buffers.append(bytes(value))
        return len(buffers) - 1

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        return self.kind(buffer_at(plain, buffers))


class ListForm(Form):
    """A list, set, frozenset or deque, or a tuple of any length, of items of one form."""

    __slots__ = ("item", "kind")

    def __init__(self, kind: Callable[[Any], Any], item: Form) -> None:
        self.kind: Any = kind
        self.item = item

    @property
    def shape(self) -> Any:
        return [self.kind.__name__, self.item.shape]

    def fits(self, value: object) -> bool:
        return type(value) is self.kind

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        if type(value) is not self.kind:
            raise Misfit(f"{kind_of(value)} does not fit {self.kind.__name__}")
        item = self.item
        if type(item) is ScalarForm and item.types.issuperset(map(type, value)):
            return value if self.kind is list else list(value)
        return _each(item.to_plain, value, buffers)

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        if type(plain) is not list:
            raise Misfit(f"{kind_of(plain)} where a list was written")
        item = self.item
        if not (type(item) is ScalarForm and item.types.issuperset(map(type, plain))):
            plain = _each(item.from_plain, plain, buffers)
        try:
            return plain if self.kind is list else self.kind(plain)
        except TypeError as error:
            raise Misfit(str(error)) from None


class TupleForm(Form):
    """A tuple of a fixed length; also a named one."""

    __slots__ = ("items", "kind", "names")

    def __init__(self, items: list[Form], kind: type = tuple, names: Sequence[str] = ()) -> None:
        self.items = items
        self.kind: Any = kind
        self.names = names

    @property
    def shape(self) -> Any:
        shapes = [item.shape for item in self.items]
        return ["named", list(self.names), shapes] if self.names else ["fixed", shapes]

    def fits(self, value: object) -> bool:
        return type(value) is self.kind

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        if type(value) is not self.kind or len(value) != len(self.items):
            raise Misfit(f"{kind_of(value)} does not fit {self.kind.__name__} of {len(self.items)} items")
        return self._map("to_plain", value, buffers)

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        if type(plain) is not list or len(plain) != len(self.items):
            raise Misfit(f"{kind_of(plain)} where {len(self.items)} items were written")
        values = self._map("from_plain", plain, buffers)
        return tuple.__new__(self.kind, values)

    def _map(self, way: str, values: Any, buffers: Any) -> list[Any]:
        done: list[Any] = []
        try:
            for form, value in zip(self.items, values, strict=False):
                done.append(getattr(form, way)(value, buffers))
        except Misfit as misfit:
            raise misfit.under(f".{self.names[len(done)]}" if self.names else f"[{len(done)}]") from None
        return done


class DictForm(Form):
    """A dictionary; text keys become a JSON object, other keys a list of pairs."""

    __slots__ = ("key", "value")

    def __init__(self, key: Form, value: Form) -> None:
        self.key = key
        self.value = value

    @property
    def shape(self) -> Any:
        return ["dict", self.key.shape, self.value.shape]

    def fits(self, value: object) -> bool:
        return type(value) is dict

    @property
    def _has_text_keys(self) -> bool:
        return type(self.key) is ScalarForm and self.key.name == "str"

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        if type(value) is not dict:
            raise Misfit(f"{kind_of(value)} does not fit dict")
        form = self.value
        if not self._has_text_keys:
            keys = _each(self.key.to_plain, list(value), buffers)
            return [keys, _each(form.to_plain, value.values(), buffers, list(value))]
        for key in value:
            if type(key) is not str:
                raise Misfit(f"{kind_of(key)} as a key of a dictionary whose keys are str")
        if type(form) is ScalarForm and form.types.issuperset(map(type, value.values())):
            return value
        return dict(zip(value, _each(form.to_plain, value.values(), buffers, list(value)), strict=False))

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        form = self.value
        if not self._has_text_keys:
            if type(plain) is not list or len(plain) != 2 or type(plain[0]) is not list or type(plain[1]) is not list:
                raise Misfit(f"{kind_of(plain)} where keys and values were written")
            keys = _each(self.key.from_plain, plain[0], buffers)
            values = _each(form.from_plain, plain[1], buffers)
            try:
                made = dict(zip(keys, values, strict=False))
            except TypeError as error:
                raise Misfit(str(error)) from None
            if not len(made) == len(keys) == len(values):
                raise Misfit("keys and values that do not match")
            return made
        if type(plain) is not dict:
            raise Misfit(f"{kind_of(plain)} where a dictionary was written")
        if type(form) is ScalarForm and form.types.issuperset(map(type, plain.values())):
            return plain
        return dict(zip(plain, _each(form.from_plain, plain.values(), buffers, list(plain)), strict=False))


class OptionalForm(Form):
    """None or a value whose plain form is never None."""

    __slots__ = ("form",)

    def __init__(self, form: Form) -> None:
        self.form = form

    @property
    def shape(self) -> Any:
        return ["optional", self.form.shape]

    def fits(self, value: object) -> bool:
        return value is None or self.form.fits(value)

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        return None if value is None else self.form.to_plain(value, buffers)

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        return None if plain is None else self.form.from_plain(plain, buffers)


class UnionForm(Form):
    """A value of one of several forms, written with the number of the one that it fits."""

    __slots__ = ("forms",)

    def __init__(self, forms: list[Form]) -> None:
        self.forms = forms

    @property
    def shape(self) -> Any:
        return ["union", [form.shape for form in self.forms]]

    def fits(self, value: object) -> bool:
        return any(form.fits(value) for form in self.forms)

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        misfit: Misfit | None = None
        kept = len(buffers)
        for number, form in enumerate(self.forms):
            if form.fits(value):
                try:
                    return [number, form.to_plain(value, buffers)]
                except Misfit as error:
                    # list[int] | list[str]: only a look inside tells them apart.
                    misfit = error
                    del buffers[kept:]
        raise misfit or Misfit(f"{kind_of(value)} fits no member of the union")

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        if (
            type(plain) is not list
            or len(plain) != 2
            or type(plain[0]) is not int
            or not 0 <= plain[0] < len(self.forms)
        ):
            raise Misfit(f"{kind_of(plain)} where a member of a union was written")
        return self.forms[plain[0]].from_plain(plain[1], buffers)


def buffer_at(place: Any, buffers: Sequence[Buffer]) -> Buffer:
    """The buffer that a plain value stands for."""
    if type(place) is not int or not 0 < place < len(buffers):
        raise Misfit("a reference to bytes that are not there")
    return buffers[place]


def _each(
    convert: Callable[[Any, Any], Any], values: Any, buffers: Any, names: Sequence[object] | None = None
) -> list[Any]:
    done: list[Any] = []
    try:
        for value in values:
            done.append(convert(value, buffers))  # noqa: PERF401 - its length tells where a misfit is
    except Misfit as misfit:
        raise misfit.under(f"[{len(done)}]" if names is None else _step(names[len(done)])) from None
    return done


def _step(name: object) -> str:
    if isinstance(name, str):
        return f".{name}" if name.isidentifier() else f"[{name[:40]!r}]"
    return f"[{name!r}]" if isinstance(name, int) else "[...]"
