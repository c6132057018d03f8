"""
Forms of the user's own classes: attrs classes, dataclasses, named dictionaries.

A class is written as its fields by name, and read back without calling its `__init__`: that could convert a second time what was
converted once, and code must not run because of what a file says.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# What is read back can be anything, and checking it is the work of this module.
from __future__ import annotations

from warmstate.warm.codecs.form import Form, Misfit, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from warmstate.warm.codecs.form import Buffer

__all__ = ["PlainClassForm", "RecordForm", "TypedDictForm", "field_annotations"]

_HASH_CACHE = "_attrs_cached_hash"


def field_annotations(kind: type) -> dict[str, Any] | None:
    """The fields of an attrs class or a dataclass with their annotations as written; None for any other class."""
    attributes = getattr(kind, "__attrs_attrs__", None)
    if attributes is not None:
        return {attribute.name: attribute.type for attribute in attributes}
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is not None:
        return {name: field.type for name, field in fields.items() if field._field_type.name == "_FIELD"}  # noqa: SLF001 - dataclasses.fields() would import dataclasses
    return None


class RecordForm(Form):
    """An attrs class or a dataclass; `name` tells it from the others, also with the types that a generic one was given."""

    __slots__ = ("_shown", "fields", "kind", "name")

    def __init__(self, kind: type, name: str) -> None:
        self.kind: Any = kind
        self.name = name
        self.fields: dict[str, Form] = {}
        self._shown = False

    @property
    def shape(self) -> Any:
        # A class that holds itself is described once; further in, its name is enough.
        if self._shown:
            return ["again", self.name]
        self._shown = True
        try:
            return ["class", self.name, {name: form.shape for name, form in self.fields.items()}]
        finally:
            self._shown = False

    def fits(self, value: object) -> bool:
        return type(value) is self.kind

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        if type(value) is not self.kind:
            raise Misfit(f"{kind_of(value)} does not fit {self.kind.__qualname__}")
        plain: dict[str, Any] = {}
        name = ""
        try:
            for name, form in self.fields.items():
                plain[name] = form.to_plain(getattr(value, name), buffers)
        except Misfit as misfit:
            raise misfit.under(f".{name}") from None
        except AttributeError:
            raise Misfit("it was never set").under(f".{name}") from None
        self._refuse_more(value)
        return plain

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        values = _fields_from(self.fields, plain, buffers)
        made = self.kind.__new__(self.kind) if self.kind.__new__ is object.__new__ else object.__new__(self.kind)
        for name, value in values.items():
            object.__setattr__(made, name, value)
        if _HASH_CACHE in getattr(getattr(self.kind.__hash__, "__code__", None), "co_names", ()):
            object.__setattr__(made, _HASH_CACHE, None)  # attrs' __init__ would have set it
        return made

    def _refuse_more(self, value: Any) -> None:
        """An attribute that is no field would be lost without a word."""
        held = getattr(value, "__dict__", None)
        if not held or held.keys() <= self.fields.keys():
            return
        for name in held.keys() - self.fields.keys():
            # What a cached property computed is computed again.
            if name != _HASH_CACHE and type(getattr(self.kind, name, None)).__name__ != "cached_property":
                raise Misfit(f"{self.kind.__qualname__} has no field of this name, so it would be lost").under(
                    f".{name}"
                )


class TypedDictForm(Form):
    """A dictionary with known text keys."""

    __slots__ = ("fields", "kind", "required")

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.fields: dict[str, Form] = {}
        self.required: frozenset[str] = frozenset(kind.__required_keys__)

    @property
    def shape(self) -> Any:
        return ["typed", {name: form.shape for name, form in self.fields.items()}]

    def fits(self, value: object) -> bool:
        return type(value) is dict and self.required <= value.keys() <= self.fields.keys()

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        if type(value) is not dict:
            raise Misfit(f"{kind_of(value)} does not fit {self.kind.__qualname__}")
        self._check_keys(value)
        plain: dict[str, Any] = {}
        name = ""
        try:
            for name, item in value.items():
                plain[name] = self.fields[name].to_plain(item, buffers)
        except Misfit as misfit:
            raise misfit.under(f".{name}") from None
        return plain

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        if type(plain) is not dict:
            raise Misfit(f"{kind_of(plain)} where a dictionary was written")
        self._check_keys(plain)
        return {name: self.fields[name].from_plain(item, buffers) for name, item in plain.items()}

    def _check_keys(self, held: dict[Any, Any]) -> None:
        if not self.required <= held.keys() <= self.fields.keys():
            raise Misfit(f"its keys are not those of {self.kind.__qualname__}")


class PlainClassForm(Form):
    """What stands for a class when it is gone: a dictionary of its fields."""

    __slots__ = ("_may_lack", "_shape", "fields")

    def __init__(self, shape: Any, *, may_lack: bool) -> None:
        self._shape = shape
        self._may_lack = may_lack
        self.fields: dict[str, Form] = {}

    @property
    def shape(self) -> Any:
        return self._shape

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        fields = self.fields
        if self._may_lack and type(plain) is dict:
            fields = {name: form for name, form in fields.items() if name in plain}
        return _fields_from(fields, plain, buffers)


def _fields_from(fields: dict[str, Form], plain: Any, buffers: Sequence[Buffer]) -> dict[str, Any]:
    if type(plain) is not dict or plain.keys() != fields.keys():
        raise Misfit(f"{kind_of(plain)} with other fields than were declared")
    values: dict[str, Any] = {}
    name = ""
    try:
        for name, form in fields.items():
            values[name] = form.from_plain(plain[name], buffers)
    except Misfit as misfit:
        raise misfit.under(f".{name}") from None
    return values
