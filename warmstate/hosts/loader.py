"""From the configured handler name to the class or function, as the stock runtime resolves it and a little further."""

from __future__ import annotations

import sys

from warmstate.errors import (
    BuiltInModuleConflict,
    HandlerImportError,
    HandlerNotFound,
    HandlerSyntaxError,
    MalformedHandlerName,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["is_loading", "load_handler", "split_name", "stands_for"]

_loading: list[str] = []
_stand_ins: list[tuple[Callable[[Any, Any], object], type[Any]]] = []
"""Functions and their classes. No attribute of the function says it: what wraps the function would have that too, and be passed by."""


def is_loading() -> bool:
    """Whether a runtime of ours imports the handler's module right now."""
    return bool(_loading)


def stands_for(handler_class: type[Any], function: Callable[[Any, Any], object]) -> Callable[[Any, Any], object]:
    """The function, which `load_handler` replaces by the class when it is the handler."""
    _stand_ins.append((function, handler_class))
    return function


def split_name(name: str) -> tuple[str, str]:
    """
    Module and attribute path of `module.Class`, `module:Class`, `package/module.function` or `package.module.function`.

    Raises:
        MalformedHandlerName: one of the two parts is missing.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        module, _, attribute = name.rpartition(".")
    module = module.replace("/", ".").strip(".")
    if not module or not attribute or ".." in module:
        raise MalformedHandlerName(
            f"Bad handler {name!r}: it must name a module and what is in it, as in app.Handler, app:Handler or "
            "package/module.function."
        )
    return module, attribute


def load_handler(name: str) -> Callable[[Any, Any], object] | type[Any]:
    """
    Import the module of the handler `name` and return what it names.

    Raises:
        MalformedHandlerName: see `split_name`.
        BuiltInModuleConflict: the module's name is taken by a module of the interpreter, or of the runtime.
        HandlerImportError: the module, or one that it imports, cannot be found or imported.
        HandlerSyntaxError: the module, or one that it imports, is not valid Python.
        HandlerNotFound: the module has nothing of that name, or what it has cannot be called.
    """
    module_name, attribute = split_name(name)
    if module_name.partition(".")[0] in sys.builtin_module_names:
        raise _conflict(module_name)
    is_taken = module_name in sys.modules
    _loading.append(name)
    try:
        __import__(module_name)
    except ImportError as error:
        raise HandlerImportError(f"Unable to import module '{module_name}': {error}") from error
    except SyntaxError as error:
        raise HandlerSyntaxError(f"Syntax error in module '{module_name}': {error}") from error
    finally:
        _loading.pop()
    target: Any = sys.modules[module_name]
    for part in attribute.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            if is_taken:  # by the interpreter or the runtime, before the function's file could be found
                raise _conflict(module_name) from None
            raise HandlerNotFound(f"Handler '{attribute}' missing on module '{module_name}'") from None
    if not callable(target):
        raise HandlerNotFound(
            f"Handler '{attribute}' on module '{module_name}' is a {type(target).__name__}, which cannot be called: name a "
            "function, or a subclass of StatefulHandler."
        )
    for function, handler_class in _stand_ins:
        if target is function:
            return handler_class
    return target  # type: ignore[no-any-return]


def _conflict(module_name: str) -> BuiltInModuleConflict:
    return BuiltInModuleConflict(
        f"Cannot use built-in module {module_name} as a handler module: rename the file, Python finds its own first."
    )
