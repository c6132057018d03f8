"""A million mixed operations: the budgets hold in truth, not only by the store's own account."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MB = 1024 * 1024

SCRIPT = r"""
import gc, json, os, random, sys
from warmstate.warm.sizes import resident_bytes
from warmstate.warm.spill.spill import Spill
from warmstate.warm.store.store import StateStore

operations, memory, tmp, keys, directory, seed = (*map(int, sys.argv[1:5]), sys.argv[5], int(sys.argv[6]))
rng = random.Random(seed)
block = rng.randbytes(400_000)


def made(number):
    # Records, text, bytes of many sizes; what a key holds is told from a small number, so the model stays small.
    kind = number % 10
    if kind < 4:
        size = 50 + number * 7919 % (3_000 if number % 50 else 300_000)
        return block[:size]
    if kind < 7:
        return {"id": number, "name": f"name {number}", "tags": [f"tag {n}" for n in range(number % 9)], "score": number / 3}
    if kind < 9:
        return f"text {number} " * (number % 300)
    return [{"n": n, "s": str(n * number)} for n in range(number % 60)]


def directory_bytes():
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            status = os.fstat(int(name))
        except OSError:
            continue
        if status.st_nlink == 0 and os.readlink(f"/proc/self/fd/{name}").startswith(directory):
            found += status.st_blocks * 512
    return found


import diskcache, sqlite3, marshal  # what the spill loads is no part of the growth
spill = Spill(directory, budget=tmp)
model = {}
gc.collect()
begun = resident_bytes()
store = StateStore(memory_budget=memory, spill=spill)
wrong = over = missing = 0
most = most_tmp = 0
for number in range(operations):
    key = f"key/{rng.randrange(keys)}"
    kind = rng.random()
    if kind < 0.45:
        model[key] = what = rng.randrange(1_000_000)
        store[key] = made(what)
    elif kind < 0.9:
        found = store.get(key)
        if key not in model:
            wrong += found is not None
        elif found is None:
            missing += 1
        elif found != made(model[key]):
            wrong += 1
    elif kind < 0.95:
        store.pop(key, None)
        model.pop(key, None)
    else:
        key in store
    over += store.nbytes > memory
    if number % 200 == 0:
        store.settle()
    if number % 5000 == 0:
        most = max(most, resident_bytes() - begun)
        most_tmp = max(most_tmp, directory_bytes())
info = store.info()
print(json.dumps({
    "wrong": wrong, "over": over, "missing": missing, "resident": most, "tmp": most_tmp, "keys": len(store),
    **{name: info[name] for name in ("spilled", "reloaded", "evicted", "lost", "memory_bytes", "memory_debt")},
    "spill": info["tmp"],
}))
"""


def run(tmp_path, operations, memory, tmp, keys):
    command = [sys.executable, "-c", SCRIPT, *map(str, (operations, memory, tmp, keys)), str(tmp_path), "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    print(figures)
    return figures


def judge(figures, memory, tmp):
    assert figures["wrong"] == figures["over"] == figures["lost"] == 0
    assert figures["spilled"] > 0
    assert figures["reloaded"] > 0
    assert figures["evicted"] > 0
    assert figures["spill"]["faults"] == 0
    assert figures["tmp"] <= 1.05 * tmp
    assert figures["resident"] <= 1.25 * memory


@pytest.mark.process
def test_fifty_thousand_operations(tmp_path):
    """The same as a million, in small: accounted and real bytes stay within the budgets, and nothing is wrong."""
    figures = run(tmp_path, 50_000, 32 * MB, 8 * MB, 20_000)
    judge(figures, 32 * MB, 8 * MB)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_million_operations(tmp_path):
    """1,000,000 operations in 128 MB of memory and 64 MB of /tmp: real memory < 1.25 times, the disk < 1.05 times the budget."""
    figures = run(tmp_path, 1_000_000, 128 * MB, 64 * MB, 120_000)
    judge(figures, 128 * MB, 64 * MB)
