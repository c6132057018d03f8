"""
Everything that can happen to an instance and to its events, from a seed: the video must not show it.

Real processes on the local Lambda are killed while they work, told to end, reset, and stopped in the middle of an invocation while
another instance goes on. Events are dropped, doubled and shuffled; photos arrive out of order.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import random
import signal
import threading
from typing import TYPE_CHECKING

import attrs

from warmstate.emulator import Emulator, Function

from .. import manifest as manifests
from ..publish import KEY as VIDEO
from .camera import key_of, s3_event
from .directory import DirectoryBucket
from .verify import Findings, examine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from warmstate.emulator import Instance

    from ..bucket import Bucket

__all__ = ["FLUSH_EVERY", "Outcome", "play"]

FLUSH_EVERY = (1, 5, 10, 60)
REACH = 6
"""How many places a photo may be overtaken."""
PATIENCE = 240
"""Seconds for an invocation to end, on however busy a machine."""
NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.timezone.utc)


@attrs.frozen(kw_only=True)
class Outcome:
    """
    What became of one run.

    `deeds` says what was done to it, in order. `calm` means that its chunks are whole GOPs and nothing flushed early, so `digest`
    must be that of the undisturbed video.
    """

    seed: int
    flush_every: int
    photos: int
    calm: bool
    deeds: tuple[str, ...]
    found: Findings
    digest: str
    late: int

    @property
    def is_right(self) -> bool:
        """Whether the video has every photo once, in order, without a gap."""
        return self.found.is_sound and self.found.numbers == list(range(self.photos))

    def __str__(self) -> str:
        verdict = "right" if self.is_right else f"WRONG: {self.found}, {self.found.numbers}"
        return f"seed {self.seed}, flush every {self.flush_every}: {', '.join(self.deeds) or 'nothing done'}: {verdict}"


def play(  # where it runs, and what is to happen
    emulator: Emulator,
    bucket: Bucket,
    photos: Sequence[bytes],
    seed: int,
    *,
    task_root: str,
    environment: dict[str, str],
    flush_every: int | None = None,
    calm: bool | None = None,
    disturb: bool = True,
) -> Outcome:
    """Makes a video of `photos` in `bucket`, which the variables in `environment` name too, and disturbs it by `seed`."""
    chance = random.Random(seed)  # noqa: S311  # chaos, not secrets
    every = chance.choice(FLUSH_EVERY) if flush_every is None else flush_every
    calm = every == 60 and chance.random() < 0.7 if calm is None else calm
    two = disturb and chance.random() < 0.4
    function = Function(
        name=f"chaos-{seed}",
        handler="examples.timelapse.handler.Timelapse",
        task_root=task_root,
        environment={"FLUSH_EVERY": str(every), "WIDTH": "320", "HEIGHT": "180", "MAX_AGE": "3600"} | environment,
        timeout=900,  # what is stopped must not time out: that is a SIGTERM, and SIGTERM flushes
        max_instances=2 if two else 1,
        strategy="round-robin" if two else "aws",
    )
    emulator.add(function)
    storm = _Storm(emulator, bucket, function.name, chance, can_end=not calm, two=two)
    try:
        for number, is_told in _arrivals(len(photos), chance, disturb=disturb):
            key = key_of(NOON + datetime.timedelta(seconds=number))
            if is_told:
                storm.ring(s3_event(key, len(photos[number])), strike=disturb and chance.random() < 0.04)
            else:
                bucket.put(key, photos[number], match=None)
        storm.calm_down()
        answer = storm.invoke({"do": "finish"})
        assert answer is None, answer
    finally:
        storm.calm_down()
        emulator.remove(function.name)
    data, _ = bucket.get(VIDEO)
    return Outcome(
        seed=seed,
        flush_every=every,
        photos=len(photos),
        calm=calm,
        deeds=tuple(storm.deeds),
        found=examine(data),
        digest=hashlib.sha256(data).hexdigest(),
        late=manifests.from_text(bucket.get(manifests.KEY)[0].decode()).late,
    )


def _arrivals(count: int, chance: random.Random, *, disturb: bool) -> Iterator[tuple[int, bool]]:
    """Gives in order what happens: `(number, False)`, the photo lies in the bucket; `(number, True)`, its event comes."""
    happenings: list[tuple[float, int, bool]] = []
    for number in range(count):
        stored = number + (chance.uniform(0, REACH) if disturb else 0)
        happenings.append((stored, number, False))
        if disturb and chance.random() < 0.05:
            continue  # the event is lost
        happenings.append((stored, number, True))
        if disturb and chance.random() < 0.15:
            happenings.append((stored + chance.uniform(0, 30), number, True))
    for _, number, is_told in sorted(happenings):
        yield number, is_told


class _Storm:
    """Rings the function's doorbell, and strikes it now and then."""

    def __init__(  # what it strikes, and how
        self, emulator: Emulator, bucket: Bucket, function: str, chance: random.Random, *, can_end: bool, two: bool
    ) -> None:
        self._emulator, self._bucket, self._function, self._chance = emulator, bucket, function, chance
        self._strikes = [self._kill, self._kill_at_work, self._stop_at_work]
        if can_end:  # both say SIGTERM first, and then the instance commits what it has, whole GOPs or not
            self._strikes += [self._reset, self._end]
        self._instances = 2 if two else 1
        self._stopped: list[tuple[int, threading.Thread]] = []
        self.deeds: list[str] = []

    def invoke(self, event: dict[str, object]) -> str | None:
        """Hands the function an event; gives what went wrong."""
        answer = self._emulator.invoke(self._function, event)
        return f"{answer.payload.decode()}\n{answer.log_tail}" if answer.function_error else None

    def ring(self, event: dict[str, object], *, strike: bool) -> None:
        """Delivers an event, in the middle of something when `strike`."""
        if strike:
            self._chance.choice(self._strikes)(event)
        else:
            # A process that was killed as it finished may take the next event with it; Lambda then delivers that again.
            failure = self.invoke(event) and self.invoke(event)
            assert failure is None, failure
        if self._stopped and self._chance.random() < 0.1:
            self.calm_down()

    def calm_down(self) -> None:
        """Lets what was stopped go on, and waits for it."""
        while self._stopped:
            pid, worker = self._stopped.pop()
            _signal(pid, signal.SIGCONT)
            worker.join(PATIENCE)
            assert not worker.is_alive(), "an instance that was continued does not end its invocation"

    def _kill(self, event: dict[str, object]) -> None:
        self.deeds.append("kill")
        self._emulator.kill(self._one())
        self.invoke(event)

    def _reset(self, event: dict[str, object]) -> None:
        self.deeds.append("reset")
        self._emulator.reset(self._one())
        self.invoke(event)

    def _end(self, event: dict[str, object]) -> None:
        self.deeds.append("end")
        self._emulator.spindown(self._one())
        self.invoke(event)

    def _kill_at_work(self, event: dict[str, object]) -> None:
        """Kills an instance while it works on an event, which half of the time is not delivered again."""
        self.deeds.append("kill at work")
        worker, running = self._working(event)
        if running is not None:
            self._emulator.kill(running.instance)
        worker.join(PATIENCE)
        if self._chance.random() < 0.5:
            self.invoke(event)

    def _stop_at_work(self, event: dict[str, object]) -> None:
        """Stops an instance in the middle of an invocation; another one goes on if the function may have one."""
        worker, running = self._working(event)
        if running is None or running.pid is None or not self._stop(running.pid):
            worker.join(PATIENCE)
            return
        self.deeds.append("stop")
        self._stopped.append((running.pid, worker))
        if len(self._stopped) > 1 or self._instances < 2:
            self.calm_down()

    def _stop(self, pid: int) -> bool:
        """Stops a process, but not while it holds the lock of a bucket in a directory: no client of S3 holds up the others."""
        while _signal(pid, signal.SIGSTOP):
            threading.Event().wait(0.01)  # until it has really stopped
            if not (isinstance(self._bucket, DirectoryBucket) and self._bucket.is_locked()):
                return True
            _signal(pid, signal.SIGCONT)
        return False

    def _working(self, event: dict[str, object]) -> tuple[threading.Thread, Instance | None]:
        worker = threading.Thread(target=self.invoke, args=(event,))
        worker.start()
        threading.Event().wait(self._chance.uniform(0, 0.03))
        running = [instance for instance in self._emulator.ps(self._function) if instance.state == "running"]
        return worker, running[0] if running else None

    def _one(self) -> str | None:
        idle = [
            instance.instance for instance in self._emulator.ps(self._function) if instance.state in {"idle", "frozen"}
        ]
        return self._chance.choice(idle) if idle else None


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
