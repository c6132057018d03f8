"""Memory slots and tails over their budget wait in the spill, and come back equal."""

import pytest

from warmstate.handler import StatefulHandler
from warmstate.warm.budget import MemoryBudget
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.slot import State, state
from warmstate.warm.spill.spill import Spill
from warmstate.warm.store.store import StateStore
from warmstate.warm.tails.tail import Tail, tail


class Big(StatefulHandler):
    used: State[bytes] = state(default=b"")
    idle: State[list[bytes]] = state(factory=list)
    pinned: State[bytes] = state(default=b"", pin=True)
    parts: Tail[bytes] = tail(max_items=1000)

    @parts.flush
    def write(self, batch):
        self.written = list(batch)


def test_what_is_not_used_leaves_and_comes_back(tmp_path):
    """Over the budget the idle slot is spilled, used and pinned ones stay, `del` and a new value forget what is on the disk."""
    big = Big()
    spill = Spill(str(tmp_path), budget=10_000_000)
    ledger = Ledger(big, Big.__warmstate__, spill=lambda: spill, budget=lambda: MemoryBudget(300_000))
    ledger.open()
    big.used, big.idle, big.pinned = bytes(200_000), [b"a" * 200_000, b"b"], bytes(100_000)
    for _ in range(40):
        ledger.settle()
        assert 200_000 == len(big.used)
    spilled = {name: slot["spilled"] for name, slot in ledger.info()["slots"].items()}
    assert {"used": False, "idle": True, "pinned": False} == spilled
    assert [b"a" * 200_000, b"b"] == big.idle
    for _ in range(40):
        ledger.settle()
        assert 200_000 == len(big.used)
    del big.idle
    assert [] == big.idle
    spill.close()


def test_a_tails_items_leave_and_are_flushed_in_order(tmp_path):
    """A tail over the budget is spilled in segments; what it cost is what was appended since."""
    big = Big()
    spill = Spill(str(tmp_path), budget=10_000_000)
    ledger = Ledger(big, Big.__warmstate__, spill=lambda: spill, budget=lambda: MemoryBudget(50_000))
    ledger.open()
    items = [bytes([number]) * 20_000 for number in range(30)]
    for item in items:
        big.parts.append(item)
        for _ in range(20):
            ledger.settle()
    assert ledger.info()["tails"]["parts"]["spilled_items"] > 20
    assert (600_000, items) == (big.parts.nbytes, list(big.parts))
    big.parts.flush()
    assert items == big.written
    spill.close()


class Unknown:
    """A class that no codec knows, and that is large."""

    __slots__ = ("data",)

    def __init__(self, data):
        self.data = data


class Locked:
    def __reduce__(self):
        raise OSError("locked")


def large(_):
    return 200_000


class Unspillable(StatefulHandler):
    model: State[Unknown | None] = state(default=None, sizeof=large)
    pinned: State[Unknown | None] = state(default=None, sizeof=large, pin=True)
    pickled: State[object] = state(default=None, sizeof=large, codec="pickle")


def test_what_no_codec_knows_is_named_and_stays(tmp_path, heard):
    """Over the budget each slot that cannot leave is said once, with why; one that is pinned is not meant to."""
    handler = Unspillable()
    spill = Spill(str(tmp_path), budget=10_000_000)
    ledger = Ledger(
        handler, Unspillable.__warmstate__, spill=lambda: spill, budget=lambda: MemoryBudget(50_000), notices=heard
    )
    ledger.open()
    handler.model, handler.pinned, handler.pickled = Unknown(b"a"), Unknown(b"b"), Locked()
    for _ in range(40):
        ledger.settle()
    model, pickled = sorted(set(heard.said))

    assert model.startswith("Unspillable.model cannot be spilled and stays in memory: ")
    assert "Unknown has no codec: use an attrs class" in model
    assert "Unspillable.pickled cannot be spilled and stays in memory: locked" == pickled
    assert b"a" == handler.model.data
    spill.close()


class Keeper(StatefulHandler):
    """Has one of everything that takes memory."""

    table: State[bytes] = state(default=b"")
    model: State[bytes] = state(default=b"", pin=True)
    page: State[list[bytes]] = state(factory=list, survives="reset")
    parts: Tail[bytes] = tail(max_items=1000)

    @parts.flush
    def write(self, batch):
        self.written = list(batch)


def kept(tmp_path, total):
    keeper = Keeper()
    budget = MemoryBudget(total)
    spill = Spill(str(tmp_path), budget=20_000_000)
    ledger = Ledger(keeper, Keeper.__warmstate__, spill=lambda: spill, budget=lambda: budget)
    ledger.open()
    store = StateStore(memory_budget=budget, spill=spill)

    def settle():
        ledger.settle()
        store.settle()
        return budget.in_slots + store.nbytes

    return keeper, ledger, store, budget, settle


def test_what_somebody_else_refers_to_stays(tmp_path):
    """A slot's object that is held elsewhere is neither spilled nor let go: what is changed through it is the slot's."""
    keeper, ledger, _, _, settle = kept(tmp_path, 100_000)
    big = Big()
    spill = Spill(str(tmp_path), budget=10_000_000)
    own = Ledger(big, Big.__warmstate__, spill=lambda: spill, budget=lambda: MemoryBudget(100_000))
    own.open()
    big.idle = [b"a" * 200_000]
    ledger.begin("handle")
    keeper.page = [b"b" * 200_000]
    ledger.commit()
    idle, page = big.idle, keeper.page
    ledger.rollback()
    ledger.begin("handle")
    page = keeper.page
    ledger.commit()
    for _ in range(40):
        own.settle()
        settle()
    idle.append(b"i")
    page.append(b"p")
    assert [b"a" * 200_000, b"i"] == big.idle
    ledger.begin("handle")
    assert [b"b" * 200_000, b"p"] == keeper.page
    ledger.commit()
    assert keeper.page is page
    spill.close()


@pytest.mark.parametrize("first", ["store", "slots"])
def test_slots_tails_and_the_store_share_one_budget(tmp_path, first):
    """Whoever comes first may fill the budget alone; when both want it all, neither has more, and nothing is lost."""
    keeper, _, store, budget, settle = kept(tmp_path, 1_000_000)
    values = {f"key{number}": bytes([number]) * 10_000 for number in range(90)}
    items = [bytes([number]) * 10_000 for number in range(80)]
    for what in (first, "slots" if first == "store" else "store", "store"):
        if what == "store":
            store.update(values)
        else:
            keeper.table = bytes(100_000)
            keeper.parts.extend(items)
        for _ in range(20):
            taken = settle()
        assert taken <= 1_000_000
        if what == first:
            assert taken > 700_000
    assert store.nbytes > 400_000
    assert budget.in_slots >= 100_000
    assert values == dict(store)
    assert (items, bytes(100_000)) == (list(keeper.parts), keeper.table)
    assert 0 == store.info()["evicted"]


def test_the_store_gives_way_to_what_cannot_leave(tmp_path):
    """A pinned slot of nine tenths of the budget leaves the store one; when it goes, the store has all of it again."""
    keeper, _, store, _, settle = kept(tmp_path, 1_000_000)
    values = {f"key{number}": bytes([number]) * 10_000 for number in range(60)}
    store.update(values)
    keeper.model = bytes(900_000)
    for _ in range(20):
        settle()
    assert settle() <= 1_000_000
    assert store.nbytes <= 100_000
    del keeper.model
    for _ in range(20):
        settle()
    store.update(values)
    assert store.nbytes > 600_000
    assert values == dict(store)


def test_a_committed_slots_object_is_let_go_and_read_again(tmp_path):
    """Its last commit is on the disk already, so it costs no memory between units of work when memory is short."""
    keeper, ledger, store, budget, settle = kept(tmp_path, 300_000)
    ledger.begin("handle")
    keeper.page = [b"a" * 400_000]
    ledger.commit()
    for _ in range(20):
        settle()
    assert budget.in_slots < 10_000
    store["key"] = bytes(250_000)
    ledger.begin("handle")
    assert [b"a" * 400_000] == keeper.page
    size = ledger.backend.size
    ledger.commit()
    assert size == ledger.backend.size
