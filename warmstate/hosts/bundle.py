"""
The runtime's modules out of one file: a cold start then finds, opens and checks one file where it would some sixty.

1. `python -m warmstate.hosts.bundling` writes it beside the .pyc; without it nothing changes.
2. As a .pyc, it is for one version of Python, and each module in it for a source of one size and, unless it was written as
   unchecked, of one time. A module whose source is another one comes from its own files; so do all if the file is damaged.
3. Its modules have the loader, the paths and the source lines of modules from files: tracebacks, `inspect.getsource` and
   coverage see no difference. What does not run is left out: the documentation, the annotations of functions, and what is
   imported for type checkers.
4. It serves the start and is forgotten before the first event.
"""

from __future__ import annotations

import sys
from marshal import loads
from os import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec, SourceFileLoader
    from importlib.util import MAGIC_NUMBER
    from types import CodeType, ModuleType
    from typing import TypeAlias

    Index: TypeAlias = dict[str, tuple[str, bool, int, int, int, int]]
    """For each module: its source from the package's folder on, whether it is a package, where its code begins and ends, the
    size of the source and its time, or 0 where that does not count."""

    def _fix_co_filename(code: CodeType, path: str, /) -> None: ...
else:
    from _frozen_importlib import ModuleSpec
    from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader
    from _imp import _fix_co_filename

    ModuleType = type(sys)

__all__ = ["HEAD", "Bundle", "close", "path_of", "serve"]

HEAD = 16
"""Bytes before the index: the magic number of the bytecode, the length of the index, and that of everything."""


def path_of(package: str) -> str:
    """Where the bundle of the package in this folder lies, for this version of Python."""
    return f"{package}/__pycache__/start.{sys.implementation.cache_tag}.bundle"


class Bundle:
    """
    Finds modules in the bundle of `package`.

    Raises:
        OSError: There is none.
        ValueError: It is for another Python, or damaged.
    """

    __slots__ = ("_codes", "_index", "_package")

    def __init__(self, package: str) -> None:
        with open(path_of(package), "rb", 0) as file:
            whole = file.read()
        codes = HEAD + int.from_bytes(whole[4:8], "little")
        if whole[:4] != MAGIC_NUMBER or int.from_bytes(whole[8:12], "little") != len(whole) or codes > len(whole):
            raise ValueError("this bundle is for another Python, or damaged")
        self._package = package
        self._index: Index = loads(whole[HEAD:codes])  # noqa: S302 - no more than a .pyc
        self._codes = memoryview(whole)[codes:]

    def __repr__(self) -> str:
        return f"<Bundle of {len(self._index)} modules of {self._package}>"

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the import system asks; None sends it to the module's own files."""
        entry = self._index.get(name)
        if entry is None:
            return None
        within, is_package, begin, end, size, time = entry
        source = self._package + within
        try:
            found = stat(source)
        except OSError:
            return None
        if found.st_size != size or (time and int(found.st_mtime) != time):
            return None
        spec = ModuleSpec(name, _Loader(name, source, self._codes[begin:end]), origin=source, is_package=is_package)
        spec.has_location = True
        folder, _, file = source.rpartition("/")
        if sys.pycache_prefix is None:  # else it is found out by whoever asks, as for files
            spec.cached = f"{folder}/__pycache__/{file[:-3]}.{sys.implementation.cache_tag}.pyc"
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(folder)
        return spec


class _Loader(SourceFileLoader):
    """A loader as for files, which has the code already."""

    def __init__(self, name: str, path: str, code: memoryview) -> None:
        super().__init__(name, path)
        self._code: memoryview | bytes = code

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """A module that has its paths: for each that it lacks the import system would make an error first."""
        module = ModuleType(spec.name)
        vars(module).update(__file__=self.path, __cached__=spec.cached)
        return module

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code, out of the bundle the first time."""
        bundled, self._code = self._code, b""  # the module keeps its loader, and must not keep the bundle
        try:
            code: CodeType = loads(bundled)  # noqa: S302 - no more than a .pyc
        except (ValueError, EOFError, TypeError):
            return super().get_code(fullname)
        _fix_co_filename(code, self.path)
        return code


def serve() -> None:
    """From now on modules come out of the bundle, if there is one for this interpreter."""
    if sys.flags.optimize:
        return
    try:
        bundle = Bundle(__file__.rpartition("/")[0].rpartition("/")[0])
    except (OSError, ValueError, EOFError, TypeError):
        return
    sys.meta_path.insert(0, bundle)


def close() -> None:
    """What is imported from now on comes from files."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not Bundle]
