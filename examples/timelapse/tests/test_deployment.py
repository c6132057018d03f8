"""What goes to AWS: the template is valid, and what its build puts together runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from examples.timelapse.manifest import KEY as MANIFEST, from_text
from examples.timelapse.studio.camera import s3_event
from examples.timelapse.studio.seaweed import ACCESS
from warmstate.emulator import Emulator, Function

from .editor import key

HERE = Path(__file__).parents[1]
QUIET = os.environ | {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1"}


def program(name: str) -> str:
    """A program of AWS's; skips the test where it is not installed. SAM may name a folder it lies in."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("SAM", ""), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"{name} is not on PATH, nor in the folder that the variable SAM names")
    return found


@pytest.mark.peer
@pytest.mark.parametrize(
    "command", [["sam", "validate", "--lint", "--template"], ["cfn-lint"]], ids=["sam", "cfn-lint"]
)
def test_template_is_valid(command):
    """AWS's own tools find nothing to say about the template."""
    done = subprocess.run(
        [program(command[0]), *command[1:], str(HERE / "template.yaml")],
        check=False,
        env=QUIET,
        capture_output=True,
        text=True,
    )

    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.process
def test_what_the_build_copies_runs(tmp_path, photos, s3_bucket, seaweed):
    """The files that the build takes are all that the function needs, beside its layer, to run on S3."""
    task, bucket = tmp_path / "task", s3_bucket
    subprocess.run(["make", "-s", "-C", str(HERE), "build-Timelapse", f"ARTIFACTS_DIR={task}"], check=True)
    with Emulator(port=0) as emulator:
        emulator.add(
            Function(
                name="timelapse",
                handler="timelapse.handler.Timelapse",
                task_root=str(task),
                environment={
                    "BUCKET": f"s3://tests/{bucket.prefix}",
                    "AWS_ENDPOINT_URL_S3": seaweed.url,
                    "AWS_SESSION_TOKEN": "",
                    "WIDTH": "320",
                    "HEIGHT": "180",
                    "FLUSH_EVERY": "5",
                    "SETTLE": "0",
                }
                | ACCESS,
                timeout=60,
            )
        )
        for number in range(5):
            bucket.put(key(number), photos[number], match=None)
            answer = emulator.invoke("timelapse", s3_event(key(number), 1))
            assert answer.function_error is None, answer.log_tail

    assert 5 == from_text(bucket.get(MANIFEST)[0].decode()).frames


def test_template_knows_every_setting():
    """What the template and the container set is what the function reads."""
    from examples.timelapse.options import Options

    template = (HERE / "template.yaml").read_text()
    variables = set(re.findall(r"^          ([A-Z_]+): ", template, re.MULTILINE)) - {"AWS_LAMBDA_EXEC_WRAPPER"}

    assert {"BUCKET", "FLUSH_EVERY"} == variables
    Options.from_environment({"BUCKET": "s3://b", "FLUSH_EVERY": "10"})
