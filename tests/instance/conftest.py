"""Instances that are let go of after the test."""

import pytest

from tests.instance import driving


@pytest.fixture
def begun():
    """Make an instance and run its init."""
    made = []

    def make(target, **options):
        made.append(driving.begun(target, **options))
        return made[-1]

    yield make
    for instance in made:
        instance.abandon()
