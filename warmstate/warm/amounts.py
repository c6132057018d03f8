"""Amounts of bytes as people write them: `"32 MB"`, and shares of a whole: `0.5`, `"50%"`."""

from __future__ import annotations

__all__ = ["parse_bytes", "parse_share"]

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


def parse_share(amount: float | str, whole: int) -> int:
    """
    The number of bytes that `amount` means: a share of `whole` (`0.5`, `"50%"`), or an amount of bytes.

    Raises:
        ValueError: It is neither.
    """
    share = amount
    if isinstance(amount, str) and amount.rstrip().endswith("%"):
        try:
            share = float(amount.rstrip()[:-1]) / 100
        except ValueError:
            share = 0.0
    if isinstance(share, float):
        if not 0.0 < share <= 1.0:
            raise ValueError(f'{amount!r} is no share: write a number above 0.0 and up to 1.0, or text such as "50%"')
        return int(share * whole)
    return parse_bytes(share)
