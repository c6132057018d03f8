"""
The parent of every process that the emulator starts: a program of its own, run by its path, standard library only.

It exists so that nothing outlives the emulator:

1. It reads one socket and watches the emulator's pidfd. When either ends, even because the emulator was killed with
   -9, it kills all it started.
2. Each process it starts is the subreaper of its own descendants: a daemon that forked twice still belongs to its
   environment, and is frozen with it. When that process ends, what it left comes to the warden, and is killed.
3. Each process it starts carries a parent-death signal, so killing the warden itself kills them too.
4. A process that ended stays a zombie until the emulator says "forget": until then its process group's number cannot
   belong to a stranger, and the emulator may signal the group without asking.
5. Its mount namespace holds each environment's /tmp; when the warden ends the kernel drops them. The directory that
   they are mounted in is removed by whoever ends last.

Being single-threaded, it may run Python between fork and exec, which the emulator may not.
Messages are JSON, one a packet; stdout and stderr of a new process come with its "spawn" as two descriptors.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MS_NOSUID, MS_NODEV = 2, 4
MNT_DETACH = 2
KEPT_MOUNT_FLAGS = 2 | 4 | 8  # nosuid, nodev, noexec: a user namespace may not drop them from a mount it remounts
MESSAGE_BYTES = 1 << 20
TICK_MS, BURIAL_TICK_MS = 2_000, 20

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """Call a function of the C library that answers 0 when all went well."""
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Attach a file system or change how it is attached, by the system call of that name."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    call("mount", *encoded, ctypes.c_ulong(flags), None if data is None else data.encode())


def enter_namespace() -> None:
    """
    Give the warden a mount namespace of its own; as an ordinary user by way of a user namespace.

    Raises:
        OSError: The system does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        call("unshare", CLONE_NEWNS)
    else:
        call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    mount(None, "/", None, MS_REC | MS_PRIVATE)


def arrange_files(plan: dict[str, Any]) -> None:
    """
    In a namespace of this one process: the environment's directory over /tmp, and the task root read-only.

    What the process needs and lies below the host's /tmp is bound into the new one, under its own name.
    """
    call("unshare", CLONE_NEWNS)
    host_tmp = os.path.realpath("/tmp")  # noqa: S108 - this is the directory that gets replaced
    kept = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in plan["visible"] if os.path.exists(path)]
    read_only = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in plan["read_only"]]
    writable = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in plan["writable"] if os.path.exists(path)]
    mount(plan["tmp"], host_tmp, None, MS_BIND)
    for path, descriptor in kept:
        make_mount_point(path, descriptor)
        mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND | MS_REC)
    for path, descriptor in read_only:
        make_mount_point(path, descriptor)
        mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND | MS_REC)
        flags = os.statvfs(path).f_flag & KEPT_MOUNT_FLAGS
        mount(None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)
    for path, descriptor in writable:
        if os.path.exists(path) or path.startswith(host_tmp + "/"):
            make_mount_point(path, descriptor)
            mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND | MS_REC)


def make_mount_point(path: str, descriptor: int) -> None:
    """A directory, or an empty file, where `descriptor` can be mounted."""
    if os.path.exists(path):
        return
    if os.path.isdir(f"/proc/self/fd/{descriptor}"):
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def become(plan: dict[str, Any], descriptors: list[int], warden: int) -> None:
    """Turn this forked child into the wanted program."""
    os.setsid()
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != warden:
        os._exit(1)
    call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # kept over exec, not inherited by children
    if plan["tmp"]:
        arrange_files(plan)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = plan["open_files"] if hard == resource.RLIM_INFINITY else min(plan["open_files"], hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(descriptors[0], 1)
    os.dup2(descriptors[1], 2)
    os.umask(0o022)
    os.chdir(plan["cwd"])
    os.execve(plan["argv"][0], plan["argv"], plan["env"])  # noqa: S606 - there is no shell on purpose


def spawn(plan: dict[str, Any], descriptors: list[int]) -> int:
    """
    Start a program as the leader of its own session and process group, and return its pid.

    Raises:
        OSError: It could not be started.
    """
    result, report = os.pipe2(os.O_CLOEXEC)
    warden = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            become(plan, descriptors, warden)
        except BaseException as error:  # noqa: BLE001 - the parent says what it was
            os.write(report, f"{error}"[:2000].encode())
        os._exit(127)
    os.close(report)
    with os.fdopen(result, "rb") as answer:
        failure = answer.read()
    if failure:
        os.waitpid(pid, 0)
        raise OSError(failure.decode())
    return pid


def children() -> list[int]:
    """The pids of this process's children, zombies included."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


class Warden:
    """The processes that were started and are not forgotten yet."""

    def __init__(self, control: socket.socket, directory: str, namespace: str | None) -> None:
        self._control = control
        self._directory = directory
        self._namespace = namespace  # why there is none, or None when there is one
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        # A process that the emulator's user forked may hold the socket open, so its end alone does not tell.
        self._emulator = os.pidfd_open(os.getppid())
        self._poll.register(self._emulator, select.POLLIN)
        self._exits: dict[int, int] = {}  # pidfd → pid, of those that still run
        self._known: set[int] = set()
        self._tick = TICK_MS

    def run(self) -> None:
        """Serve the emulator until it is gone; then leave nothing behind."""
        self._say(event="ready", namespace=self._namespace)
        try:
            while self._serve():
                pass
        finally:
            self._kill_all()
            self._remove_files()

    def _serve(self) -> bool:
        for descriptor, _ in self._poll.poll(self._tick):
            if descriptor == self._emulator:
                return False
            if descriptor == self._control.fileno():
                message, descriptors = self._receive()
                if not message:
                    return False
                try:
                    self._obey(json.loads(message), descriptors)
                finally:
                    for received in descriptors:
                        os.close(received)
            else:
                self._note_exit(descriptor)
        self._end_orphans()
        return True

    def _receive(self) -> tuple[bytes, list[int]]:
        descriptors = array.array("i")
        try:
            size = socket.CMSG_SPACE(8 * descriptors.itemsize)
            message, ancillary, _, _ = self._control.recvmsg(MESSAGE_BYTES, size, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return b"", []
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        return message, list(descriptors)

    def _obey(self, plan: dict[str, Any], descriptors: list[int]) -> None:
        order = plan["do"]
        if order == "spawn":
            try:
                pid = spawn(plan, descriptors)
            except OSError as error:
                self._say(event="refused", id=plan["id"], error=str(error))
                return
            self._known.add(pid)
            descriptor = os.pidfd_open(pid)
            self._exits[descriptor] = pid
            self._poll.register(descriptor, select.POLLIN)
            self._say(event="spawned", id=plan["id"], pid=pid)
        elif order == "forget":
            self._forget(plan["pid"])
        elif order == "tmpfs":
            self._say(event="tmpfs", id=plan["id"], error=self._make_tmp(plan["path"], plan["bytes"]))
        elif order == "drop":
            try:
                call("umount2", os.fsencode(plan["path"]), MNT_DETACH)
                os.rmdir(plan["path"])
            except OSError:
                pass

    def _make_tmp(self, path: str, size: int) -> str | None:
        """Mount a file system of its own, of `size` bytes, for one environment's /tmp; None when that went well."""
        try:
            mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, f"size={size},mode=1777")
        except OSError as error:
            return str(error)
        return None

    def _note_exit(self, descriptor: int) -> None:
        pid = self._exits.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        # Left as a zombie: the group's number stays ours until the emulator forgets it.
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            killed = found.si_code != os.CLD_EXITED
            self._say(
                event="exited", pid=pid, signal=found.si_status if killed else 0, code=0 if killed else found.si_status
            )

    def _forget(self, pid: int) -> None:
        if pid not in self._known:
            return
        self._known.discard(pid)
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for descriptor, other in list(self._exits.items()):
            if other == pid:
                self._poll.unregister(descriptor)
                os.close(descriptor)
                del self._exits[descriptor]
        os.waitpid(pid, 0)

    def _end_orphans(self) -> None:
        """Kill and bury what a process left when it ended; it is nobody's any more."""
        orphans = [pid for pid in children() if pid not in self._known]
        for pid in orphans:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
            except (ProcessLookupError, ChildProcessError, PermissionError):
                pass
        self._tick = BURIAL_TICK_MS if orphans else TICK_MS

    def _kill_all(self) -> None:
        """Kill every descendant: those that come to us when their parent dies are found in the next round."""
        while True:
            left = children()
            if not left:
                return
            for pid in left:
                for kill in (os.killpg, os.kill):
                    try:
                        kill(pid, signal.SIGKILL)
                    except (ProcessLookupError, PermissionError):
                        pass
            for pid in left:
                try:
                    os.waitpid(pid, 0)
                except ChildProcessError:
                    pass

    def _remove_files(self) -> None:
        """Remove the emulator's directory, which it could not if it was killed."""
        from shutil import rmtree

        for name in os.listdir(self._directory) if os.path.isdir(self._directory) else ():
            libc.umount2(os.fsencode(os.path.join(self._directory, name)), MNT_DETACH)
        rmtree(self._directory, ignore_errors=True)

    def _say(self, **message: object) -> None:
        try:
            self._control.send(json.dumps(message).encode())
        except OSError:
            pass  # the emulator is gone; the next receive ends the loop


def main() -> None:
    """Run as `python -I -S warden.py DESCRIPTOR ISOLATE DIRECTORY`."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C reaches the whole group; only the emulator decides when to end
    call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    refusal: str | None = "not asked for"
    if sys.argv[2] == "isolate":
        try:
            enter_namespace()
            refusal = None
        except OSError as error:
            refusal = str(error)
    Warden(control, sys.argv[3], refusal).run()


if __name__ == "__main__":
    main()
