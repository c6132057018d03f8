"""The first handler of the README, as the tests run it."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def first_handler() -> str:
    """The source of the README's first Python block; its class is `Counter`."""
    block = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)

    assert block, "the README shows no Python"
    assert "class Counter(StatefulHandler)" in block[1], "the README's first block is no longer the counter"
    return block[1]
