"""How prompts lie in time: the gaps between them, and the hours of the day."""

from __future__ import annotations

import numpy as np
from coverage_kernels.ragged import checked_offsets
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.hill import hill_number
from coverage_lab.measures.ragged import segment_ids, segment_sum

_SECOND = 1_000_000
_HOUR = 3_600 * _SECOND
_HOURS = 24


def burstiness(times: NDArray[np.integer], offsets: ArrayLike) -> NDArray[np.float64]:
    """Return how irregular the gaps between an account's prompts are.

    Formula: ``(σ − μ)/(σ + μ)``, with μ the mean and σ the standard deviation of the gaps
    ``t_i − t_{i−1}``

    Parameters
    ----------
    times : int (n,)
        When each prompt was sent, in microseconds, in time order within each account.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.

    Returns
    -------
    float64 (accounts,)
        NaN for fewer than 3 prompts, and where all were sent at one moment.

    Raises
    ------
    ValueError
        `times` or `offsets` are not as above.

    Notes
    -----
    Range: −1 (like a clock) to 1, 0 as at random moments; above 0 bursts with pauses, as people work. A
    night's pause alone makes it rise.

    Columns: `burstiness`

    References
    ----------
    .. [1] Goh and Barabási (2008), EPL 81:48002.
    """
    times, cut = _checked_times(times, offsets)
    gap_cut = np.concatenate([[0], np.cumsum(np.maximum(np.diff(cut) - 1, 0))]).astype(np.int64)
    account = segment_ids(cut)
    within = account[1:] == account[:-1]
    gaps = (times[1:] - times[:-1])[within] / _SECOND
    if (gaps < 0).any():
        raise ValueError("times: expected each account's prompts in time order")
    count = np.diff(gap_cut).astype(np.float64)
    many = np.where(count >= 2, count, np.nan)
    mean = segment_sum(gaps, gap_cut) / many
    spread = np.sqrt(segment_sum((gaps - np.repeat(mean, np.diff(gap_cut))) ** 2, gap_cut) / many)
    answer: NDArray[np.float64] = np.full(mean.shape, np.nan)
    np.divide(spread - mean, spread + mean, out=answer, where=mean > 0)
    return answer


def hours_used(times: NDArray[np.integer], offsets: ArrayLike) -> NDArray[np.float64]:
    """Return the number of equally used hours of the day that is as diverse as the account's use of them.

    Formula: ``exp(−Σ_h p_h ln p_h)``, ``p_h`` the share of prompts in hour h of the day, UTC

    Parameters
    ----------
    times : int (n,)
        When each prompt was sent, in microseconds since 1970.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.

    Returns
    -------
    float64 (accounts,)
        NaN for an empty account.

    Raises
    ------
    ValueError
        `times` or `offsets` are not as above.

    Notes
    -----
    Range: 1 (always the same hour) to 24 (round the clock). Which hours they are is not told: that would tell
    where an account is.

    Columns: `hours_used`

    References
    ----------
    .. [1] Hill (1973), Ecology 54:427: the Hill number of order 1 of the hours.
    """
    times, cut = _checked_times(times, offsets)
    accounts = cut.size - 1
    slot = segment_ids(cut) * _HOURS + times // _HOUR % _HOURS
    counts = np.bincount(slot, minlength=accounts * _HOURS)
    used = np.flatnonzero(counts)
    return hill_number(counts[used], np.searchsorted(used, np.arange(accounts + 1) * _HOURS), q=1)


def _checked_times(
    times: NDArray[np.integer], offsets: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if times.ndim != 1 or not np.issubdtype(times.dtype, np.integer):
        raise ValueError(f"times: expected integers of shape (n,), got {times.dtype} of {times.shape}")
    return times.astype(np.int64, copy=False), checked_offsets(offsets, times.size)
