"""What values are said to cost in memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections import OrderedDict, deque

import pytest

from warmstate.warm.sizes import ResidentGuard, resident_bytes, size_of


def records(count):
    return [
        {"id": number, "name": f"name-{number}", "tags": [f"t{number % 7}", float(number)]} for number in range(count)
    ]


class Plain:
    def __init__(self, number):
        self.number = number
        self.text = f"text-{number}" * 3


class Slotted:
    __slots__ = ("text",)

    def __init__(self, number):
        self.text = f"text-{number}" * 3


MAKERS = {
    "records": lambda: records(20_000),
    "bytes": lambda: [bytes(1000 + number % 50) for number in range(10_000)],
    "dict": lambda: {f"key-{number}": number * 1.5 for number in range(50_000)},
    "nested": lambda: {
        f"group-{number}": {f"k{inner}": str(inner + number) for inner in range(50)} for number in range(500)
    },
    "objects": lambda: [Plain(number) for number in range(20_000)],
    "slots": lambda: [Slotted(number) for number in range(20_000)],
    "tuples": lambda: tuple((number + 0.5, str(number)) for number in range(30_000)),
    "ordered": lambda: OrderedDict((f"key-{number}", [number + 1000]) for number in range(20_000)),
    "deque": lambda: deque(f"item-{number}" for number in range(30_000)),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_estimate_is_near_what_was_allocated(kind):
    """An estimate is within a fifth of what the allocator handed out, however the value is nested."""
    gc.collect()
    tracemalloc.start()
    try:
        value = MAKERS[kind]()
        allocated = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert 0.8 * allocated <= size_of(value) <= 1.35 * allocated


def test_views_count_what_they_show():
    """A memoryview costs what it shows, which getsizeof does not say."""
    assert size_of(memoryview(bytes(5_000_000))) >= 5_000_000


def test_arrays_count_their_data():
    """An array costs its data, also one that is a view into another."""
    numpy = pytest.importorskip("numpy")
    array = numpy.zeros((1000, 1000))

    assert 8_000_000 <= size_of(array) <= 8_100_000
    assert size_of({"part": array[:500]}) >= 4_000_000


def test_cycles_and_depth_end():
    """A value that contains itself, or is nested without end, is measured in bounded time."""
    cycle = []
    cycle.append(cycle)
    deep = []
    for _ in range(100_000):
        deep = [deep]

    assert size_of(cycle) > 0
    assert size_of(deep) > 0


def test_shared_parts_count_once():
    """The same object in many places costs its bytes once."""
    shared = "x" * 100_000

    assert size_of([shared] * 50) < 150_000


def test_a_sizeof_that_raises_does_not_hurt():
    """A user's type that cannot say its size gets an assumed one."""

    class Rude:
        def __sizeof__(self):
            raise ValueError("no")

    assert size_of([Rude()]) > 0


def test_guard_blames_the_store_for_growth_it_took_part_in():
    """Growth that the estimate does not explain is the store's debt, up to three times what it took in, and no more."""
    if resident_bytes() is None:
        pytest.skip("this kernel does not tell a process's memory")
    guard = ResidentGuard()
    hidden = bytearray(b"x") * 30_000_000

    assert guard.look(0, 0) == 0, "the store stood still: what grew is somebody else's"

    guard = ResidentGuard()
    more = bytearray(b"y") * 30_000_000
    debt = guard.look(5_000_000, 5_000_000)

    assert 10_000_000 <= debt <= 15_000_000
    del hidden, more
