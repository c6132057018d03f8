"""Amounts of bytes as people write them: `"32 MB"`."""

from __future__ import annotations

__all__ = ["parse_bytes"]

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 1024,
    "kib": 1024,
    "mb": 1024**2,
    "mib": 1024**2,
    "gb": 1024**3,
    "gib": 1024**3,
}
"""Powers of 1,024 under both names, because Lambda counts a function's memory and /tmp that way and calls it MB."""


def parse_bytes(amount: int | str) -> int:
    """
    The number of bytes that `amount` means: `4096`, `"512 kB"`, `"1.5 MB"`, `"1 GiB"`.

    Raises:
        ValueError: It is no positive amount.
    """
    if isinstance(amount, str):
        text = amount.strip().lower().replace("_", "")
        number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
        unit = text[len(number) :].strip()
        try:
            parsed = int(float(number) * _UNITS[unit])
        except (KeyError, ValueError, OverflowError):
            parsed = 0
    else:
        parsed = amount if type(amount) is int else 0
    if parsed <= 0:
        raise ValueError(
            f'{amount!r} is no amount of bytes: write a positive number, or text such as "512 kB", "32 MB" or "1 GB"'
        )
    return parsed
