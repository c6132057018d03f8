"""
A slot: one declared value of a handler that stays warm, `frames: State[int] = state(default=0)`.

A slot keeps its value in the handler's own `__dict__` under its own name, so a handler works as a plain object too, without a
runtime around it.
For a slot that survives more than memory the value is there only while a unit of work touches it: that is how the ledger knows
what to compare and commit, without watching every read.
"""

from __future__ import annotations

from warmstate._typing import Generic, TypeVar, overload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, TypeAlias

    from warmstate.warm.commits.unit import Ledger

    Survives: TypeAlias = Literal["freeze", "reset", "shutdown"]
    AnyMethod = TypeVar("AnyMethod", bound=Callable[..., Any])

__all__ = ["LEDGER_KEY", "MISSING", "State", "Survives", "can_change", "ledger_of", "state"]

T = TypeVar("T")

LEDGER_KEY = "_warmstate_ledger"
"""Where the ledger of a running instance is found in the handler's `__dict__`."""


class Missing:
    """Says that no value was given; None is a value like any other."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


def ledger_of(handler: object) -> Ledger | None:
    """The ledger that runs this handler; None for a handler that is used as a plain object."""
    ledger: Ledger | None = handler.__dict__.get(LEDGER_KEY)
    return ledger


class State(Generic[T]):
    """
    The declaration of a slot, and the descriptor that reads and writes it; made by `state()`.

    On the handler's class the attribute is this declaration, on the handler itself it is the slot's value.
    """

    __slots__ = (
        "codec",
        "default",
        "factory",
        "migrations",
        "name",
        "names",
        "pin",
        "schema",
        "secret",
        "sizeof",
        "survives",
    )

    def __init__(
        self,
        *,
        default: Any = MISSING,
        factory: Callable[[], Any] | Missing = MISSING,
        survives: str = "freeze",
        pin: bool = False,
        codec: object = None,
        schema: int = 1,
        secret: bool = False,
        sizeof: Callable[[Any], int] | None = None,
    ) -> None:
        self.name = ""
        self.names: list[tuple[type, str]] = []
        self.default = default
        self.factory = factory
        self.survives = survives
        self.pin = pin
        self.codec = codec
        self.schema = schema
        self.secret = secret
        self.sizeof = sizeof
        self.migrations: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"<State {self.name or '(unnamed)'}, survives={self.survives!r}>"

    def __set_name__(self, owner: type, name: str) -> None:
        # Errors raised here would arrive wrapped on Python 3.10 and 3.11, so `collect` judges what is noted.
        self.names.append((owner, name))
        self.name = self.name or name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> State[T]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> State[T] | T:
        if instance is None:
            return self
        try:
            value: T = instance.__dict__[self.name]
        except KeyError:
            return self._load(instance)
        return value

    def __set__(self, instance: object, value: T) -> None:
        instance.__dict__[self.name] = value

    def __delete__(self, instance: object) -> None:
        ledger = ledger_of(instance)
        if ledger is None:
            instance.__dict__.pop(self.name, None)
        else:
            ledger.delete(self)

    def _load(self, instance: object) -> T:
        ledger = ledger_of(instance)
        value: T = self.initial() if ledger is None else ledger.load(self)
        # Another thread may have been first; all of them must see one object.
        kept: T = instance.__dict__.setdefault(self.name, value)
        return kept

    def initial(self) -> Any:
        """The value of a slot that nobody wrote: its default, or a new one from its factory."""
        return self.default if isinstance(self.factory, Missing) else self.factory()

    @property
    def commits(self) -> bool:
        """Whether the slot is committed, because it outlives the process's memory."""
        return self.survives != "freeze"

    def migrate(self, schema: int) -> Callable[[AnyMethod], AnyMethod]:
        """
        Decorates the method that reads what code with this earlier `schema` wrote: `@counts.migrate(1)`.

        The method receives the old value and returns today's.
        In the old value classes are plain dictionaries of their fields and enum members are their names, because the classes that
        wrote them are gone; everything else is as it was.
        The method's name is registered, so a subclass may override it.
        """

        def register(method: AnyMethod) -> AnyMethod:
            self.migrations[schema] = method.__name__
            return method

        return register


def can_change(slot: State[Any]) -> bool:
    """
    Whether a slot's default can change in place, be it deep inside.

    Objects that hash by identity may, except in committed slots: nothing could roll them back.
    """
    default: Any = slot.default
    try:
        hash(default)
    except TypeError:
        return True
    if not slot.commits or default.__class__.__hash__ is not object.__hash__:
        return False
    from warmstate.warm.commits.committed import is_fixed

    return not is_fixed(default)


@overload
def state(
    *,
    default: T,
    survives: Survives = "freeze",
    pin: bool = False,
    codec: Literal["pickle"] | None = None,
    schema: int = 1,
    secret: bool = False,
    sizeof: Callable[[T], int] | None = None,
) -> State[T]: ...
@overload
def state(
    *,
    factory: Callable[[], T],
    survives: Survives = "freeze",
    pin: bool = False,
    codec: Literal["pickle"] | None = None,
    schema: int = 1,
    secret: bool = False,
    sizeof: Callable[[T], int] | None = None,
) -> State[T]: ...
def state(
    *,
    default: Any = MISSING,
    factory: Callable[[], Any] | Missing = MISSING,
    survives: Survives = "freeze",
    pin: bool = False,
    codec: Literal["pickle"] | None = None,
    schema: int = 1,
    secret: bool = False,
    sizeof: Callable[[Any], int] | None = None,
) -> State[Any]:
    """
    What a slot of a `StatefulHandler` begins as and outlives; beside its annotation, `frames: State[int]`.

    Args:
        default: The value of a slot that nobody wrote; must be one that cannot change in place.
        factory: Makes that value anew each time it is needed, for lists, dictionaries and other values that can change.
        survives: What the value outlives. "freeze": it lives in this process's memory. "reset": it is committed to `/tmp` at the end
            of each hook and invocation, before the answer leaves, and rolled back to the last commit when one fails.
        pin: Never spill the value to `/tmp`.
        codec: "pickle" lets a memory slot spill a value that no annotation describes; read only by the process that wrote it.
        schema: The number of this slot's format, raised when what it holds changes its meaning; see `State.migrate`.
        secret: Never write the value to a disk and never show it.
        sizeof: Tells the bytes of memory a value takes, where an estimate would be far off.

    Raises:
        DeclarationError: When the class is created, if the declaration cannot work; the message says what to write.
    """
    return State(
        default=default,
        factory=factory,
        survives=survives,
        pin=pin,
        codec=codec,
        schema=schema,
        secret=secret,
        sizeof=sizeof,
    )
