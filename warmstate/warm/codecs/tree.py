"""
The form of values whose annotation says nothing about them: trees of plain values, and of the kinds below, told apart by tags.

A tag is a dictionary with the one key `$`; a user's dictionary with that key, or with keys that are not text, is tagged too, so
nothing a user writes is mistaken for a tag.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# What is read back can be anything, and checking it is the work of this module.
from __future__ import annotations

from warmstate.warm.codecs.form import Form, Misfit, buffer_at, kind_of
from warmstate.warm.codecs.leaves import ArrayForm, text_form

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from warmstate.warm.codecs.form import Buffer

__all__ = ["TreeForm"]

_SCALARS = frozenset((type(None), bool, int, float, str))
_SEQUENCES: dict[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset}
_TAGGED_SEQUENCES = frozenset(_SEQUENCES.values())


class TreeForm(Form):
    """
    Any tree of values of built-in kinds.

    `form_of` gives the form of an instance of a user's class; it makes sense only where the same process reads what it wrote,
    because the classes are known by their number in a table in memory.
    """

    __slots__ = ("_classes", "_form_of")

    def __init__(self, form_of: Callable[[type], Form | None] | None = None) -> None:
        self._form_of = form_of
        self._classes: list[tuple[type, Form]] = []

    @property
    def shape(self) -> Any:
        return "object"

    def fits(self, value: object) -> bool:
        return True

    def to_plain(self, value: Any, buffers: list[Buffer]) -> Any:
        kind = type(value)
        if kind in _SCALARS:
            return value
        if kind is list:
            return value if _SCALARS.issuperset(map(type, value)) else self._items(value, buffers)
        if kind is dict:
            return self._dictionary(value, buffers)
        if kind in _TAGGED_SEQUENCES:
            return {"$": kind.__name__, "v": self._items(value, buffers)}
        if kind is bytes or kind is bytearray:
            buffers.append(bytes(value))
            return {"$": kind.__name__, "v": len(buffers) - 1}
        name = f"{kind.__module__}.{kind.__qualname__}"
        form = ArrayForm() if name == "numpy.ndarray" else text_form(name)
        if form is not None and form.fits(value):
            return {"$": name, "v": form.to_plain(value, buffers)}
        return self._instance(value, buffers)

    def from_plain(self, plain: Any, buffers: Sequence[Buffer]) -> Any:
        kind = type(plain)
        if kind in _SCALARS:
            return plain
        if kind is list:
            if _SCALARS.issuperset(map(type, plain)):
                return plain
            return [self.from_plain(item, buffers) for item in plain]
        if "$" not in plain:
            if not _SCALARS.issuperset(map(type, plain.values())):
                for key, item in plain.items():
                    if type(item) not in _SCALARS:
                        plain[key] = self.from_plain(item, buffers)
            return plain
        return self._untagged(plain, buffers)

    def _items(self, values: Any, buffers: list[Buffer]) -> list[Any]:
        done: list[Any] = []
        try:
            for value in values:
                done.append(value if type(value) in _SCALARS else self.to_plain(value, buffers))  # noqa: PERF401 - its length tells where a misfit is
        except Misfit as misfit:
            raise misfit.under(f"[{len(done)}]") from None
        return done

    def _dictionary(self, value: dict[Any, Any], buffers: list[Buffer]) -> Any:
        if not {str}.issuperset(map(type, value)) or "$" in value:
            return {"$": "dict", "v": [self._items(value, buffers), self._items(value.values(), buffers)]}
        if _SCALARS.issuperset(map(type, value.values())):
            return value
        done: dict[str, Any] = {}
        key = ""
        try:
            for key, item in value.items():
                done[key] = item if type(item) in _SCALARS else self.to_plain(item, buffers)
        except Misfit as misfit:
            raise misfit.under(f".{key}" if key.isidentifier() else f"[{key[:40]!r}]") from None
        return done

    def _instance(self, value: Any, buffers: list[Buffer]) -> Any:
        kind = type(value)
        if self._form_of is None:
            raise Misfit(
                f"{kind_of(value)} in a slot whose annotation does not name that type: name it, so that it can be read back"
            )
        for number, (known, form) in enumerate(self._classes):
            if known is kind:
                return {"$": number, "v": form.to_plain(value, buffers)}
        made = self._form_of(kind)
        if made is None:
            raise Misfit(f"{kind_of(value)} has no codec")
        self._classes.append((kind, made))
        return {"$": len(self._classes) - 1, "v": made.to_plain(value, buffers)}

    def _untagged(self, plain: dict[str, Any], buffers: Sequence[Buffer]) -> Any:
        if plain.keys() != {"$", "v"}:
            raise Misfit("a damaged tag")
        tag, written = plain["$"], plain["v"]
        if type(tag) is int and 0 <= tag < len(self._classes):
            return self._classes[tag][1].from_plain(written, buffers)
        if type(tag) is not str:
            raise Misfit("a damaged tag")
        if tag in _SEQUENCES and type(written) is list:
            return self._made(_SEQUENCES[tag], written, buffers)
        if (
            tag == "dict"
            and type(written) is list
            and len(written) == 2
            and type(written[0]) is type(written[1]) is list
        ):
            made = self._made(
                lambda items: dict(zip(items, self.from_plain(written[1], buffers), strict=False)), written[0], buffers
            )
            if not len(made) == len(written[0]) == len(written[1]):
                raise Misfit("keys and values that do not match")
            return made
        if tag in {"bytes", "bytearray"}:
            return (bytes if tag == "bytes" else bytearray)(buffer_at(written, buffers))
        if tag == "numpy.ndarray":
            return ArrayForm().from_plain(written, buffers)
        form = _imported_form(tag)
        if form is None:
            raise Misfit("an unknown tag")
        return form.from_plain(written, buffers)

    def _made(self, make: Callable[[Any], Any], written: list[Any], buffers: Sequence[Buffer]) -> Any:
        try:
            return make([self.from_plain(item, buffers) for item in written])
        except TypeError as error:
            raise Misfit(str(error)) from None


def _imported_form(tag: str) -> Form | None:
    module = tag.partition(".")[0]
    if module in {"datetime", "decimal", "uuid"}:
        __import__(module)
    return text_form(tag)
