"""
What a declaration's annotation says, without evaluating it before an instance needs it.

A class may name types in its annotations that exist only for type checkers, or that are local to a function; so creating the class
looks at names and text alone.
Evaluation happens when a codec is built, and the `typing` module is never imported for it: if an annotation uses it, it is loaded.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Annotations can be anything, and some of the modules they need are newer than the oldest Python.
from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType
    from typing import Any

__all__ = [
    "Unresolved",
    "annotation_of",
    "argument_of",
    "evaluate",
    "is_annotated",
    "local_names",
    "written_annotation",
]


class Unresolved(Exception):
    """Raised when an annotation cannot be evaluated; the message says why, without naming the declaration."""


def is_annotated(owner: type, name: str) -> bool:
    """Whether the class body itself annotates `name`."""
    written = owner.__dict__.get("__annotations__")  # noqa: RUF063 - inspect would evaluate them
    if written is not None:
        return name in written
    # Since Python 3.14 annotations are a function; its constants hold the annotated names, and calling it would evaluate them.
    annotate = owner.__dict__.get("__annotate_func__") or owner.__dict__.get("__annotate__")
    return annotate is not None and name in annotate.__code__.co_consts


def written_annotation(owner: type, name: str) -> object:
    """The annotation as it stands, text or value, if that is known without evaluating it; else None."""
    written = owner.__dict__.get("__annotations__")  # noqa: RUF063 - inspect would evaluate them
    return None if written is None else written.get(name)


def local_names(owner: type) -> dict[str, object]:
    """
    The classes and annotated names around a class that is being created inside a function; empty for any other class.

    Text cannot be evaluated later without them, because a function's names are gone when it returns.
    """
    path = owner.__qualname__.split(".<locals>.")
    if len(path) < 2:
        return {}
    function = path[-2].rpartition(".")[2]
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect is slow to import
    while frame is not None:
        if frame.f_code.co_name == function and frame.f_globals.get("__name__") == owner.__module__:
            break
        frame = frame.f_back
    else:
        return {}
    wanted = _names_in_text(owner)
    found = frame.f_locals
    return {name: value for name, value in found.items() if isinstance(value, type) or name in wanted}


def annotation_of(owner: type, name: str, locals_: Mapping[str, object]) -> object:
    """
    The evaluated annotation of `name` in the class body of `owner`.

    Raises:
        Unresolved: A name in it does not exist, or it is no valid expression.
    """
    annotation = written_annotation(owner, name)
    if annotation is None:
        annotation = _lazy_annotation(owner, name)
    annotation = evaluate(annotation, owner, locals_)
    return evaluate(annotation, owner, locals_)  # text within text, where annotations are postponed and quoted too


def argument_of(annotation: object, owner: type, locals_: Mapping[str, object]) -> object:
    """The type inside `State[...]` or `Tail[...]`."""
    arguments = getattr(annotation, "__args__", None)
    if not arguments:
        raise Unresolved("it does not say what it holds: write for example State[int]")
    from warmstate.warm.slot import State
    from warmstate.warm.tails.tail import Tail

    held = evaluate(arguments[0], owner, locals_)
    if getattr(held, "__origin__", None) in {State, Tail}:  # Annotated or Final is written around it
        return argument_of(held, owner, locals_)
    return held


def evaluate(annotation: object, owner: type, locals_: Mapping[str, object]) -> object:
    """The type that an annotation means, evaluating text with the names of the class's module and of the functions around it."""
    forward = getattr(annotation, "__forward_arg__", None)
    if forward is not None:
        annotation = forward
    if not isinstance(annotation, str):
        return annotation
    from warmstate.warm.slot import State
    from warmstate.warm.tails.tail import Tail

    module = sys.modules.get(owner.__module__)
    known = {"State": State, "Tail": Tail, **(vars(module) if module is not None else {})}
    try:
        return _evaluate(annotation, known, {**locals_})
    except NameError:
        try:
            return _evaluate(annotation, known, {**vars(owner), owner.__name__: owner, **locals_})
        except NameError as error:
            raise Unresolved(
                f"{error} at run time: import it outside `if TYPE_CHECKING:`, or move it out of the function it is local to"
            ) from None
        except Exception as error:  # noqa: BLE001 - evaluating a user's expression raises anything
            raise Unresolved(f"{type(error).__name__}: {error}") from None
    except RecursionError:
        raise
    except Exception as error:  # noqa: BLE001 - evaluating a user's expression raises anything
        raise Unresolved(f"{type(error).__name__}: {error}") from None


def _evaluate(text: str, globals_: dict[str, Any], locals_: dict[str, object]) -> object:
    return eval(text, globals_, locals_)  # noqa: S307 - the text is an annotation in the user's own source, as typing evaluates it


def _names_in_text(owner: type) -> set[str]:
    names: set[str] = set()
    for annotation in (owner.__dict__.get("__annotations__") or {}).values():  # noqa: RUF063 - inspect would evaluate them
        if isinstance(annotation, str):
            try:
                names.update(compile(annotation, "<annotation>", "eval").co_names)
            except SyntaxError:
                continue
    return names


def _lazy_annotation(owner: type, name: str) -> object:
    annotate: Any = getattr(owner, "__annotate__", None)
    if annotate is None:
        raise Unresolved("it has no annotation")
    try:
        values = annotate(1)
    except NameError:
        # Another annotation of the class may be the one that does not resolve; this one is asked for alone.
        import annotationlib  # type: ignore[import-not-found, unused-ignore]  # Python 3.14

        values = annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF)
    return values[name]
