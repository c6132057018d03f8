"""A class with two resources, one on the other, and a pool that opens them."""

from __future__ import annotations

import pytest

from tests.warm.doubles import Heard, MovedClock
from warmstate.warm.resources.resource import ResourcePool, resource


class Live:
    """An object with a life, counted by the log it writes to."""

    def __init__(self, name, log):
        self.name = name
        self.log = log
        self.ok = True
        log.append(f"open {name}")

    def close(self):
        self.log.append(f"close {self.name}")


class Plain:
    """A class with resources that is no handler: the pool needs no more."""

    def __init__(self):
        self.log = []
        self.fail = False

    @resource(check_after=5, max_age=900)
    def bucket(self):
        if self.fail:
            raise ConnectionError("no bucket")
        bucket = Live("bucket", self.log)
        yield bucket
        bucket.close()

    @bucket.check
    def bucket_alive(self, bucket):
        self.log.append("check bucket")
        if not bucket.ok:
            raise ConnectionError("gone")

    @resource
    def table(self):
        table = Live(f"table on {self.bucket.name}", self.log)
        yield table
        table.close()


@pytest.fixture
def clock():
    return MovedClock()


@pytest.fixture
def heard():
    return Heard()


def pool_of(handler, clock, heard, call=None):
    return ResourcePool(handler, clock=clock, notices=heard, call=call)


@pytest.fixture
def handler():
    return Plain()


@pytest.fixture
def pool(handler, clock, heard):
    return pool_of(handler, clock, heard)
