"""The runtime as a real process: how it starts, freezes and thaws, and how it fails to start."""

from __future__ import annotations

import signal
import sys
import time

import pytest

from tests.hosts.scripted import http, wait_for
from tests.hosts.tasks import BOTH, TELL

pytestmark = pytest.mark.process


class TestStarts:
    def test_cold_then_warm(self, api, start):
        """The first invocation of a new environment is cold, the next one warm."""
        start(TELL, "app.Handler")
        first, second = api.ask("1").json, api.ask("2").json

        assert ("cold", ["cold", 1, None], "warm") == (first["start"], first["begun"], second["start"])

    def test_a_crash_then_a_reset(self, api, start):
        """A process that died in its handler is followed by a reset with the reason crash."""
        dying = start(TELL, "app.Handler")
        api.ask("1")
        api.send("2", {"exit": 1})
        assert 3 == dying.ended()
        start(TELL, "app.Handler")
        answer = api.ask("3").json

        assert ("reset", ["reset", 2, "crash"], 2) == (answer["start"], answer["begun"], answer["generation"])

    @pytest.mark.parametrize(("harm", "expected"), [("nothing", 14), ("an older copy", 10), ("removed", 10)])
    def test_a_reset_keeps_the_last_commit_or_says_why_not(self, api, start, tmp_path, harm, expected):
        """The marker tells how far commits were: an older journal that was put back is as little a past as none."""
        first = start(BOTH, "app.Counter")
        api.ask("1", 1)
        journal = tmp_path / "tmp/warmstate/0/journal"
        older = journal.read_bytes()
        api.ask("2", 3)
        api.wait_until_idle()
        first.signal(signal.SIGKILL)
        first.ended()
        if harm == "an older copy":
            journal.write_bytes(older)
        elif harm == "removed":
            journal.unlink()
        second = start(BOTH, "app.Counter")

        assert expected == api.ask("3", 10).json
        assert (harm != "nothing") == ("What an earlier process committed is not taken over" in second.output)

    def test_an_orderly_end_then_a_reset(self, api, start):
        """SIGTERM while idle ends the process by itself: the next one in this environment knows an exit."""
        first = start(TELL, "app.Handler")
        api.ask("1")
        api.wait_until_idle()
        first.signal(signal.SIGTERM)
        assert 0 == first.ended()
        start(TELL, "app.Handler")

        assert ["reset", 2, "exit"] == api.ask("2").json["begun"]

    def test_provisioned(self, api, start):
        """An environment that was prepared ahead says so."""
        start(TELL, "app.Handler", AWS_LAMBDA_INITIALIZATION_TYPE="provisioned-concurrency")

        assert ["provisioned", "warm"] == [api.ask("1").json["start"], api.ask("2").json["start"]]

    @pytest.mark.parametrize("transport", ["native", "requests"])
    @pytest.mark.parametrize("event_comes", ["while frozen", "after the thaw"])
    def test_a_real_freeze_is_measured(self, api, start, transport, event_comes):
        """Stopped in `next`: the hook runs once, and the time is right to 0.15 s, whether an event or a beat ends it."""
        runtime = start(TELL, "app.Handler", WARMSTATE_TRANSPORT=transport)
        api.ask("1")
        api.wait_until_idle()
        runtime.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        time.sleep(1.5)
        if event_comes == "while frozen":
            api.send("2")
            wait_for(api.events.empty)
        frozen = time.monotonic() - stopped
        runtime.signal(signal.SIGCONT)
        if event_comes == "after the thaw":
            time.sleep(0.3)  # over two beats
            api.send("2")
        answer = api.answer().json

        assert ("thaw", 1) == (answer["start"], answer["thaws"])
        assert answer["frozen_for"] == pytest.approx(frozen, abs=0.15)
        assert "warm" == api.ask("3").json["start"]

    @pytest.mark.parametrize("status", [200, 503])
    def test_a_freeze_before_an_event_that_cannot_be_served(self, api, start, status):
        """An event without a request id, or an answer that is none, is dropped; the one after it is told of the freeze."""
        runtime = start(TELL, "app.Handler")
        api.ask("1")
        api.wait_until_idle()
        runtime.signal(signal.SIGSTOP)
        time.sleep(1.5)
        api.events.put(http(status, b"{}"))
        wait_for(api.events.empty)
        runtime.signal(signal.SIGCONT)

        assert ["thaw", "warm"] == [api.ask("2").json["start"], api.ask("3").json["start"]]

    def test_idle_is_not_frozen(self, api, start):
        """Waiting longer than the threshold without a stop is warm."""
        start(TELL, "app.Handler", WARMSTATE_THAW_AFTER="0.4")
        api.ask("1")
        time.sleep(1.2)

        assert ("warm", 0) == tuple(api.ask("2").json[name] for name in ("start", "thaws"))

    def test_no_threshold_is_crossed_by_a_short_freeze(self, api, start):
        """Below `WARMSTATE_THAW_AFTER` there is neither hook nor thaw."""
        runtime = start(TELL, "app.Handler", WARMSTATE_THAW_AFTER="5")
        api.ask("1")
        api.wait_until_idle()
        runtime.signal(signal.SIGSTOP)
        time.sleep(0.8)
        runtime.signal(signal.SIGCONT)

        assert ("warm", None, 0) == tuple(api.ask("2").json[name] for name in ("start", "frozen_for", "thaws"))


class TestInit:
    @pytest.mark.parametrize(
        ("source", "handler", "kind"),
        [
            ("raise ValueError('x')", "app.handler", "ValueError"),
            ("import nothing_of_this_name", "app.handler", "Runtime.ImportModuleError"),
            ("def broken(:", "app.handler", "Runtime.UserCodeSyntaxError"),
            ("", "app.handler", "Runtime.HandlerNotFound"),
            ("", "other.handler", "Runtime.ImportModuleError"),
            ("", "handler", "Runtime.MalformedHandlerName"),
            ("", "", "Runtime.MalformedHandlerName"),
            ("", "sys.exit", "Runtime.BuiltInModuleConflict"),
            ("import sys; sys.exit(0)", "app.handler", "Runtime.HandlerExit"),
            ("from warmstate import *\nclass H(StatefulHandler):\n def handle(self, event, context): pass\n def on_init(self, init): raise KeyError('k')", "app.H", "KeyError"),
            ("from warmstate import *\nclass H(StatefulHandler):\n def handle(self, event, context): pass\n def __init__(self): raise KeyError('k')", "app.H", "KeyError"),
            ("from warmstate import *\nclass H(StatefulHandler):\n n: State[int] = state()", "app.H", "Runtime.DeclarationError"),
        ],
    )  # fmt: skip
    def test_a_failed_init_is_told_once_and_ends(self, api, start, source, handler, kind):
        """One post to init/error, with the type the caller sees; the process ends with 1 and asks for nothing."""
        runtime = start(source, handler)
        posted = api.answer()

        assert ("init/error", kind) == (posted.kind, posted.json["errorType"])
        assert kind == posted.headers["lambda-runtime-function-error-type"]
        assert 1 == runtime.ended()
        assert api.posted.empty()
        assert not [path for _, _, path in api.calls if path.endswith("invocation/next")]
        assert "[ERROR]" in runtime.output

    @pytest.mark.parametrize(
        ("name", "outcome"),
        [("os", "conflict"), ("select", "conflict"), ("fcntl", "conflict"), ("warmstate", "absent"), ("logging", "served"), ("json", "served"), ("queue", "served")],
    )  # fmt: skip
    def test_a_handler_file_with_the_name_of_a_module_of_pythons(self, api, start, tmp_path, name, outcome):
        """The runtime starts with Python's own. What it loaded itself is told to be taken, any other is the function's file."""
        (tmp_path / f"task/{name}.py").write_text("def handler(event, context): return __name__")
        start("", f"{name}.handler")
        api.send("1")
        said = api.answer().json

        if outcome == "served":
            assert name == said
        else:
            kind = {"conflict": "Runtime.BuiltInModuleConflict", "absent": "Runtime.HandlerNotFound"}[outcome]
            assert kind == said["errorType"]
            assert name in said["errorMessage"]

    def test_helpers_with_the_names_of_modules_of_pythons(self, api, start, tmp_path):
        """A file of the function beside its handler keeps nothing of the runtime from starting."""
        for name in (
            "select",
            "fcntl",
            "_json",
            "_socket",
            "binascii",
            "threading",
            "socket",
            "traceback",
            "asyncio",
            "json",
        ):
            (tmp_path / f"task/{name}.py").write_text("raise RuntimeError(__name__)")
        start("def handler(event, context): return event")

        assert [1] == api.ask("1", [1]).json

    @pytest.mark.parametrize(
        ("name", "value"), [("WARMSTATE_THAW_AFTER", "soon"), ("WARMSTATE_TRANSPORT", "carrier pigeon")]
    )
    def test_a_bad_setting_is_an_init_error_that_names_it(self, api, start, name, value):
        """Nobody has to search for what is wrong."""
        runtime = start("def handler(event, context): pass", **{name: value})
        posted = api.answer()

        assert "Runtime.ConfigurationError" == posted.json["errorType"]
        assert name in posted.json["errorMessage"]
        assert value in posted.json["errorMessage"]
        assert 1 == runtime.ended()

    def test_a_slow_init_is_told_before_its_limit(self, api, start):
        """Where it hangs is in the log by the time the platform gives it up."""
        source = "import time\ntime.sleep(1.5)\ndef handler(event, context): return 1"
        limited = "from warmstate.hosts import runtime; runtime.Environment.init_limit = 1.0; runtime.main()"
        runtime = start(source, command=[sys.executable, "-c", limited])

        assert 1 == api.ask("1").json
        assert 1 == runtime.output.count("Init took 1 of 1 s; what every thread does follows.")
        assert 'app.py", line 2 in <module>' in runtime.output

    def test_no_runtime_api(self, start):
        """Outside of Lambda it says what to do and ends."""
        runtime = start("def handler(event, context): pass", AWS_LAMBDA_RUNTIME_API="")

        assert 1 == runtime.ended()
        assert "AWS_LAMBDA_RUNTIME_API" in runtime.output
