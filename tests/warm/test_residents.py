"""Memory slots and tails over their budget wait in the spill, and come back equal."""

from warmstate.handler import StatefulHandler
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.slot import State, state
from warmstate.warm.spill.spill import Spill
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
    ledger = Ledger(big, Big.__warmstate__, spill=lambda: spill, budget=lambda: 300_000)
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
    ledger = Ledger(big, Big.__warmstate__, spill=lambda: spill, budget=lambda: 50_000)
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
