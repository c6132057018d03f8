"""Where the handler's imports are looked for, in the order of the managed Python runtimes."""

from __future__ import annotations

import builtins
import os
import sys

__all__ = ["arrange"]


def arrange(task_root: str) -> None:
    """
    Put the function's code, the layers' and the interpreter's packages on `sys.path`, which `-S` left without them.

    The order is that of managed Python: the task root, the layers' `site-packages`, `/opt/python`, then the interpreter's
    own, at last the folder of the managed runtime, which may hold packages too. Where `PYTHONPATH` is set, the layers are left
    to it, as there (sources: the managed runtimes' bootstrap.py).
    Directories with `.pth` files are handed to `site`, which is imported for nothing else: so `exit` and `quit` are put here.
    """
    for name in ("exit", "quit"):
        builtins.__dict__.setdefault(name, sys.exit)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    first = [task_root]
    if not os.environ.get("PYTHONPATH"):
        first += [f"/opt/python/lib/{version}/site-packages", "/opt/python"]
    last = [] if sys.flags.no_site == 0 else _interpreter_packages(version)
    last.append(os.environ.get("LAMBDA_RUNTIME_DIR", ""))
    first = [path for path in first if path and os.path.isdir(path)]
    last = [path for path in last if path not in sys.path and path not in first and os.path.isdir(path)]
    sys.path[:] = [*first, *(path for path in sys.path if path and path not in first), *last]
    for path in (*first, *last):
        if any(name.endswith(".pth") for name in os.listdir(path)):
            import site

            site.addsitedir(path)


def _interpreter_packages(version: str) -> list[str]:
    # A virtual environment is only recognised by `site`; its interpreter stands in its bin.
    beside = os.path.dirname(os.path.dirname(sys.executable))
    prefixes = [beside] if os.path.exists(os.path.join(beside, "pyvenv.cfg")) else [sys.prefix]
    names = [os.path.join(prefix, "lib", version, "site-packages") for prefix in prefixes]
    # Debian's interpreter keeps its packages elsewhere.
    return [*names, *([] if prefixes == [beside] else ["/usr/lib/python3/dist-packages"])]
