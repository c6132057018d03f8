"""
Batches of records from SQS, Kinesis and DynamoDB streams, and which of their records must stay with their source.

1. A record is done when its item, appended with the record's id, is flushed. A record without an item of its id is done when no item
   waits that this invocation appended under another id, or under none.
2. SQS delivers each reported record again. From a FIFO queue everything behind the first reported record is reported too, or its
   group would be processed out of order.
3. A stream goes back to the lowest reported record and would deliver the rest again and again; so its tails are flushed before the
   answer, and only what that could not write is reported.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# What is read back can be anything, and checking it is the work of this module.
from __future__ import annotations

from warmstate.errors import FlushError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from warmstate.warm.tails.buffer import Buffer

__all__ = ["Batch", "hold_back"]


class Batch:
    """The records of an event: their ids in order, and the rules of their source ("sqs", "fifo", "stream")."""

    __slots__ = ("ids", "source")

    def __init__(self, source: str, ids: list[str]) -> None:
        self.source = source
        self.ids = ids

    @classmethod
    def of(cls, event: object) -> Batch | None:
        """The batch that an event is; None for any other event."""
        records = event.get("Records") if isinstance(event, dict) else None
        if not isinstance(records, list) or not records:
            return None
        ids: list[str] = []
        source = ""
        for record in records:
            if not isinstance(record, dict):
                return None
            origin = record.get("eventSource")
            if origin == "aws:sqs":
                id = record.get("messageId")
                source = source or ("fifo" if str(record.get("eventSourceARN", "")).endswith(".fifo") else "sqs")
            elif origin in {"aws:kinesis", "aws:dynamodb"}:
                held = record.get(origin.removeprefix("aws:"))
                id = None if not isinstance(held, dict) else held.get("sequenceNumber", held.get("SequenceNumber"))
                source = "stream"
            else:
                return None
            if not isinstance(id, str) or not id:
                return None
            ids.append(id)
        return cls(source, ids)

    def held_back(self, tails: Sequence[Buffer[Any]]) -> list[str]:
        """The ids of the records that must stay with their source, in the order of the batch."""
        any_waits = any(tail.others_are_waiting(frozenset(self.ids)) for tail in tails)
        waiting: list[bool] = []
        for id in self.ids:
            known = [state for state in (tail.is_waiting(id) for tail in tails) if state is not None]
            waiting.append(any(known) if known else any_waits)
        if self.source == "fifo" and True in waiting:
            return self.ids[waiting.index(True) :]
        return [id for id, waits in zip(self.ids, waiting, strict=False) if waits]


def hold_back(event: object, result: object, tails: Sequence[Buffer[Any]]) -> object:
    """
    The answer to a batch whose handler deferred to `tails`: what it returned, with the records that must stay reported in
    `batchItemFailures`. Anything but a batch is answered as it was.

    Raises:
        FlushError: The handler returned something that is no answer to a batch.
    """
    batch = Batch.of(event)
    if batch is None:
        return result
    if batch.source == "stream":
        for tail in tails:
            try:
                tail.flush()
            except FlushError:
                continue  # what it could not write is reported below
    if result is None:
        answer: dict[str, Any] = {}
    elif isinstance(result, dict):
        answer = dict(result)
    else:
        raise FlushError(
            f"a handler that defers a batch returned {type(result).__qualname__}: return None, or a dictionary with the "
            "batchItemFailures of its own"
        )
    own = [failure for failure in answer.get("batchItemFailures") or [] if isinstance(failure, dict)]
    reported = {failure.get("itemIdentifier") for failure in own}
    held = set(batch.held_back(tails)) | reported
    if batch.source == "fifo" and held & set(batch.ids):
        first = next(place for place, id in enumerate(batch.ids) if id in held)
        held |= set(batch.ids[first:])
    added = [{"itemIdentifier": id} for id in batch.ids if id in held and id not in reported]
    answer["batchItemFailures"] = own + added
    return answer
