"""What all tests share: how Hypothesis runs, and skipping what this machine cannot run."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: examples are bounded in number, never in time.
settings.register_profile("warmstate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("warmstate")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium; a test that asks for it is skipped where there is none."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path:
            return path
    pytest.skip(f"no browser found on PATH: {', '.join(BROWSERS)}")
