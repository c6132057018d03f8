"""What the documents show is true: their Python runs, their commands exist, their links lead somewhere, their tables are the code's."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from scripts import write_docs
from scripts.described import PUBLIC_MODULES, describe_module
from scripts.markers import replace_between
from warmstate import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?: \"[^\"]*\")?\)")

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
def test_python_blocks_run(path, tmp_path_factory, monkeypatch, request) -> None:
    """
    Each Python block is a module that imports, named `app` or as its first line says: `# camera.py`.

    Its functions `test_...` run, with pytest's fixtures; they may import what blocks before them are.
    """
    folder = tmp_path_factory.mktemp("blocks")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two blocks of one name may have one size and one second
    written: set[str] = set()

    def forget() -> None:
        for name in written:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()

    def run(example: Example) -> None:
        named = re.match(r"# (\w+)\.py\n", example.parsed)
        name = named[1] if named else "app"
        written.add(name)
        # Leading lines keep the numbers of a traceback those of the document.
        Path(f"{name}.py").write_text("\n" * example.line + example.parsed)
        forget()
        try:
            module = importlib.import_module(name)
            for test in [value for key, value in vars(module).items() if key.startswith("test_")]:
                test(*(request.getfixturevalue(wanted) for wanted in inspect.signature(test).parameters))
        except Exception as problem:
            raise AssertionError(f"the Python block at {path.relative_to(ROOT)}:{example.line} raised") from problem

    try:
        for example in parse(path, "python", run).examples():
            example.evaluate()
    finally:
        forget()


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
    """A relative link names a file of this repository, and a heading of it."""
    lost = []
    for link in LINK.findall(path.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in headings(target)):
            lost.append(link)

    assert [] == lost


def headings(document: Path) -> list[str]:
    """The anchors of a document's headings, as they are made where it is shown."""
    found = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found]


def said_in(tree: ast.Module) -> Iterator[str]:
    """The messages that a module writes to the log, as far as they stand in the call; `...` for what is filled in."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        notices = ast.unparse(call.func.value).endswith("notices")
        verb = call.func.attr
        if (notices and verb in {"info", "warning", "error", "once"}) or verb in {"_log_error", "complain"}:
            message = call.args[verb == "once"]
            parts = message.values if isinstance(message, ast.JoinedStr) else [message]
            text = "".join(part.value if isinstance(part, ast.Constant) else "..." for part in parts)
            if text != "...":
                yield text


class TestWhatTheCodeKnows:
    """The documents say it as it is; `make check` runs these too."""

    def test_options_that_the_text_names_are_there(self) -> None:
        """No example of the command line's page has an option that its parser does not take."""
        text = (ROOT / "docs" / "command-line.md").read_text()
        table = write_docs.options() + " --color --progress --config --endpoint --json --help"
        known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", table))
        aws = {"--function-name"}
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - known == aws

    @pytest.mark.parametrize("part", write_docs.PARTS)
    def test_what_the_code_knows_is_what_the_documents_say(self, part) -> None:
        """Tables and the diagram stand in the documents as the code has them; `make docs` writes them again."""
        document, make = write_docs.PARTS[part]
        written = (ROOT / "docs" / document).read_text()

        assert replace_between(written, part, make()) == written

    def test_every_variable_is_in_the_table(self) -> None:
        """Each WARMSTATE_ variable that the package, the bootstrap or the command line reads is explained, and no other."""
        sources = [ROOT / "bootstrap", *ROOT.glob("warmstate/**/*.py")]
        read = {name for source in sources for name in re.findall(r"WARMSTATE_[A-Z_]+[A-Z]", source.read_text())}

        assert read == set(re.findall(r"^\| `(WARMSTATE_\w+)`", REFERENCE, re.MULTILINE))

    def test_every_file_that_is_named_is_there(self) -> None:
        """Documents and docstrings name no test, script or module that has gone."""
        named = re.compile(r"(?:tests|scripts|benchmarks|docs|examples)/[\w/]+\.(?:py|md)|warmstate/[\w/]+\.py")
        texts = [*DOCUMENTS, *(path for folder in ("warmstate", "scripts") for path in ROOT.glob(f"{folder}/**/*.py"))]
        gone = {
            f"{text.relative_to(ROOT)}: {name}"
            for text in texts
            for name in named.findall(text.read_text())
            if not (ROOT / name).exists() and not (text.parent / name).exists()
        }

        fidelity = set(re.findall(r"`(test_\w+\.py)`", (ROOT / "docs" / "emulator.md").read_text()))
        gone |= {name for name in fidelity if not (ROOT / "tests" / "emulator" / name).exists()}

        assert set() == gone
        assert fidelity

    def test_every_event_of_the_emulator_is_explained(self) -> None:
        """Each type of event that the emulator notes stands in the reference."""
        sources = "".join(source.read_text() for source in ROOT.glob("warmstate/emulator/**/*.py"))
        noted = set(re.findall(r'"((?:warmstate|platform)\.[A-Za-z]+)"', sources))

        assert set() == {name for name in noted if f"`{name}`" not in REFERENCE}

    def test_every_shown_log_line_is_one_that_the_runtime_writes(self) -> None:
        """The messages that the reference lists are in the code."""
        shown = re.findall(r"^\| (?:info|warning|error) \| `(.+?)` \|", REFERENCE, re.MULTILINE)
        sources = "".join(source.read_text() for source in ROOT.glob("warmstate/**/*.py"))
        plain = re.sub(r'"\n\s+f?"', "", sources)  # adjacent literals are one text

        assert len(shown) > 15
        assert [] == [text for text in shown if text.strip() not in plain]

    def test_every_log_line_of_the_runtime_is_shown(self) -> None:
        """What the runtime may say of itself has its row in the reference."""
        shown = re.findall(r"^\| (?:info|warning|error) \| `(.+?)` \|", REFERENCE, re.MULTILINE)
        floors = ("hosts", "instance", "lifecycle", "warm")
        sources = [path for floor in floors for path in ROOT.glob(f"warmstate/{floor}/**/*.py")]
        messages = [message for path in sources for message in said_in(ast.parse(path.read_text()))]

        assert len(messages) > 40
        assert [] == [message for message in messages if not any(text.strip() in message for text in shown)]

    @pytest.mark.parametrize("module", PUBLIC_MODULES)
    def test_every_public_name_says_what_it_is(self, module) -> None:
        """No public name, and no member of a public class, is without words."""
        silent = [
            f"{described.name}{'.' if member else ''}{member.name if member else ''}"
            for described, inside in describe_module(module)
            for member in (None, *inside)
            if not (described if member is None else member).summary
        ]

        assert [] == silent

    def test_every_error_says_what_to_do(self) -> None:
        """The docstring of each error has what happened, and then what to do."""
        assert [] == [name for name in errors.__all__ if "\n\n" not in inspect.getdoc(getattr(errors, name))]
