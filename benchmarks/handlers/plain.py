"""The handler that every Python runtime serves unchanged."""


def echo(event, context):
    """Return the event."""
    return event
