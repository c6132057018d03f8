"""
A tail: an append-only buffer of a handler that is flushed in batches, `photos: Tail[Photo] = tail(max_items=25)`.

The declaration is here; the buffer that a running handler has under the name is in `buffer`.
"""

from __future__ import annotations

from warmstate._typing import Generic, TypeVar, overload
from warmstate.errors import DeclarationError
from warmstate.warm.slot import ledger_of
from warmstate.warm.tails.buffer import Buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any, Literal

    FlushMethod = TypeVar(
        "FlushMethod", bound="Callable[[Any, Sequence[Any]], Awaitable[int | None] | Awaitable[None] | int | None]"
    )

__all__ = ["Buffer", "Tail", "tail"]

T = TypeVar("T")


class Tail(Generic[T]):
    """
    The declaration of a tail, made by `tail()`; on the handler itself the attribute is the tail's `Buffer`.
    """

    __slots__ = ("flush_method", "max_age", "max_bytes", "max_items", "name", "names", "survives")

    def __init__(
        self,
        *,
        max_items: int | None = None,
        max_bytes: int | str | None = None,
        max_age: float | None = None,
        survives: str = "freeze",
    ) -> None:
        self.name = ""
        self.names: list[tuple[type, str]] = []
        self.max_items = max_items
        self.max_bytes = max_bytes
        self.max_age = max_age
        self.survives = survives
        self.flush_method = ""

    def __repr__(self) -> str:
        return f"<Tail {self.name or '(unnamed)'}, survives={self.survives!r}>"

    def __set_name__(self, owner: type, name: str) -> None:
        self.names.append((owner, name))
        self.name = self.name or name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Tail[T]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Buffer[T]: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> Tail[T] | Buffer[T]:
        if instance is None:
            return self
        try:
            buffer: Buffer[T] = instance.__dict__[self.name]
        except KeyError:
            buffer = self._make(instance)
        return buffer

    if not TYPE_CHECKING:
        # Type checkers learn from its absence that the attribute is read-only.
        def __set__(self, instance: object, value: object) -> None:
            raise AttributeError(
                f"{type(instance).__qualname__}.{self.name} is a tail and keeps its buffer: "
                f"append to it (self.{self.name}.append(item), .extend(items)) or flush it"
            )

        def __delete__(self, instance: object) -> None:
            self.__set__(instance, None)

    def _make(self, instance: object) -> Buffer[T]:
        ledger = ledger_of(instance)
        if ledger is not None:
            return ledger.buffer(self)
        buffer: Buffer[T] = instance.__dict__.setdefault(self.name, Buffer(self, instance))
        return buffer

    @property
    def commits(self) -> bool:
        """Whether appended items are committed, because they outlive the process's memory."""
        return self.survives != "freeze"

    def flush(self, method: FlushMethod) -> FlushMethod:
        """
        Decorates the method that writes a batch of this tail to the outside: `@photos.flush`.

        The method receives the items from the front of the tail, in order, and returns how many of them are done; None says all.
        Those leave the tail together with the slots that the method touched, in one commit.
        If it raises, the batch stays and is tried again later.
        The method's name is registered, so a subclass may override it.
        """
        if self.flush_method not in {"", method.__name__}:
            raise DeclarationError(
                f"{self.name or 'a tail'} has a flush method already, {self.flush_method}: keep one of the two, or override it by its name "
                f"(def {self.flush_method}, without the decorator)"
            )
        self.flush_method = method.__name__
        return method


def tail(
    *,
    max_items: int | None = None,
    max_bytes: int | str | None = None,
    max_age: float | None = None,
    survives: Literal["freeze", "reset"] = "freeze",
) -> Tail[Any]:
    """
    When a tail of a `StatefulHandler` is flushed, and what it outlives; beside its annotation, `photos: Tail[Photo]`.

    What reaches one of the bounds is flushed after `handle` and before the answer, in batches within the bounds.
    So an instance that dies loses at most `max_items - 1` items, `max_bytes` or `max_age` of them, whichever comes first, as long as
    flushes succeed; with `context.defer` it loses none.

    Args:
        max_items: Flush when so many items wait; a batch never has more.
        max_bytes: Flush when the items have so many bytes: a number, or text such as `"32 MB"`; a batch has more only if a single item has.
        max_age: Flush when the oldest item has waited so many seconds, checked when code can run: at a thaw and in invocations.
        survives: "freeze" keeps the items in memory; "reset" also commits what was appended to `/tmp`, so a process that dies loses
            nothing that was answered, and a failed invocation leaves nothing behind.

    Raises:
        DeclarationError: When the class is created, if the declaration cannot work; the message says what to write.
    """
    return Tail(max_items=max_items, max_bytes=max_bytes, max_age=max_age, survives=survives)
