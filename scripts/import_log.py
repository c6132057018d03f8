"""What a runtime imports between its start and its first next, with whoever imported it, from Python's own import log."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Import", "imports_up_to_first_next", "parse_import_log"]

PATIENCE_SECONDS = 60


class Import(NamedTuple):
    """One line of the log."""

    name: str
    microseconds: int
    """Of the module's own body, without what it imported."""
    importers: tuple[str, ...]
    """Whoever was being imported at the time, nearest first."""

    def __str__(self) -> str:
        return " <- ".join((self.name, *self.importers, "the start itself"))


def parse_import_log(log: str) -> list[Import]:
    """Read what `PYTHONPROFILEIMPORTTIME` prints: a module stands below everything it imported, and less indented."""
    imports: list[Import] = []
    stack: list[tuple[int, str]] = []
    for line in reversed(log.splitlines()):  # read upwards, a module comes before the ones it imported
        if not line.startswith("import time:") or line.endswith("imported package"):
            continue
        time, _, name = line.removeprefix("import time:").split("|")
        depth = (len(name) - len(name.lstrip())) // 2
        while stack and stack[-1][0] >= depth:
            stack.pop()
        imports.append(Import(name.strip(), int(time), tuple(importer for _, importer in reversed(stack))))
        stack.append((depth, name.strip()))
    return imports[::-1]


def imports_up_to_first_next(command: Sequence[str | Path], environment: Mapping[str, str]) -> list[Import]:
    """
    Start a runtime, let it come to its first next, end it, and return what it imported on the way.

    Raises:
        RuntimeError: It reported an init error, or did not come there; carries what it wrote.

    """
    with FirstNext() as server, tempfile.TemporaryFile("w+") as log:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        variables = {
            **environment,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
            "PYTHONPROFILEIMPORTTIME": "1",
        }
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True)
        try:
            arrived = server.arrived.wait(PATIENCE_SECONDS)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            server.over.set()
            server.shutdown()
        log.seek(0)
        said = log.read()
    if not arrived or server.init_error:
        raise RuntimeError(
            f"the runtime did not come to its first next: {server.init_error or 'nothing heard'}\n{said}"
        )
    return parse_import_log(said)


class FirstNext(ThreadingHTTPServer):
    """A Runtime API that lets a runtime come up to its first next and never answers that."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FirstNextRequest)
        self.arrived = threading.Event()
        self.over = threading.Event()
        self.init_error = ""


class FirstNextRequest(BaseHTTPRequestHandler):
    """One connection of the runtime or of its silent extension."""

    server: FirstNext
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Hold every next: neither the runtime's nor the extension's is answered."""
        if self.path.endswith("/runtime/invocation/next"):
            self.server.arrived.set()
        self.server.over.wait()
        self.close_connection = True

    def do_POST(self) -> None:
        """Let an extension register, and take an init error."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/init/error"):
            self.server.init_error = body.decode()
            self.server.arrived.set()
        answer = b'{"functionName":"function","functionVersion":"$LATEST","handler":"app.App"}'
        self.send_response(200 if self.path.endswith("/register") else 202)
        self.send_header("Lambda-Extension-Identifier", "11111111-2222-3333-4444-555555555555")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: the import log is what is wanted."""
