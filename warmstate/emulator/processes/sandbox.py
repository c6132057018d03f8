"""
What one execution environment is made of: a /tmp, the processes in it, the pipes of their output.

A reset ends the processes and keeps the rest; only `close` gives up /tmp.
"""

from __future__ import annotations

import asyncio
import os
import signal
import site
import sys
from typing import TYPE_CHECKING, Final

from warmstate.emulator.processes import family
from warmstate.emulator.processes.processes import SpawnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from warmstate.emulator.function import Function, InitializationType
    from warmstate.emulator.processes.processes import Exit, Process, Warden

__all__ = ["Sandbox"]

LINE_LIMIT: Final = 262_144
"""Bytes of a line of output after which it is cut, as CloudWatch cuts events."""
ENDED: Final = "the environment has ended"
RUNTIME_ONLY: Final = frozenset(
    {"AWS_XRAY_CONTEXT_MISSING", "AWS_EXECUTION_ENV", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT"}
)
"""Variables that external extensions do not get, besides all that begin with an underscore."""


class Sandbox:
    """One environment's processes and files; `output` is called with each line that a process writes."""

    def __init__(
        self,
        function: Function,
        warden: Warden,
        name: str,
        kind: InitializationType,
        log_stream: str,
        output: Callable[[str, str], None],
    ) -> None:
        self.function: Final = function
        self.name: Final = name
        self.token: Final = os.urandom(16).hex()
        """What its processes show to the metadata and credentials endpoints."""
        self._kind: Final[InitializationType] = kind
        self._log_stream = log_stream
        self._runtime_api = ""
        self._warden = warden
        self._output = output
        self._tmp = ""
        self._runtime: Process | None = None
        self._extensions: dict[str, Process] = {}
        self._pipes: list[_Pipe] = []
        self._closed = False
        self.stopped = False

    def __repr__(self) -> str:
        return f"<Sandbox {self.name} {self._runtime!r}>"

    @property
    def pid(self) -> int | None:
        """The pid of the runtime's process, None when there is none."""
        return self._runtime.pid if self._runtime is not None else None

    @property
    def tmp(self) -> str:
        """A path at which the emulator's process can read the environment's /tmp."""
        return self._warden.view(self._tmp)

    @property
    def tmp_inside(self) -> str:
        """The path at which the environment's own processes see it."""
        return "/tmp" if self._warden.isolated else self._tmp  # noqa: S108 - a mount of its own

    @property
    def runtime_exit(self) -> Exit | None:
        """How the runtime ended, or None while it runs or when none was started."""
        if self._runtime is None or not self._runtime.exited.done():
            return None
        return self._runtime.exited.result()

    @property
    def has_died(self) -> bool:
        """Whether the kernel says that the runtime ended; the warden's word of it may still be on its way."""
        return self._runtime is not None and self._runtime.status.state in {"Z", "X", ""}

    @property
    def failed_extension(self) -> str | None:
        """The name of an external extension that ended by itself."""
        return next((name for name, process in self._extensions.items() if not process.alive), None)

    async def open(self, runtime_api: str) -> None:
        """Make the environment's /tmp; processes will find the Runtime API at `runtime_api`."""
        self._runtime_api = runtime_api
        self._tmp = await self._warden.make_tmp(self.name, self.function.tmp_mb << 20)

    async def start_extensions(self, changed: Callable[[], None]) -> None:
        """Start what lies in the function's folder of external extensions."""
        variables = self._variables()
        kept = {key: value for key, value in variables.items() if key[0] != "_" and key not in RUNTIME_ONLY}
        for name, path in self.external_extensions().items():
            process = await self._spawn([path], kept, f"extension {name}")
            process.exited.add_done_callback(lambda _: changed())
            self._extensions[name] = process

    async def start_runtime(self, changed: Callable[[], None]) -> None:
        """
        Start the program that speaks the Runtime API.

        Raises:
            SpawnError: It cannot be started.
        """
        self._runtime = await self._spawn(self.function.command(), self._variables(), "runtime")
        self._runtime.exited.add_done_callback(lambda _: changed())

    def external_extensions(self) -> dict[str, str]:
        """The executables in the function's folder of extensions, by name."""
        folder = self.function.extensions
        if folder is None:
            return {}
        paths = {entry.name: entry.path for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)}
        return {name: path for name, path in paths.items() if os.access(path, os.X_OK) and os.path.isfile(path)}

    def freeze(self) -> None:
        """Stop every process; nothing of them runs until `thaw`, but what left its group and was not seen before."""
        self.stopped = True
        for process in self._processes():
            process.freeze()

    def freeze_all(self) -> None:
        """Stop what `freeze` has not seen as well."""
        for process in self._processes():
            process.freeze_all()

    def thaw(self) -> None:
        """Let every process go on."""
        self.stopped = False
        for process in self._processes():
            process.thaw()

    def is_stopped(self) -> bool:
        """Whether the kernel says of every process that it is stopped."""
        return all(family.is_stopped(process.pid) for process in self._processes() if process.alive)

    def signal(self, number: int) -> None:
        """Send a signal to every process."""
        for process in self._processes():
            process.signal(number)

    def terminate_runtime(self) -> None:
        """SIGTERM to the runtime's whole group."""
        if self._runtime is not None:
            self._runtime.signal(signal.SIGTERM)

    async def kill_runtime(self) -> Exit | None:
        """SIGKILL to the runtime and all that descends from it; returns how the runtime ended."""
        return await self._runtime.kill() if self._runtime is not None else None

    async def kill_extensions(self, names: Sequence[str]) -> None:
        """SIGKILL to these external extensions."""
        for name in names:
            if name in self._extensions:
                await self._extensions[name].kill()

    def extension_alive(self, name: str) -> bool:
        """Whether that external extension still runs."""
        return name in self._extensions and self._extensions[name].alive

    async def kill(self) -> None:
        """End every process at once; afterwards the sandbox has none."""
        for process in list(self._processes()):
            await process.kill()
        self.drain()
        self._runtime = None
        self._extensions.clear()
        self.stopped = False

    async def close(self) -> None:
        """End every process and give up /tmp; no other process starts here."""
        self._closed = True
        await self.kill()
        for pipe in self._pipes:
            pipe.close()
        if self._tmp:
            self._warden.drop_tmp(self._tmp)

    def drain(self) -> None:
        """Read what the processes have written so far."""
        for pipe in self._pipes:
            pipe.read()
        self._pipes = [pipe for pipe in self._pipes if not pipe.closed]

    def memory_bytes(self) -> int:
        """What all processes hold in memory now."""
        return sum(family.memory_bytes(process.pid) for process in self._processes())

    def peak_bytes(self) -> int:
        """The most that the runtime's own process held; its children are sampled by `memory_bytes`."""
        return self._runtime.status.peak_bytes if self._runtime is not None else 0

    def tmp_bytes(self) -> int:
        """What the environment's /tmp holds, with files that are deleted and still open."""
        if self._warden.isolated:
            usage = os.statvfs(self.tmp)
            return (usage.f_blocks - usage.f_bfree) * usage.f_frsize
        return family.disk_usage(self.tmp, [process.pid for process in self._processes()])

    def _processes(self) -> Iterator[Process]:
        if self._runtime is not None:
            yield self._runtime
        yield from self._extensions.values()

    def _variables(self) -> dict[str, str]:
        return self.function.variables(
            runtime_api=self._runtime_api,
            log_stream=self._log_stream,
            tmp=self.tmp_inside,
            initialization_type=self._kind,
            token=self.token,
        )

    async def _spawn(self, argv: Sequence[str], variables: dict[str, str], source: str) -> Process:
        if self._closed:
            raise SpawnError(ENDED)
        function = self.function
        outputs = [_Pipe(self._output, source), _Pipe(self._output, source)]
        self._pipes += outputs
        try:
            process = await self._warden.spawn(
                argv,
                variables,
                function.task_root,
                stdout=outputs[0].write_end,
                stderr=outputs[1].write_end,
                tmp=self._tmp,
                visible=_below_tmp([*_interpreter_paths(function), *argv, *function.share]),
                read_only=[function.task_root] if function.read_only else _below_tmp([function.task_root]),
                writable=self._shared(),
            )
        finally:
            for pipe in outputs:
                pipe.close_write_end()
        if self._closed:  # meanwhile
            await process.kill()
            raise SpawnError(ENDED)
        return process

    def _shared(self) -> list[str]:
        """The folders that the function may see and write: `share`, and those that its own variables name."""
        named = [value for value in self.function.environment.values() if os.path.isabs(value) and os.path.isdir(value)]
        paths = {os.path.realpath(path) for path in [*self.function.share, *named]}
        root = self.function.task_root
        return sorted(path for path in paths if path != "/" and not root.startswith(path + "/") and path != root)


def _interpreter_paths(function: Function) -> list[str]:
    """What Python needs to start, and where its packages are."""
    python = [function.python, os.path.realpath(function.python)]
    prefixes = [sys.prefix, sys.base_prefix, *site.getsitepackages()]
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [*(os.path.dirname(os.path.dirname(path)) for path in python), *prefixes, package]


def _below_tmp(paths: Sequence[str]) -> list[str]:
    """Those of `paths` that a file system over /tmp would hide, outer ones first and without what they contain."""
    root = os.path.realpath("/tmp") + "/"  # noqa: S108 - the directory that gets covered
    found = list[str]()
    for path in sorted({os.path.abspath(path) for path in paths if os.path.isabs(path)}, key=len):
        if path.startswith(root) and not any(path.startswith(outer + "/") for outer in found):
            found.append(path)
    return found


class _Pipe:
    """One output of one process, cut into lines."""

    def __init__(self, output: Callable[[str, str], None], source: str) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._output, self._source = output, source
        self._rest = b""
        self.closed = False
        asyncio.get_running_loop().add_reader(self._read_end, self.read)

    def close_write_end(self) -> None:
        os.close(self.write_end)

    def read(self) -> None:
        """Take what is there, and hand on the complete lines."""
        while not self.closed:
            try:
                data = os.read(self._read_end, 65_536)
            except BlockingIOError:
                return
            if not data:
                self.close()
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > LINE_LIMIT:
                lines, self._rest = [*lines, self._rest], b""
            for line in lines:
                self._output(self._source, line[:LINE_LIMIT].decode("utf-8", "replace"))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().remove_reader(self._read_end)
            os.close(self._read_end)
            if self._rest:
                self._output(self._source, self._rest.decode("utf-8", "replace"))
                self._rest = b""
