"""The runtime as a real process: how it ends, and what the next one knows of that."""

from __future__ import annotations

import signal
import time

import pytest

from tests.hosts.scripted import PATIENCE, wait_for
from tests.hosts.tasks import SLEEP, TELL

pytestmark = pytest.mark.process


def asleep(api, start, *, sleep, budget):
    """A runtime whose second event is being handled, for so many seconds."""
    runtime = start(SLEEP, "app.Handler", WARMSTATE_SHUTDOWN_BUDGET=budget)
    api.ask("1")
    api.send("2", {"sleep": sleep})
    wait_for(lambda: "sleeps" in runtime.output)
    return runtime


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

    def test_an_end_without_a_thread_to_be_had(self, api, start):
        """Where none can be started any more, nobody watches the last steps; they run all the same."""
        source = TELL.replace(
            "thaw = context.thaw", "thaw = context.thaw; import threading; threading.stack_size(1 << 47)"
        )
        runtime = start(source, "app.Handler")
        api.ask("1")
        api.wait_until_idle()
        runtime.signal(signal.SIGTERM)

        assert 0 == runtime.ended()
        assert "before_shutdown spindown False" in runtime.output

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
        runtime = asleep(api, start, sleep=0.5, budget="9")
        runtime.signal(signal.SIGTERM)

        assert ("2", "response") == ((answer := api.answer()).request_id, answer.kind)
        assert 0 == runtime.ended()
        assert "before_shutdown spindown False" in runtime.output

    def test_sigterm_while_a_serial_handler_hangs(self, api, start):
        """No code of the user overlaps it: the hook is skipped by name, and the process ends within its budget."""
        runtime = asleep(api, start, sleep=60, budget="3")
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
        runtime = start(SLEEP, "app.Handler")
        api.ask("1")
        api.send("2", {"sleep": 60}, seconds=1.0)
        wait_for(lambda: "sleeps" in runtime.output)
        time.sleep(1.1)
        runtime.signal(signal.SIGTERM)
        runtime.ended()
        start(SLEEP, "app.Handler")

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
