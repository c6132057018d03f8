"""What `doctor` says of a folder that is to be uploaded."""

import compileall
import json
import os
import py_compile
import shlex
import subprocess
import sys

import pytest

from warmstate.cli.package import MOST_BYTES, bytecode, package

HASHED = py_compile.PycInvalidationMode.UNCHECKED_HASH
DATED = py_compile.PycInvalidationMode.TIMESTAMP


@pytest.fixture
def folder(tmp_path):
    """A folder as `pip install --target` leaves it."""
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "__init__.py").write_text("x = 1\n")
    install(tmp_path, "thing", "py3-none-any")
    return tmp_path


def install(folder, name, *tags):
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "WHEEL").write_text("Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in tags))


def said(folder, check):
    """The status of a check, and what is said."""
    return [(finding.status, finding.found) for finding in package(str(folder)) if finding.check == check]


def test_a_folder_of_sources_is_no_package(tmp_path):
    """Nothing is said where nothing was installed."""
    (tmp_path / "app.py").write_text("")
    assert list(package(str(tmp_path))) == []


@pytest.mark.parametrize(
    ("mode", "edit", "kind", "status"),
    [
        (HASHED, False, "hashed", "ok"),
        (DATED, False, "dated", "warning"),
        (None, False, "missing", "warning"),
        (HASHED, True, "stale", "problem"),
    ],
)
def test_bytecode(folder, mode, edit, kind, status):
    """Only a file with a hash outlives packing; one that is not of this source would run in its place."""
    source = folder / "thing" / "__init__.py"
    if mode is not None:
        assert compileall.compile_dir(folder, quiet=1, invalidation_mode=mode)
    if edit:
        source.write_text("x = 2\n")
    assert bytecode(str(source)) == kind
    assert [found for found, _ in said(folder, "bytecode")] == [status]


def test_size(folder):
    """What is over the limit is told before the upload is refused; a sparse file is as large as it says."""
    assert said(folder, "package")[0][0] == "ok"
    with (folder / "large").open("wb") as file:
        os.truncate(file.fileno(), MOST_BYTES)
    status, found = said(folder, "package")[0]
    assert (status, found.startswith("250.0 MB unpacked")) == ("problem", True)


@pytest.mark.parametrize(
    ("tags", "status", "word"),
    [
        (["cp313-cp313-manylinux_2_17_x86_64", "cp313-cp313-manylinux2014_x86_64"], "ok", "x86_64"),
        (["cp313-cp313-manylinux_2_28_aarch64"], "ok", "aarch64"),
        (["cp313-cp313-manylinux_2_35_x86_64"], "problem", "glibc 2.34"),
        (["cp313-cp313-musllinux_1_2_x86_64"], "problem", "musllinux_1_2_x86_64"),
        (["cp313-cp313-macosx_11_0_arm64"], "problem", "macosx_11_0_arm64"),
        (["cp313-cp313-win_amd64"], "problem", "win_amd64"),
        (["cp313-cp313-linux_x86_64"], "warning", "C library"),
    ],
)
def test_wheels(folder, tags, status, word):
    """What is compiled for another machine, or wants a newer C library, is told with its name; so in a layer's folder."""
    install(folder / "python", "native", *tags)
    found = said(folder, "wheels")
    assert found[0][0] == status
    assert word in found[0][1]
    assert status == "ok" or "native-1.0" in found[0][1]


def test_wheels_for_two_processors(folder):
    """One function runs on one."""
    install(folder, "one", "cp313-cp313-manylinux_2_28_aarch64")
    install(folder, "two", "cp313-cp313-manylinux_2_28_x86_64")
    assert said(folder, "wheels") == [("problem", "there are packages for aarch64 (one-1.0) and x86_64 (two-1.0)")]


@pytest.mark.process
def test_doctor_tells_it(run, folder):
    """Beside the rest, and a problem is in the exit code."""
    install(folder, "native", "cp313-cp313-win_amd64")
    code, out, _ = run("-C", str(folder), "doctor", "--json")
    found = {finding["check"]: finding["status"] for finding in map(json.loads, out.splitlines())}
    assert (found["package"], found["bytecode"], found["wheels"], code) == ("ok", "warning", "problem", 7)


@pytest.mark.process
def test_doctor_reads_the_functions_of_the_configuration(run, tmp_path):
    """What `dev` would refuse of them is a finding."""
    (tmp_path / "pyproject.toml").write_text('[tool.warmstate.functions.f]\nhandler = "app.Handler"\nmemory = "much"\n')
    (tmp_path / "app.py").write_text("def Handler(event, context): ...\n")
    code, out, _ = run("doctor")
    assert (code, "✘ configuration  memory of f 'much' is no whole number" in out) == (7, True), out


def test_the_fix_for_bytecode_mends_it(folder):
    """What `doctor` says to run replaces what pip compiled by date."""
    assert compileall.compile_dir(folder, quiet=1, invalidation_mode=DATED)
    (fix,) = [finding.fix for finding in package(str(folder)) if finding.check == "bytecode"]
    command, *arguments = shlex.split(fix)
    assert command == "python"
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True)
    assert said(folder, "bytecode") == [("ok", "1 modules are compiled, whatever their dates")]
