"""
The command line's way to a running emulator, over HTTP with requests; the only module that imports it here.

Which emulator: --endpoint, then WARMSTATE_ENDPOINT, then `.warmstate/endpoint.json` in this folder or one above it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from warmstate.cli.output import note
from warmstate.cli.problem import EXIT_UNREACHABLE, EXIT_USAGE, Problem

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    import requests

__all__ = ["FOLDER", "VARIABLES", "Client", "Endpoint", "find_endpoint", "forget_endpoint", "write_endpoint"]

VARIABLES = {
    "WARMSTATE_ENDPOINT": "address of the emulator to talk to; default the one that runs in this folder or one above",
    "WARMSTATE_TOKEN": "token of an emulator that listens beyond this machine; default none",
}
"""Every variable of ours that the command line reads, and what it means."""

FOLDER = ".warmstate"
API = "/_warmstate/api/v1"
DEFAULT = "http://127.0.0.1:9000"
FIX = "start one with: warmstate dev app.Handler    or name it with --endpoint URL"


class Endpoint:
    """Where an emulator listens, and the token it wants, if any."""

    def __init__(self, url: str, token: str | None = None, found: str = "") -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        self.token = token
        self.found = found


def write_endpoint(root: str, url: str, token: str | None) -> str | None:
    """
    Leave word of a running emulator for commands started below `root`; only this user may read it.

    Where another one runs there already its word stays, and there is none of this one, so no path to it.
    """
    folder = os.path.join(root, FOLDER)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, "endpoint.json")
    if _is_served(path, url):
        return None
    ignore = os.path.join(folder, ".gitignore")
    if not os.path.exists(ignore):
        with open(ignore, "w", encoding="utf-8") as file:
            file.write("*\n")
    temporary = f"{path}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"url": url, "token": token, "pid": os.getpid(), "namespace": _namespace()}, file)
    os.replace(temporary, path)
    return path


def _is_served(path: str, url: str) -> bool:
    """Whether `path` has the word of another emulator than the one at `url`, and that one still listens."""
    import socket
    from urllib.parse import urlsplit

    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        _check_alive(found, path)
        place = urlsplit(str(found["url"]))
        if found["url"] == url:
            return False
        with socket.create_connection((place.hostname or "", place.port or 0), timeout=1):
            return True
    except (OSError, ValueError, KeyError, AttributeError, Problem):
        return False


def _check_alive(found: Mapping[str, Any], path: str) -> None:
    """
    Whether the process that left word in `path` is still there: one that is killed cannot take it back.

    Raises:
        Problem: It is not, as far as we can see: in another container it may be.
    """
    pid = found.get("pid")
    if found.get("namespace") == _namespace() and not os.path.exists(f"/proc/{pid}"):
        why = f"process {pid}, which wrote this, has ended without a word"
        raise Problem("WS301", "no emulator runs here", where=path, why=why, fix=FIX, exit=EXIT_UNREACHABLE)


def _namespace() -> str:
    """Which process ids are the same as ours."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def forget_endpoint(path: str) -> None:
    """Take that word back, if it is still ours."""
    try:
        with open(path, encoding="utf-8") as file:
            if json.load(file).get("pid") == os.getpid():
                os.unlink(path)
    except (OSError, ValueError):
        pass


def find_endpoint(options: argparse.Namespace) -> Endpoint:
    """
    The emulator to talk to.

    Raises:
        Problem: The one of this folder has ended.
    """
    token = os.environ.get("WARMSTATE_TOKEN")
    if options.endpoint:
        return Endpoint(options.endpoint, token, "--endpoint")
    if os.environ.get("WARMSTATE_ENDPOINT"):
        return Endpoint(os.environ["WARMSTATE_ENDPOINT"], token, "WARMSTATE_ENDPOINT")
    folder = os.getcwd()
    while True:
        path = os.path.join(folder, FOLDER, "endpoint.json")
        try:
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
            here = Endpoint(str(found["url"]), token or found.get("token"), path)
        except (OSError, ValueError, KeyError):
            pass
        else:
            _check_alive(found, path)
            return here
        if os.path.dirname(folder) == folder:
            return Endpoint(DEFAULT, token, "the default")
        folder = os.path.dirname(folder)


class Client:
    """Calls of one command to one emulator."""

    def __init__(self, options: argparse.Namespace, token: str | None = None) -> None:
        self.endpoint = find_endpoint(options)
        self.endpoint.token = token or self.endpoint.token
        self._session: requests.Session | None = None
        self._options = options

    def get(self, path: str, **query: str) -> Any:
        """What the control API has at `path`."""
        return self._value(self.send("GET", API + path, params={k: v for k, v in query.items() if v}))

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Let the control API do something."""
        return self._value(self.send("POST", API + path, json=dict(body or {})))

    def stream(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """The events of a server-sent event stream, until it ends."""
        import requests

        answer = self._checked(self.send("GET", API + path, params=query, stream=True))
        try:
            for line in answer.iter_lines():
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        except requests.RequestException as error:
            raise ConnectionError(type(error).__name__) from None

    @staticmethod
    def pieces(answer: requests.Response) -> Iterator[bytes]:
        """
        The body of a streamed answer as it comes.

        Raises:
            ConnectionError: It broke off.
        """
        import requests

        try:
            yield from answer.iter_content(None)
        except requests.RequestException as error:
            raise ConnectionError(type(error).__name__) from None

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """
        One request.

        Raises:
            Problem: Nobody answers.
        """
        import requests

        if self._session is None:
            self._session = requests.Session()
            self._session.trust_env = False  # no proxy and no netrc between this command and loopback
            if self.endpoint.token:
                self._session.headers["X-Warmstate-Token"] = self.endpoint.token
        try:
            answer = self._session.request(method, self.endpoint.url + path, timeout=(5, None), **options)
        except requests.RequestException as error:
            if error.args and type(error.args[0]).__name__ == "ProtocolError":  # urllib3's: the request had been taken
                raise ConnectionError("it ended in the middle of a request") from None
            raise Problem(
                "WS301",
                f"no emulator answers at {self.endpoint.url}",
                where=f"address from {self.endpoint.found}",
                why=type(error).__name__,
                fix=FIX,
                exit=EXIT_UNREACHABLE,
            ) from None

        if self._options.verbose:
            milliseconds = answer.elapsed.total_seconds() * 1000
            note(self._options, f"{method} {answer.url} → {answer.status_code}, {milliseconds:.1f} ms")
        return answer

    def _value(self, answer: requests.Response) -> Any:
        """The JSON of an answer of the control API."""
        try:
            return self._checked(answer).json()
        except ValueError:
            raise self._stranger("what it answers is no JSON") from None

    def _checked(self, answer: requests.Response) -> requests.Response:
        if answer.ok:
            return answer
        try:
            message = str(answer.json()["message"])
        except (ValueError, KeyError, TypeError):
            raise self._stranger(f"it answers with status {answer.status_code}") from None
        fix = "warmstate ps shows what there is"
        if answer.status_code == 403:
            fix = "set WARMSTATE_TOKEN to its token"
        elif answer.status_code == 400:
            fix = f"warmstate {self._options.verb} --help"
        elif "/invocations/" in answer.url:
            fix = "send one first: warmstate invoke    (the latest 500 are kept)"
        raise Problem("WS202", message, fix=fix, exit=EXIT_USAGE)

    def _stranger(self, why: str) -> Problem:
        what, where = f"no emulator of ours answers at {self.endpoint.url}", f"address from {self.endpoint.found}"
        return Problem("WS301", what, where=where, why=why, fix=FIX, exit=EXIT_UNREACHABLE)


def quoted(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")
