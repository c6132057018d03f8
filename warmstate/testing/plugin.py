"""The fixtures that pytest finds by itself where warmstate is installed, and the timeline it shows below a failed test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from warmstate.testing.maker import Maker
    from warmstate.testing.platform import Platform
    from warmstate.testing.processes import ProcessPlatform

__all__ = ["pytest_configure", "pytest_runtest_makereport", "warm", "warm_context", "warm_everywhere", "warm_processes"]

_MADE = pytest.StashKey["list[Maker[Any]]"]()


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of our mark."""
    config.addinivalue_line(
        "markers",
        "warm(target=None, **options): what `warm` and its sisters run in this test, and the options of their platforms",
    )


@pytest.fixture
def warm(request: pytest.FixtureRequest) -> Iterator[Maker[Platform]]:
    """
    Give a maker of platforms in this process, which are closed after the test.

        platform = warm(Counter, timeout=5)

    The arguments are those of `warmstate.testing.Platform`; `@pytest.mark.warm(target=Counter, timeout=5)` sets them for a test, and
    then, or where a project has one handler alone, the verbs are there without a call: `warm.invoke({})`.
    """
    from warmstate.testing.platform import Platform

    yield from _maker(request, Platform)


@pytest.fixture
def warm_processes(request: pytest.FixtureRequest) -> Iterator[Maker[ProcessPlatform]]:
    """Give a maker of platforms in real processes; its arguments are those of `warmstate.testing.ProcessPlatform`."""
    from warmstate.testing.processes import ProcessPlatform

    yield from _maker(request, ProcessPlatform)


@pytest.fixture(params=["in-process", "processes"])
def warm_everywhere(request: pytest.FixtureRequest) -> Maker[Platform] | Maker[ProcessPlatform]:
    """Run the test twice: with a maker of platforms in this process, and with one of real processes."""
    maker: Maker[Platform] | Maker[ProcessPlatform] = request.getfixturevalue(
        "warm" if request.param == "in-process" else "warm_processes"
    )
    return maker


@pytest.fixture
def warm_context() -> Callable[..., object]:
    """Make a context for a direct call of a handler's method; see `warmstate.testing.context`."""
    from warmstate.testing.contexts import context

    return context


def _maker(request: pytest.FixtureRequest, kind: Callable[..., Any]) -> Iterator[Maker[Any]]:
    from warmstate.testing.maker import Maker

    marks = list(request.node.iter_markers("warm"))  # the nearest first
    targets = [target for mark in marks for target in (*mark.args[:1], mark.kwargs.get("target")) if target is not None]
    options = {name: value for mark in reversed(marks) for name, value in mark.kwargs.items()}
    options.pop("target", None)
    maker = Maker(kind, targets[0] if targets else None, options, request.config.rootpath)
    request.node.stash.setdefault(_MADE, []).append(maker)
    yield maker
    maker.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what happened to the platforms of a test that failed."""
    report = yield
    if report.when == "call" and report.failed:
        nothing: list[Maker[Any]] = []
        for platform in [made for maker in item.stash.get(_MADE, nothing) for made in maker.made]:
            report.sections.append((f"timeline of {platform!r}", str(platform.timeline)))
    return report
