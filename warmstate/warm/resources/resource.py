"""
Resources: live things that a handler declares, and that are opened, checked, replaced and closed for it.

    @resource(check_after=5, max_age=900)
    def bucket(self) -> Iterator[Bucket]:
        bucket = open_bucket()
        yield bucket
        bucket.close()

    @bucket.check
    def bucket_alive(self, bucket: Bucket) -> None:     # raise: it is closed and opened anew
        bucket.head()

This module is the declaration; `resource_pool` holds what is open.
"""

from __future__ import annotations

from warmstate._typing import Generic, TypeVar, overload
from warmstate.errors import DeclarationError
from warmstate.warm.resources.pool import Overrun, ResourcePool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from datetime import datetime
    from typing import Any, Protocol

    class _Declare(Protocol):
        """What `@resource(...)` returns: takes the generator method."""

        @overload
        def __call__(self, method: Callable[[Any], Iterator[T]], /) -> Resource[T]: ...
        @overload
        def __call__(self, method: Callable[[Any], AsyncIterator[T]], /) -> AsyncResource[T]: ...


__all__ = ["AsyncResource", "Overrun", "Resource", "ResourcePool", "resource"]

T = TypeVar("T")
Check = TypeVar("Check")

_GENERATOR = 0x20  # inspect.CO_GENERATOR, without importing inspect on the way to the first invocation
_ASYNC_GENERATOR = 0x200  # inspect.CO_ASYNC_GENERATOR


class _Declaration:
    """What both kinds of resource share: the generator method, the rules, and the name of the check."""

    __slots__ = ("_owner", "check_after", "check_name", "expires", "is_async", "max_age", "method", "name", "shared")

    def __init__(
        self,
        method: Callable[[Any], object],
        *,
        is_async: bool,
        check_after: float,
        max_age: float | None,
        expires: Callable[[Any], float | datetime | None] | None,
        shared: bool,
    ) -> None:
        self.method = method
        self.name: str = getattr(method, "__name__", "resource")
        self.is_async = is_async
        self.check_after = check_after
        self.max_age = max_age
        self.expires = expires
        self.shared = shared
        self.check_name: str | None = None
        self._owner = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self._owner = owner.__qualname__

    def __repr__(self) -> str:
        kind = "AsyncResource" if self.is_async else "Resource"
        return f"<{kind} {self.qualified_name}>"

    def __set__(self, handler: object, value: object) -> None:
        raise AttributeError(
            f"{self.qualified_name} is a resource: its generator method makes the value, and it cannot be assigned; "
            "declare a slot for what changes"
        )

    def __delete__(self, handler: object) -> None:
        raise AttributeError(
            f"{self.qualified_name} is a resource and cannot be deleted: it is closed with the instance, and replaced when its "
            "check raises"
        )

    @property
    def qualified_name(self) -> str:
        """The class and the name under which it was declared, as error messages show it."""
        return f"{self._owner}.{self.name}" if self._owner else self.name

    def check(self, method: Check) -> Check:
        """
        Register a method `(self, value)` that raises when the value is no longer usable; it may be `async def`.

        It is called before a handler sees the value, only when that was idle or frozen for longer than `check_after`,
        and must end within a fifth of a second; a subclass overrides it by its name.
        """
        self.check_name = getattr(method, "__name__", None)
        if self.check_name is None:
            raise DeclarationError(f"@{self.name}.check takes a method of the class, and {method!r} has no name")
        return method


class Resource(_Declaration, Generic[T]):
    """
    A resource made by a generator method; `self.name` in the handler is the open value.

    The value is opened on first use, once however many ask at the same time.
    An invocation that used it sees the same object until its end.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @overload
        def __get__(self, handler: None, owner: type, /) -> Resource[T]: ...
        @overload
        def __get__(self, handler: object, owner: type, /) -> T: ...

    def __get__(self, handler: object | None, owner: type, /) -> Resource[T] | T:
        """
        The open value, for use in the handler and its hooks.

        Raises:
            ResourceError: it cannot be opened; the cause is chained.
        """
        if handler is None:
            return self
        pool: ResourcePool | None = handler.__dict__.get("_warmstate_resources")
        if pool is None:
            pool = ResourcePool(handler)
        return pool.value(self)  # type: ignore[no-any-return]  # the pool holds values of any type


class AsyncResource(_Declaration, Generic[T]):
    """A resource made by an async generator method: `await self.name` in the handler is the open value."""

    __slots__ = ()

    if TYPE_CHECKING:

        @overload
        def __get__(self, handler: None, owner: type, /) -> AsyncResource[T]: ...
        @overload
        def __get__(self, handler: object, owner: type, /) -> Awaitable[T]: ...

    def __get__(self, handler: object | None, owner: type, /) -> AsyncResource[T] | Awaitable[T]:
        """
        An awaitable of the open value.

        Raises:
            ResourceError: when awaited and it cannot be opened; the cause is chained.
        """
        if handler is None:
            return self
        pool: ResourcePool | None = handler.__dict__.get("_warmstate_resources")
        if pool is None:
            pool = ResourcePool(handler)
        return pool.value_async(self)


if TYPE_CHECKING:

    @overload
    def resource(method: Callable[[Any], Iterator[T]], /) -> Resource[T]: ...
    @overload
    def resource(method: Callable[[Any], AsyncIterator[T]], /) -> AsyncResource[T]: ...
    @overload
    def resource(
        *,
        check_after: float = ...,
        max_age: float | None = ...,
        expires: Callable[[Any], float | datetime | None] | None = ...,
        shared: bool = ...,
    ) -> _Declare: ...


def resource(
    method: Callable[[Any], object] | None = None,
    /,
    *,
    check_after: float = 5.0,
    max_age: float | None = None,
    expires: Callable[[Any], float | datetime | None] | None = None,
    shared: bool = True,
) -> object:
    """
    Declare a resource: a generator method with one `yield`, as a pytest fixture.

    What stands before the `yield` opens it, what stands after it closes it. Other resources of the handler may be used in it;
    they are closed after it, and it is opened anew when one of them was replaced.

    Args:
        method: The generator method, where the decorator is used without options.
        check_after: Seconds of idling or freezing after which the check runs before the next use.
        max_age: Seconds after which it is replaced, frozen time included; None for never.
        expires: Takes the open value and returns when it ends: seconds since the epoch or a datetime, or None for never.
        shared: False gives each invocation in flight a value of its own.

    Raises:
        DeclarationError: it is no generator method, or a time is negative.
    """
    if not (_is_seconds(check_after) and (max_age is None or (_is_seconds(max_age) and max_age > 0))):
        raise DeclarationError(
            f"@resource(check_after={check_after!r}, max_age={max_age!r}): both are seconds; check_after from 0, max_age above 0"
        )

    if expires is not None and not callable(expires):
        raise DeclarationError(
            f"@resource(expires={expires!r}): write a function that takes the open value and returns when it ends"
        )

    def declare(method: Callable[[Any], object]) -> object:
        flags = getattr(getattr(method, "__code__", None), "co_flags", 0)
        if not flags & (_GENERATOR | _ASYNC_GENERATOR):
            name = getattr(method, "__name__", repr(method))
            raise DeclarationError(
                f"resource {name} must be a generator method: open it, `yield` it once, and close it after the yield"
            )
        is_async = bool(flags & _ASYNC_GENERATOR)
        kind: Any = AsyncResource if is_async else Resource
        return kind(method, is_async=is_async, check_after=check_after, max_age=max_age, expires=expires, shared=shared)

    return declare if method is None else declare(method)


def _is_seconds(amount: object) -> bool:
    return isinstance(amount, (int, float)) and not isinstance(amount, bool) and amount >= 0
