"""
Sizes of what a runtime out of its bundle has loaded, in kilobytes: `python -S memory.py FOLDER` with the runtime in FOLDER.
"""

from __future__ import annotations

import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType


def codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of what it defines."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            yield from codes(constant)


def main() -> None:
    """Load, and print."""
    sys.path[0] = sys.argv[1]
    from warmstate.hosts import bundle

    bundle.serve()
    import warmstate.hosts.runtime

    bundle.close()
    ours = [each for each in gc.get_objects() if str(getattr(each, "__module__", "")).startswith(warmstate.__name__)]
    functions = [each for each in ours if isinstance(each, type(main))]
    classes = [each for each in ours if isinstance(each, type)]
    found = {part for each in functions for part in codes(each.__code__)}
    texts = {text for part in found for text in part.co_consts if isinstance(text, str)}
    sizes = {
        f"code of {len(found)} functions": sum(map(sys.getsizeof, found)),
        "its lines": sum(sys.getsizeof(part.co_linetable) for part in found),
        "its names and constants": sum(sys.getsizeof(part.co_names) + sys.getsizeof(part.co_consts) for part in found),
        "its texts": sum(map(sys.getsizeof, texts)),
        "functions": sum(map(sys.getsizeof, functions)),
        f"{len(classes)} classes": sum(sys.getsizeof(each) + sys.getsizeof(vars(each)) for each in classes),
    }
    for name, size in sizes.items():
        print(size // 1024, name)


if __name__ == "__main__":
    main()
