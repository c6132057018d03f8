"""What is imported between a cold start and the first next: every millisecond there is paid by somebody who waits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

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


class Import(NamedTuple):
    """One line of Python's own import log."""

    name: str
    importers: tuple[str, ...]
    """Whoever was being imported at the time, nearest first."""

    def __str__(self) -> str:
        return " <- ".join((self.name, *self.importers, "the start itself"))


def parse_import_log(log: str) -> list[Import]:
    """Read what `PYTHONPROFILEIMPORTTIME` prints: a module stands below everything it imported, and less indented."""
    rows = [
        line.split("|")[2]
        for line in log.splitlines()
        if line.startswith("import time:") and "imported package" not in line
    ]
    imports: list[Import] = []
    stack: list[tuple[int, str]] = []
    for row in reversed(rows):  # read upwards, each module stands above the one that imported it
        name = row.strip()
        depth = (len(row) - len(row.lstrip())) // 2
        while stack and stack[-1][0] >= depth:
            stack.pop()
        imports.append(Import(name, tuple(importer for _, importer in reversed(stack))))
        stack.append((depth, name))
    return imports


def banned_among(imports: list[Import]) -> list[str]:
    return [str(found) for found in imports if found.name in BANNED]


class FirstNext(ThreadingHTTPServer):
    """A Runtime API that lets a runtime come up to its first next and never answers that."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FirstNextRequest)
        self.asked_for_next = threading.Event()
        self.init_error: str | None = None
        self.over = threading.Event()


class FirstNextRequest(BaseHTTPRequestHandler):
    server: FirstNext
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.endswith("/runtime/invocation/next"):
            self.server.asked_for_next.set()
        self.server.over.wait()  # an internal extension's next is never answered either
        self.close_connection = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/init/error"):
            self.server.init_error = body.decode()
            self.server.asked_for_next.set()
        answer = b'{"functionName":"f","functionVersion":"$LATEST","handler":"app.App"}'
        self.send_response(200 if self.path.endswith("/register") else 202)
        self.send_header("Lambda-Extension-Identifier", "11111111-2222-3333-4444-555555555555")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the test's output to itself."""


def imports_up_to_first_next(task_root: Path) -> list[Import]:
    """Run the real bootstrap until it asks for its first invocation, and return what it imported on the way."""
    log = task_root / "stderr"
    with FirstNext() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "LAMBDA_TASK_ROOT": str(task_root),
            "PYTHONPROFILEIMPORTTIME": "1",
            "WARMSTATE_TMP": str(task_root / "tmp"),
            "_HANDLER": "app.App",
        }
        (task_root / "tmp").mkdir()
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [ROOT / "bootstrap"], env=environment, cwd=task_root, stderr=stderr, stdout=stderr
            )
        try:
            came = server.asked_for_next.wait(60)
        finally:
            process.kill()
            process.wait()
            server.over.set()
            server.shutdown()
    text = log.read_text()

    assert came, f"no first next within a minute:\n{text}"
    assert server.init_error is None, server.init_error
    return parse_import_log(text)


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
    (tmp_path / "app.py").write_text(HANDLER)

    imports = imports_up_to_first_next(tmp_path)

    assert {"app", "warmstate.instance", "warmstate.hosts.runtime"} <= {found.name for found in imports}
    assert [] == banned_among(imports)


@pytest.mark.process
def test_a_banned_module_is_named_with_its_importer(tmp_path) -> None:
    """The check sees what it is there for: a handler that imports json is told so by name."""
    (tmp_path / "app.py").write_text("import json\n" + HANDLER)

    imports = imports_up_to_first_next(tmp_path)

    assert any(line.startswith("json <- app <- ") for line in banned_among(imports))
