"""
The processes of the environments, as the emulator sees them.

They are children of the warden (`warden.py`), not of the emulator, so that they end with it however it ends.
A process's group may be signalled until it is forgotten: the warden keeps a zombie in its place until then.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Final

import attrs

from warmstate.emulator.processes import family

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Exit", "Process", "SpawnError", "Warden"]

WARDEN: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "warden.py")
MESSAGE_BYTES: Final = 1 << 20
LOST: Final = "the emulator's warden process has died; start the emulator again"
OPEN_FILES: Final = 1024
"""File descriptors of a process on Lambda."""


class SpawnError(Exception):
    """Raised when a program cannot be started."""


@attrs.frozen
class Exit:
    """How a process ended: its exit code, or the signal that killed it."""

    code: int
    signal: int

    def __str__(self) -> str:
        if self.signal:
            names = {signal.SIGKILL: "killed", signal.SIGTERM: "terminated", signal.SIGSEGV: "segmentation fault"}
            return f"signal: {names.get(signal.Signals(self.signal), signal.Signals(self.signal).name)}"
        return f"exit status {self.code}"


class Process:
    """One process group that the warden leads; `exited` is done when its leader ended."""

    def __init__(self, warden: Warden, pid: int) -> None:
        self._warden = warden
        self.pid: Final = pid
        self.exited: Final[asyncio.Future[Exit]] = asyncio.get_running_loop().create_future()
        self._forgotten = False
        self.status: Final = family.Status(pid)
        self._has_strays = False

    def __repr__(self) -> str:
        return f"<Process {self.pid} {'forgotten' if self._forgotten else 'ended' if self.exited.done() else 'alive'}>"

    @property
    def alive(self) -> bool:
        """Whether the leader has not ended, as far as is known."""
        return not self.exited.done()

    def freeze(self) -> None:
        """Stop the group, and descendants that left it where there were any before; `freeze_all` looks for others."""
        if self._has_strays:
            self.freeze_all()
        else:
            self._signal_group(signal.SIGSTOP)

    def freeze_all(self) -> None:
        """Stop the group and descendants that left it, which takes a look at every process."""
        self._has_strays = bool(self.signal(signal.SIGSTOP))

    def thaw(self) -> None:
        """Let them go on; they are looked for only where there were any to stop."""
        if self._has_strays:
            self.signal(signal.SIGCONT)
        else:
            self._signal_group(signal.SIGCONT)

    def signal(self, number: int) -> set[int]:
        """Send a signal to the whole group, and to descendants that left it, which it returns."""
        told = set[int]()
        if self._forgotten:
            return told
        self._signal_group(number)
        while new := [stray for stray in family.strays(self.pid) if stray not in told]:  # one may have forked meanwhile
            told.update(new)
            for stray in new:
                try:
                    os.kill(stray, number)
                except (ProcessLookupError, PermissionError):
                    pass
        return told

    def _signal_group(self, number: int) -> None:
        if not self._forgotten:
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                pass

    async def kill(self) -> Exit:
        """Kill the group and everything that descends from it, and forget it."""
        if not self._forgotten:
            strays = family.strays(self.pid)
            self.signal(signal.SIGKILL)
            ended = await self.exited
            for stray in strays:
                try:
                    os.kill(stray, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass
            self._forgotten = True
            self.status.close()
            self._warden.forget(self.pid)
            return ended
        return self.exited.result()


class Warden:
    """The emulator's end of the socket to the warden process."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._program: subprocess.Popen[bytes] | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._processes: dict[int, Process] = {}
        self._number = 0
        self._directory = ""
        self._ready: asyncio.Future[str | None] | None = None
        self.no_namespace: str | None = None
        self.on_loss: Callable[[], None] = lambda: None

    @property
    def directory(self) -> str:
        """The emulator's own directory, mode 0700, removed at the end."""
        return self._directory

    @property
    def pid(self) -> int:
        """The warden's pid."""
        assert self._program is not None
        return self._program.pid

    @property
    def isolated(self) -> bool:
        """Whether processes get a /tmp of their own and a read-only task root; else `no_namespace` says why not."""
        return self.no_namespace is None

    def view(self, path: str) -> str:
        """`path`, which may lie on a file system that only the warden has mounted, as this process can open it."""
        return f"/proc/{self.pid}/root{path}" if self.isolated else path

    async def start(self, *, isolate: bool) -> None:
        """Start the warden; must run in the thread of the event loop, which lives as long as the emulator."""
        loop = asyncio.get_running_loop()
        self._directory = os.path.realpath(  # noqa: ASYNC240 - a moment at start-up
            tempfile.mkdtemp(prefix="warmstate-")
        )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES)
        with theirs:
            self._program = subprocess.Popen(  # noqa: ASYNC220 - the loop waits for it anyway; -I -S: nothing of the user's environment may change the warden
                [
                    sys.executable,
                    "-I",
                    "-S",
                    WARDEN,
                    str(theirs.fileno()),
                    "isolate" if isolate else "plain",
                    self._directory,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        ours.setblocking(False)
        self._control = ours
        self._ready = loop.create_future()
        loop.add_reader(ours.fileno(), self._read)
        self.no_namespace = await self._ready

    async def spawn(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        cwd: str,
        *,
        stdout: int,
        stderr: int,
        tmp: str = "",
        visible: Sequence[str] = (),
        read_only: Sequence[str] = (),
        writable: Sequence[str] = (),
    ) -> Process:
        """
        Start a program in its own process group.

        `tmp` is laid over /tmp; `visible` paths below the host's /tmp stay reachable, `read_only` ones cannot be
        written, `writable` ones can, also inside a read-only one.

        Raises:
            SpawnError: It cannot be started; the message has the system's reason.
        """
        plan = {
            "argv": list(argv),
            "env": dict(environment),
            "cwd": cwd,
            "tmp": tmp if self.isolated else "",
            "visible": list(visible),
            "read_only": list(read_only),
            "writable": list(writable),
            "open_files": OPEN_FILES,
        }
        answer = await self._ask("spawn", plan, [stdout, stderr])
        if answer["event"] == "refused":
            raise SpawnError(f"cannot start {argv[0]}: {answer['error']}")
        return self._processes[answer["pid"]]

    async def make_tmp(self, name: str, size: int) -> str:
        """A new, empty directory for an environment's /tmp: of `size` bytes where file systems can be mounted."""
        path = os.path.join(self._directory, name)
        os.mkdir(path, 0o700)
        if self.isolated:
            answer = await self._ask("tmpfs", {"path": path, "bytes": size})
            if answer["error"]:
                self.no_namespace = answer["error"]
        return path

    def drop_tmp(self, path: str) -> None:
        """Remove an environment's /tmp."""
        if self.isolated:
            self._tell({"do": "drop", "path": path})
        else:
            shutil.rmtree(path, ignore_errors=True)

    def forget(self, pid: int) -> None:
        """Let the warden bury a process that ended; nothing may signal its group afterwards."""
        self._processes.pop(pid, None)
        self._tell({"do": "forget", "pid": pid})

    async def close(self) -> None:
        """End the warden, and with it whatever still runs."""
        loop = asyncio.get_running_loop()
        if self._control is not None:
            loop.remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        if self._program is not None:
            await loop.run_in_executor(None, self._program.wait)
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _ask(self, order: str, plan: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        if self._control is None:
            raise SpawnError(LOST)
        self._number += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        self._tell({"do": order, "id": self._number, **plan}, descriptors)
        return await answer

    def _tell(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        if self._control is None:
            return
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], list(descriptors))
        except (BrokenPipeError, ConnectionError):
            self._lost()

    def _read(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._lost()
            return
        message: dict[str, Any] = json.loads(data)
        event = message["event"]
        if event == "ready":
            assert self._ready is not None
            self._ready.set_result(message["namespace"])
        elif event == "exited":
            process = self._processes.get(message["pid"])
            if process is not None and not process.exited.done():
                process.exited.set_result(Exit(message["code"], message["signal"]))
        else:
            if event == "spawned":
                # Made here, not by who asked: the exit may be the very next message.
                self._processes[message["pid"]] = Process(self, message["pid"])
            answer = self._answers.pop(message["id"])
            if not answer.done():
                answer.set_result(message)

    def _lost(self) -> None:
        """The warden died, and its death killed every process it started."""
        if self._control is None:
            return
        asyncio.get_running_loop().remove_reader(self._control.fileno())
        self._control.close()
        self._control = None
        for process in self._processes.values():
            if not process.exited.done():
                process.exited.set_result(Exit(0, signal.SIGKILL))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(SpawnError(LOST))
        self._answers.clear()
        self.on_loss()
