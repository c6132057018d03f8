"""The runtime as a real process: how it starts, freezes, thaws, fails and ends."""

from __future__ import annotations

import base64
import json
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.hosts.scripted import PATIENCE, ScriptedApi, event, http, wait_for

pytestmark = pytest.mark.process

TELL = """
import os
from warmstate import StatefulHandler

class Handler(StatefulHandler):
    def on_init(self, init):
        self.begun = [init.start, init.generation, init.reset_reason]

    def on_thaw(self, thaw):
        self.thaws = getattr(self, "thaws", 0) + 1

    def handle(self, event, context):
        if event.get("exit"):
            os._exit(3)
        thaw = context.thaw
        return {
            "start": context.start,
            "begun": self.begun,
            "generation": context.generation,
            "frozen_for": thaw and thaw.frozen_for,
            "thaws": getattr(self, "thaws", 0),
            "pid": os.getpid(),
        }

    def before_shutdown(self, shutdown):
        print("before_shutdown", shutdown.reason, shutdown.interrupted, flush=True)
"""

SLEEP = TELL.replace(
    "if event.get",
    "if event.get('sleep'): import time; print('sleeps', flush=True); time.sleep(event['sleep'])\n        if event.get",
    1,
)


BOTH = """
import functools
from warmstate import State, StatefulHandler, state

class Counter(StatefulHandler):
    seen: State[int] = state(default=0, survives="reset")

    def on_init(self, init):
        print("on_init", init.start, flush=True)

    def handle(self, event, context):
        self.seen += event
        return self.seen

    def before_shutdown(self, shutdown):
        print("before_shutdown", flush=True)

class Other(Counter):
    def handle(self, event, context):
        return counts(event, context)

counts = Counter.as_lambda_handler()

def wrapper(function):
    @functools.wraps(function)
    def wrapped(event, context):
        print("wrapped", flush=True)
        return function(event, context)
    return wrapped

class Proxy:
    def __getattr__(self, name):
        return getattr(counts, name)

    def __call__(self, event, context):
        print("wrapped", flush=True)
        return counts(event, context)

wrapped, proxy = wrapper(counts), Proxy()
"""


LEAVE = """
import os
from warmstate import StatefulHandler

class Handler(StatefulHandler):
    def handle(self, event, context):
        os.chdir("/")

class Hooked(Handler):
    def after_response(self, context):
        print("after_response in", os.getcwd(), flush=True)
        os.chdir("/tmp")
"""


class TestWhileThePlatformReads:
    """Between an answer and the platform's word on it the process is tidied up, unless a hook must know that word."""

    @staticmethod
    def say_when(api, condition, status=202):
        def say(connection):
            wait_for(condition)
            connection.sendall(http(status))
            return True

        api.replies.put(say)

    def test_nothing_is_waited_for_in_vain(self, api, start, tmp_path):
        """What the handler left behind is put back before the platform has said anything."""
        runtime = start(LEAVE, "app.Handler")
        directory = Path(f"/proc/{runtime.pid}/cwd")
        for request_id in ("1", "2"):
            self.say_when(api, lambda: directory.readlink() == tmp_path / "task")
            api.ask(request_id)
        api.wait_until_idle()

    @pytest.mark.parametrize("status", [202, 410])
    def test_a_hook_waits_for_the_word(self, api, start, tmp_path, status):
        """after_response runs when the platform took the answer, and not before; what it left behind is put back as well."""
        runtime = start(LEAVE, "app.Hooked")
        self.say_when(api, lambda: "after_response" not in runtime.output, status)
        api.ask("1")
        api.wait_until_idle()
        there = Path(f"/proc/{runtime.pid}/cwd").readlink()
        runtime.signal(signal.SIGTERM)
        runtime.ended()

        assert (status == 202) == ("after_response in /\n" in runtime.output)
        assert tmp_path / "task" == there


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


class TestEnd:
    @pytest.mark.parametrize("transport", ["native", "requests"])
    def test_sigterm_while_idle(self, api, start, transport):
        """The hook runs at once and the process ends with 0."""
        runtime = start(TELL, "app.Handler", WARMSTATE_TRANSPORT=transport)
        api.ask("1")
        api.wait_until_idle()
        begun = time.monotonic()
        runtime.signal(signal.SIGTERM)

        assert 0 == runtime.ended()
        assert "before_shutdown spindown False" in runtime.output
        assert time.monotonic() - begun < PATIENCE / 3

    def test_an_end_beside_a_stream_that_cannot_be_flushed(self, api, start):
        """Whatever stands in the place of stdout by then, the process ends as it should."""
        source = TELL + "\nclass Broken:\n    def flush(self): raise RuntimeError\n    def write(self, text): return len(text)\nsys.stdout = Broken()\n"  # fmt: skip
        runtime = start("import sys\n" + source, "app.Handler")
        api.ask("1")
        api.wait_until_idle()
        runtime.signal(signal.SIGTERM)

        assert 0 == runtime.ended()

    def test_sigterm_before_the_first_event(self, api, start):
        """An environment that never served anything ends in order too."""
        runtime = start(TELL, "app.Handler", WARMSTATE_SHUTDOWN_BUDGET="9")
        api.wait_until_idle()
        runtime.signal(signal.SIGTERM)

        assert 0 == runtime.ended()
        assert "before_shutdown" in runtime.output

    @pytest.mark.parametrize("seconds", [0.3, 3600])
    def test_sigterm_while_the_module_is_imported(self, api, start, seconds):
        """The end waits for the import for a third of its budget, and no longer."""
        runtime = start(
            f"import time\nprint('imports', flush=True)\ntime.sleep({seconds})\n" + TELL,
            "app.Handler",
            WARMSTATE_SHUTDOWN_BUDGET="9",
        )
        wait_for(lambda: "imports" in runtime.output)
        runtime.signal(signal.SIGTERM)

        assert 0 == runtime.ended()
        assert ("before_shutdown spindown False" in runtime.output) == (seconds < 1)

    def test_sigterm_while_frozen(self, api, start):
        """It is delivered at the thaw, before an event is served."""
        runtime = start(TELL, "app.Handler", WARMSTATE_SHUTDOWN_BUDGET="9")
        api.ask("1")
        api.wait_until_idle()
        runtime.signal(signal.SIGSTOP)
        runtime.signal(signal.SIGTERM)
        runtime.signal(signal.SIGCONT)

        assert 0 == runtime.ended()
        assert "before_shutdown spindown False" in runtime.output

    def test_sigterm_while_a_handler_runs_that_ends_in_time(self, api, start):
        """The answer leaves, then the steps run: nothing was interrupted."""
        runtime = start(
            SLEEP,
            "app.Handler",
            WARMSTATE_SHUTDOWN_BUDGET="9",
        )
        api.ask("1")
        api.send("2", {"sleep": 0.5})
        wait_for(lambda: "sleeps" in runtime.output)
        runtime.signal(signal.SIGTERM)

        assert ("2", "response") == ((answer := api.answer()).request_id, answer.kind)
        assert 0 == runtime.ended()
        assert "before_shutdown spindown False" in runtime.output

    def test_sigterm_while_a_serial_handler_hangs(self, api, start):
        """No code of the user overlaps it: the hook is skipped by name, and the process ends within its budget."""
        runtime = start(
            SLEEP,
            "app.Handler",
            WARMSTATE_SHUTDOWN_BUDGET="3",
        )
        api.ask("1")
        api.send("2", {"sleep": 60})
        wait_for(lambda: "sleeps" in runtime.output)
        begun = time.monotonic()
        runtime.signal(signal.SIGTERM)
        runtime.ended()

        assert time.monotonic() - begun < 10
        assert "before_shutdown spindown" not in runtime.output
        assert "before_shutdown skipped" in runtime.output
        assert api.posted.empty()

    def test_sigterm_again_and_again(self, api, start):
        """The steps run once, however often it is said."""
        runtime = start(TELL, "app.Handler")
        api.ask("1")
        api.wait_until_idle()
        for _ in range(5):
            runtime.signal(signal.SIGTERM)
        assert 0 == runtime.ended()

        assert 1 == runtime.output.count("before_shutdown")

    def test_a_timeout_then_a_reset(self, api, start):
        """SIGTERM past the deadline leaves the reason for the next process, and all stacks in the log before."""
        source = SLEEP
        runtime = start(source, "app.Handler")
        api.ask("1")
        api.send("2", {"sleep": 60}, seconds=1.0)
        wait_for(lambda: "sleeps" in runtime.output)
        time.sleep(1.1)
        runtime.signal(signal.SIGTERM)
        runtime.ended()
        start(source, "app.Handler")

        assert ["reset", 2, "timeout"] == api.ask("3").json["begun"]
        assert "deadline is near" in runtime.output
        assert "in handle" in runtime.output

    def test_a_handler_that_asks_for_a_fresh_process(self, api, start):
        """`ResetRequested` fails its invocation and ends the process; the next one is a reset by exit."""
        source = TELL.replace('if event.get("exit"):\n            os._exit(3)', "from warmstate import ResetRequested\n        if event.get('exit'): raise ResetRequested('worn out')")  # fmt: skip
        runtime = start(source, "app.Handler")
        answer = api.ask("1", {"exit": 1})
        assert ("error", "Function.ResetRequested") == (answer.kind, answer.json["errorType"])
        runtime.ended()
        start(source, "app.Handler")

        assert ["reset", 2, "exit"] == api.ask("2").json["begun"]


class TestInvocations:
    def test_the_attempt_is_echoed_and_the_trace_is_set(self, api, start):
        """The id of the delivery goes back, the trace is a variable for as long as its invocation, and no longer."""
        source = "import os\ndef handler(event, context): return os.environ.get('_X_AMZN_TRACE_ID')"
        start(source, _X_AMZN_TRACE_ID="Root=of-the-init")
        assert api.ask("0").json is None
        traced = api.ask("1", Lambda_Runtime_Trace_Id="Root=1-2-3", Lambda_Runtime_Invocation_Id="attempt-7")
        plain = api.ask("2")

        assert ("Root=1-2-3", "attempt-7") == (traced.json, traced.headers["lambda-runtime-invocation-id"])
        assert plain.json is None
        assert "lambda-runtime-invocation-id" not in plain.headers

    def test_an_event_that_is_late_already(self, api, start):
        """Nothing of the user runs for an event whose deadline has passed."""
        runtime = start("def handler(event, context): print('ran')")
        answer = api.ask("1", seconds=-1)

        assert ("error", "Runtime.DeadlinePassed") == (answer.kind, answer.json["errorType"])
        assert "ran" not in runtime.output

    @pytest.mark.parametrize(
        ("place", "handler"),
        [
            ("app.py", "app:handler"),
            ("nested/inner/app.py", "nested/inner/app.handler"),
            ("nested/inner/app.py", "nested.inner.app.handler"),
        ],
    )
    def test_ways_to_name_a_handler(self, api, start, tmp_path, place, handler):
        """Dots, slashes, a colon, packages without an __init__."""
        target = tmp_path / "task" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("def handler(event, context): return __name__")
        start("def handler(event, context): return __name__", handler)

        assert api.ask("1").json == place.removesuffix(".py").replace("/", ".")

    @pytest.mark.parametrize("handler", ["app.Counter", "app.counts"])
    def test_a_module_for_both_runtimes(self, api, start, handler):
        """What AWS's client would call stands for the class: there is one instance, and everything works."""
        runtime = start(BOTH, handler)
        answers = [api.ask(str(number), 2).json for number in range(2)]
        api.wait_until_idle()
        runtime.signal(signal.SIGTERM)
        runtime.ended()

        assert [2, 4] == answers
        assert ["on_init cold", "before_shutdown"] == runtime.output.splitlines()

    def test_a_handler_that_calls_another_one(self, api, start):
        """It is made when it is called first, with a directory of its own."""
        start(BOTH, "app.Other")

        assert [1, 2] == [api.ask(str(number), 1).json for number in range(2)]

    @pytest.mark.parametrize("handler", ["app.wrapped", "app.proxy"])
    def test_what_is_wrapped_around_it_is_called(self, api, start, handler):
        """A decorator hands on the attributes of what it wraps, and a proxy answers for it: neither is passed by."""
        runtime = start(BOTH, handler)

        assert [1, 2] == [api.ask(str(number), 1).json for number in range(2)]
        assert 2 == runtime.output.count("wrapped")

    def test_no_disk_no_commit(self, api, start, tmp_path):
        """What must outlive a reset is not answered where no commit can be written; the rest works."""
        start(BOTH, "app.Counter", WARMSTATE_TMP=str(tmp_path / "not there"))
        refused, idle = api.ask("1", 1).json, api.ask("2", 0).json

        assert ("Runtime.CommitError", 0) == (refused["errorType"], idle)
        assert "not there/warmstate cannot be used" in refused["errorMessage"]

    def test_many_invocations_are_each_answered_once(self, api, start):
        """In order, under their own id, by one process."""
        start("def handler(event, context): return [event, context.aws_request_id]")
        for number in range(500):
            api.send(f"id-{number}", number)

        for number in range(500):
            answer = api.answer()
            assert (f"id-{number}", [number, f"id-{number}"]) == (answer.request_id, answer.json)
        assert api.posted.empty()


STREAM = """
import time
from warmstate import http_response
SENT = []
def handler(event, context):
    if event.get("http"):
        yield http_response(201, {"Content-Type": "text/plain"}, ["a=1"])
    try:
        for number in range(event["chunks"]):
            SENT.append(number)
            yield f"{number}," if not event.get("size") else b"x" * event["size"]
        if event.get("fail"):
            raise ValueError("after the last chunk")
    finally:
        print("finally", len(SENT), flush=True)
"""


BIG = """
from warmstate import StatefulHandler
class Handler(StatefulHandler):
    def handle(self, event, context): return "x" * event.get("size", 1)
    def before_shutdown(self, shutdown): print("before_shutdown", shutdown.interrupted, flush=True)
"""


class TestAPlatformThatStopsReading:
    """The sockets hold less than these answers, so a send is held up in the middle."""

    @pytest.fixture
    def deaf(self, api):
        """Makes the platform stop reading at the next answer, for good."""
        read = api._body
        began = []

        def stop_reading(lines, headers):
            if int(headers.get("content-length", 0)) < 1_000_000 and "transfer-encoding" not in headers:
                return read(lines, headers)
            began.append(headers)
            time.sleep(PATIENCE * 2)
            raise OSError

        api._body = stop_reading
        return began

    def test_the_deadline_ends_it(self, api, start, deaf):
        """The answer is lost, as the log says, and the next event is served by the same process."""
        runtime = start(BIG, "app.Handler")
        api.ask("1")
        api.send("2", {"size": 6_000_000}, seconds=2.0)
        wait_for(lambda: deaf)

        assert b'"x"' == api.ask("3").body
        wait_for(lambda: "time is up" in runtime.output)

    @pytest.mark.soak
    @pytest.mark.parametrize("transport", ["native", "requests"])
    def test_seconds_without_a_byte_end_it(self, api, start, deaf, transport):
        """Long before its deadline."""
        start(BIG, "app.Handler", WARMSTATE_TRANSPORT=transport)
        api.send("1", {"size": 6_000_000}, seconds=900)
        wait_for(lambda: deaf)

        assert b'"x"' == api.ask("2").body

    def test_sigterm_is_served_in_the_middle(self, api, start, deaf):
        """The handler is over, so the hook runs, and the process ends in order."""
        runtime = start(BIG, "app.Handler", WARMSTATE_SHUTDOWN_BUDGET="9")
        api.ask("1")
        api.send("2", {"size": 6_000_000}, seconds=900)
        wait_for(lambda: deaf)
        runtime.signal(signal.SIGTERM)

        assert 0 == runtime.ended()
        assert "before_shutdown False" in runtime.output

    def test_a_stream_ends_with_its_deadline(self, api, start, deaf):
        """However slow a client may be, the generator's finally block runs before the platform ends everything."""
        runtime = start(STREAM)
        api.send("1", {"chunks": 100, "size": 1_000_000}, seconds=3.0)
        wait_for(lambda: deaf)
        wait_for(lambda: "finally" in runtime.output)

        wait_for(lambda: "cut off" in runtime.output)


class TestStreams:
    def test_chunks_arrive(self, api, start):
        """What the generator yields is the body, under the headers of a stream."""
        start(STREAM)
        answer = api.ask("1", {"chunks": 5})

        assert (b"0,1,2,3,4,", {}) == (answer.body, answer.trailers)
        assert ("streaming", "chunked") == (
            answer.headers["lambda-runtime-function-response-mode"],
            answer.headers["transfer-encoding"],
        )
        assert "0," == api.ask("2", {"chunks": 1}).body.decode()

    def test_an_http_prelude(self, api, start):
        """Status, headers and cookies go first."""
        start(STREAM)
        answer = api.ask("1", {"chunks": 1, "http": 1})
        prelude, _, payload = answer.body.partition(b"\0" * 8)

        assert "application/vnd.awslambda.http-integration-response" == answer.headers["content-type"]
        assert {"statusCode": 201, "headers": {"Content-Type": "text/plain"}, "cookies": ["a=1"]} == json.loads(prelude)
        assert b"0," == payload

    def test_a_failure_after_fifty_chunks(self, api, start):
        """Fifty chunks and both trailers; the instance goes on."""
        runtime = start(STREAM)
        answer = api.ask("1", {"chunks": 50, "fail": 1})
        error = json.loads(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))

        assert 50 == answer.body.count(b",")
        assert "ValueError" == answer.trailers["lambda-runtime-function-error-type"] == error["errorType"]
        assert "after the last chunk" == error["errorMessage"]
        assert b"0," == api.ask("2", {"chunks": 1}).body
        assert "finally 50" in runtime.output
        assert "[ERROR] ValueError: after the last chunk\rTraceback" in runtime.output

    def test_a_client_that_goes(self, api, start):
        """The generator is closed, its finally block runs, and the next event is served."""

        def leave(body):
            api.on_chunk = None
            raise OSError("gone")

        api.on_chunk = leave
        runtime = start(STREAM)
        api.send("1", {"chunks": 100_000, "size": 10_000}, seconds=600)
        wait_for(lambda: "finally" in runtime.output)

        assert b"0," == api.ask("2", {"chunks": 1}).body

    def test_a_slow_reader_slows_the_generator(self, api, start):
        """No more than what the sockets hold is made ahead."""
        read = []

        def slowly(body):
            read.append(len(body))
            if len(read) < 6:
                time.sleep(0.2)

        api.on_chunk = slowly
        runtime = start(STREAM.replace("SENT.append(number)", "SENT.append(number); print('made', number, flush=True)"))
        api.send("1", {"chunks": 40, "size": 1_000_000}, seconds=600)
        wait_for(lambda: len(read) >= 4)
        ahead = runtime.output.count("made") - len(read)
        answer = api.answer()

        assert 40_000_000 == len(answer.body)
        assert ahead <= 25

    def test_a_large_stream_needs_little_memory(self, api, start):
        """200 MB go through with less than 20 MB more than before."""
        import os

        api._body = swallow  # the scripted platform must not keep it
        runtime = start(STREAM)
        api.ask("1", {"chunks": 1})
        before = resident(runtime.pid)
        api.ask("2", {"chunks": 200, "size": 1_000_000}, seconds=600)

        assert resident(runtime.pid) - before < 20_000_000
        assert os.getpid() != runtime.pid


def swallow(lines, headers):
    if headers.get("transfer-encoding") != "chunked":
        return lines.read(int(headers.get("content-length", 0))), {}
    total = 0
    while size := int(lines.readline(), 16):
        total += size
        while size:
            size -= len(lines.read(min(size, 65536)))
        lines.readline()
    while lines.readline().strip():
        pass
    return str(total).encode(), {}


def resident(pid):
    """The most memory the process has had so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_the_extension_is_registered_before_the_first_next(api, start):
    """It asks for no events, and its poll is open, or init would never end."""
    start("def handler(event, context): pass")
    api.wait_until_idle()
    wait_for(lambda: any(path.endswith("event/next") for _, _, path in api.calls))
    paths = [path.rpartition("/")[2] + path.split("/")[2][:1] for _, _, path in api.calls]

    assert paths.index("registere") < paths.index("nextr")


def test_the_poll_of_the_extension_is_asked_again(api, start):
    """Its connection ended, for whatever reason: without the poll the platform would wait for it."""
    polls = []

    def get(connection, path):
        if "/extension/" not in path:
            return ScriptedApi._get(api, connection, path)
        polls.append(path)
        return ScriptedApi._get(api, connection, path) if len(polls) > 1 else False

    api._get = get
    start("def handler(event, context): return 1")
    api.ask("1")
    wait_for(lambda: len(polls) == 2)

    assert 1 == api.ask("2").json


def test_a_platform_that_is_gone(api, start):
    """Nobody listens any more: it is tried for a moment, then one line says why the process ends."""
    runtime = start("def handler(event, context): return 1")
    api.ask("1")
    api.wait_until_idle()
    api.__exit__()
    api.events.put(lambda _: False)

    assert 1 == runtime.ended()
    assert 1 == runtime.output.count("Tried 5 times; this process ends.")


FORKS = """
import os
from warmstate import StatefulHandler

class Handler(StatefulHandler):
    def on_init(self, init): self.fork("on_init")
    def handle(self, event, context):
        self.where = event
        self.fork("handle")
        return os.getpid()
    def after_response(self, context): self.fork("after_response")
    def fork(self, here):
        if here == getattr(self, "where", os.environ["FORKS"]):
            os.fork()
"""


@pytest.mark.parametrize("slots", [None, 1])
@pytest.mark.parametrize("hook", ["on_init", "handle", "after_response"])
def test_a_child_that_comes_back_from_a_hook_ends(api, start, hook, slots):
    """It must ask for no event and answer none: those are its parent's."""
    managed = {"AWS_LAMBDA_MAX_CONCURRENCY": str(slots)} if slots else {}
    runtime = start(FORKS, "app.Handler", FORKS=hook, **managed)
    for number in range(3):
        answer = api.ask(f"id-{number}", hook)
        assert ("response", runtime.pid) == (answer.kind, answer.json)
    wait_for(lambda: zombies(runtime.pid))

    assert api.posted.empty()
    assert 3 == sum(1 for _, method, _ in api.calls if method == "POST") - 1  # the first registers the extension


def zombies(pid):
    """Whether all children of the process have ended, and nobody looked at how."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return all("Z" == Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in children)


def test_two_events_at_once_are_served_one_after_another(api, start):
    """A second event in the queue waits for the answer to the first."""
    start("def handler(event, context): return event")
    api.events.put(event("1", 1))
    api.events.put(event("2", 2))

    assert ["1", "2"] == [api.answer().request_id, api.answer().request_id]
