"""A model that the process loads with its code, and a handler that looks at it."""

import weights  # type: ignore[import-not-found] # beside this file in the function's folder

MODEL = weights.load()


def size(event: object, context: object) -> object:
    """Return how large it is."""
    return {"bytes": len(MODEL)}
