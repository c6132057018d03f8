"""
Writes the bundle of this package for the interpreter that runs it.

    python -m warmstate.hosts.bundling               # of the warmstate that this interpreter imports
    cd layer/python && python -m warmstate.hosts.bundling --unchecked

Unchecked is for what is packed and unpacked elsewhere, where the files' times change; as with `compileall`, whoever edits
the files there writes it anew.
"""

from __future__ import annotations

import argparse
import ast
import marshal
import os
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import TYPE_CHECKING

from warmstate.hosts.bundle import HEAD, path_of

if TYPE_CHECKING:
    from warmstate.hosts.bundle import Index

__all__ = ["main", "write_bundle"]

_NOT_THE_RUNTIME = {"cli", "emulator", "testing"}


def write_bundle(package: Path, *, unchecked: bool = False) -> Path:
    """
    Compile the runtime's modules of the package in this folder into one file, and return its path.

    Args:
        package: The folder `warmstate`.
        unchecked: Whether a source counts as the same whatever its time.

    """
    index: Index = {}
    codes: list[bytes] = []
    begin = 0
    for source in sorted(package.rglob("*.py")):
        relative = source.relative_to(package)
        if relative.parts[0] in _NOT_THE_RUNTIME:
            continue
        is_package = source.stem == "__init__"
        name = ".".join((package.name, *relative.parent.parts, *(() if is_package else (source.stem,))))
        found = source.stat()
        tree = _without_types(_without_words(ast.parse(source.read_bytes())))
        code = compile(tree, source, "exec", dont_inherit=True, optimize=0)
        codes.append(marshal.dumps(code))
        end = begin + len(codes[-1])
        time = 0 if unchecked else int(found.st_mtime)
        index[name] = f"/{relative}", is_package, begin, end, found.st_size, time
        begin = end
    contents = marshal.dumps(index)
    sizes = len(contents), HEAD + len(contents) + begin
    head = MAGIC_NUMBER + b"".join(size.to_bytes(4, "little") for size in sizes)
    bundle = Path(path_of(str(package)))
    bundle.parent.mkdir(exist_ok=True)
    unfinished = bundle.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(head.ljust(HEAD, b"\0") + contents + b"".join(codes))
    unfinished.replace(bundle)
    return bundle


def _without_types(tree: ast.Module) -> ast.Module:
    """Take out what only type checkers look at; what is left keeps its lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
    tree.body = [
        kept
        for node in tree.body
        for kept in (node.orelse if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else [node])
    ]
    return tree


def _without_words(tree: ast.Module) -> ast.Module:
    """Take out the documentation, which is read in the sources; what is left keeps its lines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            while node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
                words = node.body.pop(0)
                if not node.body:
                    node.body.append(ast.copy_location(ast.Pass(), words))
    return tree


def main() -> None:
    """Write the bundle of the package that this module belongs to."""
    parser = argparse.ArgumentParser(prog="python -m warmstate.hosts.bundling", description=__doc__)
    parser.add_argument("--unchecked", action="store_true", help="the sources count as the same whatever their times")
    options = parser.parse_args()
    sys.stdout.write(f"{write_bundle(Path(__file__).parents[1], unchecked=options.unchecked)}\n")


if __name__ == "__main__":
    main()
