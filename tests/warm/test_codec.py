"""Codecs: every value comes back equal and of its type, and bytes that nobody wrote never become a wrong one."""

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import random
import typing
import uuid

import attrs
import numpy
import pytest
from hypothesis import given, settings, strategies as st

from warmstate.errors import CodecError
from warmstate.warm.codecs.codec import codec_for, codec_for_value, codec_from_shape

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


class Color(enum.Enum):
    RED = 1
    GREEN = 2


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen(cache_hash=True)
class Label:
    name: str
    _weight: float = 1.0


@attrs.define
class Converted:
    cents: int = attrs.field(converter=lambda value: value * 100)


@dataclasses.dataclass
class Node:
    value: int
    labels: tuple[Label, ...] = ()
    children: "list[Node]" = dataclasses.field(default_factory=list)
    data: bytes = b""


class Point(typing.NamedTuple):
    x: int
    y: str


class Options(typing.TypedDict, total=False):
    depth: int
    tags: typing.List[str]  # noqa: UP006 - users write it too


UTC = datetime.timezone.utc
VALUES = {
    "int": (int, 10**40),
    "float": (float, float("inf")),
    "text": (str, "a\ud800\ud83d\ude00\n\0é"),
    "bytes": (bytes, bytes(range(256))),
    "color": (Color, Color.GREEN),
    "mode": (Mode, Mode.READ | Mode.WRITE),
    "node": (Node, Node(1, (Label("a", 0.5),), [Node(2, data=b"x")], b"yz")),
    "optional": (typing.Optional[Node], None),  # noqa: UP045 - users write it too
    "union": (typing.Union[int, str, list[int], list[str]], ["a"]),
    "point": (Point, Point(1, "a")),
    "options": (Options, {"tags": ["a"]}),
    "fixed": (tuple[int, str, bytes], (1, "a", b"b")),
    "sets": (dict[int, set[bytes]], {1: {b"a", b"b"}, 2: set()}),
    "frozen": (frozenset[tuple[int, ...]], frozenset({(1, 2), ()})),
    "datetime": (datetime.datetime, datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
    "fold": (datetime.datetime, datetime.datetime(2026, 1, 2, 3, 4, 5, 6, fold=1)),
    "date": (datetime.date, datetime.date(2026, 1, 2)),
    "time": (datetime.time, datetime.time(1, 2, 3)),
    "timedelta": (datetime.timedelta, datetime.timedelta(-1, 5, 7)),
    "decimal": (decimal.Decimal, decimal.Decimal("1.10")),
    "uuid": (uuid.UUID, uuid.UUID(int=7)),
    "literal": (typing.Literal["a", 1], 1),
    "tree": (object, {"a": [1, (2, {3})], "$": b"x", "d": {1: None}, "t": datetime.date(2026, 1, 2)}),
}


T = typing.TypeVar("T")
Json = typing.Union[None, int, str, list["Json"], dict[str, "Json"]]


@attrs.define
class Branch(typing.Generic[T]):
    held: T
    below: "list[Branch[T]]" = attrs.field(factory=list)
    last: T | None = None


@attrs.define
class Labelled(Branch[int]):
    label: Label | None = None


@dataclasses.dataclass
class Endless(typing.Generic[T]):
    inner: "Endless[list[T]] | None" = None


class Rank(enum.IntEnum):
    LOW = 1


ODD = {
    "generic": (Branch[Label], Branch(Label("a"), [Branch(Label("b"))], Label("c"))),
    "generic in generic": (dict[str, Branch[list[int]]], {"a": Branch([1], [Branch([])])}),
    "inherited type": (Labelled, Labelled(1, [Branch(2)], 3, Label("x"))),
    "recursive alias": (Json, {"a": [1, {"b": None}, "c"]}),
    "annotated": (typing.Annotated[list[typing.Annotated[int, []]], "m"], [1]),
    "bare": (typing.List, [1, {"a": (1,)}]),  # noqa: UP006 - users write it too
    "union of classes": (Label | Point | None, Point(1, "p")),
    "union by what is inside": (dict[str, int] | dict[int, str], {1: "a"}),
    "enum or number": (Rank | int, Rank.LOW),
    "keys": (dict[tuple[Rank, uuid.UUID], bytearray], {(Rank.LOW, uuid.UUID(int=1)): bytearray(b"x")}),
    "new type": (typing.NewType("Metres", float), -0.0),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_annotations_mean_what_they_say(name):
    """Generic classes, aliases of themselves, unions of everything: equal values, and shapes that can be read without the types."""
    annotation, value = ODD[name]
    codec = codec_for(annotation, Label)
    back = codec.decode([bytes(buffer) for buffer in codec.encode(value)])

    assert (repr(value), type(value)) == (repr(back), type(back))
    codec_from_shape(json.loads(json.dumps(codec.shape))).decode(codec.encode(value))


def test_a_generic_class_is_checked_by_the_types_it_was_given():
    """What one parametrization takes is none of another's."""
    with pytest.raises(CodecError, match=r"\$\.below\[0\]\.held: a value of type str does not fit int"):
        codec_for(Branch[int]).encode(Branch(1, [Branch("2")]))
    with pytest.raises(CodecError, match=r"\$\.held: ~T has no codec"):
        codec_for(Branch)
    assert codec_for(Branch[int]).shape != codec_for(Branch[str]).shape


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_equal_and_of_their_type(name):
    """What is written is read back as it was, also by the codec made of the shape alone."""
    annotation, value = VALUES[name]
    codec = codec_for(annotation)
    back = codec.decode(codec.encode(value))

    assert (value, type(value)) == (back, type(back))
    codec_from_shape(json.loads(json.dumps(codec.shape))).decode(codec.encode(value))


def test_a_fold_and_a_named_zone_are_kept():
    """Two times an hour apart with the same digits stay apart."""
    import zoneinfo

    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    codec = codec_for(datetime.datetime)
    back = codec.decode(codec.encode(datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zone)))

    assert (zone, 1) == (back.tzinfo, back.fold)


def test_no_code_of_the_class_runs_when_it_is_read():
    """A converter that ran when the object was made does not run again."""
    value = Converted(3)
    codec = codec_for(Converted)

    assert 300 == codec.decode(codec.encode(value)).cents
    label = codec_for(Label).decode(codec_for(Label).encode(Label("a")))
    assert hash(label) == hash(Label("a"))


@pytest.mark.parametrize(
    "array",
    [
        numpy.arange(12, dtype="f4").reshape(3, 4)[:, ::2],
        numpy.asfortranarray(numpy.ones((2, 3))),
        numpy.zeros((0, 4), dtype="i8"),
        numpy.array(5),
        numpy.array(["a", "bcd"]),
        numpy.array(["2026-01-01"], dtype="M8[D]"),
        numpy.array([True, False]),
    ],
)
def test_arrays_come_back_writable(array):
    """Shape, order, items and the right to change them are kept."""
    codec = codec_for(numpy.ndarray)
    back = codec.decode([bytes(buffer) for buffer in codec.encode(array)])

    assert (array.shape, array.dtype) == (back.shape, back.dtype)
    assert (array == back).all()
    assert back.flags.writeable


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (
            Node,
            Node(1, children=[Node(2), Node("3")]),
            r"\$\.children\[1\]\.value: a value of type str does not fit int",
        ),
        (dict[str, int], {1: 2}, "^a value of type int as a key"),
        (dict[str, list[int]], {"a": [1], "b c": [1.5]}, r"\$\['b c'\]\[0\]"),
        (int, 1.0, "^a value of type float"),
        (object, {"a": [1, Node(1)]}, r"\$\.a\[1\]: a value of type Node"),
        (numpy.ndarray, numpy.array([object()]), "array of object has no codec"),
        (list[int], [10**5000], "cannot be written"),
    ],
)
def test_what_does_not_fit_is_an_error_with_its_path(annotation, value, path):
    """The message leads to the value and says its type, never the value."""
    with pytest.raises(CodecError, match=path):
        codec_for(annotation).encode(value)


def test_cycles_and_depth_are_errors():
    """A committed slot owns a tree."""
    cycle = []
    cycle.append(cycle)
    node = Node(1)
    node.children.append(node)
    for annotation, value in ((list, cycle), (Node, node)):
        with pytest.raises(CodecError, match="contains itself"):
            codec_for(annotation).encode(value)


def test_an_attribute_that_is_no_field_is_an_error():
    """What would be lost is said."""
    node = Node(1)
    node.extra = 5
    with pytest.raises(CodecError, match=r"\$\.extra: Node has no field"):
        codec_for(Node).encode(node)


@pytest.mark.parametrize("kind", [collections.OrderedDict, typing.Callable[[], int], typing.Hashable, random.Random])
def test_types_without_a_codec_say_so(kind):
    """The message says what to use."""
    with pytest.raises(CodecError, match="has no codec"):
        codec_for(kind)


@pytest.mark.parametrize("base", [Exception, dict, str])
@pytest.mark.parametrize("decorate", [attrs.define(slots=False), dataclasses.dataclass])
def test_a_class_that_is_more_than_its_fields_has_no_codec(base, decorate):
    """What a built-in base holds would be lost, and no such object can be made from its fields alone."""
    kind = decorate(type("Problem", (base,), {"__annotations__": {"code": int}}))
    with pytest.raises(CodecError, match=f"Problem has no codec: it extends {base.__name__}"):
        codec_for(kind)


def test_a_type_without_an_end_is_an_error():
    """A class that holds itself with ever larger arguments has no codec, and that is found."""
    with pytest.raises(CodecError, match="contains itself without end"):
        codec_for(Endless[int])


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.just("$") | st.integers(), inner) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(trees)
@settings(max_examples=300, deadline=None)
def test_any_tree_comes_back(tree):
    """Trees of plain values, bytes, tuples and odd keys are kept exactly."""
    codec = codec_for_value(tree)
    back = codec.decode(codec.encode(tree))

    assert repr(tree) == repr(back)


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_damaged_bytes_are_an_error_or_a_value_of_the_type(data):
    """Whatever is read, the codec raises CodecError or gives something that it would write itself."""
    annotation, value = data.draw(st.sampled_from(list(VALUES.values())))
    codec = codec_for(annotation)
    buffers = [bytearray(buffer) for buffer in codec.encode(value)]
    for _ in range(data.draw(st.integers(1, 3))):
        buffer = data.draw(st.sampled_from(buffers))
        if buffer:
            at = data.draw(st.integers(0, len(buffer) - 1))
            buffer[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        back = codec.decode([bytes(buffer) for buffer in buffers])
    except CodecError:
        return
    codec.encode(back)


def test_golden_files_are_still_read():
    """What released code wrote is read by today's: the bytes, and the shapes that migrations need."""
    golden = json.loads((GOLDEN / "codec-1.json").read_text())
    assert set(golden) == set(VALUES)
    for name, (annotation, value) in VALUES.items():
        codec = codec_for(annotation)
        assert value == codec.decode([bytes.fromhex(buffer) for buffer in golden[name]["buffers"]])
        assert golden[name]["shape"] == json.loads(json.dumps(codec.shape))
