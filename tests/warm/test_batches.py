"""Which records of a batch stay with their source."""

import pytest

from warmstate.errors import FlushError
from warmstate.handler import StatefulHandler
from warmstate.warm.commits.unit import Ledger
from warmstate.warm.slot import State, state
from warmstate.warm.tails.batches import hold_back
from warmstate.warm.tails.tail import Tail, tail


class Queue(StatefulHandler):
    lines: Tail[str] = tail(max_items=3)
    done: State[int] = state(default=0)
    limit = None

    @lines.flush
    def write(self, batch):
        if self.limit == 0:
            raise OSError("down")
        return self.limit


def queue(limit=None):
    handler = Queue()
    handler.limit = limit
    ledger = Ledger(handler, Queue.__warmstate__)
    ledger.open()
    return handler, ledger


def sqs(*ids, fifo=False):
    arn = "arn:aws:sqs:eu-central-1:1:q" + (".fifo" if fifo else "")
    return {"Records": [{"eventSource": "aws:sqs", "messageId": id, "eventSourceARN": arn} for id in ids]}


def kinesis(*ids):
    return {"Records": [{"eventSource": "aws:kinesis", "kinesis": {"sequenceNumber": id}} for id in ids]}


def dynamodb(*ids):
    return {"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {"SequenceNumber": id}} for id in ids]}


def failures(answer):
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_sqs_gets_back_what_is_not_flushed_and_acknowledges_it_later():
    """Four messages, three flushed: the fourth stays, and its redelivery after the flush is acknowledged."""
    handler, ledger = queue()
    for id in "abcd":
        handler.lines.append(id, id=id)
    ledger.flush_due()
    assert ["d"] == failures(hold_back(sqs(*"abcd"), None, [handler.lines]))
    assert not handler.lines.append("d", id="d")
    assert ["d"] == failures(hold_back(sqs("d"), None, [handler.lines]))
    handler.lines.flush()
    handler.lines.append("d", id="d")
    assert [] == failures(hold_back(sqs("d"), None, [handler.lines]))


def test_fifo_reports_everything_behind_the_first():
    """Behind the first record that stays, all stay, in the batch's order."""
    handler, _ = queue()
    handler.lines.append("b", id="b")
    handler.lines.append("a", id="a")
    handler.lines.finished(1)
    assert ["a", "b"] == failures(hold_back(sqs("a", "b", fifo=True), None, [handler.lines]))
    assert ["a"] == failures(hold_back(sqs("a", "b"), None, [handler.lines]))


@pytest.mark.parametrize("event", [kinesis, dynamodb])
def test_a_stream_is_flushed_before_the_answer(event):
    """Nothing stays with the shard; what a failing or partial flush could not write is reported."""
    handler, _ = queue()
    for id in "12":
        handler.lines.append(id, id=id)
    assert [] == failures(hold_back(event(*"12"), {}, [handler.lines]))
    handler.limit = 1
    for id in "345":
        handler.lines.append(id, id=id)
    assert ["4", "5"] == failures(hold_back(event(*"345"), {}, [handler.lines]))
    handler.limit = 0
    handler.lines.append("6", id="6")
    assert ["6"] == failures(hold_back(event("6"), {}, [handler.lines]))


def test_records_without_ids_wait_for_all_that_the_invocation_appended():
    """An item appended under another id holds all records, because nobody knows whose it is."""
    handler, ledger = queue()
    ledger.begin("handle")
    handler.lines.append("x", id="photo-1")
    assert ["a", "b"] == failures(hold_back(sqs("a", "b"), None, [handler.lines]))
    handler.lines.flush()
    assert [] == failures(hold_back(sqs("a", "b"), None, [handler.lines]))


def test_the_handlers_own_failures_stay_and_other_answers_are_refused():
    """What the handler reports is kept, once; an answer that cannot carry failures is an error."""
    handler, _ = queue()
    handler.lines.append("b", id="b")
    answer = hold_back(sqs("a", "b"), {"batchItemFailures": [{"itemIdentifier": "b"}], "more": 1}, [handler.lines])
    assert (["b"], 1) == (failures(answer), answer["more"])
    with pytest.raises(FlushError, match="returned str"):
        hold_back(sqs("a"), "fine", [handler.lines])


@pytest.mark.parametrize(
    "event", [None, {}, {"Records": []}, {"Records": [{"eventSource": "aws:s3"}]}, {"Records": [5]}]
)
def test_other_events_are_answered_as_they_were(event):
    """Only batches have records that can stay."""
    assert "answer" == hold_back(event, "answer", [queue()[0].lines])
