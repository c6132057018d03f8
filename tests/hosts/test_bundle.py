"""The runtime's modules in one file: nothing but the time of a start may tell that they did not come from their own files."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import warmstate
from warmstate.hosts.bundle import path_of
from warmstate.hosts.bundling import write_bundle
from warmstate.hosts.connection import parse_address

SOURCES = Path(warmstate.__file__).parent

LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from warmstate.hosts import bundle
bundle.serve()
import warmstate.hosts.runtime
import warmstate.wire.streaming
bundle.close()
import warmstate.hosts.managed

modules = {name: module for name, module in sys.modules.items() if name.startswith("warmstate")}
from_bundle = sorted(name for name, module in modules.items() if type(module.__spec__.loader).__module__ == "warmstate.hosts.bundle")
import inspect, traceback, importlib, types
try:
    warmstate.hosts.transport.parse_address("no:address")
except Exception as error:
    trace = [(frame.filename, frame.lineno, frame.line) for frame in traceback.extract_tb(error.__traceback__)][-1:]
functions = [value for module in modules.values() for value in vars(module).values() if isinstance(value, types.FunctionType)]
lines = {f"{each.__module__}.{each.__qualname__}": sorted({line for *_, line in each.__code__.co_lines() if line}) for each in functions}
facts = {}
for name, module in modules.items():
    spec = module.__spec__
    facts[name] = [
        module.__file__, module.__cached__, module.__package__, list(getattr(module, "__path__", ())), spec.origin,
        spec.has_location, spec.parent, module.__loader__.get_filename(name), module.__loader__.is_package(name),
        inspect.getsource(module),
        sorted(vars(module).keys() - {"__annotations__"}),
    ]
documented = [name for name, module in modules.items() if module.__doc__]
documented += [f"{each.__module__}.{each.__qualname__}" for each in functions if each.__doc__]
reloaded = importlib.reload(warmstate.wire.streaming).__file__
print(json.dumps({
    "from bundle": from_bundle, "trace": trace, "facts": facts, "lines": lines,
    "documented": documented,
    "annotated": sorted(f"{each.__module__}.{each.__qualname__}" for each in functions if each.__annotations__), "reloaded": reloaded, "flag": getattr(warmstate.wire.streaming, "FLAG", None),
    "finders": [type(finder).__name__ for finder in sys.meta_path if not isinstance(finder, type)],
}))
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the sources to bundle and to change."""
    return Path(shutil.copytree(SOURCES, tmp_path / "warmstate", ignore=shutil.ignore_patterns("__pycache__")))


def look(package, *options):
    """What an interpreter sees that imports the runtime from this folder."""
    command = [sys.executable, "-S", *options, "-c", LOOK, str(package.parent)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


def test_nothing_tells_the_difference(package):
    """Modules out of the bundle have the same paths, sources and traces; it serves the start alone."""
    plain = look(package)
    write_bundle(package)
    bundled = look(package)

    assert ([], True) == (plain["from bundle"], len(bundled["from bundle"]) > 30)
    assert {"warmstate.hosts.runtime", "warmstate.wire.streaming", "warmstate.instance"} <= set(bundled["from bundle"])
    assert "warmstate.hosts.managed" not in bundled["from bundle"]
    assert [] == bundled["finders"]
    for fact in ("facts", "trace", "lines", "reloaded"):
        assert plain[fact] == bundled[fact]


def test_what_only_type_checkers_read_is_left_out(package):
    """Functions out of the bundle have no annotations, and no module of it asks whether types are being checked."""
    bundle = write_bundle(package)
    bundled = look(package)

    assert parse_address.__annotations__
    assert [] == [name for name in bundled["annotated"] if name.rpartition(".")[0] in bundled["from bundle"]]
    assert "TypeAlias" in (package / "warm/resources/pool.py").read_text()
    assert b"TypeAlias" not in bundle.read_bytes()


def test_what_only_people_read_is_left_out(package):
    """Modules and functions out of the bundle have no documentation in memory; those from files have theirs."""
    write_bundle(package)
    bundled = look(package)
    documented = {place for name in bundled["documented"] for place in (name, name.rpartition(".")[0])}

    assert {"warmstate.hosts.bundle", "warmstate.hosts.managed"} <= documented
    assert not documented & set(bundled["from bundle"]) - {"warmstate.hosts"}  # the first two are in it


def test_another_folder(package, tmp_path):
    """A bundle that was written elsewhere names the files where they lie now."""
    write_bundle(package, unchecked=True)
    moved = tmp_path / "elsewhere" / "warmstate"
    moved.parent.mkdir()
    package.rename(moved)

    bundled = look(moved)

    assert len(bundled["from bundle"]) > 30
    assert str(moved / "hosts/connection.py") == bundled["trace"][0][0]
    assert "raise ConfigurationError(" == bundled["trace"][0][2]


STALE = {
    "longer": lambda source: source.write_text(source.read_text() + "\nFLAG = 'new'\n"),
    "of another time": lambda source: rewrite(source, "FLAG = 'old'", "FLAG = 'new'"),
}


def rewrite(source, old, new):
    """Same size, another time."""
    time = source.stat().st_mtime
    source.write_text(source.read_text().replace(old, new))
    os.utime(source, (time + 5, time + 5))


@pytest.mark.parametrize("change", STALE.values(), ids=STALE)
def test_a_changed_source_is_what_runs(package, change):
    """A module whose source is another one comes from its own file, and the others still from the bundle."""
    source = package / "wire/streaming.py"
    source.write_text(source.read_text() + "\nFLAG = 'old'\n")
    write_bundle(package)
    assert "old" == look(package)["flag"]
    change(source)
    bundled = look(package)

    assert "new" == bundled["flag"]
    assert "warmstate.wire.streaming" not in bundled["from bundle"]
    assert len(bundled["from bundle"]) > 30


DAMAGES = {
    "empty": lambda data: data[:0],
    "short": lambda data: data[:-100],
    "another Python's": lambda data: b"abcd" + data[4:],
    "without an index": lambda data: data[:4] + b"\xff" * 4 + data[8:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_bundle_is_none(package, damage):
    """A file that is no bundle of this Python changes nothing."""
    path = write_bundle(package)
    path.write_bytes(damage(path.read_bytes()))

    assert [] == look(package)["from bundle"]


def test_damaged_code_is_none(package):
    """Code that cannot be read comes from the module's own file."""
    path = write_bundle(package)
    path.write_bytes(path.read_bytes().replace(b"\xe3\0\0\0\0", b"?\0\0\0\0"))

    assert "warmstate.hosts.runtime" in look(package)["facts"]


def test_other_options_other_code(package):
    """-O is for code without assertions, which the bundle is not."""
    write_bundle(package)

    assert [] == look(package, "-O")["from bundle"]


def test_what_is_in_it(package):
    """The runtime is, the command line and the emulator are not; the file lies beside the .pyc of its Python."""
    path = write_bundle(package)

    assert path == Path(path_of(str(package)))
    assert path.parent == Path(importlib.util.cache_from_source(str(package / "errors.py"))).parent
    data = path.read_bytes()
    assert b"warmstate.hosts.runtime" in data
    assert b"warmstate.emulator" not in data
