"""How long work reports how far it is and which step comes next, without knowing who listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Called as ``progress(stage, done, total)``; `total` is None where it is not known."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Take note that `done` of `total` of a stage's units are done."""
        ...


def silent(stage: str, done: int, total: int | None) -> None:
    """Report to nobody."""


class Checkpoint(Protocol):
    """Called as ``checkpoint(step)`` before a job takes its next step.

    Whoever listens may end the job there, by an exception or by killing the process: what was finished is
    kept, and the same job started again goes on with the step. A test of what a kill leaves behind needs no
    other way in.
    """

    def __call__(self, step: str) -> None:
        """Take note that `step` comes next; the job says which steps it has."""
        ...


def no_checkpoint(step: str) -> None:
    """Let every step be taken."""


@dataclass
class _Stage:
    """What was done before, when that was, and what is done now."""

    first: int
    since: float
    done: int
    total: int | None


class ProgressLines:
    """A line now and then for where there is no terminal: a log file, `ray job logs`.

    Each line tells of the stages that reported since the one before: what is done, at which rate since the
    stage began here, and how long the rest takes at that rate. Work that is over before the first line is
    due prints nothing.

    Parameters
    ----------
    write : (line) -> None
    every_s : float
        Least seconds between lines.
    clock : () -> seconds
        Of any start, never going back.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        every_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._every_s = every_s
        self._clock = clock
        self._last = clock()
        self._stages: dict[str, _Stage] = {}
        self._told: dict[str, _Stage] = {}

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Take note, and write a line when one is due."""
        now = self._clock()
        held = self._stages.get(stage)
        if held is None or done < held.done:  # a stage that each bucket goes through begins anew
            held = self._stages[stage] = _Stage(done, now, done, total)
        held.done, held.total = done, total
        self._told[stage] = held
        if now - self._last >= self._every_s:
            self._write("; ".join(_told(name, found, now) for name, found in self._told.items()))
            self._last, self._told = now, {}


def _told(name: str, stage: _Stage, now: float) -> str:
    of = f" of {stage.total:,}" if stage.total is not None else ""
    text = f"{name}: {stage.done:,}{of}"
    passed, more = now - stage.since, stage.done - stage.first
    if passed <= 0 or more <= 0:
        return text
    rate = more / passed
    text += f", {rate:,.0f}/s" if rate >= 10 else f", {rate:.2g}/s"
    if stage.total is None:
        return text
    return f"{text}, {span((stage.total - stage.done) / rate)} left"


def span(seconds: float) -> str:
    """Write a time in the unit that suits it, for instance `48 s`, `5 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
