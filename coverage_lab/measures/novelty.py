"""How unlike an account's earlier prompts each of its prompts is."""

from __future__ import annotations

import numpy as np
from coverage_kernels.causal_novelty import causal_novelty
from coverage_kernels.ragged import checked_offsets
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.ragged import ratio, segment_ids, segment_sum

#: Novelty below this is a near repeat.
LOW_NOVELTY = 0.1


def novelty(
    vectors: NDArray[np.floating], offsets: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return 1 − the largest cosine of each prompt to an earlier prompt of the same account.

    Formula: ``1 − max over j < i of x_j · x_i``

    Parameters
    ----------
    vectors : float16, float32 or float64 (n, d)
        Unit rows, in time order within each account.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.

    Returns
    -------
    novelty : float32 (n,)
        NaN for the first prompt of an account.
    nearest : int64 (n,)
        Row of the most similar earlier prompt, the earliest of equals; −1 for the first of an account.

    Raises
    ------
    ValueError
        A row is not of norm 1 (NaN and zero rows are not), or the arrays do not fit together.

    Notes
    -----
    Range: 0 (seen before) to 2 (opposite to all before).

    References
    ----------
    .. [1] This project, `coverage_kernels/causal_novelty`.
    """
    # The job's numbers stay on the path whose tests have run: the Triton path has met no GPU yet.
    return causal_novelty(vectors, offsets, backend="cpu")


def novelty_summary(
    novelty: NDArray[np.floating], offsets: ArrayLike, *, low: float = LOW_NOVELTY
) -> dict[str, NDArray[np.float64]]:
    """Return mean, 10th percentile, median and share of low novelty of every account.

    Formula: mean, linear quantiles and ``#{novelty < low} / #{novelty}`` of the account's novelties,
    without NaN

    Parameters
    ----------
    novelty : float (n,)
        As `novelty` gives it; NaN is left out.
    offsets : int (accounts + 1,)
        Account a has ``novelty[offsets[a]:offsets[a + 1]]``.
    low : float
        Novelty below this counts as low.

    Returns
    -------
    dict of float64 (accounts,)
        Keys `novelty_mean`, `novelty_p10`, `novelty_median`, `novelty_low_share`; NaN for fewer than 2
        prompts.

    Raises
    ------
    ValueError
        `novelty` is not one-dimensional, or `offsets` do not cut it.

    Notes
    -----
    Range: mean, p10 and median 0 (all repeats) to 2; share 0 (no near repeat) to 1.

    Columns: `novelty_mean`, `novelty_p10`, `novelty_median`, `novelty_low_share`

    References
    ----------
    .. [1] Quantiles are type 7 of Hyndman and Fan (1996), American Statistician 50:361.
    """
    if novelty.ndim != 1:
        raise ValueError(f"novelty: expected shape (n,), got shape {novelty.shape}")
    return _novelty_summary(novelty.astype(np.float64), checked_offsets(offsets, novelty.size), low)


def _novelty_summary(
    novelty: NDArray[np.float64], offsets: NDArray[np.int64], low: float
) -> dict[str, NDArray[np.float64]]:
    present = ~np.isnan(novelty)
    size = segment_sum(present, offsets)
    kept = novelty[present]
    ordered = kept[np.lexsort((kept, segment_ids(offsets)[present]))]
    starts = (np.cumsum(size) - size).astype(np.int64)
    return {
        "novelty_mean": ratio(segment_sum(np.where(present, novelty, 0), offsets), size),
        "novelty_p10": _quantile(ordered, starts, size, 0.1),
        "novelty_median": _quantile(ordered, starts, size, 0.5),
        "novelty_low_share": ratio(segment_sum(novelty < low, offsets), size),
    }


def _quantile(
    ordered: NDArray[np.float64], starts: NDArray[np.int64], size: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    quantile = np.full(size.shape, np.nan)
    filled = size > 0
    position = (size[filled] - 1) * share
    below = np.floor(position)
    at = starts[filled] + below.astype(np.int64)
    above = np.minimum(at + 1, starts[filled] + size[filled].astype(np.int64) - 1)
    quantile[filled] = ordered[at] + (position - below) * (ordered[above] - ordered[at])
    return quantile
