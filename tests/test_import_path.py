"""What is imported between a cold start and the first next: every millisecond there is paid by somebody who waits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.import_log import Import, imports_up_to_first_next, parse_import_log

ROOT = Path(__file__).parents[1]

# Each costs between a tenth of a millisecond and a hundred; docs/architecture.md tells what takes their place.
BANNED = {
    "asyncio", "attr", "attrs", "collections.abc", "contextlib", "dataclasses", "diskcache", "enum", "functools", "http.client",
    "json", "logging", "re", "requests", "signal", "socket", "ssl", "threading", "traceback", "typing",
}  # fmt: skip

HANDLER = '''
from warmstate import Context, Event, State, StatefulHandler, Tail, resource, state, tail

class App(StatefulHandler):
    """Declares one of each, as most handlers do."""

    seen: State[int] = state(default=0)
    lines: Tail[str] = tail(max_items=10)

    @resource(check_after=5)
    def connection(self):
        yield object()

    @lines.flush
    def write(self, batch):
        return None

    def handle(self, event: Event, context: Context) -> object:
        self.seen += 1
        return self.seen
'''


def banned_among(imports: list[Import]) -> list[str]:
    return [str(found) for found in imports if found.name in BANNED]


def start(task_root: Path, source: str) -> list[Import]:
    """Run the real bootstrap with a handler until it asks for its first invocation."""
    (task_root / "app.py").write_text(source)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "LAMBDA_TASK_ROOT": str(task_root),
        "WARMSTATE_TMP": str(task_root),
        "_HANDLER": "app.App",
    }
    return imports_up_to_first_next([ROOT / "bootstrap"], environment)


def test_a_module_is_reported_with_whoever_imported_it() -> None:
    """The import log is read the right way up."""
    log = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 |     _io
import time:        10 |        110 |   io
import time:        20 |         20 |   re
import time:         5 |        135 | warmstate
import time:         5 |          5 | zlib
"""

    assert {
        "_io <- io <- warmstate <- the start itself",
        "re <- warmstate <- the start itself",
        "zlib <- the start itself",
    } <= {str(found) for found in parse_import_log(log)}


def test_importing_warmstate_is_cheap() -> None:
    """`import warmstate` loads no module that design keeps off the import path."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import warmstate"
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    imports = parse_import_log(run.stderr)

    assert "warmstate" in {found.name for found in imports}
    assert [] == banned_among(imports)


@pytest.mark.process
def test_the_way_to_the_first_next_is_cheap(tmp_path) -> None:
    """A real bootstrap with a handler of a slot, a tail and a resource reaches its first next without a banned module."""
    imports = start(tmp_path, HANDLER)

    assert {"app", "warmstate.instance", "warmstate.hosts.runtime"} <= {found.name for found in imports}
    assert [] == banned_among(imports)


@pytest.mark.process
def test_a_banned_module_is_named_with_its_importer(tmp_path) -> None:
    """The check sees what it is there for: a handler that imports json is told so by name."""
    imports = start(tmp_path, "import json\n" + HANDLER)

    assert any(line.startswith("json <- app <- ") for line in banned_among(imports))
