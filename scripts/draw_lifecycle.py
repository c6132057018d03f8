"""
Draws the lifecycle's transition table into docs/architecture.md, as a Mermaid diagram.

    python -m scripts.draw_lifecycle            write it
    python -m scripts.draw_lifecycle --check    only say whether the document shows the table as it is
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.markers import replace_between
from warmstate.lifecycle.machine import diagram

DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"


def main() -> int:
    """Write or check the document; the exit status is 1 when a check finds it different."""
    parser = argparse.ArgumentParser(description="Draw the lifecycle's transition table into docs/architecture.md.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when the document differs from the table"
    )
    options = parser.parse_args()
    written = DOCUMENT.read_text()
    drawn = replace_between(written, "lifecycle", f"```mermaid\n{diagram()}```")
    if drawn == written:
        return 0
    if options.check:
        print(f"{DOCUMENT.name} does not show the transition table as it is: run `make diagram`")
        return 1
    DOCUMENT.write_text(drawn)
    print(f"wrote {DOCUMENT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
