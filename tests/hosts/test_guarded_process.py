"""A real process after a handler that left behind signals, limits and other things that the next event must not meet."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.hosts.scripted import wait_for

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
