"""What `warmstate doctor` says of a folder that is to be uploaded: its size, its bytecode, the machine that its wheels are for."""

from __future__ import annotations

import importlib.util
import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Literal

from warmstate.cli.finding import Finding
from warmstate.cli.output import size

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["package"]

MOST_BYTES = 250 << 20
"""Of a function and its layers together, unpacked."""
GLIBC = (2, 34)
"""Of Amazon Linux 2023, where Python 3.12 and newer run."""
OLD_NAMES = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
HASHED = 1
"""The flag of a compiled file that is compared, if at all, by its source's hash and never by a date."""
COMPILE = "python -m compileall -qf --invalidation-mode unchecked-hash ."

Bytecode = Literal["hashed", "dated", "missing", "stale"]


def package(folder: str) -> Iterator[Finding]:
    """Nothing where no packages were installed into the folder, or into its `python`, as in a layer."""
    roots = [root for root in (folder, os.path.join(folder, "python")) if _installed(root)]
    if not roots:
        return
    files = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]
    yield _size(sum(os.lstat(path).st_size for path in files))
    yield _compiled(Counter(bytecode(path) for path in files if path.endswith(".py")))
    yield from _wheels([wheel for root in roots for wheel in _installed(root)])


def _installed(root: str) -> list[str]:
    """The folders in which pip says what it installed."""
    try:
        return sorted(entry.path for entry in os.scandir(root) if entry.name.endswith(".dist-info"))
    except OSError:
        return []


def _size(total: int) -> Finding:
    most = f"{MOST_BYTES >> 20} MB"
    fix = "leave out what the function does not import, or put it into an image" if total > MOST_BYTES else ""
    status = "problem" if fix else "ok"
    return Finding("package", status, f"{size(total)} unpacked; with its layers a function may have {most}", fix)


def bytecode(path: str) -> Bytecode:
    """How the compiled file of a module would fare on Lambda, whatever dates the archive gives its source."""
    folder, name = os.path.split(path)
    begin = name.removesuffix("py") + "cpython-"
    cache = os.path.join(folder, "__pycache__")
    try:
        found = [file for file in os.listdir(cache) if file.startswith(begin) and re.search(r"-\d+\.pyc$", file)]
    except OSError:
        found = []
    best: Bytecode = "missing"
    for file in found:
        with open(os.path.join(cache, file), "rb") as compiled:
            head = compiled.read(16)
        if not int.from_bytes(head[4:8], "little") & HASHED:
            best = "dated"
            continue
        if head[:4] == importlib.util.MAGIC_NUMBER:  # the hash is keyed by it
            with open(path, "rb") as source:
                if importlib.util.source_hash(source.read()) != head[8:]:
                    return "stale"
        return "hashed"
    return best


def _compiled(counts: Counter[Bytecode]) -> Finding:
    if counts["stale"]:
        found = f"{counts['stale']} of {counts.total()} modules were changed after they were compiled: Lambda may run the old code"
        return Finding("bytecode", "problem", found, COMPILE)
    bad = counts["dated"] + counts["missing"]
    if not bad:
        return Finding("bytecode", "ok", f"{counts.total()} modules are compiled, whatever their dates")
    found = f"{bad} of {counts.total()} modules are compiled again at each cold start, for want of a file that outlives packing"
    return Finding("bytecode", "warning", found, COMPILE)


def _wheels(folders: list[str]) -> Iterator[Finding]:
    """Whether what is compiled would run there: on Linux, with its C library, all for one processor."""
    machines: dict[str, str] = {}
    for folder in folders:
        name = os.path.basename(folder).removesuffix(".dist-info")
        platforms = _platforms(folder)
        if not platforms or "any" in platforms:
            continue
        found = [match for platform in platforms if (match := re.fullmatch(r"(.*linux.*?)_(x86_64|aarch64)", platform))]
        fitting = [match for match in found if _fits(match[1])]
        if not fitting:
            why = f"{name} is for {' or '.join(platforms)}; Lambda has Linux on x86_64 or aarch64 with glibc {GLIBC[0]}.{GLIBC[1]}"
            fix = "pip install --platform manylinux_2_28_x86_64 --only-binary :all: --target ..."
            yield Finding("wheels", "problem", why, fix)
            continue
        machines.setdefault(fitting[0][2], name)
        if all(match[1] == "linux" for match in fitting):
            why = f"{name} was compiled on a machine like this one, whose C library Lambda may not have"
            yield Finding("wheels", "warning", why, "build it in an image of Amazon Linux 2023")
    if len(machines) > 1:
        both = " and ".join(f"{machine} ({name})" for machine, name in sorted(machines.items()))
        yield Finding("wheels", "problem", f"there are packages for {both}", "install all of them for one processor")
    elif machines:
        yield Finding("wheels", "ok", f"what is compiled is for {next(iter(machines))}")


def _platforms(folder: str) -> list[str]:
    """What the WHEEL file of a package says it is for."""
    try:
        with open(os.path.join(folder, "WHEEL"), encoding="utf-8") as file:
            tags = [line.partition(":")[2].strip() for line in file if line.startswith("Tag:")]
    except OSError:
        return []
    return sorted({platform for tag in tags for platform in tag.rpartition("-")[2].split(".")})


def _fits(libc: str) -> bool:
    """Whether a wheel that asks for this C library has it there."""
    if libc == "linux":
        return True
    modern = re.fullmatch(r"manylinux_(\d+)_(\d+)", libc)
    needed = (int(modern[1]), int(modern[2])) if modern else OLD_NAMES.get(libc)
    return needed is not None and needed <= GLIBC
