"""
What one caller sent must not reach another: words of one event are planted, and looked for in what is left of it and in what the next
one brings forth.

1. What a handler declares to keep (slots, tails, resources, the store) is not looked into: keeping is what it is for.
2. What was there before the first event is no trace of it.
"""

from __future__ import annotations

import contextlib
import contextvars
import gc
import io
import json
import logging
import os
import sys
import tempfile
import threading
import time
import types
from typing import TYPE_CHECKING, Any, cast

from warmstate.errors import ConfigurationError
from warmstate.testing.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from warmstate.handler import StatefulHandler

__all__ = ["PLACES", "assert_forgets"]

PLACES = ("answer", "log", "context", "variables", "files", "memory")
_TELLING = 8
"""Characters of a text that is nowhere by chance."""
_LARGEST = 1024 * 1024
"""Bytes of a file that are looked at, from its beginning."""
_MOST = 20_000
"""Objects that are looked at from one name."""
_COARSE_NS = 20_000_000
"""Times of files come from a clock that ticks a few times in so many nanoseconds."""
_NOT_LOOKED_AT = ("warmstate", "pytest-", ".", "__pycache__", "node_modules")
_NOT_THEIRS = frozenset({"warmstate", "logging", "_pytest", "pytest", "hypothesis"})
_CODE = (type, types.ModuleType, types.CodeType, types.BuiltinFunctionType)


def assert_forgets(
    target: type[StatefulHandler] | Callable[[Any, Any], object],
    first: object,
    then: object,
    *,
    secrets: tuple[str, ...] = (),
    places: Sequence[str] = PLACES,
    **options: Any,
) -> None:
    """
    Plant `first` and look for it in all that `then` brings forth or finds: what one caller sent must not reach another.

    Looked at are the "answer" to `then`, and the "log" of it, printed or by `logging`; and, as `then` finds them, "context" variables,
    the environment's "variables", "files" in the temporary and the working directory, and "memory": globals of the handler's module,
    thread locals in them, attributes of its class and object. What it declares to keep is left alone: slots, tails, resources, the
    store.

    Args:
        target: The handler.
        first: The event whose words are planted.
        then: Another caller's event.
        secrets: The words to look for; none takes every text of `first`, eight characters and longer, that `then` has not.
        places: Where to look.
        options: As for `Platform`.

    Raises:
        AssertionError: A word of `first` is there; the message says where.
        ConfigurationError: There is no such place.
        ValueError: There is no word to look for.
    """
    unknown = sorted(set(places).difference(PLACES))
    if unknown:
        raise ConfigurationError(f"there is no place {', '.join(unknown)}; there are: {', '.join(PLACES)}")
    words = secrets or tuple(word for word in _texts(first) if len(word) >= _TELLING and word not in json.dumps(then))
    if not words:
        raise ValueError(f"the first event has no text of {_TELLING} characters that the second has not: give secrets=")
    with Platform(target, **options) as platform:
        search = _Search(words, platform)
        platform.watcher = search.see
        before = search.look()
        platform.invoke(first)
        left = search.look()
        with _listening() as log:
            answer = platform.invoke(then)
        for environment in platform.ps():
            log.write("\n".join(message for _, message in environment.notices))
        found = {where: word for where, word in left.items() if where not in before}
        found.update(search.in_context)
        found.update(search.in_text("log", "the log of the second event", log.getvalue()))
        found.update(
            search.in_text("answer", "the answer to the second event", answer.payload.decode("utf-8", "replace"))
        )
        seen = sorted((places.index(where[0]), *where, word) for where, word in found.items() if where[0] in places)
        if seen:
            _, place, description, word = seen[0]
            more = "".join(f"\nso does {also}" for _, _, also, _ in seen[1:])
            raise AssertionError(
                f"{description} holds {word!r}, which only the first one sent{more}\n"
                f"What may stay belongs into a slot, a tail or the store; places= can leave {place!r} out.\n\n{platform.timeline}"
            )


class _Search:
    """Looks for words. What it finds is the place and a description, with the word."""

    def __init__(self, words: tuple[str, ...], platform: Platform) -> None:
        self._words = words
        self._platform = platform
        self._since = time.time_ns() - _COARSE_NS
        self.in_context: dict[tuple[str, str], str] = {}

    def in_text(self, place: str, description: str, text: str) -> dict[tuple[str, str], str]:
        for word in self._words:
            if word in text or json.dumps(word)[1:-1] in text:
                return {(place, description): word}
        return {}

    def see(self, moment: str, _handler: object) -> None:
        """Keep what the code that is about to handle an event finds in its context; of the last one it counts."""
        if moment == "handle":
            variables = {variable.name: value for variable, value in contextvars.copy_context().items()}
            self.in_context = self._in_objects("context", "the context variable", variables)

    def look(self) -> dict[tuple[str, str], str]:
        """What is there now for the next event to find."""
        found: dict[tuple[str, str], str] = {}
        for name, value in os.environ.items():
            found.update(self.in_text("variables", f"the variable {name}", f"{name}={value}"))
        for path in _new_files(self._folders(), self._since):
            found.update(self.in_text("files", f"the file {path}", f"{path}\n{_beginning(path)}"))
        found.update(self._in_objects("memory", "the global", self._globals()))
        found.update(self._in_objects("memory", "the attribute", self._attributes()))
        return found

    def _folders(self) -> set[str]:
        return {tempfile.gettempdir(), os.getcwd(), *(environment.tmp for environment in self._platform.ps())}

    def _globals(self) -> dict[str, object]:
        module = sys.modules.get(getattr(self._platform.target, "__module__", ""))
        named: dict[str, object] = {} if module is None else vars(module)
        return {name: value for name, value in named.items() if not name.startswith("__")}

    def _attributes(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for environment in self._platform.ps():
            handler = environment.handler
            declared = () if handler is None else type(handler).__warmstate__.owners
            for holder in () if handler is None else (*type(handler).__mro__, handler):
                found.update({name: value for name, value in vars(holder).items() if name not in declared})
        return found

    def _in_objects(self, place: str, kind: str, roots: dict[str, object]) -> dict[tuple[str, str], str]:
        """The roots from which a word can be reached, with the word."""
        found: dict[tuple[str, str], str] = {}
        for name, root in roots.items():
            known: dict[int, object] = {}
            waiting = [root]
            while waiting and len(known) < _MOST:
                thing = waiting.pop()
                if id(thing) in known:
                    continue
                known[id(thing)] = thing
                word = self._word_in(thing)
                if word is not None:
                    found[place, f"{kind} {name}"] = word
                    break
                waiting += _inside(thing)
        return found

    def _word_in(self, thing: object) -> str | None:
        text = thing.decode("utf-8", "replace") if isinstance(thing, (bytes, bytearray)) else thing
        return next((word for word in self._words if word in text), None) if isinstance(text, str) else None


def _inside(thing: object) -> list[object]:
    """What an object holds, as the garbage collector knows it; nothing of code, modules, loggers and declared state."""
    if isinstance(thing, threading.local):
        return [vars(thing)]
    kind: type = type(thing)
    if kind in _CODE or kind.__module__.partition(".")[0] in _NOT_THEIRS:
        return []
    if isinstance(thing, types.FunctionType):
        return [thing.__defaults__, thing.__kwdefaults__, thing.__dict__, *(thing.__closure__ or ())]
    return [inner for inner in gc.get_referents(thing) if not isinstance(inner, _CODE)]


def _new_files(folders: Iterable[str], since: int) -> list[str]:
    """The files that were written since then, in these folders and in folders of theirs where something came or went."""
    found: list[str] = []
    for folder in folders:
        waiting = [folder]
        while waiting:
            for entry in _entries(waiting.pop()):
                try:
                    told = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # gone
                if told.st_mtime_ns < since or entry.name.startswith(_NOT_LOOKED_AT):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and told.st_ino not in _outputs():
                    found.append(entry.path)
    return found


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []  # gone, or not ours to read


def _outputs() -> set[int]:
    """Where this process's own output goes, which may be a file."""
    found: set[int] = set()
    for stream in (1, 2):
        with contextlib.suppress(OSError):  # closed
            found.add(os.fstat(stream).st_ino)
    return found


def _beginning(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""  # gone, or not ours to read


@contextlib.contextmanager
def _listening() -> Generator[io.StringIO]:
    """What is printed and logged meanwhile; it is shown afterwards."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield log
    finally:
        root.removeHandler(handler)


def _texts(value: object) -> list[str]:
    """Every text that is somewhere in an event."""
    if isinstance(value, str):
        return [value]
    inside: list[object] = []
    if isinstance(value, dict):
        inside = [*cast("dict[object, object]", value), *cast("dict[object, object]", value).values()]
    elif isinstance(value, (list, tuple)):
        inside = list(cast("list[object]", value))
    return [text for item in inside for text in _texts(item)]
