"""The function's log: its lines and frames, whose request they name, and what a handler cannot do to it."""

from __future__ import annotations

import json
import logging
import os
import struct

import pytest

from tests.hosts.pipe import Pipe
from warmstate.context import Context, current
from warmstate.hosts.logging_handler import install
from warmstate.hosts.logs import DEBUG, ERROR, INFO, WARNING, HostNotices, Log, open_log
from warmstate.lifecycle.clock import Clock
from warmstate.lifecycle.environment import Environment
from warmstate.lifecycle.events import Thaw
from warmstate.wire.failure import failure_from
from warmstate.wire.runtime_api import Invocation

AT = "2026-01-02T03:04:05.678Z"


class Stopped(Clock):
    def wall(self):
        return 1767323045.6785


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    for fd in (pipe.read, pipe.write):
        try:
            os.close(fd)
        except OSError:
            pass


@pytest.fixture
def logger():
    """The root logger, as it was afterwards."""
    root = logging.getLogger()
    handlers, level, converter = root.handlers[:], root.level, logging.Formatter.converter
    yield root
    root.handlers[:], logging.Formatter.converter = handlers, converter
    root.setLevel(level)


def context(request_id="r-1", **facts):
    invocation = {name: facts.pop(name) for name in ("tenant_id", "trace_id") if name in facts}
    return Context(Invocation(request_id, b"{}", deadline_ms=0, **invocation), Environment(), **facts)


@pytest.fixture
def serving():
    """Make a context the current one until the test ends."""
    tokens = []
    yield lambda one: tokens.append(current.set(one))
    for token in reversed(tokens):
        current.reset(token)


class TestNotices:
    def test_a_line_has_level_time_and_request(self, pipe, serving):
        """In text, fields stand behind the words."""
        serving(context())
        HostNotices(Log(pipe.write, clock=Stopped())).warning("it broke", count=3, name="x")

        assert [f"[WARNING]\t{AT}\tr-1\twarmstate: it broke (count=3, name=x)"] == pipe.lines

    def test_an_object_has_the_managed_fields_and_ours(self, pipe, serving):
        """In JSON, fields join the `warmstate` object."""
        serving(
            context(
                tenant_id="blue", trace_id="Root=1", start="thaw", generation=2, invocation_number=7, thaw=Thaw(1.5)
            )
        )
        HostNotices(Log(pipe.write, json=True, clock=Stopped()), INFO).info("so it is", count=3)

        assert [
            {
                "timestamp": AT,
                "level": "INFO",
                "message": "so it is",
                "logger": "warmstate",
                "requestId": "r-1",
                "tenantId": "blue",
                "warmstate": {
                    "kind": "thaw",
                    "generation": 2,
                    "seq": 7,
                    "frozen_ms": 1500,
                    "trace": "Root=1",
                    "count": 3,
                },
            }
        ] == pipe.json

    def test_outside_of_a_request_nothing_is_left_of_the_last(self, pipe):
        """A line after a request has neither its id nor its facts; who knows better says so."""
        log = Log(pipe.write, json=True)
        token = current.set(context("secret", tenant_id="blue"))
        current.reset(token)
        HostNotices(log).warning("later")
        HostNotices(log).warning("of another", request_id="r-9")
        first, second = pipe.json

        assert {"timestamp", "level", "message", "logger", "requestId"} == set(first)
        assert ["", "r-9"] == [first["requestId"], second["requestId"]]

    def test_levels_and_once(self, pipe):
        """What is below the level is dropped; `once` says a thing once for each key."""
        notices = HostNotices(Log(pipe.write), WARNING)
        notices.info("dropped")
        for _ in range(3):
            notices.once("a", "said")
            notices.once("b", "said too")

        assert ["said", "said too"] == [line.partition("warmstate: ")[2] for line in pipe.lines]

    @pytest.mark.parametrize(
        ("own", "platform", "said"),
        [("debug", None, "iwe"), ("info", "ERROR", "e"), ("warning", None, "we"), ("warning", "DEBUG", "we"), ("off", "TRACE", "")],
    )  # fmt: skip
    def test_both_levels_count(self, pipe, own, platform, said):
        """`WARMSTATE_LOG` decides, and never below `AWS_LAMBDA_LOG_LEVEL`."""
        notices = HostNotices.for_environment(Log(pipe.write), Environment(log=own, log_level=platform))
        notices.info("i")
        notices.warning("w")
        notices.error("e")

        assert list(said) == [line[-1] for line in pipe.lines]


class TestEvents:
    def test_an_event_is_one_line(self, pipe):
        """Line ends within it become carriage returns, which the log's viewer shows as lines."""
        Log(pipe.write).write("one\ntwo\n")

        assert b"one\rtwo\n" == pipe.bytes

    @pytest.mark.parametrize(("level", "text", "as_json"), [
        (0, 0xA55A0003, 0xA55A0002), (DEBUG, 0xA55A000B, 0xA55A000A), (INFO, 0xA55A000F, 0xA55A000E),
        (WARNING, 0xA55A0013, 0xA55A0012), (ERROR, 0xA55A0017, 0xA55A0016), (50, 0xA55A001B, 0xA55A001A),
    ])  # fmt: skip
    def test_a_frame_says_what_it_holds(self, pipe, level, text, as_json):
        """Type, length and microseconds before the message, which keeps its line ends."""
        for json_lines, kind in ((False, text), (True, as_json)):
            Log(pipe.write, json=json_lines, framed=True, clock=Stopped()).write("ü\nx", level)
            data = pipe.bytes

            assert (kind, 4, 1767323045678500) == struct.unpack(">IIQ", data[:16])
            assert "ü\nx" == data[16:].decode()

    def test_nothing_is_written_to_a_stranger(self, pipe):
        """When our number was closed and leads elsewhere now, the event is dropped, not written there."""
        stranger = Pipe()
        log = Log(pipe.write)
        os.dup2(stranger.write, pipe.write)
        log.write("lost")

        assert b"" == stranger.bytes
        assert 1 == log.dropped

    def test_a_lone_surrogate_is_written_as_an_escape(self, pipe):
        """No character keeps an event out of the log."""
        Log(pipe.write).write("a\ud800b")

        assert [r"a\ud800b"] == pipe.lines

    def test_json_has_a_form_for_everything(self, pipe):
        """A value without one becomes text, also where its text raises; a cycle keeps what every line has."""

        class Silent:
            def __str__(self):
                raise RuntimeError

        cycle = []
        cycle.append(cycle)
        log = Log(pipe.write, json=True)
        for value in (Silent(), {1, 2}, cycle, float("nan")):
            log.write(log.json_text({"level": "INFO", "message": value}))

        log.write(log.json_text({"level": "INFO", "message": cycle, "warmstate": {"kind": "cold"}}))
        lines = pipe.json

        assert ["INFO"] * 5 == [line["level"] for line in lines]
        assert {"kind": "cold"} == lines[-1]["warmstate"], "what has a form keeps it"


class TestFailures:
    def test_text_is_the_report_of_the_stock_runtime(self, pipe):
        """One event: type and words, then the frames, whose indentation survives the viewer."""
        try:
            {}["x"]
        except KeyError as error:
            failure = failure_from(error, request_id="r-1")
        Log(pipe.write).failure(failure, context())
        head, title, frame, source = pipe.bytes.decode().rstrip("\n").split("\r")

        assert ["[ERROR] KeyError: 'x'", "Traceback (most recent call last):"] == [head, title]
        assert frame.startswith('\u00a0\u00a0File "')
        assert '\u00a0\u00a0\u00a0\u00a0{}["x"]' == source

    def test_json_is_the_error_object_and_ours(self, pipe):
        """The fields of the error as the caller sees them, with time, level, tenant and the `warmstate` object."""
        Log(pipe.write, json=True, clock=Stopped()).failure(
            failure_from(ValueError("no"), request_id="r-1"), context(tenant_id="t")
        )
        (line,) = pipe.json

        assert {
            "timestamp": AT,
            "level": "ERROR",
            "errorType": "ValueError",
            "errorMessage": "no",
            "requestId": "r-1",
        }.items() <= line.items()
        assert ["t", "cold"] == [line["tenantId"], line["warmstate"]["kind"]]


class TestLogging:
    def test_text_records_look_as_on_the_stock_runtime(self, pipe, logger, serving):
        """Level, time, request and message, separated by tabs."""
        install(Log(pipe.write), None)
        serving(context())
        logging.getLogger("app").warning("hello %s", "you")
        level, at, request_id, message = pipe.lines[0].split("\t")

        assert ["[WARNING]", "r-1", "hello you"] == [level, request_id, message]
        assert len(AT) == len(at)

    def test_json_records_have_exactly_the_managed_fields_and_ours(self, pipe, logger, serving):
        """Extra attributes join them; what has no JSON form becomes text; a dict stays one."""
        install(Log(pipe.write, json=True), "INFO")
        serving(context())
        logging.getLogger("app").info({"structured": 1}, extra={"order": 7, "odd": {1}})
        (line,) = pipe.json

        assert {"timestamp", "level", "message", "logger", "requestId", "order", "odd", "warmstate"} == set(line)
        assert [{"structured": 1}, "app", 7, "{1}"] == [line[name] for name in ("message", "logger", "order", "odd")]
        assert {"kind": "cold", "generation": 1, "seq": 1, "frozen_ms": 0} == line["warmstate"]

    def test_what_json_has_no_word_for_is_text_and_nothing_is_left_out(self, pipe, logger):
        """Each line is valid JSON, with the rest of a value in its form."""

        def no_constant(word):
            raise AssertionError(word)

        install(Log(pipe.write, json=True), None)
        loop = {}
        loop["loop"] = loop
        logging.getLogger("app").warning({"loss": float("nan"), "at": [1, {2}]}, extra={"by": {(1, 2): 3}, "of": loop})
        line = json.loads(pipe.bytes, parse_constant=no_constant)

        assert {"loss": "nan", "at": [1, "{2}"]} == line["message"]
        assert [{"(1, 2)": 3}, "{'loop': {...}}"] == [line["by"], line["of"]]

    def test_no_extra_takes_the_name_of_a_field(self, pipe, logger, serving):
        """Time, level, request and the rest of a line are ours to say."""
        install(Log(pipe.write, json=True), None)
        serving(context(tenant_id="blue"))
        managed = ("timestamp", "level", "requestId", "tenantId", "errorType", "errorMessage", "stackTrace", "location")
        logging.getLogger("app").warning(
            "x", extra=dict.fromkeys((*managed, "logger", "warmstate"), "mine") | {"own": 1}
        )
        (line,) = pipe.json

        assert "mine" not in line.values()
        assert ["r-1", "blue", "app", 1] == [line[name] for name in ("requestId", "tenantId", "logger", "own")]

    def test_an_exception_that_cannot_be_told(self, pipe, logger):
        """Its type is, and where."""

        class Silent(Exception):
            def __str__(self):
                raise RuntimeError

        install(Log(pipe.write, json=True), None)
        logging.getLogger("app").error("failed", exc_info=Silent())
        (line,) = pipe.json

        assert ["failed", "Silent", "<unprintable Silent>"] == [
            line[name] for name in ("message", "errorType", "errorMessage")
        ]

    def test_an_exception_is_told_whole(self, pipe, logger):
        """In JSON by fields, in text in the same event."""
        for as_json in (True, False):
            handler = install(Log(pipe.write, json=as_json), None)
            try:
                1 / 0  # noqa: B018 - raises
            except ZeroDivisionError:
                logging.getLogger("app").exception("failed")
            logger.removeHandler(handler)
        first, second = pipe.bytes.decode().removesuffix("\n").split("\n")
        line = json.loads(first)

        assert ["ZeroDivisionError", "division by zero"] == [line["errorType"], line["errorMessage"]]
        assert "1 / 0" in line["stackTrace"][-1]
        assert line["location"].endswith(tuple("0123456789"))
        assert second.endswith("ZeroDivisionError: division by zero")

    def test_a_formatter_of_ones_own_gets_the_request(self, pipe, logger, serving):
        """Records carry `aws_request_id` and `tenant_id`, as on the stock runtime, and need no line end."""
        install(Log(pipe.write), None).setFormatter(logging.Formatter("%(aws_request_id)s %(tenant_id)s %(message)s"))
        serving(context(tenant_id="blue"))
        logging.getLogger().error("x")

        assert ["r-1 blue x"] == pipe.lines

    @pytest.mark.parametrize(
        ("level", "expected"), [("TRACE", 10), ("DEBUG", 10), ("WARN", 30), ("FATAL", 50), (None, 30), ("odd", 30)]
    )
    def test_the_platforms_level_becomes_the_root_loggers(self, pipe, logger, level, expected):
        """`AWS_LAMBDA_LOG_LEVEL` in the platform's words; without one it stays."""
        logger.setLevel(30)
        install(Log(pipe.write), level)

        assert expected == logger.level


def test_the_frames_descriptor_is_taken_and_kept_from_children(pipe):
    """The variable is removed, the descriptor is not inherited; a closed one is not used."""
    variables = {"_LAMBDA_TELEMETRY_LOG_FD": str(pipe.write)}
    os.set_inheritable(pipe.write, True)
    framed = open_log(Environment(telemetry_log_fd=pipe.write), variables)
    plain = open_log(Environment(telemetry_log_fd=987))

    assert {} == variables
    assert not os.get_inheritable(pipe.write)
    assert ["text frames", "text lines"] == [
        repr(log).partition("of ")[2].partition(" on")[0] for log in (framed, plain)
    ]
    for log in (framed, plain):
        os.close(log.plain_fd)
