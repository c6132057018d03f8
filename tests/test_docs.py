"""What the documents show is true: their Python runs, their commands exist, their links lead somewhere, their diagram is drawn."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def parse(path: Path, language: str, evaluate) -> Document:
    return Sybil([SkipParser(), CodeBlockParser(language, evaluate)]).parse(path)


def commands(path: Path) -> list[tuple[int, str]]:
    """Every command line that a document's console blocks show, with the line it stands on."""
    found: list[tuple[int, str]] = []

    def collect(example: Example) -> None:
        for offset, line in enumerate(example.parsed.splitlines()):
            if line.startswith("$ "):
                found.extend((example.line + 1 + offset, part.strip()) for part in line[2:].split(";"))

    for example in parse(path, "console", collect).examples():
        example.evaluate()
    return found


@every_document
def test_python_blocks_run(path, tmp_path, monkeypatch) -> None:
    """Each Python block is a module that imports, named `app` or as its first line says: `# camera.py`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(example: Example) -> None:
        named = re.match(r"# (\w+)\.py\n", example.parsed)
        name = named[1] if named else "app"
        # Leading lines keep the numbers of a traceback those of the document.
        Path(f"{name}.py").write_text("\n" * example.line + example.parsed)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        try:
            importlib.import_module(name)
        except Exception as problem:  # whatever the block raises is the finding
            pytest.fail(f"the Python block at {path.relative_to(ROOT)}:{example.line} raised {problem!r}")
        finally:
            sys.modules.pop(name, None)
            Path(f"{name}.py").unlink()

    for example in parse(path, "python", run).examples():
        example.evaluate()


@every_document
def test_make_commands_exist(path) -> None:
    """Every `make` target that a document names is one that the Makefile has."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {(line, shlex.split(command)[1]) for line, command in commands(path) if command.startswith("make ")}

    assert set() == {(line, target) for line, target in shown if target not in targets}


@every_document
def test_warmstate_commands_exist(path) -> None:
    """Every `warmstate` verb and option that a document shows is one that the command line explains."""
    unknown = []
    for line, command in commands(path):
        words = shlex.split(command, comments=True)
        if words[:1] != ["warmstate"]:
            continue
        verb = words[1:2] if words[1:2] and not words[1].startswith("-") else []
        shown = subprocess.run(
            [sys.executable, "-m", "warmstate.cli.main", *verb, "--help"], capture_output=True, text=True, check=False
        )
        options = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[A-Za-z]", word)}
        if shown.returncode or not options <= set(re.findall(r"--?[A-Za-z][\w-]*", shown.stdout)):
            unknown.append(f"{path.relative_to(ROOT)}:{line}: {command}")

    assert [] == unknown


@every_document
def test_links_lead_somewhere(path) -> None:
    """A relative link names a file of this repository."""
    links = [link.partition("#")[0] for link in LINK.findall(path.read_text()) if "://" not in link]

    assert [] == [link for link in links if link and not (path.parent / link).exists()]


def test_the_diagram_is_the_table() -> None:
    """docs/architecture.md shows the transitions that the code runs; `make diagram` draws it again."""
    check = subprocess.run(
        [sys.executable, "-m", "scripts.draw_lifecycle", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == check.returncode, check.stdout + check.stderr
