"""What takes 300 MB."""


def load() -> bytes:
    """Bytes that are written, so that they are resident."""
    return b"\1" * 300_000_000
