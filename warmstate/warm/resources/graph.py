"""
Which resource uses which, read from the code of a class before anything runs, so that a circle is an error at class creation.

Seen are uses of `self.name` in generator methods and in the methods of the class that they call. The names that code mentions
rule a circle out almost always; only where they do not, the instructions are looked at (importing `dis` takes milliseconds).
What is hidden from it (`getattr`, a helper outside the class) is refused when it happens.
"""

from __future__ import annotations

from warmstate.errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType
    from typing import Any, TypeAlias

    from warmstate.warm.resources.resource import AsyncResource, Resource

    Reader: TypeAlias = Callable[[CodeType, str], set[str]]

__all__ = ["refuse_circles"]


def refuse_circles(owner: type, resources: Mapping[str, Resource[Any] | AsyncResource[Any]]) -> None:
    """
    Check that no resource of `owner` needs itself.

    Raises:
        DeclarationError: one does; the message shows the circle.
    """
    circle = _circle(owner, resources, _mentioned)
    if circle is not None:
        circle = _circle(owner, resources, _used)
    if circle is not None:
        raise DeclarationError(
            f"resources of {owner.__qualname__} need each other in a circle: {' -> '.join(circle)}; "
            "take what they share out into a third resource"
        )


def _circle(owner: type, resources: Mapping[str, Resource[Any] | AsyncResource[Any]], read: Reader) -> list[str] | None:
    """The names along the first circle found, or None."""
    needs = {name: _needs(owner, resource.method, resources, read) for name, resource in resources.items()}
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        for need in sorted(needs[name]):
            circle = walk(need, [*path, name])
            if circle is not None:
                return circle
        done.add(name)
        return None

    for name in resources:
        circle = walk(name, [])
        if circle is not None:
            return circle
    return None


def _needs(owner: type, method: object, resources: Mapping[str, object], read: Reader) -> set[str]:
    """The resources that `method` uses, itself or through other methods of the class."""
    found: set[str] = set()
    seen: set[str] = set()
    pending: list[object] = [method]
    while pending:
        code: CodeType | None = getattr(pending.pop(), "__code__", None)
        if code is None or not code.co_argcount:
            continue
        for name in read(code, code.co_varnames[0]) - seen:
            seen.add(name)
            if name in resources:
                found.add(name)
            else:
                attribute = _attribute(owner, name)
                pending.append(getattr(attribute, "fget", None) or attribute)
    return found


def _attribute(owner: type, name: str) -> object:
    for base in owner.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def _mentioned(code: CodeType, _: str) -> set[str]:
    """Every name that the code looks up on anything: more than it uses of `self`, never less."""
    names = set(code.co_names)
    for inner in code.co_consts:
        if hasattr(inner, "co_names"):
            names |= _mentioned(inner, "")
    return names


def _used(code: CodeType, this: str) -> set[str]:
    """The names that the code looks up on `self`."""
    import dis

    names: set[str] = set()
    on_this = False
    for instruction in dis.get_instructions(code):
        if instruction.opname in {"LOAD_ATTR", "LOAD_METHOD"} and on_this:
            names.add(str(instruction.argval))
        if instruction.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF", "STORE_FAST_LOAD_FAST")):
            # Some instructions load two names at once; the last one is on top.
            on_this = instruction.argrepr.split(", ")[-1] == this
        elif instruction.opname not in {"CACHE", "NOP"}:
            on_this = False
    for inner in code.co_consts:
        if hasattr(inner, "co_names"):
            names |= _used(inner, this)
    return names
