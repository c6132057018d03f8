"""What a class may declare, and what the message says where it may not."""

import dataclasses
import sys

import attrs
import pytest

from warmstate.errors import DeclarationError
from warmstate.handler import StatefulHandler
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.slot import State, state
from warmstate.warm.tails.tail import Tail, tail

NAMES = {"StatefulHandler": StatefulHandler, "State": State, "state": state, "Tail": Tail, "tail": tail}


def define(body, *, future=False, base="StatefulHandler"):
    lines = "\n    ".join(body.strip().splitlines())
    head = "from __future__ import annotations\n" if future else ""
    names = {**NAMES, "__name__": "user_module"}
    exec(f"{head}class Shop({base}):\n    {lines}\n", names)
    return names["Shop"]


WRONG = {
    "n = state(default=0)": r"n needs an annotation: n: State\[int\] = state\(default=0\)",
    "n = state(default=0, survives='reset')": r'n: State\[int\] = state\(default=0, survives="reset"\)',
    "n: int = state(default=0)": r"annotated int: write n: State\[int\] = state\(default=0\)",
    "n: State[list] = state(default=[])": r"factory=list",
    "n: State[dict] = state(default={'a': 1})": r"factory=lambda: \{'a': 1\}",
    "n: State[tuple] = state(default=([],))": r"a tuple as default= would be shared.*factory=lambda: \(\[\],\)",
    "n: State[int] = state()": r"needs a value to begin with",
    "n: State[int] = state(default=0, factory=int)": r"default= and factory=",
    "n: State[int] = state(factory=5)": r"must be callable",
    "n: State[int] = state(default=0, survives='shutdown')": r"durable backend.*survives=\"reset\"",
    "n: State[int] = state(default=0, survives='death')": r'write "freeze" \(memory\) or "reset"',
    "n: State[int] = state(default=0, survives='reset', codec='pickle')": r"cannot be committed",
    "n: State[int] = state(default=0, codec='json')": r"is unknown",
    "n: State[str] = state(default='', survives='reset', secret=True)": r"never written to a disk",
    "n: State[int] = state(default=0, schema=0)": r"whole number from 1",
    "n: State[int] = state(default=0)\n@n.migrate(1)\ndef old(self, old): ...": r"raise schema= above 1",
    "n: State[int] = state(default=0)\nm: State[int] = n": r"two names, m and n",
    "n: Tail[int] = state(default=0)": r"annotated Tail",
    "n: State[int]": r"annotated and not declared",
    "store: State[int] = state(default=0)": r"would hide StatefulHandler.store",
    "t: Tail[int] = tail(max_items=2)": r"@t.flush",
    "t = tail(max_items=2)\n@t.flush\ndef w(self, b): ...": r"t needs an annotation: t: Tail",
    "t: Tail[int] = tail()\n@t.flush\ndef w(self, b): ...": r"has no bound",
    "t: Tail[int] = tail(max_items=0)\n@t.flush\ndef w(self, b): ...": r"max_items=0",
    "t: Tail[int] = tail(max_bytes='many')\n@t.flush\ndef w(self, b): ...": r"no amount of bytes",
    "t: Tail[int] = tail(max_age=-1)\n@t.flush\ndef w(self, b): ...": r"max_age=-1",
    "t: Tail[int] = tail(max_items=2, survives='shutdown')\n@t.flush\ndef w(self, b): ...": r"durable backend",
    "t: Tail[int] = tail(max_items=2)\n@t.flush\ndef w(self, b): ...\n@t.flush\ndef v(self, b): ...": r"flush method already, w",
    "n: State[list] = state(default=list)": r"write state\(factory=list\)",
    "n: State[int] = state(default=0, sizeof=8)": r"sizeof= must be a function",
    "def on_thaw(self, thaw): yield": r"Shop.on_thaw has a yield.*only handle may be a generator",
    "async def on_init(self, init): yield": r"Shop.on_init has a yield",
    "on_init = 3": r"Shop.on_init is 3, which cannot be called: write a method, or leave the line out",
    "handle = None": r"Shop.handle is None, which cannot be called",
    "store_budget = '150%'": r"Shop.store_budget: '150%' is no share: write a number above 0.0",
    "store_budget = float('nan')": r"nan is no share",
    "store_budget = 1.5": r"1.5 is no share",
    "store_budget = 'much'": r"'much' is no amount of bytes",
    "concurrency = 'threads'\nn: State[int] = state(default=0, survives='reset')": r'needs concurrency = "serial"',
}


@pytest.mark.parametrize("future", [False, True])
@pytest.mark.parametrize("body", WRONG)
def test_what_cannot_work_says_what_to_write(body, future):
    """Each mistake is an error of the class, not wrapped, with the line to write instead."""
    if (
        sys.version_info >= (3, 14)
        and not future
        and body in {"n: State[int]", "n: int = state(default=0)", "n: Tail[int] = state(default=0)"}
    ):
        pytest.skip("annotations are not evaluated when a class is created")
    with pytest.raises(DeclarationError, match=WRONG[body]):
        define(body, future=future)


@pytest.mark.parametrize("decorated", [dataclasses.dataclass, attrs.define(slots=False), attrs.define])
def test_a_handler_is_no_record(decorated, warm):
    """A decorator that makes declarations fields of its own is refused, at the class where it can be, else in init."""

    class Shop(StatefulHandler):
        n: State[int] = state(default=0)

        def handle(self, event, context):
            return self.n

    try:
        told = warm(decorated(Shop)).invoke().json()["errorMessage"]
    except DeclarationError as error:
        told = str(error)

    assert "Shop.n became a field of" in told
    assert "take the decorator off" in told


def test_annotations_are_never_evaluated():
    """Names that only type checkers know are no error when the class is created."""
    shop = define(
        "n: State[Nowhere | None] = state(default=None)\nm: 'State[Elsewhere]' = state(default=1)", future=True
    )

    assert (None, 1) == (shop().n, shop().m)


@pytest.mark.parametrize(
    "written",
    ["State[int]", "State['int']", "'State[int]'", "\"State['int']\"", "Annotated[State[int], 1]", "Final[State[int]]"],
)
def test_an_annotation_may_be_wrapped_and_quoted(written):
    """What holds the state is found under text within text, and under what `typing` puts around it."""
    body = f"from typing import Annotated, Final\nn: {written} = state(default=1, survives='reset')"
    codec = Ledger(shop := define(body, future=True)(), type(shop).__warmstate__).codec_of("n")

    assert "int" == codec.shape


def test_declarations_are_inherited_and_overridden_by_name():
    """A subclass overrides a flush by its method's name; a redeclared tail brings its own."""

    class Base(StatefulHandler):
        count: State[int] = state(default=1)
        lines: Tail[str] = tail(max_items=2)

        @lines.flush
        def write(self, batch):
            self.count = 10

    class Quiet(Base):
        def write(self, batch):
            self.count = 20

    class Own(Base):
        count: State[int] = state(default=2, survives="reset")
        lines: Tail[str] = tail(max_items=3)

        @lines.flush
        def print_lines(self, batch):
            self.count = 30

    counts = []
    for kind in (Base, Quiet, Own):
        handler = kind()
        handler.lines.append("a")
        handler.lines.flush()
        counts.append(handler.count)
    assert [10, 20, 30] == counts
    assert ["count", "lines"] == sorted(Own.__warmstate__.owners)
    assert not Base.__warmstate__.commits
    assert Own.__warmstate__.commits
    with pytest.raises(DeclarationError, match="flush"):

        class Forgot(Base):
            lines: Tail[str] = tail(max_items=3)

    with pytest.raises(DeclarationError, match=r"Hides.count would hide the slot count of .*Base"):

        class Hides(Base):
            count = 5


def test_a_mixin_may_declare():
    """A plain class can carry slots into a handler."""

    class Counting:
        count: State[int] = state(default=4)

    class Shop(Counting, StatefulHandler):
        pass

    assert 4 == Shop().count


@dataclasses.dataclass(eq=False)
class Basket:
    items: tuple = ()


@dataclasses.dataclass(frozen=True)
class Sealed:
    items: object = ()


@pytest.mark.parametrize("default", [Basket(), Sealed([])], ids=["hashed by identity", "frozen around a list"])
def test_a_committed_default_cannot_change_however_it_is_wrapped(default):
    """What a failed invocation changed in it could not be rolled back: there is no commit to go back to."""
    with pytest.raises(DeclarationError, match="as default= would be shared by all handlers"):

        class Shop(StatefulHandler):
            basket: State[object] = state(default=default, survives="reset")


@pytest.mark.parametrize("default", [None, (), Sealed(), Sealed(("a",)), sys.float_info])
def test_a_default_that_cannot_change_is_taken(default):
    """Frozen classes and tuples of what cannot change are defaults, committed or not."""

    class Shop(StatefulHandler):
        basket: State[object] = state(default=default, survives="reset")

    assert Shop().basket is default


def test_a_handler_is_a_plain_object_without_a_runtime():
    """Slots keep values, defaults are fresh per object, and `del` returns to them."""

    class Shop(StatefulHandler):
        names: State[list] = state(factory=list)

    one, other = Shop(), Shop()
    one.names.append("a")
    assert (["a"], []) == (one.names, other.names)
    del one.names
    del one.names
    assert [] == one.names
    assert isinstance(Shop.names, State)


def test_a_tail_cannot_be_replaced():
    """Assigning to a tail says how to fill it."""

    class Shop(StatefulHandler):
        lines: Tail[str] = tail(max_items=2)

        @lines.flush
        def write(self, batch): ...

    with pytest.raises(AttributeError, match=r"self\.lines\.append"):
        Shop().lines = []
