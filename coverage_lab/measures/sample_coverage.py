"""How much of what an account sends has been seen already, from the cells that it reached once or twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.ragged import checked_segments, ratio, segment_sum


def good_coverage(counts: NDArray[np.integer], offsets: ArrayLike) -> NDArray[np.float64]:
    """Return Good's estimate of the share of the account's own distribution that it has already reached.

    Formula: ``1 − f₁/n``

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.

    Returns
    -------
    float64 (accounts,)
        NaN for fewer than 2 prompts.

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above.

    Notes
    -----
    Range: 0 (every prompt on new ground) to 1 (no cell reached only once).

    References
    ----------
    .. [1] Good (1953), Biometrika 40:237.
    """
    prompts, once, _ = _abundances(*checked_segments(counts, offsets, name="counts", least=1))
    return np.where(prompts < 2, np.nan, 1 - ratio(once, prompts))


def sample_coverage(counts: NDArray[np.integer], offsets: ArrayLike) -> NDArray[np.float64]:
    """Return Chao and Jost's estimate of the share of the account's own distribution already reached.

    Formula: ``1 − (f₁/n) · A``, with ``A = (n−1) f₁ / [(n−1) f₁ + 2 f₂]`` where f₂ > 0,
    ``A = (n−1)(f₁−1) / [(n−1)(f₁−1) + 2]`` where f₂ = 0

    Less biased than `good_coverage` for few prompts. The form for f₂ = 0 is that of the R package iNEXT
    (`Chat.Ind`); with it, an account that never returned to a cell has a coverage just above 0.

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.

    Returns
    -------
    float64 (accounts,)
        NaN for fewer than 2 prompts.

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above.

    Notes
    -----
    Range: above 0 (every prompt on new ground) to 1 (nothing left to reach).

    Columns: `sample_coverage`

    References
    ----------
    .. [1] Chao and Jost (2012), Ecology 93:2533.
    """
    return _sample_coverage(*_abundances(*checked_segments(counts, offsets, name="counts", least=1)))


def _sample_coverage(
    prompts: NDArray[np.float64], once: NDArray[np.float64], twice: NDArray[np.float64]
) -> NDArray[np.float64]:
    unseen = np.where(twice > 0, (prompts - 1) * once, (prompts - 1) * (once - 1))
    unseen = np.where(once > 0, unseen, 0)
    share = ratio(unseen, unseen + 2 * np.maximum(twice, 1))
    return np.where(prompts < 2, np.nan, 1 - ratio(once, prompts) * share)


def new_slope(counts: NDArray[np.integer], offsets: ArrayLike) -> NDArray[np.float64]:
    """Return the share of the reached cells that were reached exactly once.

    Formula: ``f₁ / K``

    It estimates the local slope of ln D(n) in ln n (Heaps' exponent).

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.

    Returns
    -------
    float64 (accounts,)
        NaN for an empty account.

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above.

    Notes
    -----
    Range: 0 (growth has stopped) to 1 (every prompt on new ground).

    Columns: `new_slope`

    References
    ----------
    .. [1] The expected next gain f₁/n (Good 1953) over the mean gain K/n; arXiv 2601.11216.
    """
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    return ratio(segment_sum(checked == 1, cut), np.diff(cut).astype(np.float64))


def _abundances(
    counts: NDArray[np.int64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return n, f₁ and f₂ of every account."""
    return (
        segment_sum(counts, offsets),
        segment_sum(counts == 1, offsets),
        segment_sum(counts == 2, offsets),
    )
