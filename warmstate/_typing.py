"""
Stand-ins for the few names of `typing` that classes need while they are created.

Importing `typing` costs milliseconds of every cold start, so modules on the way to the first invocation
import these names from here.
Type checkers see the real ones.
"""

from __future__ import annotations

TYPE_CHECKING = False

__all__ = ["Generic", "Protocol", "TypeVar", "cast", "final", "overload"]

if TYPE_CHECKING:
    from typing import Generic, Protocol, TypeVar, cast, final, overload
else:
    _GenericAlias = type(list[int])

    class Generic:
        """Makes a class subscriptable; the arguments stay readable in the alias, as with `typing.Generic`."""

        __slots__ = ()

        def __class_getitem__(cls, arguments):
            return cls if cls is Generic else _GenericAlias(cls, arguments)

    class Protocol:
        """An interface for type checkers; an ordinary base class at run time."""

        __slots__ = ()

        def __class_getitem__(cls, arguments):
            return cls

    def TypeVar(name, *constraints, **options):  # noqa: N802 - stands in for typing.TypeVar
        return name

    def overload(function):
        return function

    def final(definition):
        return definition

    def cast(kind, value):
        return value
