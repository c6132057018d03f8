"""Events from bytes and answers to bytes."""

from __future__ import annotations

import datetime
import json
import math
from collections import OrderedDict, defaultdict, namedtuple
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from warmstate.errors import AnswerEncodeError, EventDecodeError
from warmstate.wire.payload import Raw, decode_event, encode_answer, encode_text

Point = namedtuple("Point", "x y")  # noqa: PYI024 - what users return

trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def encoded(value, **options):
    body, content_type = encode_answer(value, **options)
    assert content_type == "application/json"
    return body.decode()


class TestEvents:
    @given(trees)
    def test_what_json_writes_is_read(self, value):
        """Events are what `json` understands them to be."""
        assert value == decode_event(json.dumps(value).encode())

    @pytest.mark.parametrize(
        ("body", "value"),
        [
            (b' {"a": 1} \n', {"a": 1}),
            (b"\xef\xbb\xbf[1]", [1]),
            (b'"x"', "x"),
            (b"null", None),
            (b"1e308", 1e308),
            (b'{"a": 1, "a": 2}', {"a": 2}),
            (b'"\\ud83d\\ude00"', "\U0001f600"),
            (str(2**70).encode(), 2**70),
        ],
    )
    def test_what_is_tolerated(self, body, value):
        """White space, a byte order mark, scalars, the last of two equal keys, large integers."""
        assert value == decode_event(body)

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (b"", "empty"),
            (b" \n", "empty"),
            (b"{", "input"),
            (b"nope", "character 0"),
            (b"[1,]", "char"),
            (b"{} x", "extra data"),
            (b"NaN", "NaN"),
            (b"[-Infinity]", "Infinity"),
            (b"1e999", "larger"),
            (b"[-1e400]", "larger"),
            (b"\xff", "UTF-8"),
            ("{}".encode("utf-16"), "UTF-8"),
            (b'"\x01"', "control character"),
            (b"[" * 100_000, "nested"),
            (b"1" * 5000, "digits"),
        ],
        ids=lambda value: str(value[:12]),
    )
    def test_what_is_refused(self, body, why):
        """What is no JSON in UTF-8 says so, and where."""
        with pytest.raises(EventDecodeError, match="Unable to unmarshal input") as caught:
            decode_event(body)

        assert why.lower() in str(caught.value).lower()
        assert len(str(caught.value)) < 500

    @given(st.binary())
    def test_any_bytes_are_an_event_or_an_error(self, body):
        """Nothing but the one error comes out of hostile bytes."""
        with suppress(EventDecodeError):
            decode_event(body)

    @pytest.mark.parametrize(
        ("content_type", "parsed"),
        [
            ("application/json", True),
            ("application/json; charset=utf-8", True),
            ("Application/JSON", True),
            ("application/cloudevents+json", True),
            ("application/octet-stream", False),
            ("text/plain", False),
            ("image/png", False),
        ],
    )
    def test_only_json_is_parsed(self, content_type, parsed):
        """Other content arrives as the bytes it is."""
        assert ({} if parsed else b"{}") == decode_event(b"{}", content_type)


class TestAnswers:
    @given(trees, st.booleans())
    def test_what_is_written_json_reads(self, value, escape):
        """Answers are valid JSON of the same value, in UTF-8, whatever text they hold."""
        body, _ = encode_answer(value, escape=escape)

        assert value == json.loads(body.decode())

    @given(trees)
    def test_the_bytes_are_those_of_the_stock_encoder(self, value):
        """With escapes, and spaces where `json` puts them."""
        assert json.dumps(value) == encode_text(value)

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "null"),
            ((1, (2,)), "[1, [2]]"),
            ({1: 2, 2.5: 3, False: 4, None: 5}, '{"1": 2, "2.5": 3, "false": 4, "null": 5}'),
            (Point(1, [Point(2, 3)]), '{"x": 1, "y": [{"x": 2, "y": 3}]}'),
            (Decimal("1.10"), "1.10"),
            ({"a": [Decimal(1), "1.10", Decimal("1E+3")]}, '{"a": [1, "1.10", 1E+3]}'),
            (OrderedDict(a=1), '{"a": 1}'),
            (defaultdict(list, a=[1]), '{"a": [1]}'),
            ("\ud800", '"\\ud800"'),
            ("ü", '"\\u00fc"'),
        ],
    )
    def test_values_with_a_form_of_their_own(self, value, text):
        """As the stock client writes them."""
        assert text == encoded(value)

    def test_text_as_it_is(self):
        """Without escapes text is UTF-8, and a lone surrogate is escaped all the same."""
        assert '{"ü": "ö"}' == encoded({"ü": "ö"}, escape=False)
        assert "\udfff" == json.loads(encoded("\udfff", escape=False))

    @pytest.mark.parametrize(
        ("value", "where", "why"),
        [
            ({1, 2}, "$", "list"),
            ({"a": [0, {"b c": object()}]}, "$.a[1]['b c']", "object"),
            ([math.nan], "$[0]", "nan"),
            ({"a": math.inf}, "$.a", "inf"),
            ([Decimal("NaN")], "$[0]", "NaN"),
            (datetime.datetime(2026, 1, 1), "$", "isoformat"),
            ({(1, 2): 3}, "$", "key of type tuple"),
            ({"x": {1: "a", "1": "b"}}, "$.x", "same JSON name '1'"),
            ({True: 1, "true": 2}, "$", "same JSON name 'true'"),
            ([bytearray(b"x")], "$[0]", "Raw"),
            ({"a": b"x"}, "$.a", "base64"),
            (1j, "$", "complex"),
        ],
        ids=repr,
    )
    def test_what_has_no_form(self, value, where, why):
        """The message leads to the value and says what to do."""
        with pytest.raises(AnswerEncodeError) as caught:
            encode_answer(value)

        assert f"(at {where})" in str(caught.value)
        assert why in str(caught.value)

    def test_cycles_and_depth(self):
        """A value that contains itself, or is deeper than anybody can read, is an error and no crash."""
        cycle: list[object] = []
        cycle.append({"again": cycle})
        deep: list[object] = []
        inner = deep
        for _ in range(100_000):
            inner.append([])
            inner = inner[0]

        for value, why in ((cycle, "contains itself"), (deep, "nested too deeply")):
            with pytest.raises(AnswerEncodeError, match=why):
                encode_answer(value)

    def test_a_key_whose_repr_raises(self):
        """The error about a value survives the value."""

        class Hostile:
            def __repr__(self):
                raise RuntimeError

        with pytest.raises(AnswerEncodeError, match="key of type Hostile"):
            encode_answer({Hostile(): 1})

    def test_bytes_go_out_as_they_are(self):
        """Bytes, and Raw under its own content type, are nobody's JSON."""
        assert (b"\xff", "application/octet-stream") == encode_answer(b"\xff")
        assert (b"\x89PNG", "image/png") == encode_answer(Raw(memoryview(b"\x89PNG"), "image/png"))

    @pytest.mark.parametrize("body", ["text", 3])
    def test_raw_takes_bytes_alone(self, body):
        """Text has to be encoded by whoever knows how."""
        with pytest.raises(TypeError, match="Raw takes bytes"):
            Raw(body)

    @pytest.mark.parametrize("content_type", ["text/plain\r\nX: y", "bücher"])
    def test_a_content_type_is_a_header(self, content_type):
        """What a header cannot carry is refused where it is written."""
        with pytest.raises(ValueError, match="content type"):
            Raw(b"", content_type)
