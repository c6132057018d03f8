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
