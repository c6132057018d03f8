"""The ids that a tail knows: those of items that wait, and the last ones of items that were flushed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["REMEMBERED_IDS", "KnownIds"]

REMEMBERED_IDS = 10_000
"""How many ids of flushed items stay known: more than a queue delivers again within its visibility timeout, in about 1 MB."""


class KnownIds:
    """Each id with the number of its item, oldest first; items with a number below a tail's first one have left."""

    __slots__ = ("_numbers",)

    def __init__(self, flushed: Iterable[str | int] = ()) -> None:
        self._numbers = {id: number for number, id in enumerate(flushed)}

    def __len__(self) -> int:
        return len(self._numbers)

    def number_of(self, id: str | int) -> int | None:
        """The number of the item with this id; None for an id that is not known."""
        return self._numbers.get(id)

    def add(self, id: str | int, number: int) -> None:
        """The item with this number has this id."""
        self._numbers[id] = number

    def forget(self, ids: Iterable[str | int | None]) -> None:
        """Items with these ids were never appended after all."""
        for id in ids:
            if id is not None:
                self._numbers.pop(id, None)

    def below(self, first: int) -> list[str | int]:
        """The ids of the items that have left, oldest first."""
        return [id for id, number in self._numbers.items() if number < first]

    def trim(self, first: int, waiting: int) -> None:
        """Lets go of the oldest ids of items that have left, where there are too many beside the waiting ones."""
        excess = len(self._numbers) - waiting - REMEMBERED_IDS
        if excess <= 0:
            return
        oldest: list[str | int] = []
        for id, number in self._numbers.items():
            if len(oldest) == excess or number >= first:
                break
            oldest.append(id)
        self.forget(oldest)


def may_be_id(value: object) -> bool:
    """Whether a journal gives the same id back."""
    return isinstance(value, (str, int)) and not isinstance(value, bool)
