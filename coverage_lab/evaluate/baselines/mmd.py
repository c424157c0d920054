"""MMD: whether an account's prompts are a draw of ordinary traffic, by the distance of kernel means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.account_vectors import each_account
from coverage_lab.evaluate.baselines.baseline import Sample, Score
from coverage_lab.evaluate.baselines.ordinary import ordinary_vectors

#: Widths of the kernels in multiples of the median distance, each twice the one before, as `_sums` needs.
MULTIPLES = (0.5, 1.0, 2.0, 4.0)
#: Benign prompts whose distances give the median, as published.
MEDIAN_OF = 2000
_TILE = 1024


@dataclass(frozen=True)
class Mmd:
    """Unbiased MMD² between an account and ordinary traffic.

    Formula: ``mean k(x_i, x_j) over i ≠ j + mean k(y_i, y_j) over i ≠ j − 2 mean k(x_i, y_j)``,
    ``k(x, y) = Σ_b exp(−|x − y|²/2σ_b²)/4``, σ_b = ½, 1, 2 and 4 times the median distance of benign prompts

    The paper draws 20 references of the window's own size, averages over them, and sets its threshold by
    pairs of benign windows. Here one reference serves all accounts, and thresholds are the benchmark's. An
    account of more than `most` prompts is thinned to `most` (see `account_vectors.drawn_rows`), for time: its
    power is that of a window of `most`.

    Parameters
    ----------
    reference : int
        Prompts of benign training accounts that stand for ordinary traffic, each account by its weight.
    most : int, optional
        Prompts of an account that are used; all where None.

    Notes
    -----
    Range: 0 on average for ordinary traffic, a little below to 2; higher = more like harvesting. 0 for fewer
    than 2 prompts. Values are summed from float32 kernels: the error is below 3e-6.

    References
    ----------
    .. [1] arXiv 2606.05725 and its code; Gretton et al. (2012), JMLR 13:723, eq. 3.
    """

    reference: int = 1500
    most: int | None = 500
    name: str = "MMD"

    def fit(self, train: Sample, *, seed: int) -> Score:
        """Return the score against `train`'s benign traffic; `seed` draws the reference, thins accounts."""
        width = median_distance(ordinary_vectors(train, MEDIAN_OF, seed=seed))
        reference = ordinary_vectors(train, self.reference, seed=seed + 1)
        within = _mean_within(reference, width)
        return lambda sample: _scores(sample, reference, within, width, self.most, seed)


def median_distance(vectors: NDArray[np.float32]) -> float:
    """Return the median Euclidean distance between different rows that are not the same; 1 if all are."""
    squares = _square_distances(vectors, vectors)[np.triu_indices(len(vectors), 1)]
    apart = squares[squares > 0]
    return float(np.sqrt(np.median(apart))) if apart.size else 1.0


def _scores(
    sample: Sample,
    reference: NDArray[np.float32],
    within: float,
    width: float,
    most: int | None,
    seed: int,
) -> NDArray[np.float64]:
    scores = np.zeros(len(sample.rows))
    for account, own in each_account(sample, most=most, seed=seed):
        if len(own) > 1:
            across = _mean_across(own, reference, width)
            scores[account] = _mean_within(own, width) + within - 2 * across
    return scores


def _mean_across(own: NDArray[np.float32], reference: NDArray[np.float32], width: float) -> float:
    tiles = (own[top : top + _TILE] for top in range(0, len(own), _TILE))
    total = sum(_sums(_square_distances(tile, reference), width)[0] for tile in tiles)
    return total / (len(own) * len(reference))


def _mean_within(vectors: NDArray[np.float32], width: float) -> float:
    n = len(vectors)
    total = 0.0
    for top in range(0, n, _TILE):
        rows = vectors[top : top + _TILE]
        block, diagonal = _sums(_square_distances(rows, vectors), width, top)
        total += block - diagonal
    return total / (n * (n - 1))


def _square_distances(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    squares: NDArray[np.float32] = x @ y.T
    squares *= -2
    squares += np.einsum("nd,nd->n", x, x)[:, None]
    squares += np.einsum("nd,nd->n", y, y)
    return np.maximum(squares, 0, out=squares)


def _sums(squares: NDArray[np.float32], width: float, top: int = 0) -> tuple[float, float]:
    """Return the sum of k over all entries, and over the diagonal from column `top`; `squares` is used up.

    A kernel of half the width is the fourth power of the wider one: one exponential makes all four.
    """
    values = squares
    values *= np.float32(-0.5 / (MULTIPLES[-1] * width) ** 2)
    np.exp(values, out=values)
    everything, diagonal = 0.0, 0.0
    for narrower in range(len(MULTIPLES)):
        if narrower:
            np.square(values, out=values)
            np.square(values, out=values)
        everything += float(values.sum())
        diagonal += float(values.trace(top))
    return everything / len(MULTIPLES), diagonal / len(MULTIPLES)
