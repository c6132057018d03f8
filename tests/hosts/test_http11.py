"""Heads of answers: reading one beside the last gives what reading it alone gives."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from warmstate.errors import TransportError
from warmstate.hosts.http11 import HeadReader, body_length, parse_head

# Few of each, so that heads are often alike but for a value, a name, an order, a space or a repetition.
names = st.sampled_from(["Content-Length", "content-length", "Transfer-Encoding", "X-One", "x-one", "X-Two", "Tür"])
values = st.sampled_from(["5", "7", " 7 ", "chunked", "a: b", "", "\t", "zürich", "5, 7"])
lines = st.one_of(
    st.tuples(names, st.sampled_from([": ", ":", " : ", ":\t"]), values).map("".join),
    st.sampled_from(["", " folded: line", "no colon", ": no name"]),
)
starts = st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.0 202 Accepted", "HTTP/1.1 204 ", "HTTP/2 200", "X-One: 1"])
heads = st.tuples(
    st.tuples(starts, st.lists(lines, max_size=4)).map(lambda parts: "\r\n".join([parts[0], *parts[1]])),
    st.sampled_from(["utf-8", "latin-1"]),
).map(lambda pair: pair[0].encode(pair[1]))


def alone(head):
    try:
        status, headers = parse_head(head)
        return status, headers, body_length(status, headers)
    except TransportError as error:
        return str(error)


def beside(reader, head):
    try:
        status, headers, length = reader.read(head)
        return status, dict(headers), length
    except TransportError as error:
        return str(error)


@given(st.lists(heads, min_size=2, max_size=6))
def test_a_head_is_read_beside_the_last_as_it_is_read_alone(several):
    """Whatever came before, status, headers, length and errors are those of the head itself."""
    reader = HeadReader()
    for head in several:
        assert alone(head) == beside(reader, head)


@pytest.mark.parametrize("value", ["8", "chunked", "-1", "1e3", ""])
def test_a_length_that_changed_is_judged_again(value):
    """Only the value of the length differs from the last head: it is checked as strictly as the first one."""
    reader = HeadReader()
    first, second = (f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-One: 1".encode() for length in ("7", value))

    assert (200, {"content-length": "7", "x-one": "1"}, 7) == beside(reader, first)
    assert alone(second) == beside(reader, second)
    assert 7 == reader.read(first)[2]
