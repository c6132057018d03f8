"""Forms made from a shape, the plain description of what earlier code wrote: they read it without that code's classes."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# A shape is read from a disk and can be anything.
from __future__ import annotations

from warmstate.warm.codecs.codec import SCALARS
from warmstate.warm.codecs.form import DictForm, Form, ListForm, OptionalForm, TupleForm, UnionForm
from warmstate.warm.codecs.leaves import ArrayForm, NameForm, text_form
from warmstate.warm.codecs.records import PlainClassForm
from warmstate.warm.codecs.tree import TreeForm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["form_from_shape"]

_BY_NAME = {form.shape: form for form in SCALARS.values()}


def form_from_shape(shape: Any, classes: dict[str, Form]) -> Form:
    """
    The form that reads what a form of this shape wrote; `classes` are those that it is inside of.

    Raises:
        Exception: It is no shape; one of the kinds that looking into an unknown value raises.
    """
    if isinstance(shape, str):
        if shape in _BY_NAME:
            return _BY_NAME[shape]
        if shape == "object":
            return TreeForm()
        if shape == "numpy.ndarray":
            return ArrayForm()
        __import__(
            {"datetime": "datetime", "decimal": "decimal", "uuid": "uuid", "builtins": "sys"}[shape.partition(".")[0]]
        )
        form = text_form(shape)
        if form is None:
            raise KeyError(shape)
        return form
    word, *rest = shape
    if word in {"list", "set", "frozenset", "tuple"}:
        return ListForm(
            {"list": list, "set": set, "frozenset": frozenset, "tuple": tuple}[word], form_from_shape(rest[0], classes)
        )
    if word == "dict":
        return DictForm(form_from_shape(rest[0], classes), form_from_shape(rest[1], classes))
    if word == "optional":
        return OptionalForm(form_from_shape(rest[0], classes))
    if word == "union":
        return UnionForm([form_from_shape(member, classes) for member in rest[0]])
    if word in {"fixed", "named"}:
        return TupleForm([form_from_shape(item, classes) for item in rest[-1]])
    if word in {"enum", "flag", "literal"}:
        return NameForm(shape)
    if word == "again":
        return classes[rest[0]]
    if word not in {"class", "typed"}:
        raise KeyError(word)
    record = PlainClassForm(shape, may_lack=word == "typed")
    if word == "class":
        classes[rest[0]] = record
    record.fields.update({name: form_from_shape(item, classes) for name, item in rest[-1].items()})
    return record
