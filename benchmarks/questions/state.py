"""The store against dict, cachetools and diskcache, and the spill against raw files and diskcache."""

from __future__ import annotations

import functools
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Figure, Missing, interleave, ratios
from benchmarks.tables import Table, number, ratio
from warmstate.warm.spill import Spill
from warmstate.warm.store import StateStore
from warmstate.warm.values import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Settings

KEYS = [f"session/{number}" for number in range(1000)]
VALUE = b"x" * 1024
BUDGET = 128 * 1024 * 1024


def ask(settings: Settings) -> list[Table]:
    """Both tables: keys in memory, and bytes on their way to the disk and back."""
    return [memory(settings), disk(settings)]


def memory(settings: Settings) -> Table:
    """A read and a write of 1 kB under 1,000 keys, with what each store does besides."""
    stores, missing = _stores()
    loops = max(1, int(100 * settings.scale))
    subjects = {
        (name, verb): functools.partial(_per_key, store, verb, loops)
        for name, store in stores.items()
        for verb in ("get", "set")
    }
    results = interleave(settings, subjects, "state")
    rows = []
    for name in stores:
        get, put = results[name, "get"], results[name, "set"]
        rows.append(
            [
                name,
                number(Figure.of(get).median),
                number(Figure.of(put).median),
                ratio(ratios(get, results["dict", "get"])),
            ]
        )
    for store in stores.values():
        if hasattr(store, "close"):
            store.close()
    return Table("A value of 1 kB in memory", ["store", "get hit ns", "set ns", "get, ratio to dict"], rows, missing)


def _stores() -> tuple[dict[str, Any], list[Missing]]:
    spill = Spill(tempfile.mkdtemp(), budget=BUDGET)
    stores: dict[str, Any] = {
        "dict": {},
        "warmstate's store: budget, spill, threads": StateStore(memory_budget=BUDGET, spill=spill),
    }
    missing = []
    try:
        import cachetools
    except ImportError:
        missing.append(Missing("cachetools", "not installed"))
    else:
        stores["cachetools LRUCache, bytes counted"] = cachetools.LRUCache(BUDGET, getsizeof=len)
        stores["cachetools TTLCache, bytes counted"] = cachetools.TTLCache(BUDGET, 3600, getsizeof=len)
    import diskcache

    stores["diskcache"] = diskcache.Cache(tempfile.mkdtemp())
    for store in stores.values():
        for key in KEYS:
            store[key] = VALUE
    return stores, missing


def _per_key(store: Any, verb: str, loops: int) -> float:
    """Nanoseconds a key; the quickest pass of several, because everything else only ever adds."""
    loops = max(1, loops // 50) if type(store).__module__.startswith("diskcache") else loops
    value = VALUE
    quickest = float("inf")
    for _ in range(loops):
        begun = time.perf_counter_ns()
        if verb == "get":
            for key in KEYS:
                store[key]
        else:
            for key in KEYS:
                store[key] = value
        quickest = min(quickest, (time.perf_counter_ns() - begun) / len(KEYS))
    return quickest


def disk(settings: Settings) -> Table:
    """1 MB and 16 MB written, and read again; an array comes back by mapping its file."""
    import diskcache
    import numpy

    place = tempfile.mkdtemp()
    cache = diskcache.Cache(tempfile.mkdtemp(), eviction_policy="none")
    spill = Spill(place, budget=4 * BUDGET)
    rows = []
    for megabytes in (1, 16):
        data = os.urandom(megabytes << 20)
        array = numpy.frombuffer(data, numpy.uint8).copy()
        written: dict[str, Callable[[], float]] = {
            "raw file": functools.partial(_raw_write, place, data),
            "warmstate's spill, bytes": functools.partial(_spill_write, spill, data),
            "warmstate's spill, array": functools.partial(_spill_write, spill, array),
            "diskcache": functools.partial(_timed, functools.partial(cache.set, "k", data), settings),
        }
        read: dict[str, Callable[[], float]] = {
            "raw file": functools.partial(_timed, functools.partial(_raw_read, place, data), settings),
            "warmstate's spill, bytes": functools.partial(_spill_read, spill, data, settings),
            "warmstate's spill, array": functools.partial(_spill_read, spill, array, settings),
            "diskcache": functools.partial(_timed, functools.partial(cache.get, "k"), settings),
        }
        writes = interleave(settings, written, f"spill of {megabytes} MB")
        reads = interleave(settings, read, f"reload of {megabytes} MB")
        rows += [
            [
                f"{name}, {megabytes} MB",
                number(Figure.of(writes[name]).median),
                ratio(ratios(writes["raw file"], writes[name])),
                number(Figure.of(reads[name]).median),
            ]
            for name in written
        ]
    spill.close()
    cache.close()
    return Table("Bytes to /tmp and back", ["what", "write µs", "speed, raw file = 1", "read µs"], rows)


def _timed(function: Callable[[], object], settings: Settings) -> float:
    """Microseconds; the quickest of several."""
    quickest = float("inf")
    for _ in range(max(5, int(30 * settings.scale))):
        begun = time.perf_counter_ns()
        function()
        quickest = min(quickest, (time.perf_counter_ns() - begun) / 1e3)
    return quickest


def _raw_write(place: str, data: bytes) -> float:
    path = f"{place}/raw"
    quickest = float("inf")
    for _ in range(20):
        begun = time.perf_counter_ns()
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(fd, data)
        os.close(fd)
        quickest = min(quickest, (time.perf_counter_ns() - begun) / 1e3)
        Path(path).unlink()
    return quickest


def _raw_read(place: str, data: bytes) -> bytes:
    path = Path(place) / "to-read"
    if not path.exists():
        path.write_bytes(data)
    return path.read_bytes()


def _spill_write(spill: Spill, value: object) -> float:
    quickest = float("inf")
    for _ in range(20):
        begun = time.perf_counter_ns()
        encoded = encode(value)
        assert encoded is not None
        spilled = spill.put("k", encoded.buffers)
        quickest = min(quickest, (time.perf_counter_ns() - begun) / 1e3)
        assert spilled is not None
        spill.drop(spilled)
    return quickest


def _spill_read(spill: Spill, value: object, settings: Settings) -> float:
    encoded = encode(value)
    assert encoded is not None
    spilled = spill.put("k", encoded.buffers)
    assert spilled is not None
    read = spill.map if encoded.mapped else spill.get
    quickest = _timed(lambda: encoded.decode(read(spilled)), settings)
    spill.drop(spilled)
    return quickest
