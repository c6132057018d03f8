"""A process that commits as fast as it can and says each commit that it may answer for; killed by `test_kills`."""

import os
import sys

from warmstate.handler import StatefulHandler
from warmstate.warm.commits.journal import Journal
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.slot import State, state
from warmstate.warm.tails.tail import Tail, tail


class Counter(StatefulHandler):
    first: State[int] = state(default=0, survives="reset")
    text: State[dict[str, str]] = state(factory=dict, survives="reset")
    second: State[int] = state(default=0, survives="reset")
    items: Tail[int] = tail(max_items=10, survives="reset")

    @items.flush
    def write(self, batch):
        if batch != list(range(batch[0], batch[0] + len(batch))):
            sys.exit("items out of order")


def main():
    counter = Counter()
    ledger = Ledger(counter, Counter.__warmstate__, backend=Journal(sys.argv[1]))
    adoption = ledger.open()
    first, second, items = counter.first, counter.second, list(counter.items)
    coherent = (
        first == second
        and items == list(range(first - first % 10, first))
        and counter.text.get("n", "0")[:20].split(".")[0] == str(first)
    )
    os.write(1, f"open {first} {coherent} {adoption.dropped_reason}\n".encode())
    ledger.rollback()
    while True:
        ledger.begin("handle")
        counter.first += 1
        number = counter.first
        counter.text["n"] = f"{number}." * (1 + number % 997)
        counter.second = number
        counter.items.append(number - 1, id=number)
        ledger.flush_due()
        ledger.commit(str(number))
        os.write(1, number.to_bytes(8, "little"))
        ledger.settle()


if __name__ == "__main__":
    main()
