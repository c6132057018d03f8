"""What the form of the bytecode and the place of the code do to a cold start, and how large the code is."""

from __future__ import annotations

import functools
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.artefact import function_folder
from benchmarks.events import records
from benchmarks.install import run_quietly
from benchmarks.measure import in_turn
from benchmarks.peers import EVERYTHING, Peer
from benchmarks.platform.stub import serve
from benchmarks.tables import MILLI, Column, Table, tabulate

if TYPE_CHECKING:
    from benchmarks.artefact import Bytecode
    from benchmarks.measure import Settings
    from benchmarks.results import Numbers, Runs

STARTS = 7
BEST = "hash-based .pyc, unchecked"
KILOBYTE = 1000.0


def measure(settings: Settings) -> Numbers:
    """Each layout in a folder of its own, all on one interpreter without packages."""
    with tempfile.TemporaryDirectory(prefix="warmstate-layouts-") as scratch:
        layouts = {layout.name: layout for layout in make_layouts(Path(scratch))}
        subjects = {
            name: functools.partial(serve, layout, records(100), invocations=1, warmup=0)
            for name, layout in layouts.items()
        }
        started = in_turn(settings.turns(STARTS), subjects, "layouts")
        return {
            name: {
                "start": statistics.median(run.cold_ns for run in runs),
                "bytes": float(size(Path(layouts[name].environment["LAMBDA_TASK_ROOT"]))),
            }
            for name, runs in started.items()
        }


def make_layouts(scratch: Path) -> list[Peer]:
    """The same function in all forms that it can be delivered in."""
    run_quietly(sys.executable, "-m", "venv", "--without-pip", scratch / "python")
    python = scratch / "python" / "bin" / "python3"
    forms: dict[str, Bytecode] = {
        BEST: "unchecked-hash",
        "hash-based .pyc, checked": "checked-hash",
        ".pyc with the time of its source": "timestamp",
        "no .pyc": "none",
    }
    layouts = [layout(scratch / form, name, python, form) for name, form in forms.items()]
    for name, options in {"the same with `site`": "", "the same with `-I`": "-I -S"}.items():
        changed = layout(scratch / f"with{options.replace(' ', '')}", name, python, "unchecked-hash")
        bootstrap = Path(changed.command[0])
        bootstrap.write_text(bootstrap.read_text().replace('}" -S -c', f'}}" {options} -c'))
        layouts.append(changed)
    layouts.append(layout(scratch / "files", "the same without the bundle", python, "unchecked-hash", bundle=False))
    return [*layouts, zipped(scratch / "zip", python), layered(scratch / "layer", python)]


def layout(
    folder: Path, name: str, python: Path, bytecode: Bytecode, *, bundle: bool = True, **environment: str
) -> Peer:
    """One folder with everything."""
    folder.mkdir()
    bootstrap = function_folder(folder, python, bytecode, bundle=bundle and bytecode != "none")
    variables = {"LAMBDA_TASK_ROOT": str(folder), "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1", **environment}
    handler = {"_HANDLER": EVERYTHING.environment["_HANDLER"]}
    return Peer(name, lambda: [str(bootstrap), str(python)], {**variables, **handler})


def zipped(folder: Path, python: Path) -> Peer:
    """The package imported from a zip file beside the handler, with its bytecode in it."""
    made = layout(
        folder,
        "the package in a zip file on the path",
        python,
        "unchecked-hash",
        bundle=False,
        PYTHONPATH=f"{folder}/code.zip",
    )
    # In a zip a .pyc lies where its source lies, or it is not found.
    for bytecode in list((folder / "warmstate").rglob("*.pyc")):
        bytecode.rename(bytecode.parents[1] / f"{bytecode.name.partition('.')[0]}.pyc")
    run_quietly(python, "-m", "zipfile", "-c", folder / "code.zip", folder / "warmstate")
    shutil.rmtree(folder / "warmstate")
    return made


def layered(folder: Path, python: Path) -> Peer:
    """The package in a layer: the function's folder is searched first, then the layer's."""
    made = layout(folder, "the package in a layer", python, "unchecked-hash", PYTHONPATH=f"{folder}/layer/python")
    (folder / "layer" / "python").mkdir(parents=True)
    (folder / "warmstate").rename(folder / "layer" / "python" / "warmstate")
    return made


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def tables(runs: Runs) -> list[Table]:
    """One table."""
    columns = [
        Column("exec to first next ms", "start", MILLI, spread=True),
        Column("against the first", "start", against=BEST),
        Column("kB", "bytes", KILOBYTE),
    ]
    return [tabulate("Bytecode and layout", runs, columns, first="layout")]
