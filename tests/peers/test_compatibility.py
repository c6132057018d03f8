"""Handlers written for the stock runtime, on AWS's own client and on ours, in front of the same Runtime API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts.scripted import BOOTSTRAP, PATIENCE, ScriptedApi
from tests.peers.compatibility_corpus import CASES, INIT_CASES, source_of
from tests.peers.stock import MANAGED, stock_python as find_stock_python

pytestmark = [pytest.mark.peer, pytest.mark.process]

DOCUMENT = Path(__file__).parents[2] / "docs/compatibility.md"
VARIABLES = {
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_LAMBDA_FUNCTION_NAME": "compatible",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/compatible",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0123",
    "LANG": "C.UTF-8",
    "PATH": os.environ["PATH"],
    "TZ": ":UTC",
}
ENDS_THE_STOCK_RUNTIME = {"a lone surrogate", "sys.exit", "KeyboardInterrupt"}
"""On a managed runtime at least: without an answer."""


@pytest.fixture(scope="session")
def stock_python() -> Path:
    return find_stock_python()


def start(runtime, stock_python, handler, folder, api, **variables) -> subprocess.Popen[bytes]:
    """One of the two runtimes as a process, in front of `api`; its output goes to a file beside the function's folder."""
    commands = {
        "stock": [str(stock_python), "-m", "awslambdaric", handler],
        "warmstate": [str(BOOTSTRAP)],
    }
    environment = {
        **VARIABLES,
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "LAMBDA_TASK_ROOT": str(folder),
        "WARMSTATE_PYTHON": sys.executable,
        "WARMSTATE_TMP": str(folder.parent),
        "_HANDLER": handler,
        **variables,
    }
    with (folder.parent / f"{runtime}.log").open("ab") as log:
        return subprocess.Popen(commands[runtime], env=environment, cwd=folder, stdout=log, stderr=log)


def stop(process) -> None:
    process.kill()
    process.wait()


def shown(posted) -> dict:
    """What an answer is compared by."""
    facts = {"kind": posted.kind, "body": posted.body}
    if posted.kind != "response":
        report = posted.json
        facts |= {"errorType": report["errorType"], "requestId": report["requestId"]}
        cause = json.loads(posted.headers["lambda-runtime-function-xray-error-cause"])
        # Ours goes on with the causes of the exception.
        facts["cause"] = {"working_directory": cause["working_directory"], "exception": cause["exceptions"][0]}
    return facts


def all_answers(runtime, stock_python, folder, **variables) -> list[dict | None]:
    """Send every case to one process; None where it died instead of answering."""
    answers: list[dict | None] = []
    with ScriptedApi() as api:
        process = start(runtime, stock_python, "app.handler", folder, api, **variables)
        try:
            for number, case in enumerate(CASES):
                if runtime == "stock" and case.name in ENDS_THE_STOCK_RUNTIME:
                    answers.append(None)  # seen in a process of its own below
                    continue
                headers = {
                    "Content_Type": "application/json",
                    **{name.replace("-", "_"): value for name, value in case.headers.items()},
                }
                posted = api.ask(f"case-{number}", case.event, seconds=60.0, **headers)
                answers.append(shown(posted))
        finally:
            stop(process)
    return answers


@pytest.fixture(scope="session")
def both(stock_python, tmp_path_factory):
    """The answers of both runtimes to all cases, as on an image and as on a managed runtime."""
    folder = tmp_path_factory.mktemp("compatibility") / "task"
    folder.mkdir()
    (folder / "app.py").write_text(source_of(CASES))
    found = {}
    for place, variables in {"image": {}, "managed": MANAGED}.items():
        found[place] = [all_answers(runtime, stock_python, folder, **variables) for runtime in ("stock", "warmstate")]
    return found


@pytest.mark.parametrize("place", ["image", "managed"])
@pytest.mark.parametrize(("number", "case"), [pytest.param(*row, id=row[1].name) for row in enumerate(CASES)])
def test_the_answer_is_that_of_the_stock_runtime(both, place, number, case) -> None:
    """The caller gets the same bytes from both runtimes; where not, the difference is in docs/compatibility.md."""
    stock, ours = (answers[number] for answers in both[place])

    if case.same == "bytes":
        assert stock == ours
    elif case.same == "value":
        assert json.loads(stock["body"]) == json.loads(ours["body"])
    elif case.same == "type":
        assert stock is not None
        assert [stock["kind"], stock["errorType"]] == [ours["kind"], ours["errorType"]]
        assert stock["body"] != ours["body"], "they agree: say so in the corpus"
    else:
        assert stock is None or stock["body"] != ours["body"], "they agree: say so in the corpus"
    assert (case.same == "bytes") == (case.because == "")


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name in ENDS_THE_STOCK_RUNTIME], ids=lambda case: case.name
)
def test_what_ends_the_stock_runtime_does_not_end_ours(both, stock_python, tmp_path, case) -> None:
    """The stock runtime ends without an answer; ours answers this event and those after it."""
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "app.py").write_text(source_of((case,)))
    with ScriptedApi() as api:
        process = start("stock", stock_python, "app.handler", folder, api, **MANAGED)
        try:
            api.send("case-0")
            process.wait(PATIENCE)
        finally:
            stop(process)
        silent = api.posted.empty()
    number = CASES.index(case)
    ours = [answers[1][number] for answers in both.values()]

    assert silent
    assert {answer["kind"] for answer in ours} <= {"response", "error"}


@pytest.mark.parametrize("case", INIT_CASES, ids=lambda case: case.name)
def test_a_failed_init_is_reported_as_by_the_stock_runtime(stock_python, tmp_path, case) -> None:
    """Both post the same init error once and exit with 1."""
    folder = tmp_path / "task"
    folder.mkdir()
    for name, text in case.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    seen = []
    for runtime in ("stock", "warmstate"):
        with ScriptedApi() as api:
            process = start(runtime, stock_python, case.handler, folder, api, PYTHONDONTWRITEBYTECODE="1")
            try:
                status = process.wait(PATIENCE)
            finally:
                stop(process)
            posted = api.answer()
            error_type = posted.headers["lambda-runtime-function-error-type"]
            seen.append((status, posted.kind, error_type, posted.json["errorType"], posted.body))
            assert api.posted.empty()
    stock, ours = seen

    assert (1, "init/error") == stock[:2]
    assert stock[:4] == ours[:4]
    assert (case.same == "bytes") == (stock[4] == ours[4]), (stock[4], ours[4])


@pytest.mark.parametrize("case", [case for case in (*CASES, *INIT_CASES) if case.because], ids=lambda case: case.name)
def test_every_difference_is_documented(case) -> None:
    """A row that differs names a heading of the document, and the document names the row."""
    section = DOCUMENT.read_text().partition(f"\n## {case.because}\n")[2].partition("\n## ")[0]

    assert f"*{case.name}*" in section


def test_the_document_lists_no_difference_that_is_none() -> None:
    """Each row that the document names is a row of the corpus that differs."""
    import re

    named = set(re.findall(r"^\| \*([^*]+)\*", DOCUMENT.read_text(), re.MULTILINE))

    assert {case.name for case in (*CASES, *INIT_CASES) if case.because} == named


def test_the_corpus_is_large_enough() -> None:
    """At least 40 events and results give the same bytes."""
    assert len([case for case in CASES if case.same == "bytes"]) >= 40
    assert len({case.name for case in (*CASES, *INIT_CASES)}) == len(CASES) + len(INIT_CASES)
