"""What the fixtures `warm` and `warm_processes` give: it makes platforms, and is the platform of a test that needs only one."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from warmstate.errors import ConfigurationError
from warmstate.testing.any_platform import AnyPlatform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Maker"]

P = TypeVar("P", bound=AnyPlatform)


class Maker(Generic[P]):
    """
    Makes platforms of one kind, and closes them with the test.

    Every verb of a platform is here too, and means the only platform of the test: the one that was made, else one for the handler
    of the test's `warm` mark, else one for the only handler of the project's root folder.

    Args:
        kind: The class of platform.
        target: The handler, where a mark names one.
        options: Options of every platform; those of a call go before.
        root: The project's root folder.
    """

    def __init__(
        self, kind: Callable[..., P], target: Any, options: Mapping[str, Any], root: str | os.PathLike[str]
    ) -> None:
        self.made: list[P] = []
        self._kind = kind
        self._target = target
        self._options = options
        self._root = os.fspath(root)

    def __repr__(self) -> str:
        return f"<Maker of {getattr(self._kind, '__name__', self._kind)}, {len(self.made)} made>"

    def __call__(self, target: Any = None, **options: Any) -> P:
        """Make a platform for `target`, or for the handler of the test's mark, or of the project."""
        chosen = self._target if target is None else target
        platform = self._kind(self._only_handler() if chosen is None else chosen, **{**self._options, **options})
        self.made.append(platform)
        return platform

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if len(self.made) > 1:
            raise ConfigurationError(f"this test has {len(self.made)} platforms: say which one's {name} is meant")
        platform = self.made[0] if self.made else self()
        if name in {"url", "boto3"} and not hasattr(platform, name):
            raise ConfigurationError(
                f"the platform in this process has no {name}: use warm_processes, whose processes are called over HTTP"
            )
        return getattr(platform, name)

    def close(self) -> None:
        """End all of them."""
        for platform in self.made:
            platform.close()

    def _only_handler(self) -> Any:
        """The handler that the project's configuration names, or the only one in its root folder."""
        from warmstate.project import find_handlers, read_configuration

        configured = read_configuration(self._root)
        functions = configured.get("functions", {})
        chosen = configured.get("default") or (next(iter(functions)) if len(functions) == 1 else None)
        found = [functions[chosen]["handler"]] if chosen in functions else find_handlers(self._root)
        if len(found) != 1:
            raise ConfigurationError(
                f"which handler? {self._root} has {', '.join(found) or 'none'}: write warm(Handler), or mark the test with "
                "@pytest.mark.warm(target=Handler)"
            )
        module, _, name = found[0].replace(":", ".").replace("/", ".").rpartition(".")
        if self._root not in sys.path:
            sys.path.insert(0, self._root)
        return getattr(importlib.import_module(module), name)
