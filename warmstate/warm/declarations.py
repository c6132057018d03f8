"""
What a handler class declares, collected and judged when the class is created.

1. Nothing here evaluates an annotation; see `annotations`.
2. A subclass inherits declarations. A slot, tail or resource under the same name replaces the inherited one and brings its own
   methods; a method under the name of a decorated one overrides it.
3. Every error names the class and the declaration and says what to write instead.
"""

from __future__ import annotations

import builtins
import sys

from warmstate.errors import DeclarationError
from warmstate.warm.amounts import parse_bytes, parse_share
from warmstate.warm.annotations import is_annotated, local_names, written_annotation
from warmstate.warm.slot import MISSING, Missing, State, can_change
from warmstate.warm.tails.tail import Tail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Declarations", "collect"]

_TIERS = ("freeze", "reset")
_HOOKS = ("on_init", "on_thaw", "after_response", "before_shutdown", "before_timeout")
_YIELDS = 0x20 | 0x200
"""CO_GENERATOR and CO_ASYNC_GENERATOR of the `inspect` module."""
_MADE_EMPTY = (list, dict, set, bytearray)


class Declarations:
    """
    The slots, tails and resources of a handler class by name, in the order of their declaration, bases first.

    `owners` tells for each name the class whose body declares it, `locals` what is known around that class.
    """

    __slots__ = ("handler_class", "locals", "owners", "resources", "slots", "tails")

    def __init__(self, handler_class: type) -> None:
        self.handler_class = handler_class
        self.slots: dict[str, State[Any]] = {}
        self.tails: dict[str, Tail[Any]] = {}
        self.resources: dict[str, Any] = {}
        self.owners: dict[str, type] = {}
        self.locals: dict[type, dict[str, object]] = {}

    def __repr__(self) -> str:
        return f"<Declarations of {self.handler_class.__qualname__}: {', '.join(self.owners) or 'nothing'}>"

    @property
    def commits(self) -> bool:
        """Whether anything outlives the process's memory."""
        return any(slot.commits for slot in self.slots.values()) or any(tail.commits for tail in self.tails.values())

    def refuse_fields(self, *others: str) -> None:
        """
        Look at what a decorator made of the class, which happens after it was created, and of `others` that it took away.

        Raises:
            DeclarationError: Declarations became fields of a dataclass or an attrs class, whose `__init__` would overwrite them.
        """
        fields = _fields_of(self.handler_class).intersection({*self.owners, *others})
        if fields:
            raise DeclarationError(
                f"{self.handler_class.__qualname__}.{min(fields)} became a field of a dataclass or an attrs class: a handler is a plain "
                "class, so take the decorator off, and set plain attributes in __init__"
            )


def collect(handler_class: type) -> Declarations:
    """
    The declarations of a class and its bases.

    Raises:
        DeclarationError: One of them cannot work as declared.
    """
    declared = Declarations(handler_class)
    _check_hooks(handler_class)
    for owner in reversed(handler_class.__mro__):
        around: dict[str, object] | None = None
        for name, value in owner.__dict__.items():
            kind = _kind_of(value)
            if kind is None:
                _refuse_shadow(declared, owner, name, value)
                continue
            if around is None:
                around = _names_around(handler_class, owner)
                declared.locals[owner] = around
            _forget(declared, name)
            _refuse_taken_name(owner, name)
            declared.owners[name] = owner
            if kind == "slot":
                declared.slots[name] = _checked_slot(owner, name, value)
            elif kind == "tail":
                declared.tails[name] = _checked_tail(owner, name, value)
            else:
                declared.resources[name] = value
    for owner in handler_class.__mro__:
        _refuse_bare_annotations(declared, owner)
    _check_methods(declared)
    _check_concurrency(declared)
    _check_budget(handler_class)
    if declared.resources:
        from warmstate.warm.resources.graph import refuse_circles

        refuse_circles(handler_class, declared.resources)
    return declared


def _check_hooks(handler_class: type) -> None:
    for name in ("handle", *_HOOKS):
        if name not in handler_class.__dict__:
            continue
        hook: object = handler_class.__dict__[name]
        if not callable(hook) and not hasattr(type(hook), "__get__"):
            raise DeclarationError(
                f"{handler_class.__qualname__}.{name} is {hook!r}, which cannot be called: write a method, or leave the line out"
            )
        code = getattr(hook, "__code__", None)
        if name != "handle" and code is not None and code.co_flags & _YIELDS:
            raise DeclarationError(
                f"{handler_class.__qualname__}.{name} has a yield, so calling it would run nothing of it: only handle may be a "
                "generator; write a plain method, or async def without a yield"
            )


def _fields_of(handler_class: type) -> set[str]:
    attributes: Any = getattr(handler_class, "__attrs_attrs__", ())
    return {attribute.name for attribute in attributes}.union(getattr(handler_class, "__dataclass_fields__", ()))


def _kind_of(value: object) -> str | None:
    if isinstance(value, State):
        return "slot"
    if isinstance(value, Tail):
        return "tail"
    # A resource can exist only where its module is loaded, and most handlers need no more than this look.
    resource = sys.modules.get("warmstate.warm.resources.resource")
    if resource is not None and isinstance(value, (resource.Resource, resource.AsyncResource)):
        return "resource"
    return None


def _names_around(handler_class: type, owner: type) -> dict[str, object]:
    known = owner.__dict__.get("__warmstate__")
    if owner is not handler_class and isinstance(known, Declarations):
        return known.locals.get(owner, {})
    return local_names(owner)


def _forget(declared: Declarations, name: str) -> None:
    declared.owners.pop(name, None)
    declared.slots.pop(name, None)
    declared.tails.pop(name, None)
    declared.resources.pop(name, None)


def _refuse_shadow(declared: Declarations, owner: type, name: str, value: object) -> None:
    inherited = declared.slots.get(name) or declared.tails.get(name) or declared.resources.get(name)
    if inherited is None:
        return
    word = "slot" if name in declared.slots else "tail" if name in declared.tails else "resource"
    default = "..." if hasattr(value, "__get__") else repr(value)
    wanted = f"{name}: State[...] = state(default={default})" if word == "slot" else f"a new declaration of {name}"
    raise DeclarationError(
        f"{owner.__qualname__}.{name} would hide the {word} {name} of {declared.owners[name].__qualname__}: "
        f"use another name, or redeclare it ({wanted})"
    )


def _refuse_taken_name(owner: type, name: str) -> None:
    if name.startswith("__") and name.endswith("__"):
        raise DeclarationError(f"{owner.__qualname__}.{name}: names like this one belong to Python; use another")
    for base in owner.__mro__[1:]:
        taken = base.__dict__.get(name)
        if taken is not None and _kind_of(taken) is None:
            raise DeclarationError(
                f"{owner.__qualname__}.{name} would hide {base.__qualname__}.{name}, which is no slot, tail or resource: use another name"
            )


def _checked_slot(owner: type, name: str, slot: State[Any]) -> State[Any]:
    where = f"{owner.__qualname__}.{name}"
    example = f"{name}: State[{_type_word(slot)}] = state({_arguments(slot)})"
    if len({known for _, known in slot.names}) > 1:
        names = " and ".join(sorted({known for _, known in slot.names}))
        raise DeclarationError(f"{where}: one state() was given two names, {names}: write one state() for each")
    if not is_annotated(owner, name):
        raise DeclarationError(f"{where}: {name} needs an annotation: {example}")
    _check_annotation(where, written_annotation(owner, name), example, State)
    if slot.default is MISSING and slot.factory is MISSING:
        raise DeclarationError(
            f"{where} needs a value to begin with: {name}: State[...] = state(default=...) or state(factory=...)"
        )
    if slot.default is not MISSING and slot.factory is not MISSING:
        raise DeclarationError(f"{where} has default= and factory=: give one of them")
    if slot.factory is not MISSING and not callable(slot.factory):
        raise DeclarationError(
            f"{where}: factory= must be callable: write state(default={slot.factory!r}), or a function that makes the value"
        )
    if any(slot.default is kind for kind in _MADE_EMPTY):
        name = slot.default.__name__
        raise DeclarationError(
            f"{where}: default={name} is the class itself and no {name}: write state(factory={name})"
        )
    if slot.sizeof is not None and not callable(slot.sizeof):
        raise DeclarationError(
            f"{where}: sizeof= must be a function that takes a value and returns its bytes: write sizeof=len"
        )
    if slot.default is not MISSING and can_change(slot):
        raise DeclarationError(
            f"{where}: a {type(slot.default).__name__} as default= would be shared by all handlers, because it can change in place: "
            f"write state(factory={_factory_for(slot.default)})"
        )
    _check_survives(where, slot.survives)
    if slot.codec not in {None, "pickle"}:
        raise DeclarationError(
            f'{where}: codec={slot.codec!r} is unknown: leave it out (the annotation decides), or write codec="pickle"'
        )
    if slot.codec == "pickle" and slot.commits:
        raise DeclarationError(
            f'{where}: codec="pickle" cannot be committed, because reading a pickle runs code that a file names: use a type that the '
            'codec knows (attrs classes, dataclasses, containers, arrays), or survives="freeze"'
        )
    if slot.secret and slot.commits:
        raise DeclarationError(
            f'{where}: a secret is never written to a disk, and survives="{slot.survives}" would: drop one of the two, or fetch the '
            "secret in a resource"
        )
    _check_schema(where, slot)
    return slot


def _check_schema(where: str, slot: State[Any]) -> None:
    if type(slot.schema) is not int or slot.schema < 1:
        raise DeclarationError(f"{where}: schema={slot.schema!r} must be a whole number from 1")
    for number in slot.migrations:
        if type(number) is not int or not 1 <= number < slot.schema:
            raise DeclarationError(
                f"{where}: migrate({number!r}) reads what an earlier schema wrote, and schema is {slot.schema}: "
                f"raise schema= above {number!r}, or decorate with an earlier number"
            )


def _checked_tail(owner: type, name: str, tail: Tail[Any]) -> Tail[Any]:
    where = f"{owner.__qualname__}.{name}"
    example = f"{name}: Tail[...] = tail(max_items=25)"
    if len({known for _, known in tail.names}) > 1:
        raise DeclarationError(f"{where}: one tail() was given two names: write one tail() for each")
    if not is_annotated(owner, name):
        raise DeclarationError(f"{where}: {name} needs an annotation: {example}")
    _check_annotation(where, written_annotation(owner, name), example, Tail)
    _check_survives(where, tail.survives)
    if tail.max_items is None and tail.max_bytes is None and tail.max_age is None:
        raise DeclarationError(
            f'{where} has no bound, so nothing would ever flush it: write tail(max_items=25), tail(max_bytes="32 MB") or tail(max_age=30)'
        )
    if tail.max_items is not None and (type(tail.max_items) is not int or tail.max_items < 1):
        raise DeclarationError(f"{where}: max_items={tail.max_items!r} must be a whole number from 1")
    if tail.max_age is not None and not _is_positive(tail.max_age):
        raise DeclarationError(f"{where}: max_age={tail.max_age!r} must be a positive number of seconds")
    if tail.max_bytes is not None:
        try:
            parse_bytes(tail.max_bytes)
        except ValueError as error:
            raise DeclarationError(f"{where}: max_bytes: {error}") from None
    if not tail.flush_method:
        raise DeclarationError(
            f"{where} needs a method that flushes it:\n    @{name}.flush\n    def write_{name}(self, batch: Sequence[...]) -> int | None: ..."
        )
    return tail


def _is_positive(number: object) -> bool:
    return isinstance(number, (int, float)) and number > 0


def _check_survives(where: str, survives: object) -> None:
    if survives == "shutdown":
        raise DeclarationError(
            f'{where}: survives="shutdown" needs a durable backend, which this version does not have: write survives="reset" and keep '
            "what must outlive the environment in a service of your own, written by a tail's flush"
        )
    if survives not in _TIERS:
        raise DeclarationError(
            f'{where}: survives={survives!r} is unknown: write "freeze" (memory) or "reset" (committed to /tmp)'
        )


def _check_annotation(where: str, annotation: object, example: str, wanted: type) -> None:
    if annotation is None:
        return
    if isinstance(annotation, str):
        text = annotation.strip().strip("'\"")
        head, bracket, _ = text.partition("[")
        last = head.strip().rpartition(".")[2]
        builtin = last in vars(builtins)
        wrong = (
            builtin
            or (not bracket and last in {"State", "Tail"})
            or (last in {"State", "Tail"} and last != wanted.__name__)
        )
    else:
        text = getattr(annotation, "__name__", None) or repr(annotation)
        wrong = getattr(annotation, "__origin__", None) is not wanted
    if wrong:
        raise DeclarationError(f"{where} is annotated {text}: write {example}")


def _refuse_bare_annotations(declared: Declarations, owner: type) -> None:
    written: dict[str, Any] = owner.__dict__.get("__annotations__") or {}  # noqa: RUF063 - inspect would evaluate them
    for name, annotation in written.items():
        if name in declared.owners:
            continue
        text = (
            annotation
            if isinstance(annotation, str)
            else getattr(getattr(annotation, "__origin__", None), "__name__", "")
        )
        head = text.strip("'\" ").partition("[")[0].rpartition(".")[2]
        if head in {"State", "Tail"} and not text.startswith("ClassVar"):
            declared.refuse_fields(name)
            call = "state(default=...)" if head == "State" else "tail(max_items=25)"
            raise DeclarationError(
                f"{owner.__qualname__}.{name} is annotated and not declared: write {name}: {head}[...] = {call}"
            )


def _check_methods(declared: Declarations) -> None:
    for name, slot in declared.slots.items():
        for schema, method in slot.migrations.items():
            _check_method(declared, name, method, f"@{name}.migrate({schema})")
    for name, tail in declared.tails.items():
        _check_method(declared, name, tail.flush_method, f"@{name}.flush")
    for name, resource in declared.resources.items():
        if resource.check_name is not None:
            _check_method(declared, name, resource.check_name, f"@{name}.check")


def _check_method(declared: Declarations, name: str, method: str, decorator: str) -> None:
    if not callable(getattr(declared.handler_class, method, None)):
        raise DeclarationError(
            f"{declared.owners[name].__qualname__}.{name}: {decorator} decorates {method}, which is no method of the class: "
            f"keep the decorated function under its own name"
        )


def _check_concurrency(declared: Declarations) -> None:
    concurrency = getattr(declared.handler_class, "concurrency", "serial")
    if concurrency == "serial":
        return
    committed = [name for name, slot in declared.slots.items() if slot.commits]
    committed += [name for name, tail in declared.tails.items() if tail.commits]
    for name in committed:
        raise DeclarationError(
            f'{declared.handler_class.__qualname__}.{name} survives a reset, which needs concurrency = "serial": invocations that '
            f'overlap have no common moment to commit; write survives="freeze", or drop concurrency = "{concurrency}"'
        )


def _check_budget(handler_class: type) -> None:
    try:
        parse_share(getattr(handler_class, "store_budget", 0.5), 1)
    except ValueError as error:
        raise DeclarationError(f"{handler_class.__qualname__}.store_budget: {error}") from None


def _type_word(slot: State[Any]) -> str:
    if not isinstance(slot.factory, Missing):
        return getattr(slot.factory, "__name__", "...") if isinstance(slot.factory, type) else "..."
    return "..." if slot.default is None or slot.default is MISSING else type(slot.default).__name__


def _arguments(slot: State[Any]) -> str:
    if not isinstance(slot.factory, Missing):
        written = f"factory={getattr(slot.factory, '__name__', '...')}"
    else:
        written = "default=..." if slot.default is MISSING else f"default={slot.default!r}"
    return written if slot.survives == "freeze" else f'{written}, survives="{slot.survives}"'


def _factory_for(default: object) -> str:
    try:
        empty = not len(default)  # type: ignore[arg-type]
    except TypeError:
        empty = True
    return type(default).__name__ if empty else f"lambda: {default!r}"
