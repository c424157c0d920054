"""When prompts are sent within a day: people in bursts by the hour, programs steadily."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]

DAY_SECONDS = 86_400.0
_MARGIN = 30.0

#: Relative activity of a population by local hour: a dip at night, peaks before noon and in the evening.
_HOURLY = np.array(
    [2, 1, 1, 1, 1, 2, 4, 7, 10, 12, 12, 11, 9, 10, 11, 11, 10, 9, 8, 9, 10, 9, 6, 4], dtype=float
)


def _within(seconds: Seconds) -> Seconds:
    """Fold what falls outside the day back into it, in order of time."""
    width = DAY_SECONDS - 2 * _MARGIN
    return np.sort(_MARGIN + np.mod(seconds - _MARGIN, width))


def steady(count: int, rng: np.random.Generator) -> Seconds:
    """Day and night at an even rate, each gap jittered; sorted seconds `(count,)`."""
    gaps = rng.gamma(6.0, 1.0, count + 1)
    at: Seconds = _MARGIN + (DAY_SECONDS - 2 * _MARGIN) * np.cumsum(gaps[:-1]) / gaps.sum()
    return at


def by_the_hour(count: int, rng: np.random.Generator, *, zone: float) -> Seconds:
    """Requests of a population whose clocks are `zone` hours ahead of UTC; sorted seconds `(count,)`."""
    hours = rng.choice(24, size=count, p=_HOURLY / _HOURLY.sum()) + rng.random(count)
    return _within((hours - zone) * 3600)


def one_run(count: int, rng: np.random.Generator) -> Seconds:
    """Send everything in one stretch of one to six hours; sorted seconds `(count,)`."""
    length = rng.uniform(1.0, 6.0) * 3600
    start = rng.uniform(_MARGIN, DAY_SECONDS - _MARGIN - length)
    gaps = rng.gamma(2.0, 1.0, count + 1)
    at: Seconds = start + length * np.cumsum(gaps[:-1]) / gaps.sum()
    return at


def sittings(sizes: NDArray[np.int64], rng: np.random.Generator, *, zone: float) -> list[Seconds]:
    """Times of each sitting of a person: start by the hour, then minutes between turns.

    Parameters
    ----------
    sizes
        Prompts of each sitting, `(s,)`.
    zone
        Hours that the person's clock is ahead of UTC.

    Returns
    -------
    list of arrays
        One sorted array of seconds a sitting, all within the day; sittings in order of start.
    """
    starts = by_the_hour(len(sizes), rng, zone=zone)
    times = []
    for start, size in zip(starts, sizes, strict=True):
        gaps = rng.lognormal(np.log(70.0), 0.9, int(size))
        at = np.cumsum(gaps)
        room = DAY_SECONDS - _MARGIN - start
        times.append(start + at * min(1.0, 0.99 * room / at[-1]))
    return times
