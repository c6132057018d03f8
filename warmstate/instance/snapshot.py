"""
What a process does around a SnapStart snapshot, of which many clones may run.

1. Hooks registered with AWS's `snapshot_restore_py` run as that package documents: before a snapshot the last registered first,
   after a restore in order. A handler needs the package only to register.
2. Clones must not share randomness: `random` and NumPy's global generator are seeded anew, where they are loaded.
   The kernel's randomness (`os.urandom`, `secrets`, `uuid4`) needs nothing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["after_restore", "before_snapshot", "seed_anew"]


def before_snapshot(call: Callable[..., object]) -> None:
    """Run the hooks that were registered for before the snapshot, through `call`."""
    for function, arguments, options in reversed(_registered("get_before_snapshot")):
        call(lambda: function(*arguments, **options))  # noqa: B023 - called at once


def after_restore(call: Callable[..., object]) -> None:
    """Run the hooks that were registered for after a restore, through `call`."""
    for function, arguments, options in _registered("get_after_restore"):
        call(lambda: function(*arguments, **options))  # noqa: B023 - called at once


def _registered(name: str) -> list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]]:
    # Whoever registered a hook has imported the package; looking for it on disk would cost everybody else time.
    package = sys.modules.get("snapshot_restore_py")
    if package is None:
        return []
    hooks: Iterable[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = getattr(package, name)()
    return list(hooks)


def seed_anew() -> None:
    """Give this clone a randomness of its own."""
    random = sys.modules.get("random")
    if random is not None:
        random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
