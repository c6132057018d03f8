"""What the function understands of the events that wake it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from examples.timelapse.bucket import open_bucket
from examples.timelapse.triggers import Wish, understand

WORDS = (
    "Records",
    "body",
    "messageId",
    "eventName",
    "s3",
    "object",
    "key",
    "source",
    "detail",
    "do",
    "detail-type",
    "Event",
)


def s3_event(*keys: str, name: str = "ObjectCreated:Put"):
    return {
        "Records": [
            {"eventSource": "aws:s3", "eventName": name, "s3": {"bucket": {"name": "b"}, "object": {"key": key}}}
            for key in keys
        ]
    }


def sqs_event(*bodies):
    return {
        "Records": [
            {"messageId": f"m{number}", "eventSource": "aws:sqs", "body": json.dumps(body)}
            for number, body in enumerate(bodies)
        ]
    }


def test_s3_notification():
    """Each created object is a doorbell."""
    assert Wish({"frames/1.jpg": None, "frames/2.jpg": None}) == understand(s3_event("frames/1.jpg", "frames/2.jpg"))


def test_key_is_decoded_once():
    """S3 encodes keys like a form: plus is a space, and an encoded percent sign stays one."""
    (key,) = understand(s3_event("frames/a+b%2Bc%2520%C3%A4.jpg")).doorbells

    assert "frames/a b+c%20ä.jpg" == key


@pytest.mark.parametrize(
    ("bucket", "prefix"), [("s3://b", ""), ("s3://b/", ""), ("s3://b/yard/", "yard/"), ("s3://b/a/b", "a/b/")]
)
def test_events_name_the_whole_key(aws, bucket, prefix):
    """A function that has a folder of the bucket hears the folder's name before each key, and knows the photo without it."""
    assert prefix == open_bucket(bucket).prefix
    wish = understand(s3_event(f"{prefix}frames/1.jpg", f"{prefix}video/live.m3u8"), prefix)

    assert ["frames/1.jpg"] == list(wish.doorbells)


def test_removals_and_other_folders_ring_no_bell():
    """Deleted objects, folders, and what the function writes itself are not photos."""
    assert Wish() == understand(s3_event("frames/1.jpg", name="ObjectRemoved:Delete"))
    assert Wish() == understand(s3_event("video/live.m3u8", "frames/", "elsewhere/frames/1.jpg"))


def test_sqs_batch_has_the_ids_of_its_messages():
    """What came through a queue can be left there, so its ids are those of the messages."""
    wish = understand(sqs_event(s3_event("frames/1.jpg"), s3_event("frames/2.jpg"), {"Event": "s3:TestEvent"}))

    assert Wish({"frames/1.jpg": "m0", "frames/2.jpg": "m1"}) == wish


def test_eventbridge_gives_keys_as_they_are():
    """EventBridge's form of an S3 event does not encode the key."""
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "b"}, "object": {"key": "frames/a+b.jpg"}},
    }

    assert Wish({"frames/a+b.jpg": None}) == understand(event)
    assert Wish({"frames/a+b.jpg": "m0"}) == understand(sqs_event(event))


def test_tick_and_finish():
    """The clock's tick and the wish to finish are understood, directly too."""
    assert Wish(tick=True) == understand({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}})
    assert Wish(tick=True) == understand({"do": "tick"})
    assert Wish(tick=True, finish=True) == understand({"do": "finish"})


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "text",
        {"hello": 1},
        7,
        {"Records": None},
        {"Records": [1]},
        {"Records": [{"eventName": "ObjectCreated:Put"}]},
        {"Records": [{"eventName": None}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "{}"}}]},
        {"Records": [{"eventName": "INSERT", "dynamodb": {}}]},
        {"Records": [{"messageId": "m", "body": "no JSON"}]},
        {"source": "aws.s3", "detail": []},
        {"do": []},
    ],
)
def test_anything_else_is_an_error_that_says_what_came(event):
    """An event of another kind points to a wrong configuration, and fails; the message shows how it begins."""
    with pytest.raises(ValueError, match="expected an event of S3, SQS or EventBridge, got") as caught:
        understand(event)
    assert json.dumps(event)[:100] in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_an_event_is_understood_or_refused(event):
    """Whatever comes, the answer is a wish or the one error."""
    try:
        doorbells = understand(event).doorbells
    except ValueError:
        return
    assert all(key.startswith("frames/") for key in doorbells)
