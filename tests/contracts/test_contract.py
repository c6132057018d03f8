"""
One contract for every host: the platform in this process, and the real bootstrap in real processes that are really frozen.

What a test says here holds on both, or it fails on one.
"""

from __future__ import annotations

import pytest

from tests.contracts.handlers import (
    AsyncDeferring,
    AsyncStreaming,
    Everything,
    Looped,
    NeverStarts,
    SlowToEnd,
    Streaming,
    ThawsAtTheThird,
    Threaded,
    plain,
    plain_async,
)

pytestmark = pytest.mark.process


class TestStarts:
    """How an invocation finds its instance."""

    def test_cold_warm_thaw(self, host) -> None:
        """A new environment, the same again, and after twenty minutes of freeze."""
        platform = host(Everything)
        kinds = [platform.invoke({}).json()["start"] for _ in range(2)]
        platform.freeze(minutes=20)
        thawed = platform.invoke({}).json()

        assert ["cold", "warm", "thaw"] == [*kinds, thawed["start"]]
        assert abs(thawed["frozen_for"] - 1200) < 60
        assert "warm" == platform.invoke({}).json()["start"]

    @pytest.mark.parametrize("verb", ["reset", "kill"])
    def test_reset(self, host, verb) -> None:
        """A new process in an environment that had one; the number of the invocation begins anew."""
        platform = host(Everything)
        platform.invoke({})
        getattr(platform, verb)()
        after = platform.invoke({})

        assert ("reset", 2, 1) == tuple(after.json()[name] for name in ("start", "generation", "number"))
        assert "reset" == after.start

    def test_provisioned(self, host) -> None:
        """What was prepared ahead says so once."""
        platform = host(Everything)
        platform.scale(1)

        assert ["provisioned", "warm"] == [platform.invoke({}).json()["start"] for _ in range(2)]

    def test_a_spindown_leaves_nothing(self, host) -> None:
        """The next environment is cold and of the first generation."""
        platform = host(plain)
        platform.invoke({})
        platform.spindown()

        assert [] == platform.ps()
        assert ["cold", 1] == platform.invoke({}).json()

    def test_a_redelivery_is_told(self, host) -> None:
        """The same request a second time, also where the process that answered it is gone."""
        platform = host(Everything)
        asked = [platform.invoke({}, request_id="3f0c2d1e-0000-4000-8000-000000000001") for _ in range(2)]
        platform.kill()
        asked.append(platform.invoke({}, request_id="3f0c2d1e-0000-4000-8000-000000000001"))

        assert [False, True, True] == [result.json()["redelivered"] for result in asked]


class TestOrder:
    """The published order of everything that runs."""

    def test_a_whole_life(self, host, recorded) -> None:
        """Init, an invocation, one after a freeze, and the end, each in the order of the published table."""
        platform = host(Everything)
        platform.invoke({"open": True, "append": True})
        assert ["construct", "on_init cold None", "handle", "open", "after_response"] == recorded.take()

        platform.freeze(minutes=20)
        platform.invoke({"append": True})
        assert ["renew", "on_thaw", "handle", "after_response"] == recorded.take()

        platform.invoke({"append": True})
        assert ["handle", "flush 3", "after_response"] == recorded.take()

        platform.invoke({"append": True})
        recorded.take()
        platform.spindown()
        assert ["before_shutdown spindown", "flush 1", "close"] == recorded.take()

    def test_a_kill_runs_nothing(self, host, recorded) -> None:
        """No hook, no flush, no close."""
        platform = host(Everything)
        platform.invoke({"open": True, "append": True})
        recorded.take()
        platform.kill()
        platform.invoke({})

        assert ["construct", "on_init reset crash", "handle", "after_response"] == recorded.take()

    def test_a_raising_on_thaw_is_called_until_it_succeeds(self, host) -> None:
        """While it raises, the invocation fails; the freeze is told to the first that succeeds."""
        platform = host(ThawsAtTheThird)
        platform.invoke({})
        platform.freeze(minutes=20)
        failed = [platform.invoke({}).error_type for _ in range(2)]

        assert ["ConnectionError", "ConnectionError"] == failed
        assert [["thaw", 3], ["warm", 3]] == [platform.invoke({}).json() for _ in range(2)]


class TestState:
    """What is kept, rolled back and lost."""

    @pytest.mark.parametrize(
        ("event", "error_type"),
        [
            ({"fail": True}, "ValueError"),
            ({"exit": True}, "Runtime.HandlerExit"),
            ({"odd": True}, "Runtime.MarshalError"),
        ],
    )
    def test_a_failure_rolls_back_and_keeps_the_instance(self, host, event, error_type) -> None:
        """The committed slot is as of the last answer, the memory slot as the handler left it, the process the same."""
        platform = host(Everything)
        platform.invoke({})
        failed = platform.invoke(event)
        after = platform.invoke({}).json()

        assert ("Unhandled", error_type) == (failed.function_error, failed.error_type)
        assert (2, 1) == (after["committed"], after["generation"])
        assert 203 == after["memory"]  # three handles, and two answers that the platform took before

    def test_a_reset_on_request(self, host, recorded) -> None:
        """The invocation fails, the last steps run, and a fresh process has what was committed."""
        platform = host(Everything)
        platform.invoke({})
        failed = platform.invoke({"reset": True})
        after = platform.invoke({}).json()

        assert "Function.ResetRequested" == failed.error_type
        assert "before_shutdown failure" in recorded.take()
        assert (2, 1, "reset", 2) == tuple(after[name] for name in ("committed", "memory", "start", "generation"))

    @pytest.mark.parametrize(("verb", "reason"), [("reset", "exit"), ("kill", "crash")])
    def test_the_reason_of_a_reset(self, host, recorded, verb, reason) -> None:
        """A process that ended by itself left a word; one that was killed did not."""
        platform = host(Everything)
        platform.invoke({})
        getattr(platform, verb)()
        recorded.take()
        platform.invoke({})

        assert f"on_init reset {reason}" == recorded.take()[1]

    def test_an_answer_is_never_before_its_commit(self, host) -> None:
        """Killed after any answer, the next process has what the answer told."""
        platform = host(Everything)
        for expected in range(1, 4):
            assert expected == platform.invoke({}).json()["committed"]
            platform.kill()

    def test_a_tail_never_holds_more_than_its_bound(self, host) -> None:
        """What a kill can lose is less than max_items, after any number of answers."""
        platform = host(Everything)

        assert [1, 2, 3, 1] == [platform.invoke({"append": True}).json()["waiting"] for _ in range(4)]
        platform.invoke({"append": True})
        assert 2 == platform.state()["tails"]["items"]["items"]

    def test_tenants_never_share(self, host) -> None:
        """Each tenant has an environment of its own."""
        platform = host(Everything)
        results = [platform.invoke({}, tenant_id=tenant).json() for tenant in ("a", "b", "a")]

        assert [(1, "a"), (1, "b"), (2, "a")] == [(result["committed"], result["tenant"]) for result in results]


class TestOddHandlers:
    """Shapes of handlers that are less common."""

    def test_an_async_batch_handler_defers(self, host, recorded) -> None:
        """Records that are not durable yet are reported; redelivered after the flush, they are not; nothing is written twice."""
        platform = host(AsyncDeferring)

        def deliver(*ids):
            records = [{"messageId": id, "body": id, "eventSource": "aws:sqs"} for id in ids]
            answer = platform.invoke({"Records": records}).json()
            return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

        assert ["1", "2"] == deliver("1", "2")
        platform.kill()
        assert [] == deliver("1", "2", "3")
        assert [] == deliver("2")
        platform.freeze(minutes=20)
        assert ["4"] == deliver("4")
        platform.spindown()
        first = ["open", "after_response"]
        again = ["open", "flush 1 2 3", "after_response", "after_response"]
        assert [*first, *again, "renew", "on_thaw", "after_response", "flush 4", "close"] == recorded.take()

    @pytest.mark.parametrize("target", [Threaded, Looped])
    def test_a_handler_that_allows_several_at_once_is_served_one_by_one(self, host, target) -> None:
        """Where the platform gives one event at a time, its class of concurrency changes nothing."""
        platform = host(target)
        platform.invoke({})
        platform.freeze(minutes=20)

        assert [[2, "thaw"], [3, "warm"]] == [platform.invoke({}).json() for _ in range(2)]

    def test_an_async_function(self, host) -> None:
        """Without a class around it."""
        assert [{"a": 1}, "cold"] == host(plain_async).invoke({"a": 1}).json()

    def test_what_never_starts_is_cold_each_time(self, host) -> None:
        """No process of it ever waited for an event."""
        platform = host(NeverStarts)
        found = [platform.invoke({}) for _ in range(2)]

        assert [("cold", "RuntimeError")] * 2 == [(result.start, result.error_type) for result in found]

    def test_the_last_used_of_several_takes_the_next_event(self, host) -> None:
        """So that those that nobody needs become old and go."""
        platform = host(Everything)
        platform.scale(2)
        first = platform.invoke({})
        other = next(one.instance for one in platform.ps() if one.instance != first.instance)

        assert first.instance == platform.invoke({}).instance
        assert other == platform.invoke({}, instance=other).instance
        assert other == platform.invoke({}).instance


class TestStreams:
    """Answers that are sent while they are made."""

    @pytest.mark.parametrize("target", [Streaming, AsyncStreaming])
    def test_the_end_commits(self, host, recorded, target) -> None:
        """A whole stream commits; one that failed in the middle does not, and its `finally` ran."""
        platform = host(target)
        assert b"count 1" == platform.invoke({}).payload
        platform.invoke({"fail": True})
        platform.kill()

        assert b"count 2" == platform.invoke({}).payload
        assert ["finally"] * 3 == recorded.take()

    def test_an_error_in_the_middle_is_told(self, host) -> None:
        """The caller knows that the answer is not whole."""
        failed = host(Streaming).invoke({"fail": True})

        assert ("Unhandled", "ValueError") == (failed.function_error, failed.error_type)


class TestTheEnd:
    """The last steps, and the deadline."""

    def test_a_step_that_hangs_does_not_take_the_others_with_it(self, host, recorded) -> None:
        """before_shutdown is left where it hangs, the resource is closed within the budget."""
        platform = host(SlowToEnd)
        platform.invoke({})
        platform.spindown()

        assert ["before_shutdown began", "close"] == recorded.take()[:2]
