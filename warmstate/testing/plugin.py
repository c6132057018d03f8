"""The fixtures that pytest finds by itself where warmstate is installed, and the timeline it shows below a failed test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from warmstate.testing.platform import Platform
    from warmstate.testing.processes import ProcessPlatform

__all__ = ["pytest_runtest_makereport", "warm", "warm_context", "warm_everywhere", "warm_processes"]

_MADE = pytest.StashKey[list["Platform | ProcessPlatform"]]()


@pytest.fixture
def warm(request: pytest.FixtureRequest) -> Iterator[Callable[..., Platform]]:
    """
    Give a maker of platforms in this process, which are closed after the test.

        platform = warm(Counter, timeout=5)

    The arguments are those of `warmstate.testing.Platform`.
    """
    from warmstate.testing.platform import Platform

    yield from _maker(request, Platform)


@pytest.fixture
def warm_processes(request: pytest.FixtureRequest) -> Iterator[Callable[..., ProcessPlatform]]:
    """Give a maker of platforms in real processes; its arguments are those of `warmstate.testing.ProcessPlatform`."""
    from warmstate.testing.processes import ProcessPlatform

    yield from _maker(request, ProcessPlatform)


@pytest.fixture(params=["in-process", "processes"])
def warm_everywhere(request: pytest.FixtureRequest) -> Callable[..., Platform | ProcessPlatform]:
    """Run the test twice: with a maker of platforms in this process, and with one of real processes."""
    maker: Callable[..., Platform | ProcessPlatform] = request.getfixturevalue(
        "warm" if request.param == "in-process" else "warm_processes"
    )
    return maker


@pytest.fixture
def warm_context() -> Callable[..., object]:
    """Make a context for a direct call of a handler's method; see `warmstate.testing.context`."""
    from warmstate.testing.contexts import context

    return context


def _maker(request: pytest.FixtureRequest, kind: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    made: list[Platform | ProcessPlatform] = request.node.stash.setdefault(_MADE, [])

    def make(target: Any, **options: Any) -> Any:
        made.append(kind(target, **options))
        return made[-1]

    yield make
    for platform in made:
        platform.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what happened to the platforms of a test that failed."""
    report = yield
    if report.when == "call" and report.failed:
        nothing: list[Platform | ProcessPlatform] = []
        for platform in item.stash.get(_MADE, nothing):
            report.sections.append((f"timeline of {platform!r}", str(platform.timeline)))
    return report
