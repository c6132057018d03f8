"""Resources against a graph: any order of use, time, freezes, failures and closing keeps the promises."""

from __future__ import annotations

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.warm.doubles import Heard, MovedClock
from warmstate.errors import ResourceError
from warmstate.lifecycle.events import Thaw
from warmstate.warm.resources.resource import ResourcePool, resource

NAMES = ["base", "left", "right", "top"]
NEEDS = {"base": [], "left": ["base"], "right": ["base"], "top": ["left", "right"]}


class Thing:
    """One opened object."""

    def __init__(self, name, needs):
        self.name = name
        self.needs = needs
        self.healthy = True
        self.closed = False


class Graph:
    """Four resources in a diamond; each logs what happens to it."""

    def __init__(self, clock):
        self.clock = clock
        self.opened = []
        self.failing = set()
        self.asked = []
        self.wrong = []

    def run(self, name):
        needs = [getattr(self, need) for need in NEEDS[name]]
        if name in self.failing:
            raise ConnectionError(name)
        thing = Thing(name, needs)
        self.opened.append(thing)
        yield thing
        if thing.closed or any(need.closed for need in thing.needs):
            self.wrong.append(f"{name} was closed twice, or after what it needs")
        thing.closed = True

    def look(self, thing):
        self.asked.append(thing)
        if thing.closed:
            self.wrong.append(f"{thing.name} was checked after it was closed")
        if not thing.healthy:
            raise ConnectionError(thing.name)

    @resource(check_after=5)
    def base(self):
        yield from self.run("base")

    @base.check
    def base_alive(self, thing):
        self.look(thing)

    @resource(check_after=10, max_age=100)
    def left(self):
        yield from self.run("left")

    @left.check
    def left_alive(self, thing):
        self.look(thing)

    @resource(max_age=30)
    def right(self):
        yield from self.run("right")

    @resource(check_after=0)
    def top(self):
        yield from self.run("top")

    @top.check
    def top_alive(self, thing):
        self.look(thing)


class ResourceMachine(RuleBasedStateMachine):
    """Invocations overlap as on one thread; each must keep what it saw."""

    def __init__(self):
        super().__init__()
        self.clock = MovedClock()
        self.graph = Graph(self.clock)
        self.pool = ResourcePool(self.graph, clock=self.clock, notices=Heard())
        self.running = {}
        self.number = 0

    @precondition(lambda self: len(self.running) < 1)
    @rule()
    def begin(self):
        self.number += 1
        self.running[self.number] = {}
        self.pool.begin(self.number)

    @precondition(lambda self: self.running)
    @rule()
    def end(self):
        number, seen = self.running.popitem()
        assert not any(thing.closed for thing in seen.values()), "closed while it was in use"
        self.pool.end(number)

    @rule(name=st.sampled_from(NAMES))
    def use(self, name):
        asked = len(self.graph.asked)
        try:
            thing = getattr(self.graph, name)
        except ResourceError:
            assert (
                self.graph.failing
                or self.pool.info()[name]["failures"]
                or any(self.pool.info().get(need, {}).get("failures") for need in NAMES)
            )
            return
        assert not thing.closed
        seen = self.running[max(self.running)] if self.running else {}
        if name in seen:
            assert thing is seen[name], "an invocation keeps its object"
            assert len(self.graph.asked) == asked, "and nothing is asked for it again"
        else:
            assert not any(need.closed for need in thing.needs)
        seen[name] = thing

    @rule(seconds=st.sampled_from([1, 4, 6, 12, 40, 200]))
    def pass_time(self, seconds):
        self.clock.pass_time(seconds)

    @rule(seconds=st.sampled_from([1, 6, 40, 200]))
    def jump(self, seconds):
        self.clock.jump(seconds)

    @precondition(lambda self: not self.running)
    @rule(seconds=st.sampled_from([1, 6, 40]))
    def freeze_and_thaw(self, seconds):
        before = len(self.graph.opened)
        self.pool.thawed(Thaw(seconds))
        opened = [thing.name for thing in self.graph.opened[before:]]
        assert len(opened) == len(set(opened)), "at most one opening per resource and thaw"

    @rule(name=st.sampled_from(NAMES))
    def peer_dies(self, name):
        for thing in self.graph.opened:
            if thing.name == name and not thing.closed:
                thing.healthy = False

    @rule(name=st.sampled_from(NAMES), failing=st.booleans())
    def factory_fails(self, name, failing):
        (self.graph.failing.add if failing else self.graph.failing.discard)(name)

    @precondition(lambda self: not self.running)
    @rule()
    def close_all(self):
        assert self.pool.close_all(5) == []
        assert all(thing.closed for thing in self.graph.opened), "everything that was opened is closed"

    @invariant()
    def nothing_went_wrong(self):
        assert self.graph.wrong == []

    @invariant()
    def nothing_piles_up(self):
        for name in NAMES:
            alive = [thing for thing in self.graph.opened if thing.name == name and not thing.closed]
            assert len(alive) <= 4

    def teardown(self):
        for number in list(self.running):
            self.pool.end(number)
        self.pool.close_all(5)
        assert all(thing.closed for thing in self.graph.opened)


TestResources = ResourceMachine.TestCase
TestResources.settings = settings(max_examples=200, stateful_step_count=40)
