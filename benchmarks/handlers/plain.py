"""The handler that every Python runtime serves unchanged."""


def echo(event: object, context: object) -> object:
    """Return the event."""
    return event
