"""The runtime as a real process: how it serves invocations, and what the platform sees of it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.hosts.scripted import ScriptedApi, event, http, wait_for
from tests.hosts.tasks import BOTH

pytestmark = pytest.mark.process

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


@pytest.mark.parametrize("slots", [None, "2"])
def test_an_event_that_broke_off_is_told(api, start, slots):
    """Its caller hears nothing, so the log must."""
    runtime = start(
        "def handler(event, context): return event", **({"AWS_LAMBDA_MAX_CONCURRENCY": slots} if slots else {})
    )
    api.events.put(lambda connection: connection.sendall(event("lost")[:-1]))

    assert 2 == api.ask("2", 2).json
    assert 1 == runtime.output.count("If an event was on its way, it is lost")


def test_each_error_that_is_answered_is_in_the_log(api, start):
    """Also of an event that no handler sees, and of one that broke the runtime's own steps."""
    runtime = start("import builtins\ndef handler(event, context): builtins.isinstance = None\n")
    refused = api.ask("1", Content_Encoding="gzip").json
    broken = [api.ask(str(number)).json for number in (2, 3)]
    api.wait_until_idle()

    assert ["Runtime.InvalidEvent", "TypeError", "TypeError"] == [error["errorType"] for error in (refused, *broken)]
    assert [1, 2] == [runtime.output.count(f"[ERROR] {kind}: ") for kind in ("Runtime.InvalidEvent", "TypeError")]


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


TERMINATES = """
import multiprocessing, time
forks = multiprocessing.get_context("fork")

def handler(event, context):
    child = forks.Process(target=time.sleep, args=(60,))
    child.start()
    time.sleep(event)
    child.terminate()
    child.join()
    return child.exitcode
"""


@pytest.mark.parametrize("slots", [None, "2"])
def test_a_child_may_be_terminated(api, start, slots):
    """SIGTERM for a process that a handler forked is for that one alone, also right after the fork."""
    start(TERMINATES, **({"AWS_LAMBDA_MAX_CONCURRENCY": slots} if slots else {}))

    assert [-signal.SIGTERM] * 6 == [api.ask(str(number), number % 2 * 0.1).json for number in range(6)]


def test_two_events_at_once_are_served_one_after_another(api, start):
    """A second event in the queue waits for the answer to the first."""
    start("def handler(event, context): return event")
    api.events.put(event("1", 1))
    api.events.put(event("2", 2))

    assert ["1", "2"] == [api.answer().request_id, api.answer().request_id]
