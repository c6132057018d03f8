"""Asks all questions, run after run, and writes the answers into the documents."""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING

from benchmarks import goals
from benchmarks.machine import Neighbours, describe
from benchmarks.measure import Settings
from benchmarks.peers import EVERY_PEER
from benchmarks.places import CACHE
from benchmarks.platform.stub import platform_command
from benchmarks.progress import minutes, say
from benchmarks.questions import QUESTIONS, question, summary
from benchmarks.results import Numbers, Runs
from benchmarks.tables import Table, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["conduct", "quick"]

DOCUMENT = "docs/benchmarks.md"
ANSWERS = CACHE / "answers.json"
"""The newest answer to each question: what spans several questions is written once all of them have one."""


def conduct(questions: Sequence[str], runs: int, limit_minutes: float) -> int:
    """Ask the questions so many times, each time all of them, and write; 1 when one of them has no answer."""
    install()
    neighbours = Neighbours()
    found: dict[str, list[Numbers]] = {name: [] for name in questions}
    began, done = minutes(), 0
    while done < runs:
        if done and minutes() + (minutes() - began) / done > limit_minutes:
            say(f"{done} of {runs} runs: another would end after {limit_minutes:g} minutes")
            break
        for name in questions:
            say(f"run {done + 1} of {runs}: {name}")
            numbers = ask(name, Settings())
            if numbers:
                found[name].append(numbers)
        done += 1
        publish_all(found, f"{done} run{'s' if done > 1 else ''}", neighbours)
    unanswered = [name for name in questions if not found[name]]
    say(f"done; {'no answer to ' + ', '.join(unanswered) if unanswered else 'every question has its answer'}")
    return 1 if unanswered else 0


def publish_all(found: dict[str, list[Numbers]], runs: str, neighbours: Neighbours) -> None:
    """Write what there is by now: a measurement that is cut short leaves the answers of its whole runs."""
    _, platform = platform_command()
    remark = f"{describe()} {neighbours.describe()} {runs}, {platform}."
    answered = {name: Runs(tuple(numbers)) for name, numbers in found.items() if numbers}
    for name, answer in answered.items():
        publish(f"benchmark: {name}", question(name).tables(answer), remark, DOCUMENT)
    publish_what_spans(remember(answered), remark)


def install() -> None:
    """Install all peers before any time counts: npm compiles for minutes."""
    for peer in EVERY_PEER:
        say(f"installing: {peer.name}")
        if problem := peer.problem():
            say(f"FAILED: {peer.name}: {problem}")


def quick(questions: Iterable[str]) -> int:
    """One short run of each question, printed; 1 when one of them has no answer."""
    status = 0
    for name in questions:
        numbers = ask(name, Settings(scale=0.2))
        if not numbers:
            status = 1
            continue
        for table in question(name).tables(Runs((numbers,))):
            print(f"\n{table.markdown()}\n", flush=True)
    return status


def ask(name: str, settings: Settings) -> Numbers:
    """The numbers of one question; none where it went wrong, which must not end a run of many minutes."""
    try:
        return question(name).measure(settings)
    except Exception:
        say(f"FAILED: {name}\n{traceback.format_exc()}")
        return {}


def publish(marker: str, tables: Iterable[Table], remark: str, document: str) -> None:
    """Print tables, and write them between two markers of a document."""
    text = "\n\n".join([*(table.markdown() for table in tables), remark])
    print(f"\n{text}\n", flush=True)
    write(marker, text, document)


def publish_what_spans(answers: dict[str, Runs], remark: str) -> None:
    """The table of the README and the goals, once every question that they need has an answer."""
    if answers.keys() >= {*summary.NEEDS}:
        table = summary.table(answers)
        publish("benchmark: summary", [table], remark, DOCUMENT)
        write("benchmarks", f"{table.markdown()}\n\n{remark}", "README.md")
    if answers.keys() >= {*QUESTIONS}:
        publish("benchmark: goals", [goals.table(answers)], remark, DOCUMENT)


def remember(answered: dict[str, Runs]) -> dict[str, Runs]:
    """Keep the answers beside earlier ones to other questions, and return them all."""
    before = json.loads(ANSWERS.read_text()) if ANSWERS.exists() else {}
    everything = {**before, **{name: list(runs.runs) for name, runs in answered.items()}}
    ANSWERS.parent.mkdir(parents=True, exist_ok=True)
    ANSWERS.write_text(json.dumps(everything, indent=1))
    return {name: Runs(tuple(everything[name])) for name in QUESTIONS if name in everything}
