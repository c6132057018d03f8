"""Text that a program writes into a document, between two comments that name the program's part."""

from __future__ import annotations

import re

__all__ = ["replace_between"]


def replace_between(document: str, name: str, text: str) -> str:
    """
    Return the document with `text` in place of whatever stood between `<!-- name -->` and `<!-- /name -->`.

    Raises:
        ValueError: The document does not have the two markers, each once and in this order.

    """
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(re.escape(opening) + ".*?" + re.escape(closing), re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"expected {opening} and {closing} once each, to write between them")
    return pattern.sub(lambda _: f"{opening}\n\n{text.strip()}\n\n{closing}", document)
