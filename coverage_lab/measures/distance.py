"""How far an account's prompts lie from ordinary traffic: by kernel means and by Mahalanobis distance.

What is kept of an account are plain sums over its prompts and their number; those of days and shards add.

One edge policy for the family: an account without prompts gives NaN, and what pairs of prompts define is NaN
for fewer than 2. Vectors need not be of norm 1, but must be finite; an ordinary traffic of fewer than 2
prompts is a mistake of the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from coverage_kernels.ragged import checked_offsets
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.ragged import ratio, segment_ids, segment_sum
from coverage_lab.measures.vector_rows import add_rows, checked_vectors, row_blocks

#: σ of the four kernels that are summed: ¼, ½, 1 and 2 times √2, the distance of two unrelated unit vectors.
BANDWIDTHS = (0.25 * 2**0.5, 0.5 * 2**0.5, 2**0.5, 2 * 2**0.5)
#: Random frequencies per bandwidth: 2 features each, 8 kB an account for the four bandwidths.
FREQUENCIES = 128


def fourier_frequencies(
    d: int, *, bandwidths: Sequence[float] = BANDWIDTHS, count: int = FREQUENCIES, seed: int = 0
) -> NDArray[np.float64]:
    """Return random frequencies whose waves make up Gaussian kernels of the given bandwidths.

    Parameters
    ----------
    d : int
        Length of a vector, 1 and up.
    bandwidths : sequence of float
        σ of each kernel ``exp(−|x − y|²/2σ²)``, above 0, in the units of the vectors.
    count : int
        Frequencies per bandwidth, 1 and up; the error of a kernel value is about ``1/√(2 count)``.
    seed : int
        The same seed gives the same frequencies.

    Returns
    -------
    float64 (bandwidths, d, count)
        Normal numbers of standard deviation 1/σ.

    Raises
    ------
    ValueError
        `d` or `count` is below 1, or a bandwidth is not above 0.

    References
    ----------
    .. [1] Rahimi and Recht (2007), NeurIPS 20.
    """
    if d < 1 or count < 1:
        raise ValueError(f"d and count: expected 1 or more, got {d} and {count}")
    widths = _checked_bandwidths(bandwidths)
    waves = np.random.default_rng(seed).standard_normal((widths.size, d, count))
    frequencies: NDArray[np.float64] = waves / widths[:, None, None]
    return frequencies


def feature_sums(
    vectors: NDArray[np.floating], offsets: ArrayLike, frequencies: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the sum of each account's random Fourier features: the state that `fourier_mmd` reads.

    Formula: ``S_b = Σ_i φ_b(x_i)``, ``φ_b(x) = [cos(W_bᵀx), sin(W_bᵀx)] / √count``

    Then ``φ_b(x) · φ_b(y)`` is the kernel of bandwidth b on average over W, and ``|φ_b(x)| = 1`` always: no
    sum of squared norms need be kept. Sums over days and shards add.

    Parameters
    ----------
    vectors : float (n, d)
        In any order within each account.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.
    frequencies : float (bandwidths, d, count)
        W, as `fourier_frequencies` gives them.

    Returns
    -------
    float64 (accounts, bandwidths, 2 count)
        0 for an empty account.

    Raises
    ------
    ValueError
        A vector is not finite, or the arrays do not fit together.

    Notes
    -----
    Range: each block of norm 0 to n.

    References
    ----------
    .. [1] Rahimi and Recht (2007), NeurIPS 20; cosine and sine of each frequency as in Sutherland and
       Schneider (2015), UAI, which has the lower variance for Gaussian kernels.
    """
    checked = checked_vectors(vectors)
    cut = checked_offsets(offsets, len(checked))
    if frequencies.ndim != 3 or frequencies.shape[1] != checked.shape[1] or frequencies.shape[2] == 0:
        raise ValueError(
            f"frequencies: expected shape (bandwidths, {checked.shape[1]}, count), got {frequencies.shape}"
        )
    return _feature_sums(checked, cut, frequencies.astype(np.float64, copy=False))


def _feature_sums(
    vectors: NDArray[np.floating], offsets: NDArray[np.int64], frequencies: NDArray[np.float64]
) -> NDArray[np.float64]:
    bandwidths, d, count = frequencies.shape
    flat = frequencies.transpose(1, 0, 2).reshape(d, bandwidths * count)
    cosines = np.zeros((offsets.size - 1, bandwidths * count))
    sines = np.zeros_like(cosines)
    segments = segment_ids(offsets)
    for rows in row_blocks(len(vectors), d + flat.shape[1]):
        phases = vectors[rows].astype(np.float64) @ flat
        add_rows(cosines, np.cos(phases), segments[rows])
        add_rows(sines, np.sin(phases), segments[rows])
    shape = (offsets.size - 1, bandwidths, count)
    both = np.concatenate([cosines.reshape(shape), sines.reshape(shape)], axis=2)
    both /= np.sqrt(count)
    return both


def fourier_mmd(
    sums: NDArray[np.floating],
    prompts: NDArray[np.integer],
    reference_sum: NDArray[np.floating],
    reference_prompts: int,
) -> NDArray[np.float64]:
    """Return the unbiased MMD² of each account to ordinary traffic, from sums of random Fourier features.

    Formula: ``(|S|² − nB)/(n(n−1)) + (|R|² − mB)/(m(m−1)) − 2 S · R/(nm)``, S and R the sums of the account
    and of ordinary traffic over all B bandwidths, n and m their prompts

    Its mean over the frequencies is `mmd`, exactly.

    Parameters
    ----------
    sums : float (accounts, bandwidths, 2 count)
        As `feature_sums` gives them, or sums of such.
    prompts : int (accounts,)
        n.
    reference_sum : float (bandwidths, 2 count)
        Sum over ordinary traffic, by the same frequencies.
    reference_prompts : int
        m, 2 and up.

    Returns
    -------
    float64 (accounts,)
        NaN for fewer than 2 prompts.

    Raises
    ------
    ValueError
        The arrays do not fit together, are not finite, or `reference_prompts` is below 2.

    Notes
    -----
    Range: 0 on average for ordinary traffic, from ``−B/(n−1) − B/(m−1)``; higher = further away.

    References
    ----------
    .. [1] Gretton et al. (2012), JMLR 13:723, lemma 6; for this use arXiv 2606.05725.
    """
    if sums.ndim != 3 or sums.shape[1:] != reference_sum.shape:
        raise ValueError(f"sums: expected shape (accounts, *{reference_sum.shape}), got {sums.shape}")
    if not (np.all(np.isfinite(sums)) and np.all(np.isfinite(reference_sum))):
        raise ValueError("sums and reference_sum: expected finite numbers, got NaN or infinity")
    counts = _checked_prompts(prompts, len(sums))
    if reference_prompts < 2:
        raise ValueError(f"reference_prompts: expected 2 or more, got {reference_prompts}")
    own, ordinary = sums.astype(np.float64, copy=False), reference_sum.astype(np.float64, copy=False)
    return _unbiased(
        np.einsum("abf,abf->a", own, own) - counts * sums.shape[1],
        np.einsum("abf,bf->a", own, ordinary),
        float((ordinary**2).sum()) - reference_prompts * sums.shape[1],
        counts,
        reference_prompts,
    )


def mmd(
    vectors: NDArray[np.floating],
    offsets: ArrayLike,
    reference: NDArray[np.floating],
    *,
    bandwidths: Sequence[float] = BANDWIDTHS,
    tile: int = 1024,
) -> NDArray[np.float64]:
    """Return the unbiased MMD² of each account to ordinary traffic, from all pairs of prompts.

    Formula: ``Σ_{i≠j} k(x_i, x_j)/(n(n−1)) + Σ_{i≠j} k(y_i, y_j)/(m(m−1)) − 2 Σ_{i,j} k(x_i, y_j)/(nm)``,
    ``k(x, y) = Σ_b exp(−|x − y|²/2σ_b²)``

    Quadratic in time; a sample of ordinary traffic of some thousand prompts is plenty.

    Parameters
    ----------
    vectors : float (n, d)
        x, in any order within each account.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.
    reference : float (m, d)
        y, ordinary traffic, 2 rows and up.
    bandwidths : sequence of float
        σ_b, above 0, in the units of the vectors.
    tile : int
        Rows and columns of the largest block of kernel values held at once.

    Returns
    -------
    float64 (accounts,)
        NaN for fewer than 2 prompts.

    Raises
    ------
    ValueError
        A vector is not finite, the arrays do not fit together, `reference` has fewer than 2 rows, a bandwidth
        is not above 0 or `tile` is below 1.

    Notes
    -----
    Range: 0 on average for ordinary traffic, from ``−B/(n−1) − B/(m−1)`` to 2B for B bandwidths; higher =
    further away.

    References
    ----------
    .. [1] Gretton et al. (2012), JMLR 13:723, eq. 3; for this use, with four bandwidths, arXiv 2606.05725
       (the widths are this project's).
    """
    checked = checked_vectors(vectors)
    cut = checked_offsets(offsets, len(checked))
    ordinary = checked_vectors(reference, name="reference")
    if len(ordinary) < 2 or ordinary.shape[1] != checked.shape[1]:
        raise ValueError(
            f"reference: expected 2 rows or more of length {checked.shape[1]}, got shape {ordinary.shape}"
        )
    if tile < 1:
        raise ValueError(f"tile: expected 1 or more, got {tile}")
    widths = _checked_bandwidths(bandwidths)
    whole = np.array([0, len(ordinary)])
    return _unbiased(
        _pair_sums(checked, cut, widths, tile),
        _cross_sums(checked, cut, ordinary, widths, tile),
        float(_pair_sums(ordinary, whole, widths, tile)[0]),
        np.diff(cut),
        len(ordinary),
    )


def _unbiased(
    within: NDArray[np.float64],
    across: NDArray[np.float64],
    reference_within: float,
    prompts: NDArray[np.int64],
    reference_prompts: int,
) -> NDArray[np.float64]:
    """Return MMD² from sums over ordered pairs of different prompts and over all pairs with the reference."""
    n, m = prompts.astype(np.float64), float(reference_prompts)
    own = ratio(within, n * (n - 1))
    return own + reference_within / (m * (m - 1)) - 2 * ratio(across, n * m)


def _pair_sums(
    vectors: NDArray[np.floating], offsets: NDArray[np.int64], widths: NDArray[np.float64], tile: int
) -> NDArray[np.float64]:
    sums = np.zeros(len(vectors))
    start = offsets[:-1][segment_ids(offsets)]
    for top in range(0, len(vectors), tile):
        row = np.arange(top, min(top + tile, len(vectors)))
        for left in range(int(start[top]), top + row.size, tile):
            column = np.arange(left, min(left + tile, top + row.size))
            earlier = (column >= start[row, None]) & (column < row[:, None])
            sums[row] += (_kernel(vectors[row], vectors[column], widths) * earlier).sum(axis=1)
    return 2 * segment_sum(sums, offsets)


def _cross_sums(
    vectors: NDArray[np.floating],
    offsets: NDArray[np.int64],
    reference: NDArray[np.floating],
    widths: NDArray[np.float64],
    tile: int,
) -> NDArray[np.float64]:
    sums = np.zeros(len(vectors))
    for top in range(0, len(vectors), tile):
        for left in range(0, len(reference), tile):
            block = _kernel(vectors[top : top + tile], reference[left : left + tile], widths)
            sums[top : top + tile] += block.sum(axis=1)
    return segment_sum(sums, offsets)


def _kernel(
    rows: NDArray[np.floating], columns: NDArray[np.floating], widths: NDArray[np.float64]
) -> NDArray[np.float64]:
    x, y = rows.astype(np.float64, copy=False), columns.astype(np.float64, copy=False)
    squares = np.einsum("nd,nd->n", x, x)[:, None] + np.einsum("nd,nd->n", y, y) - 2 * (x @ y.T)
    distance = np.maximum(squares, 0)
    value = np.zeros(distance.shape)
    for width in widths.tolist():
        value += np.exp(distance / (-2 * width**2))
    return value


def shrunk_covariance(
    vectors: NDArray[np.floating], *, shrinkage: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return mean and covariance of ordinary traffic, the covariance drawn towards a multiple of one.

    Formula: ``(1 − s) Ĉ + s (tr Ĉ/d) I``, ``Ĉ = Σ (x − x̄)(x − x̄)ᵀ/n``, ``s = min(β, δ)/δ`` with
    ``δ = |Ĉ − (tr Ĉ/d) I|²_F`` and ``β = [Σ |x − x̄|⁴/n − |Ĉ|²_F]/n``

    Parameters
    ----------
    vectors : float (n, d)
        2 rows and up.
    shrinkage : float, optional
        s, 0 to 1; the formula's where not given.

    Returns
    -------
    mean : float64 (d,)
    covariance : float64 (d, d)
        Positive definite for s above 0 and vectors that are not all the same.
    shrinkage : float
        The s that was used.

    Raises
    ------
    ValueError
        A vector is not finite, there are fewer than 2, or `shrinkage` is outside 0 to 1.

    Notes
    -----
    Range: s 0 (many prompts) to 1 (few).

    References
    ----------
    .. [1] Ledoit and Wolf (2004), J. Multivariate Analysis 88:365, lemmas 3.2 to 3.4.
    """
    checked = checked_vectors(vectors)
    if len(checked) < 2:
        raise ValueError(f"vectors: expected 2 rows or more, got {len(checked)}")
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage: expected 0 to 1, got {shrinkage}")
    return _shrunk_covariance(checked, shrinkage)


def _shrunk_covariance(
    vectors: NDArray[np.floating], shrinkage: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    # Here, not above: a run needs none of this, and the import takes a second.
    from sklearn import covariance as estimators

    rows = vectors.astype(np.float64)
    plain = estimators.empirical_covariance(rows)
    if shrinkage is None:
        # Rounding leaves rows that are all the same a hair outside.
        shrinkage = float(np.clip(estimators.ledoit_wolf_shrinkage(rows), 0, 1))
    return rows.mean(axis=0), estimators.shrunk_covariance(plain, shrinkage), shrinkage


def whitened_sums(
    vectors: NDArray[np.floating],
    offsets: ArrayLike,
    mean: NDArray[np.floating],
    covariance: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sums of each account's whitened vectors and of their squared norms: what `mahalanobis` reads.

    Formula: ``Σ_i z_i`` and ``Σ_i |z_i|²``, ``z = L⁻¹(x − μ)``, ``L Lᵀ = C``

    Sums over days and shards add, under one mean and covariance.

    Parameters
    ----------
    vectors : float (n, d)
        x, in any order within each account.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.
    mean : float (d,)
        μ of ordinary traffic.
    covariance : float (d, d)
        C of ordinary traffic, positive definite.

    Returns
    -------
    sums : float64 (accounts, d)
    squares : float64 (accounts,)
        Both 0 for an empty account.

    Raises
    ------
    ValueError
        A number is not finite, the covariance is not positive definite, or the arrays do not fit together.

    Notes
    -----
    Range: squares 0 and up, about n · d for ordinary traffic.

    References
    ----------
    .. [1] Mahalanobis (1936), Proc. National Institute of Sciences of India 2:49.
    """
    checked = checked_vectors(vectors)
    cut = checked_offsets(offsets, len(checked))
    d = checked.shape[1]
    if mean.shape != (d,) or not np.all(np.isfinite(mean)):
        raise ValueError(f"mean: expected finite numbers of shape ({d},), got shape {mean.shape}")
    if covariance.shape != (d, d) or not np.all(np.isfinite(covariance)):
        raise ValueError(f"covariance: expected finite numbers, shape ({d}, {d}), got {covariance.shape}")
    return _whitened_sums(checked, cut, mean.astype(np.float64), _whitening(covariance.astype(np.float64)))


def _whitening(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.allclose(covariance, covariance.T, rtol=0, atol=1e-9 * float(np.abs(covariance).max())):
        raise ValueError("covariance: expected a symmetric matrix, got another")
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ValueError("covariance: expected a positive definite matrix, got another") from None
    return np.linalg.inv(root).T


def _whitened_sums(
    vectors: NDArray[np.floating],
    offsets: NDArray[np.int64],
    mean: NDArray[np.float64],
    whitening: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sums = np.zeros((offsets.size - 1, mean.size))
    squares = np.zeros((offsets.size - 1, 1))
    segments = segment_ids(offsets)
    for rows in row_blocks(len(vectors), mean.size):
        white = (vectors[rows].astype(np.float64) - mean) @ whitening
        add_rows(sums, white, segments[rows])
        add_rows(squares, np.einsum("nd,nd->n", white, white)[:, None], segments[rows])
    return sums, squares[:, 0]


def mahalanobis(
    sums: NDArray[np.floating], squares: NDArray[np.floating], prompts: NDArray[np.integer]
) -> dict[str, NDArray[np.float64]]:
    """Return squared Mahalanobis distances to ordinary traffic: of the account's mean, and of its prompts.

    Formula: `mahalanobis_mean` = ``(x̄ − μ)ᵀC⁻¹(x̄ − μ)``; `mahalanobis_mean_unbiased` = the mean of
    ``(x_i − μ)ᵀC⁻¹(x_j − μ)`` over i ≠ j; `mahalanobis_prompts` = the mean of ``(x_i − μ)ᵀC⁻¹(x_i − μ)``

    The mean of n ordinary prompts is d/n away on average: `mahalanobis_mean` compares accounts of like n
    only, its unbiased form any. The prompts' own distance tells odd prompts, the mean's an odd selection.

    Parameters
    ----------
    sums : float (accounts, d)
        As `whitened_sums` gives them, or sums of such.
    squares : float (accounts,)
        The same.
    prompts : int (accounts,)
        n.

    Returns
    -------
    dict of float64 (accounts,)
        Keys `mahalanobis_mean`, `mahalanobis_mean_unbiased`, `mahalanobis_prompts`. NaN for an empty account;
        the unbiased one also for a single prompt.

    Raises
    ------
    ValueError
        The arrays do not fit together, or are not finite.

    Notes
    -----
    Range: 0 and up, higher = further away; the unbiased one any, 0 on average for ordinary traffic. Ordinary
    prompts are d away on average.

    References
    ----------
    .. [1] Mahalanobis (1936), Proc. National Institute of Sciences of India 2:49; without the diagonal, the
       U-statistic of Hoeffding (1948). Of the prompts, the marginal Mahalanobis baseline of arXiv 2606.05725.
    """
    if sums.ndim != 2 or squares.shape != (len(sums),):
        raise ValueError(
            f"sums and squares: expected shapes (accounts, d) and (accounts,), got {sums.shape} and "
            f"{squares.shape}"
        )
    if not (np.all(np.isfinite(sums)) and np.all(np.isfinite(squares))):
        raise ValueError("sums and squares: expected finite numbers, got NaN or infinity")
    n = _checked_prompts(prompts, len(sums)).astype(np.float64)
    own = squares.astype(np.float64, copy=False)
    both = np.einsum("ad,ad->a", sums, sums, dtype=np.float64)
    return {
        "mahalanobis_mean": ratio(both, n**2),
        "mahalanobis_mean_unbiased": ratio(both - own, n * (n - 1)),
        "mahalanobis_prompts": ratio(own, n),
    }


def _checked_bandwidths(bandwidths: Sequence[float]) -> NDArray[np.float64]:
    widths = np.asarray(bandwidths, dtype=np.float64)
    if widths.ndim != 1 or widths.size == 0 or not np.all((widths > 0) & (widths < np.inf)):
        raise ValueError(f"bandwidths: expected finite numbers above 0, got {list(bandwidths)}")
    return widths


def _checked_prompts(prompts: NDArray[np.integer], accounts: int) -> NDArray[np.int64]:
    if prompts.shape != (accounts,) or not np.issubdtype(prompts.dtype, np.integer):
        raise ValueError(
            f"prompts: expected integers of shape ({accounts},), got {prompts.dtype} of {prompts.shape}"
        )
    if prompts.size and prompts.min() < 0:
        raise ValueError(f"prompts: expected 0 or more, got {prompts.min()}")
    return prompts.astype(np.int64, copy=False)
