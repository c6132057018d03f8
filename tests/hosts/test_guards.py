"""What handlers leave behind, and what is put back or named before the next event."""

from __future__ import annotations

import decimal
import gc
import io
import locale
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings

import pytest

from tests.hosts.scripted import wait_for
from warmstate.hosts.guards import Guards
from warmstate.lifecycle.notices import Notices


class Said(Notices):
    """Keeps what was said once."""

    def __init__(self):
        self.lines = {}

    def once(self, key, message, **fields):
        self.lines.setdefault(key, message)


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What is said, in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    return Said()


@pytest.fixture
def alarm():
    """The alarm clock without the one that limits this test."""
    before = signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    signal.setitimer(signal.ITIMER_REAL, *before)


@pytest.fixture
def guards(said, alarm):
    return Guards(said)


def leave_directory():
    os.mkdir("gone")  # noqa: PTH102
    os.chdir("gone")
    os.rmdir("../gone")  # noqa: PTH106


def mask():
    now = os.umask(0)
    os.umask(now)
    return now


LEFT_BEHIND = {
    "the working directory": (leave_directory, os.getcwd),
    "the umask": (lambda: os.umask(0o777), mask),
    "socket.setdefaulttimeout": (lambda: socket.setdefaulttimeout(0.001), socket.getdefaulttimeout),
    "sys.setrecursionlimit": (lambda: sys.setrecursionlimit(400), sys.getrecursionlimit),
    "sys.setswitchinterval": (lambda: sys.setswitchinterval(1), sys.getswitchinterval),
    "sys.setprofile": (lambda: sys.setprofile(lambda *_: None), sys.getprofile),
    "garbage collector": (gc.disable, gc.isenabled),
    "sys.path": (sys.path.clear, lambda: sorted(sys.path)),
    "sys.modules": (lambda: sys.modules.pop("colorsys", None), lambda: "colorsys" in sys.modules),
    "variables of the platform": (lambda: os.environ.pop("PATH"), lambda: os.environ.get("PATH")),
}  # fmt: skip

LEFT_IN_THE_KERNEL = {
    "the signal mask": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1]),
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, []),
    ),
    "the alarm": (lambda: signal.setitimer(signal.ITIMER_REAL, 3600), lambda: signal.getitimer(signal.ITIMER_REAL)),
    "SIGPIPE": (lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL), lambda: signal.getsignal(signal.SIGPIPE)),
    "the locale": (lambda: locale.setlocale(locale.LC_NUMERIC, "C.UTF-8"), lambda: locale.setlocale(locale.LC_ALL)),
}


@pytest.mark.parametrize("what", LEFT_BEHIND)
def test_before_the_next_event_it_is_as_it_was(said, what):
    """Put back after the event that changed it, and named."""
    import colorsys  # noqa: F401 - a module that nobody needs, to be taken away

    guards = Guards(said)
    leave, look = LEFT_BEHIND[what]
    before = look()
    leave()
    guards.check()

    assert before == look()
    assert [what] == [what for line in said.lines.values() if what in line and "put back" in line]


@pytest.mark.parametrize("what", LEFT_IN_THE_KERNEL)
@pytest.mark.parametrize("when", ["doubtful", "idle", "now and then"])
def test_what_only_the_kernel_tells_is_looked_for_in_three_places(guards, said, what, when):
    """After a failure or a freeze, while nobody waits, and at last after some number of good events."""
    leave, look = LEFT_IN_THE_KERNEL[what]
    before = look()
    leave()
    assert before != look()
    if when == "doubtful":
        guards.check(doubtful=True)
    elif when == "idle":
        guards.check()
        guards.check_idle()
    else:
        for _ in range(100):
            guards.check()

    assert before == look()
    assert [what] == [what for line in said.lines.values() if what in line and "put back" in line]


@pytest.mark.parametrize("what", ["sys.path", "sys.modules", "variables of the platform"])
def test_what_comes_back_while_other_handlers_run(said, what):
    """What nobody can want to be gone; where another handler went may be where it works."""
    import colorsys  # noqa: F401 - as above

    guards = Guards(said, freezes=False)
    leave, look = LEFT_BEHIND[what]
    before, home, _ = look(), os.getcwd(), leave()  # noqa: PTH109
    os.chdir("/")
    guards.check_busy()
    there = os.getcwd()  # noqa: PTH109
    os.chdir(home)

    assert before == look()
    assert "/" == there


def test_threads_are_not_named_where_nothing_freezes(said):
    """On Managed Instances they may well go on."""
    guards = Guards(said, freezes=False)
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    guards.check()
    over.set()
    thread.join()

    assert {} == said.lines


def test_nothing_is_said_of_a_handler_that_leaves_nothing(guards, said):
    """Neither after one event nor after many."""
    for number in range(200):
        guards.check(doubtful=number % 10 == 0)

    assert {} == said.lines


def test_an_alarm_of_init_goes_on(said, alarm):
    """What init set on purpose stays."""
    signal.setitimer(signal.ITIMER_REAL, 3600)
    Guards(said).look_closer()

    assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert {} == said.lines


def test_other_signal_handlers_are_named_once_and_stay(guards, said):
    """Libraries install theirs when they are first used."""
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        guards.look_closer()
        guards.look_closer()

        assert signal.getsignal(signal.SIGUSR2) is not before
        assert "SIGUSR2" in said.lines["guard signals"]
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize("end", [None, "closed", "detached"])
def test_a_standard_stream_that_is_gone(said, monkeypatch, end, tmp_path):
    """Prints of the next handler must not raise."""
    stream = (tmp_path / "out").open("w")
    monkeypatch.setattr(sys, "stdout", stream)
    guards = Guards(said)
    kept = stream.detach() if end == "detached" else stream
    kept.close()
    monkeypatch.setattr(sys, "stdout", None if end is None else stream)
    guards.look_closer()

    assert not sys.stdout.closed
    assert 1 == sys.stdout.fileno()
    assert "sys.stdout" in said.lines["guard sys.stdout, which was closed"]


def test_a_replaced_stream_stays_and_is_named(guards, said, monkeypatch):
    """Some libraries wrap it on purpose."""
    monkeypatch.setattr(sys, "stdout", other := io.StringIO())
    guards.look_closer()

    assert sys.stdout is other
    assert "sys.stdout" in said.lines["guard stdout"]


def test_closed_descriptors_lead_back_to_the_log(tmp_path):
    """The numbers 0 to 2 must not fall to the next socket that is opened, or prints go there."""
    source = """
import os, sys
from tests.hosts.scripted import wait_for
from warmstate.hosts.guards import Guards
from warmstate.lifecycle.notices import Notices
guards = Guards(Notices(), kept=os.dup(1))
os.closerange(0, 3)
guards.look_closer()
print("heard", [os.fstat(number).st_ino > 0 for number in range(3)])
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)

    assert "heard [True, True, True]\n" == done.stdout


def test_warnings_as_errors_are_named(said):
    """They stay: a program may mean it."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        guards = Guards(said)
        warnings.simplefilter("error")
        guards.look_closer()

    assert "simplefilter" in said.lines["guard warnings"]


def test_a_thread_of_the_runtime_that_has_not_begun_yet(said, alarm):
    """The watcher may begin after the guards have counted; it is none of the handler's."""
    running = threading.active_count()
    over = threading.Event()
    guards = Guards(said, own_threads=running)
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        guards.check()
    finally:
        over.set()
        thread.join()

    assert {} == said.lines


def test_threads_and_children_are_named(guards, said):
    """With the thread's name, so that it can be found."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait, name="forgotten")
    thread.start()
    child = subprocess.Popen(["sleep", "60"])
    try:
        guards.check()

        assert "forgotten" in said.lines["guard threads"]
        assert "Child processes" in said.lines["guard children"]
    finally:
        over.set()
        thread.join()
        child.kill()
        child.wait()


def test_a_look_costs_little(guards):
    """The checks after each event, whatever they find to be right: bounded by what the same time does otherwise."""

    def seconds(call, count=2000):
        begun = time.thread_time()
        for _ in range(count):
            call()
        return (time.thread_time() - begun) / count

    unit = min(seconds(decimal.getcontext) for _ in range(5))

    assert min(seconds(guards.check) for _ in range(5)) < 400 * unit


# The trace function bears a name of the runtime's: beside a frame of the user's, the signal would be the user's to catch.
EVERY_LINE = """
import os, signal, sys

signals = 0

def bang(*_):
    global signals
    signals += 1
    raise ValueError("bang")

signal.signal(signal.SIGUSR1, bang)
names = {"__name__": "warmstate.trace", "raise_signal": signal.raise_signal, "SIGUSR1": signal.SIGUSR1}
exec('''
def trace(frame, event, argument):
    if not frame.f_globals.get("__name__", "").startswith("warmstate."):
        return None
    if event == "line":
        raise_signal(SIGUSR1)
    return trace
''', names)
sys.settrace(names["trace"])

def handler(event, context):
    return {"signals": signals, "pid": os.getpid()}
"""


@pytest.mark.process
class TestProcess:
    def test_sigterm_that_a_handler_blocked(self, api, start):
        """It comes through all the same, and the last steps run."""
        runtime = start(
            "import signal\n"
            "from warmstate import StatefulHandler\n"
            "class H(StatefulHandler):\n"
            "    def handle(self, event, context): signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
            "    def before_shutdown(self, shutdown): print('before_shutdown', flush=True)\n",
            "app.H",
        )
        api.ask("1")
        api.wait_until_idle()
        runtime.signal(signal.SIGTERM)

        assert 0 == runtime.ended()
        assert "before_shutdown" in runtime.output

    def test_a_limit_of_descriptors_that_a_handler_raised(self, api, start):
        """It stays raised, also when the runtime gave those that it keeps back and took them again: they may be in use."""
        start(
            "import resource, signal\n"
            "limits = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)\n"
            "def limit_to(number): resource.setrlimit(resource.RLIMIT_NOFILE, (number, limits()[1]))\n"
            "limit_to(256)\n"
            "def handler(event, context):\n"
            "    if event: limit_to(event)\n"
            "    signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"  # put back with descriptors of those kept back
            "    return limits()[0]\n"
        )

        assert [248, 512, 512, 100, 248] == [api.ask(str(number), number).json for number in (0, 512, 0, 100, 0)]

    def test_a_signal_handler_that_raises_at_any_moment(self, api, start):
        """An alarm for each event, somewhere among the runtime's own steps: nothing is mixed up, and the process goes on."""
        start(
            "import os, signal\n"
            "def bang(*_): raise ValueError('bang')\n"
            "signal.signal(signal.SIGALRM, bang)\n"
            "def handler(event, context):\n"
            "    signal.setitimer(signal.ITIMER_REAL, event)\n"
            "    return [os.getpid(), context.aws_request_id]\n"
        )
        pid = api.ask("first", 0).json[0]
        for number in range(120):
            api.send(f"id-{number}", 0.00003 * (1 + number))
        answered = []
        for _ in range(120):
            answer = api.answer()
            answered.append(answer.request_id)
            if answer.kind == "response":
                assert [pid, answer.request_id] == answer.json
            else:  # it came while the handler ran
                assert "bang" in answer.json["errorMessage"]

        assert [f"id-{number}" for number in range(120)] == answered

    @pytest.mark.parametrize("transport", ["native", "requests"])
    def test_a_signal_handler_that_raises_at_every_line(self, api, start, transport):
        """One signal at each line of the runtime's own: no invocation sees any of it, and it is told once."""
        runtime = start(EVERY_LINE, WARMSTATE_TRANSPORT=transport)
        answers = [api.ask(str(number)) for number in range(5)]

        assert ["response"] * 5 == [answer.kind for answer in answers]
        assert answers[-1].json["signals"] > answers[1].json["signals"] > answers[0].json["signals"] > 100
        assert 1 == len({answer.json["pid"] for answer in answers})
        assert 1 == runtime.output.count("A signal handler raised where no code of the function ran")

    def test_a_signal_handler_that_was_set_before_the_runtime_began(self, api, start):
        """A program that calls run() may have its own by then: what it raises never gets between the wait and its event."""
        runtime = start(
            "import os, signal\n"
            "from warmstate import run\n"
            "def bang(*_): raise ValueError('bang')\n"
            "signal.signal(signal.SIGUSR1, bang)\n"
            "run(lambda event, context: [os.getpid(), signal.getsignal(signal.SIGUSR1) is bang])\n",
            command=(sys.executable, "app.py"),
        )
        api.wait_until_idle()
        for _ in range(3):
            runtime.signal(signal.SIGUSR1)
        wait_for(lambda: "A signal handler raised where no code of the function ran" in runtime.output)

        assert 1 == sum(path.endswith("/invocation/next") for _, _, path in api.calls)
        assert [runtime.pid, True] == api.ask("1").json

    def test_a_signal_handler_that_raises_as_the_event_loop_is_taken_and_given_back(self, api, start):
        """It is the coroutine that may be interrupted: the loop is there for the next event."""
        source = EVERY_LINE.replace("def handler", "async def handler").replace(
            'if event == "line"',
            'if event == "line" and frame.f_code.co_name == "run" and frame.f_globals["__name__"].endswith("event_loop")',
        )
        start(source)
        answers = [api.ask(str(number)) for number in range(5)]

        assert ["response"] * 5 == [answer.kind for answer in answers]
        assert answers[-1].json["signals"] > answers[0].json["signals"] > 0

    def test_what_is_set_for_a_signal_is_what_one_asks_for(self, api, start):
        """A handler of the user is called by way of the runtime's, which nobody sees."""
        start(
            "import signal, _thread\n"
            "def one(*_): raise ValueError('one')\n"
            "def two(*_): raise KeyError('two')\n"
            "def handler(event, context):\n"
            "    seen = [signal.getsignal(signal.SIGINT) is signal.default_int_handler]\n"
            "    seen += [signal.signal(signal.SIGUSR1, one) == signal.SIG_DFL, signal.signal(signal.SIGUSR1, two) is one]\n"
            "    seen += [signal.getsignal(signal.SIGUSR1) is two]\n"
            "    for send in (lambda: signal.raise_signal(signal.SIGUSR1), _thread.interrupt_main):\n"
            "        try: send()\n"
            "        except (KeyError, KeyboardInterrupt) as error: seen.append(type(error).__name__)\n"
            "    return [*seen, signal.signal(signal.SIGUSR1, signal.SIG_IGN) is two]\n"
        )

        assert [True, True, True, True, "KeyError", "KeyboardInterrupt", True] == api.ask("1").json

    def test_a_signal_handler_that_raises_again_while_that_is_told(self, api, start):
        """Alarms in the middle of what the runtime does about the last alarm: the process outlives them all."""
        runtime = start(
            "import os, signal\n"
            "left = storm = 0\n"
            "def bang(*_):\n"
            "    global left; left -= 1\n"
            "    if left <= 0:\n"
            "        signal.setitimer(signal.ITIMER_REAL, 3600)\n"
            "        return os.write(1, b'over %d;' % storm)\n"
            "    raise KeyboardInterrupt if left % 2 else ValueError('bang')\n"
            "signal.signal(signal.SIGALRM, bang)\n"
            "signal.setitimer(signal.ITIMER_REAL, 3600)\n"  # one that init set is left running
            "def handler(event, context):\n"
            "    global left, storm; left, storm = 100, event\n"
            "    if event: signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)\n"
            "    return os.getpid()\n"
        )
        pid = api.ask("first", 0).json
        for storm in range(1, 6):
            api.send(f"storm-{storm}", storm)
            wait_for(lambda over=f"over {storm};": over in runtime.output)
        api.send("good", 0)

        assert [f"storm-{storm}" for storm in range(1, 6)] == [api.answer().request_id for _ in range(5)]
        assert ("good", pid) == ((answer := api.answer()).request_id, answer.json)

    def test_lazy_imports_of_the_runtime_after_sys_path_was_emptied(self, api, start):
        """A stream after it is still a stream."""
        start(
            "import sys\n"
            "def handler(event, context):\n"
            "    if event.get('clear'): sys.path.clear(); sys.meta_path.clear() if event['clear'] == 2 else None\n"
            "    return chunks() if event.get('stream') else 1\n"
            "def chunks(): yield 'a'\n"
        )
        api.ask("1", {"clear": 1})

        assert b"a" == api.ask("2", {"stream": 1}).body
