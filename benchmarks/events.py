"""The events of the benchmarks: JSON records of a wanted size, the same ones every time."""

from __future__ import annotations

import json

__all__ = ["SIZES", "records"]

SIZES = {"100 B": 100, "10 kB": 10_000, "1 MB": 1_000_000, "6 MB": 5_900_000}
"""The largest stays below the platform's limit also after a runtime has written it again with its own spaces."""


def records(size: int) -> bytes:
    """An object with a list of records, at most `size` bytes and close to it."""
    found: list[dict[str, object]] = []
    length = len('{"records": []}')
    while True:
        index = len(found)
        record = {
            "id": index,
            "name": f"camera-{index % 17}",
            "value": index * 0.25,
            "tags": ["sky", "zürich"],
            "ok": index % 3 == 0,
        }
        length += len(json.dumps(record, ensure_ascii=False).encode()) + 2
        if length > size:
            break
        found.append(record)
    return json.dumps({"records": found}, ensure_ascii=False).encode()
