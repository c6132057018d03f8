"""New code takes over only when its init has passed; until then the old process serves."""

import pytest

from warmstate.emulator import Emulator, Function

pytestmark = pytest.mark.process

HANDLER = """
from warmstate import State, StatefulHandler, state

class Counter(StatefulHandler):
    seen: State[int] = state(default=0, survives="reset")

    def handle(self, event, context):
        self.seen += 1
        return [{word!r}, self.seen]
"""


@pytest.fixture
def edited(tmp_path):
    """An emulator with a function whose code a test writes anew; calls go by `say`."""
    path = tmp_path / "app.py"
    path.write_text(HANDLER.format(word="old"))
    variables = {"WARMSTATE_ADOPT": "any-code"}
    with Emulator() as emulator:
        emulator.add(
            Function(name="f", handler="app.Counter", task_root=str(tmp_path), environment=variables, inspect=True)
        )
        yield emulator, path
        assert emulator.events.of("warmstate.fault") == []


def test_new_code_takes_over_with_the_committed_state(edited):
    """The old process has answered with the old code, the new one goes on counting."""
    emulator, path = edited
    assert emulator.invoke("f").json() == ["old", 1]
    path.write_text(HANDLER.format(word="new"))
    [reloaded] = emulator.reload("f")

    assert (reloaded.status, reloaded.kept, reloaded.old_serves) == ("success", ("seen",), False)
    assert emulator.invoke("f").json() == ["new", 2]
    assert len(emulator.ps("f")) == 1


@pytest.mark.parametrize(
    ("then", "fate"),
    [
        (("seen", "seen"), (("seen",), ())),
        (("seen", "counted"), ((), ("seen",))),  # a slot of another name begins with its default
        (("State[int]", "State[float]"), ((), ("seen",))),  # of another type, without a migration
        (('survives="reset"', 'survives="freeze"'), ((), ("seen",))),
    ],
)
def test_what_is_said_to_be_kept_is_what_the_new_code_finds(edited, then, fate):
    """The names of what the old process held, by what the new one has of it; one that held nothing loses nothing."""
    emulator, path = edited
    emulator.scale(1, "f")
    [reloaded] = emulator.reload("f")
    assert (reloaded.kept, reloaded.lost, reloaded.summary) == ((), (), "no state was held")

    assert emulator.invoke("f").json() == ["old", 1]
    path.write_text(HANDLER.format(word="new").replace(*then))
    [reloaded] = emulator.reload("f")
    assert (reloaded.kept, reloaded.lost) == fate
    assert emulator.invoke("f").json() == ["new", 2 if fate[0] else 1]


@pytest.mark.parametrize("broken", ["import nothing_of_that_name", "raise SystemExit(3)", "import os; os._exit(1)"])
def test_code_that_fails_its_init_leaves_the_old_process_serving(edited, broken):
    """The same process, with its memory, and a word about why; the next edit that works is taken."""
    emulator, path = edited
    assert emulator.invoke("f").json() == ["old", 1]
    pid = emulator.ps("f")[0].pid
    path.write_text(HANDLER.format(word="new") + broken)
    [reloaded] = emulator.reload("f")

    assert reloaded.old_serves
    assert reloaded.status == "error"
    assert "the old code goes on serving" in reloaded.summary
    assert reloaded.problem
    assert (emulator.invoke("f").json(), emulator.ps("f")[0].pid) == (["old", 2], pid)
    assert len(emulator.ps("f")) == 1

    path.write_text(HANDLER.format(word="mended"))
    assert not emulator.reload("f")[0].old_serves
    assert emulator.invoke("f").json() == ["mended", 3]


def test_the_trial_is_not_heard_of_outside(edited):
    """It takes no event, and is gone without its shutdown hooks: nothing of it is flushed anywhere."""
    emulator, path = edited
    emulator.invoke("f")
    begun = emulator.events.last_id
    path.write_text(HANDLER.format(word="new") + "    def before_shutdown(self, shutdown): print('shut down')\n")
    [reloaded] = emulator.reload("f", keep=False)

    assert (reloaded.status, reloaded.lost) == ("success", ("seen",))
    assert emulator.invoke("f").json() == ["new", 1]
    assert [event for event in emulator.events.since(begun) if event.record.get("line") == "shut down"] == []
