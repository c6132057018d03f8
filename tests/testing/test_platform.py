"""The platform in this process behaves as Lambda does, without waiting."""

from __future__ import annotations

import shutil

import pytest

from warmstate import State, StatefulHandler, Tail, state, tail
from warmstate.errors import ConfigurationError
from warmstate.testing import FakeClock, Platform, context


class Counter(StatefulHandler):
    seen: State[int] = state(default=0, survives="reset")
    items: Tail[str] = tail(max_items=3)

    def __init__(self) -> None:
        self.log: list[str] = []

    @items.flush
    def write(self, batch):
        self.log.append(f"flush {list(batch)}")

    def on_thaw(self, thaw):
        self.log.append(f"thaw {thaw.frozen_for:.0f}")

    def before_shutdown(self, shutdown):
        self.log.append(f"shutdown {shutdown.reason}")

    def handle(self, event, context):
        self.seen += 1
        self.items.append(f"item {self.seen}")
        if "spend" in event:
            event_clock.advance(event["spend"])
        return {"seen": self.seen, "tenant": context.tenant_id}


event_clock = FakeClock()


@pytest.fixture(name="platform")
def _platform(warm):
    return warm(Counter)


@pytest.mark.parametrize("counts", [True, False])
def test_twenty_minutes_of_freeze_take_no_time(platform, counts) -> None:
    """A freeze moves the clock, on both kinds of monotonic clock, and the next invocation is told its length."""
    platform.invoke({})
    platform.freeze(minutes=20, monotonic_counts=counts)

    assert "thaw" == platform.invoke({}).start
    assert ["thaw 1200"] == platform.handler.log


def test_a_short_freeze_is_warm(platform) -> None:
    """Below the threshold an instance is warm and on_thaw does not run."""
    platform.invoke({})
    platform.freeze(seconds=0.5)

    assert "warm" == platform.invoke({}).start
    assert [] == platform.handler.log


def test_a_frozen_environment_says_so(platform) -> None:
    """Between invocations the process is frozen, as everywhere on Lambda."""
    platform.invoke({})

    assert ["frozen"] == [environment.state for environment in platform.ps()]


def test_a_spindown_runs_the_last_steps(platform) -> None:
    """before_shutdown runs, then the tail is flushed, and the environment is gone."""
    platform.invoke({})
    handler = platform.handler
    platform.spindown()

    assert ["shutdown spindown", "flush ['item 1']"] == handler.log
    assert [] == platform.ps()


def test_a_kill_runs_nothing(platform) -> None:
    """A killed process runs no hook, and the next one tells a reset."""
    platform.invoke({})
    handler = platform.handler
    platform.kill()

    result = platform.invoke({})

    assert ("reset", 2) == (result.start, result.json()["seen"])
    assert [] == handler.log
    assert 2 == platform.ps()[0].generation


@pytest.mark.parametrize("when", ["on_init", "handle"])
def test_a_handler_that_clears_tmp_keeps_what_is_answered_afterwards(warm, when) -> None:
    """The invocation that finds its journal gone fails and says so; from there on a kill takes nothing that was answered."""

    class Clears(StatefulHandler):
        seen: State[int] = state(default=0, survives="reset")

        def clear(self):
            shutil.rmtree(platform.ps()[0].tmp + "/warmstate")

        def on_init(self, init):
            if when == "on_init" and init.generation == 1:
                self.clear()

        def handle(self, event, context):
            self.seen += 1
            if event == "clear":
                self.clear()
            return [self.seen, context.start]

    platform = warm(Clears)
    assert platform.invoke().json() == [1, "cold"]
    if when == "handle":
        assert "leave WARMSTATE_TMP/warmstate alone" in platform.invoke("clear").json()["errorMessage"]
    assert platform.invoke().json() == [2, "warm"]
    platform.kill()
    assert platform.invoke().json() == [3, "reset"]


def test_scaled_environments_start_provisioned(platform) -> None:
    """What was prepared ahead says so in its first invocation."""
    platform.scale(2)

    assert ["provisioned", "warm"] == [platform.invoke({}).start for _ in range(2)]


def test_tenants_have_environments_of_their_own(platform) -> None:
    """No environment ever serves two tenants."""
    results = [platform.invoke({}, tenant_id=tenant) for tenant in ("a", "b", "a")]

    assert [(1, "a"), (1, "b"), (2, "a")] == [(result.json()["seen"], result.json()["tenant"]) for result in results]


def test_over_the_deadline_the_caller_gets_a_timeout_and_nothing_is_committed() -> None:
    """A handler that used up its time is reset, its work is not committed."""
    with Platform(Counter, clock=event_clock, timeout=5.0) as platform:
        platform.invoke({})
        late = platform.invoke({"spend": 6.0})
        after = platform.invoke({})

    assert "Sandbox.Timedout" == late.error_type
    assert ("reset", 2) == (after.start, after.json()["seen"])


def test_a_redelivery_is_told(warm) -> None:
    """The same request id a second time shows in the context."""
    platform = warm(lambda _event, context: [context.redelivered, context.attempt])

    assert [[False, 1], [True, 2]] == [platform.invoke({}, request_id="again").json() for _ in range(2)]


def test_an_init_error_reaches_the_caller(warm) -> None:
    """A failing on_init fails the invocation that waited for it."""

    class Broken(StatefulHandler):
        def on_init(self, init):
            raise ValueError("no database")

        def handle(self, event, context):
            return None

    result = warm(Broken).invoke({})

    assert ("Unhandled", "ValueError") == (result.function_error, result.error_type)


def test_streams_come_in_chunks(warm) -> None:
    """A generator's items are the chunks of the result."""
    result = warm(lambda _event, _context: (text for text in ("one ", "two"))).invoke({})

    assert ((b"one ", b"two"), b"one two") == (result.chunks, result.payload)


def test_an_unknown_environment_is_named(platform) -> None:
    """A verb on what is not there says what is."""
    with pytest.raises(ConfigurationError, match="invoke first"):
        platform.freeze("i-9", seconds=1)


def test_the_clock_refuses_to_run_backwards() -> None:
    """Time does not pass backwards; a corrected wall clock is a jump."""
    with pytest.raises(ValueError, match="jump"):
        FakeClock().advance(-1)


def test_a_context_for_direct_calls() -> None:
    """The context factory gives what a handler would see."""
    made = context(request_id="r-1", start="thaw", seconds_left=2.0)

    assert ("r-1", "thaw") == (made.aws_request_id, made.start)
    assert 0 < made.get_remaining_time_in_millis() <= 2000
