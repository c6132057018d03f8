"""
Codecs: values of one annotated type as bytes, and back.

`codec_for` builds one from an annotation; `codec_from_shape` builds one that reads what an earlier codec wrote, without its classes.
A codec writes a list of buffers: the plain value's text first, then raw bytes and the memory of arrays, which are not copied.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# What is read back can be anything, and checking it is the work of this module.
from __future__ import annotations

import sys

from warmstate._typing import Generic, TypeVar
from warmstate.errors import CodecError
from warmstate.warm.annotations import Unresolved, evaluate
from warmstate.warm.codecs.form import (
    BytesForm,
    DictForm,
    Form,
    ListForm,
    Misfit,
    OptionalForm,
    ScalarForm,
    TupleForm,
    UnionForm,
)
from warmstate.warm.codecs.leaves import ArrayForm, EnumForm, LiteralForm, text_form
from warmstate.warm.codecs.plain import dumps, loads
from warmstate.warm.codecs.records import RecordForm, TypedDictForm, field_annotations
from warmstate.warm.codecs.tree import TreeForm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from warmstate.warm.codecs.form import Buffer

__all__ = ["SCALARS", "Codec", "codec_for", "codec_for_value", "codec_from_shape"]

T = TypeVar("T")

_NONE = type(None)
_DEEPEST = 40
"""Classes inside of classes, each another one: more of them are a type without an end."""
_WRITTEN_IN_PYTHON = 1 << 9
"""The flag of classes that a class statement made (`Py_TPFLAGS_HEAPTYPE`)."""
SCALARS: dict[object, Form] = {
    None: ScalarForm("None", frozenset((_NONE,))),
    _NONE: ScalarForm("None", frozenset((_NONE,))),
    bool: ScalarForm("bool", frozenset((bool,))),
    int: ScalarForm("int", frozenset((int, bool))),
    # A whole number is a float to every type checker, and stays a whole number.
    float: ScalarForm("float", frozenset((float, int, bool))),
    str: ScalarForm("str", frozenset((str,))),
    bytes: BytesForm(bytes),
    bytearray: BytesForm(bytearray),
}
_ITEMS: dict[object, Any] = {list: list, set: set, frozenset: frozenset}


class Codec(Generic[T]):
    """
    Writes values of one type as buffers and reads them back.

    `shape` is a plain description of what is written; codecs with equal shapes read each other's buffers.
    """

    __slots__ = ("_form", "shape")

    def __init__(self, form: Form) -> None:
        self._form = form
        self.shape: Any = form.shape

    def __repr__(self) -> str:
        return f"<Codec {self.shape!r}>"

    def encode(self, value: T) -> list[Buffer]:
        """
        The value as buffers; some may be memory of the value itself, so write them before it changes.

        Raises:
            CodecError: The value, or something in it, is not of the annotated type; `path` leads to it.
        """
        buffers: list[Buffer] = [b""]
        try:
            buffers[0] = dumps(self._form.to_plain(value, buffers))
        except Misfit as misfit:
            raise CodecError(misfit.message, misfit.full_path) from None
        except RecursionError:
            raise CodecError("it contains itself, or is nested more deeply than can be written") from None
        except ValueError as error:
            raise CodecError(f"it cannot be written: {error}") from None
        return buffers

    def decode(self, buffers: Sequence[Buffer]) -> T:
        """
        The value that `encode` wrote.

        Raises:
            CodecError: The bytes are damaged, or a codec of another shape wrote them.
        """
        try:
            value: T = self._form.from_plain(loads(buffers[0]), buffers)
        except Misfit as misfit:
            raise CodecError(misfit.message, misfit.full_path) from None
        except RecursionError:
            raise CodecError("nested more deeply than can be read") from None
        except (ValueError, IndexError) as error:
            raise CodecError(f"no encoded value: {error}") from None
        return value


def codec_for(annotation: object, owner: type = object, names: Mapping[str, object] | None = None) -> Codec[Any]:
    """
    The codec of an annotated type; text in it is evaluated with the names of `owner`'s module and the given ones.

    Raises:
        CodecError: The annotation names a type that has no codec, or cannot be evaluated; the message says what to use.
    """
    try:
        return Codec(_Builder(owner, names or {}).form(annotation))
    except Unresolved as error:
        raise CodecError(str(error)) from None
    except RecursionError:
        raise CodecError("the type contains itself without end: use a class that holds itself, or object") from None


def codec_for_value(value: object) -> Codec[Any]:
    """
    A codec for a value that nothing annotates; only the process that made the codec can read what it writes.

    Raises:
        CodecError: There is none for values of this type.
    """
    kind = type(value)
    if kind in SCALARS:
        return Codec(SCALARS[kind])
    if field_annotations(kind) is not None:
        return codec_for(kind, kind)
    return Codec(TreeForm(_form_of_class))


def codec_from_shape(shape: object) -> Codec[Any]:
    """
    The codec that reads what one of this shape wrote: classes become dictionaries of their fields, enum members their names.

    Raises:
        CodecError: It is no shape.
    """
    from warmstate.warm.codecs.shapes import form_from_shape  # only migrations read what other code wrote

    try:
        return Codec(form_from_shape(shape, {}))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError):
        raise CodecError("an unknown description of what was written") from None


def _form_of_class(kind: type) -> Form | None:
    try:
        return _Builder(kind, {}).form(kind)
    except (CodecError, Unresolved):
        return None


class _Builder:
    """
    Builds forms for the types that a class's annotations name; a class that holds itself gets one form.

    `variables` are the types that a generic class was given; an alias that holds itself is any tree from there on.
    """

    def __init__(
        self, owner: type, names: Mapping[str, object], variables: Mapping[object, object] | None = None
    ) -> None:
        self._owner = owner
        self._names = names
        self._variables = {} if variables is None else variables
        self._made: dict[object, Form] = {}
        self._under_way: set[object] = set()
        self._depth = 0

    def form(self, annotation: object) -> Form:
        kind: Any = self.evaluated(annotation)
        while hasattr(kind, "__metadata__"):  # Annotated
            kind = self.evaluated(kind.__origin__)
        try:
            scalar = SCALARS.get(kind)
        except TypeError:
            # What Annotated adds deep inside need not be hashable; then its text tells it from others.
            return self._keyed(repr(kind), kind)
        return self._keyed(kind, kind) if scalar is None else scalar

    def _keyed(self, key: object, kind: Any) -> Form:
        known = self._made.get(key)
        if known is not None:
            return known
        if key in self._under_way:
            return TreeForm()
        origin: Any = getattr(kind, "__origin__", None)
        if isinstance(kind, type) and origin is None:
            return self._plain(kind)
        self._under_way.add(key)
        try:
            return self._plain(kind) if origin is None and not _is_union(kind) else self._generic(kind, origin)
        finally:
            self._under_way.discard(key)

    def evaluated(self, annotation: object) -> object:
        kind: Any = evaluate(annotation, self._owner, self._names)
        if not self._variables:
            return kind
        if type(kind).__name__ == "TypeVar":
            return self._variables.get(kind, kind)
        unknown = getattr(kind, "__parameters__", ())
        if not unknown or (getattr(kind, "__origin__", None) is None and not _is_union(kind)):
            return kind
        alias: Any = kind
        return alias[tuple(self._variables.get(variable, variable) for variable in unknown)]

    def _plain(self, kind: Any) -> Form:
        typing = sys.modules.get("typing")
        if kind is object or (typing is not None and kind is typing.Any):
            return TreeForm()
        if kind in _ITEMS or kind is tuple:
            return ListForm(kind, TreeForm())
        if kind is dict:
            return TreeForm()
        if not isinstance(kind, type):
            inner = getattr(kind, "__supertype__", None) or getattr(
                kind, "__value__", None
            )  # NewType, and the type statement
            if inner is None:
                raise CodecError(f"{_name(kind)} has no codec: name the type that the value really has")
            return self.form(inner)
        return self._class(kind)

    def _class(self, kind: Any, given: Mapping[object, object] | None = None, alias: object = None) -> Form:
        """The form of a class; of a generic one, `given` are its types and `alias` is what was written."""
        name = f"{kind.__module__}.{kind.__qualname__}"
        form = ArrayForm() if name == "numpy.ndarray" else text_form(name)
        if form is not None:
            return form
        enum = sys.modules.get("enum")
        if enum is not None and issubclass(kind, enum.Enum):
            return EnumForm(kind)
        fields = field_annotations(kind)
        if fields is not None:
            _refuse_builtin_base(kind)
            record = RecordForm(kind, kind.__qualname__ if alias is None else str(alias).replace("typing.", ""))
            return self._fill(kind, record, record.fields, fields, alias or kind, given)
        if issubclass(kind, dict) and hasattr(kind, "__required_keys__"):
            typed = TypedDictForm(kind)
            return self._fill(kind, typed, typed.fields, _own_annotations(kind), alias or kind, given)
        names = getattr(kind, "_fields", None)
        if issubclass(kind, tuple) and names is not None:
            named = TupleForm([], kind, names)
            fields = _own_annotations(kind)
            self._made[alias or kind] = named
            inside = self._inside(kind, given)
            named.items.extend(inside.form(fields[field]) if field in fields else TreeForm() for field in names)
            return named
        raise CodecError(
            f"{_name(kind)} has no codec: use an attrs class, a dataclass, built-in types or a NumPy array"
        )

    def _fill(
        self,
        kind: Any,
        form: Form,
        into: dict[str, Form],
        fields: Mapping[str, object],
        made_for: object,
        given: Mapping[object, object] | None,
    ) -> Form:
        self._made[made_for] = form
        inside = self._inside(kind, given)
        for field, annotation in fields.items():
            if annotation is None and hasattr(kind, "__attrs_attrs__"):
                raise CodecError(f"{_name(kind)}.{field} has no annotation, so there is no codec for it")
            try:
                into[field] = inside.form(_without_qualifier(annotation, inside))
            except CodecError as error:
                raise CodecError(error.message, f"$.{field}{error.path[1:]}") from None
            except Unresolved as error:
                raise CodecError(str(error), f"$.{field}") from None
        return form

    def _inside(self, kind: type, given: Mapping[object, object] | None) -> _Builder:
        named = {variable.__name__: variable for variable in getattr(kind, "__type_params__", ())}
        builder = _Builder(kind, {**self._names, **named}, _variables_of(kind, given or {}))
        builder._made = self._made
        builder._depth = self._depth + 1
        if builder._depth > _DEEPEST:
            raise RecursionError
        return builder

    def _generic(self, kind: Any, origin: Any) -> Form:
        arguments = getattr(kind, "__args__", None)
        if arguments is None:  # typing.List without what it holds
            return self._plain(origin)
        if _is_union(kind) or str(origin) == "typing.Union":
            return self._union(arguments)
        if str(origin) == "typing.Literal":
            return LiteralForm(arguments)
        if origin in _ITEMS:
            return ListForm(origin, self.form(arguments[0]))
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return ListForm(tuple, self.form(arguments[0]))
            return TupleForm([self.form(item) for item in arguments if item != ()])
        if origin is dict:
            return DictForm(self.form(arguments[0]), self.form(arguments[1]))
        if f"{getattr(origin, '__module__', '')}.{getattr(origin, '__qualname__', '')}" == "numpy.ndarray":
            return ArrayForm()
        meant: Any = getattr(origin, "__value__", None)
        if meant is not None:  # a generic type statement
            given = dict(zip(origin.__type_params__, arguments, strict=False))
            unknown = getattr(meant, "__parameters__", ())
            return self.form(meant[tuple(given.get(variable, variable) for variable in unknown)] if unknown else meant)
        if isinstance(origin, type) and not origin.__module__.startswith(("collections", "_collections", "contextlib")):
            return self._class(origin, dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False)), kind)
        raise CodecError(f"{_name(kind)} has no codec: use list, tuple, set, frozenset, dict, or a class with fields")

    def _union(self, members: Sequence[object]) -> Form:
        forms = [self.form(member) for member in members if member is not None and member is not _NONE]
        if len(forms) == len(members):
            return UnionForm(forms)
        if len(forms) == 1:
            # A tree may be None by itself.
            return forms[0] if isinstance(forms[0], (TreeForm, OptionalForm)) else OptionalForm(forms[0])
        return OptionalForm(UnionForm(forms))


def _refuse_builtin_base(kind: type) -> None:
    """An exception, or a dictionary with fields, holds more than its fields, and cannot be made without its own `__new__`."""
    for base in kind.__mro__[:-1]:
        if not base.__flags__ & _WRITTEN_IN_PYTHON:
            raise CodecError(
                f"{_name(kind)} has no codec: it extends {base.__name__}, whose part of it would be lost: use a class that is its fields"
            )


def _without_qualifier(annotation: object, builder: _Builder) -> object:
    kind: Any = builder.evaluated(annotation)
    if str(getattr(kind, "__origin__", "")) in {
        "typing.Required",
        "typing.NotRequired",
        "typing.ReadOnly",
        "typing.Final",
    }:
        return kind.__args__[0]
    return kind


def _is_union(kind: object) -> bool:
    return type(kind).__name__ in {"UnionType", "_UnionGenericAlias", "Union"}


def _variables_of(kind: type, given: Mapping[object, object]) -> dict[object, object]:
    """What the type variables in a class's own and inherited fields stand for."""
    variables = dict(given)
    for base in kind.__dict__.get("__orig_bases__", ()):
        origin: Any = getattr(base, "__origin__", None)
        arguments = getattr(base, "__args__", ())
        inherited: dict[object, object] = {
            variable: variables.get(argument, argument)
            for variable, argument in zip(getattr(origin, "__parameters__", ()), arguments, strict=False)
            if variable is not argument
        }
        if isinstance(origin, type):
            variables = {**_variables_of(origin, inherited), **variables}
    return variables


def _own_annotations(kind: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        found.update(base.__dict__.get("__annotations__") or {})  # noqa: RUF063 - inspect would evaluate them
    return found or dict(getattr(kind, "__annotations__", {}))


def _name(kind: object) -> str:
    return getattr(kind, "__qualname__", None) or repr(kind)
