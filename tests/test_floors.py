"""The house of docs/architecture.md: who may import whom, checked on the code as it is."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "warmstate"

# A package of others -> the only modules that may know it. Everything else goes through them.
HIDDEN_BY = {
    "attr": [],
    "attrs": [
        "warmstate/wire/invoke_api.py",
        "warmstate/emulator/**/*.py",
        "warmstate/cli/**/*.py",
        "warmstate/testing/**/*.py",
    ],
    "boto3": ["warmstate/aws.py"],
    "diskcache": ["warmstate/warm/spill/rows.py"],
    "h11": ["warmstate/emulator/servers/general.py"],
    "hypothesis": ["warmstate/testing/**/*.py"],
    "numpy": ["warmstate/warm/codecs/leaves.py", "warmstate/warm/sizes.py"],
    "orjson": ["warmstate/wire/payload.py"],
    "pytest": ["warmstate/testing/**/*.py"],
    "requests": ["warmstate/http.py", "warmstate/hosts/transport_requests.py", "warmstate/cli/**/*.py"],
    "urllib3": ["warmstate/http.py", "warmstate/hosts/transport_requests.py"],
    "yaml": ["warmstate/cli/template.py"],
}
NEWER_STANDARD_LIBRARY = {"annotationlib"}  # 3.14


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported_packages(path: Path) -> dict[str, int]:
    """Top-level names that a file imports anywhere, with the line of the first import; type-checking blocks do not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        for name in names:
            found.setdefault(name.partition(".")[0], node.lineno)
    return found


def test_the_contracts_of_pyproject_hold(monkeypatch, capsys) -> None:
    """A module imports only from floors below its own, and the emulator never knows the user's class."""
    monkeypatch.chdir(ROOT)

    status = lint_imports(no_cache=True)

    assert EXIT_STATUS_SUCCESS == status, capsys.readouterr().out


def test_every_module_stands_on_a_floor() -> None:
    """A new top-level module is placed on a floor before it can be used, so no contract passes by not knowing it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = next(contract["layers"] for contract in contracts if contract["id"] == "floors")
    placed = {name.strip(" ()") for floor in floors for name in floor.replace("|", ":").split(":")}
    standing = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
    }

    assert set() == standing - {"__init__"} - placed


@pytest.mark.parametrize("package", HIDDEN_BY)
def test_a_package_of_others_is_known_only_to_the_module_that_hides_it(package) -> None:
    """Replacing a dependency touches the module that hides it, and nothing else."""
    allowed = {path for pattern in HIDDEN_BY[package] for path in ROOT.glob(pattern)}
    known = {
        f"{path.relative_to(ROOT)}:{imported_packages(path)[package]}"
        for path in modules()
        if package in imported_packages(path) and path not in allowed
    }

    assert set() == known


def test_every_package_of_others_is_listed() -> None:
    """A dependency that nobody hid yet is noticed when it is first imported."""
    ours = {"warmstate", ""}
    foreign = {
        f"{name} in {path.relative_to(ROOT)}:{line}"
        for path in modules()
        for name, line in imported_packages(path).items()
        if name not in ours and name not in sys.stdlib_module_names | NEWER_STANDARD_LIBRARY and name not in HIDDEN_BY
    }

    assert set() == foreign


def test_no_module_bears_the_name_of_a_public_function() -> None:
    """`warmstate.state` stays the function: a module of that name would replace it when it is first imported."""
    import warmstate

    names = {path.stem for path in PACKAGE.iterdir()}

    assert set() == names & set(warmstate.__all__)
