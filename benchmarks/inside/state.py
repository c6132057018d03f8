"""
What state costs inside one process: a program of its own, so that it runs in the environment that holds the peers.

Prints one JSON object: question -> subject -> nanoseconds for one operation, or bytes per second.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cachetools
import diskcache
import lru

from warmstate import Context, Event, State, StatefulHandler, StateStore, resource, state
from warmstate.testing import Platform
from warmstate.warm.commits.journal import Journal
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.spill.spill import Spill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEYS = [f"session/{number}" for number in range(1000)]
VALUE = bytes(1000)
BUDGET = 64 * 2**20
COMMIT_SIZES = {"1 kB": 1_000, "100 kB": 100_000, "1 MB": 1_000_000}
SPILL_SIZES = {"1 MB": 1_000_000, "100 MB": 100_000_000}


def best(operation: Callable[[], object], *, operations: int, repeats: int = 7) -> float:
    """Nanoseconds of one operation where a call does several: the quickest of some repeats, the least disturbed one."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter_ns()
        operation()
        times.append(time.perf_counter_ns() - began)
    return min(times) / operations


def store(folder: str) -> dict[str, dict[str, float]]:
    """A get that hits and a set, of 1 kB under a thousand keys."""
    subjects: dict[str, Any] = {
        "dict, without any bound": {},
        "lru-dict (C), bounded in items": lru.LRU(len(KEYS) * 2),
        "**warmstate** store": StateStore(memory_budget=BUDGET),
        "cachetools LRUCache": cachetools.LRUCache(BUDGET, getsizeof=len),
        "cachetools TTLCache": cachetools.TTLCache(BUDGET, ttl=600, getsizeof=len),
        "diskcache": diskcache.Cache(folder),
    }
    results: dict[str, dict[str, float]] = {"get": {}, "set": {}}
    for name, mapping in subjects.items():
        keys = KEYS if name != "diskcache" else KEYS[:100]

        def set_all(mapping: Any = mapping, keys: list[str] = keys) -> None:
            for key in keys:
                mapping[key] = VALUE

        def get_all(mapping: Any = mapping, keys: list[str] = keys) -> None:
            for key in keys:
                mapping[key]

        repeats = 100 if keys is KEYS else 3  # a repeat takes half a millisecond: some of them nobody interrupts
        results["set"][name] = best(set_all, operations=len(keys), repeats=repeats)
        results["get"][name] = best(get_all, operations=len(keys), repeats=repeats)
    return results


class Holder(StatefulHandler):
    """Has one committed slot."""

    page: State[bytes] = state(default=b"", survives="reset")


def commit(folder: str) -> dict[str, dict[str, float]]:
    """A unit of work that sets a slot of some size and commits it, against writes of the same bytes to the same disk: appended, and as a file."""
    results: dict[str, dict[str, float]] = {"commit": {}, "append": {}, "file": {}}
    for name, size in COMMIT_SIZES.items():
        place = Path(folder, f"journal-{size}")
        place.mkdir()
        handler = Holder()
        ledger = Ledger(handler, Holder.__warmstate__, backend=Journal(str(place)))
        ledger.open()
        pages = [bytes([number]) * size for number in (1, 2)]
        commits: list[int] = []
        appends: list[int] = []
        files: list[int] = []
        descriptor = os.open(place / "bare", os.O_CREAT | os.O_WRONLY)
        for number in range(200):
            began = time.perf_counter_ns()
            ledger.begin("handle")
            handler.page = pages[number % 2]
            ledger.commit(f"request-{number}")
            commits.append(time.perf_counter_ns() - began)
            ledger.settle()
            began = time.perf_counter_ns()
            os.pwrite(descriptor, pages[number % 2], number % 20 * size)
            appends.append(time.perf_counter_ns() - began)
            began = time.perf_counter_ns()
            file = os.open(place / f"file-{number % 20}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.write(file, pages[number % 2])
            os.close(file)
            files.append(time.perf_counter_ns() - began)
        os.close(descriptor)
        ledger.close()
        for kind, times in (("commit", commits), ("append", appends), ("file", files)):
            results[kind][name] = statistics.median(times)
    return results


def spill(folder: str) -> dict[str, dict[str, float]]:
    """Moving bytes out of memory and back, against a plain file and against diskcache as it comes."""
    results: dict[str, dict[str, float]] = {"out": {}, "back": {}, "mapped": {}}
    ours = Spill(folder, budget=2**30, reserve=0)
    theirs = diskcache.Cache(f"{folder}/diskcache", size_limit=2**31)
    plain = Path(folder, "plain")

    def note(kind: str, subject: str, operation: Callable[[], Any]) -> Any:
        began = time.perf_counter_ns()
        result = operation()
        taken = time.perf_counter_ns() - began
        results[kind][subject] = min(taken, results[kind].get(subject, taken))
        return result

    for name, size in SPILL_SIZES.items():
        value = os.urandom(size)
        for _ in range(20 if size < 10_000_000 else 3):  # in turn: the disk has moods
            note("out", f"plain file, {name}", functools.partial(plain.write_bytes, value))
            note("back", f"plain file, {name}", plain.read_bytes)
            plain.unlink()
            receipt = note("out", f"**warmstate** spill, {name}", functools.partial(ours.put, "key", [value]))
            note("back", f"**warmstate** spill, {name}", functools.partial(ours.get, receipt))
            for _ in range(20):  # copying a hundred megabytes leaves the processor's caches to nobody else
                note("mapped", f"**warmstate** spill, {name}", functools.partial(ours.map, receipt))
            ours.drop(receipt)
            note("out", f"diskcache, {name}", functools.partial(theirs.set, "key", value))
            note("back", f"diskcache, {name}", functools.partial(theirs.get, "key"))
    return results


class Connected(StatefulHandler):
    """Uses an open resource many times in one invocation, and a plain attribute as often."""

    @resource(check_after=60)
    def connection(self) -> Iterator[object]:
        """Open nothing in particular."""
        yield object()

    @functools.cached_property
    def cached(self) -> object:
        return object()

    def handle(self, event: Event, context: Context) -> object:
        times = range(event["times"])

        def ours() -> None:
            for _ in times:
                self.connection  # noqa: B018 - the access is what is measured

        def plain() -> None:
            for _ in times:
                self.cached  # noqa: B018 - as above

        return {
            "**warmstate** resource, open and fresh": best(ours, operations=len(times)),
            "functools.cached_property": best(plain, operations=len(times)),
        }


def resources(folder: str) -> dict[str, dict[str, float]]:
    """An access to a resource that is open and fresh."""
    with Platform(Connected) as platform:
        return {"access": platform.invoke({"times": 10_000}).json()}


def main() -> None:
    """Answer the questions named on the command line."""
    answers: dict[str, object] = {}
    for question in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            answers[question] = {"store": store, "commit": commit, "spill": spill, "resources": resources}[question](
                folder
            )
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
