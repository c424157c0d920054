"""How many directions an account's prompts spread over, from the eigenvalues of their similarities.

The n × n matrix of cosines and the d × d Gram matrix ``G = Σ x xᵀ`` share all eigenvalues above 0, and G adds
over days and shards. With λ the eigenvalues over their sum n, the measures are Hill numbers of λ: 1 where all
prompts point one way, n (at most d) where they are all orthogonal.

One edge policy for the family: an account without prompts gives NaN; one prompt has one direction; what pairs
of prompts define is NaN for fewer than 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.ragged import ratio
from coverage_lab.measures.vector_rows import (
    checked_units,
    checked_vectors,
    equal_lengths,
    row_blocks,
)

#: A Gram matrix may differ from its transpose by this share of its trace.
_SYMMETRY = 1e-9


def random_projection(d: int, p: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Return a matrix that takes vectors of length d to length p and keeps cosines on average.

    Parameters
    ----------
    d, p : int
        1 and up. The error of a cosine is about ``1/√p``.
    seed : int
        The same seed gives the same matrix.

    Returns
    -------
    float64 (d, p)
        Independent normal numbers of variance ``1/p``.

    Raises
    ------
    ValueError
        `d` or `p` is below 1.

    References
    ----------
    .. [1] Johnson and Lindenstrauss (1984), Contemporary Mathematics 26:189.
    """
    if d < 1 or p < 1:
        raise ValueError(f"d and p: expected 1 or more, got {d} and {p}")
    matrix = np.random.default_rng(seed).standard_normal((d, p))
    matrix /= np.sqrt(p)
    return matrix


def gram(
    vectors: NDArray[np.floating], offsets: ArrayLike, *, projection: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Return the Gram matrix of each account's unit vectors: the state that the spectrum is read from.

    Formula: ``G = Σ_i x_i x_iᵀ``, after ``x_i ← Pᵀx_i / |Pᵀx_i|`` where a projection P is given

    Gram matrices of two days or shards add. Rows are scaled to norm 1 in float64, so that the trace is the
    number of prompts. Memory is ``8 accounts · d²`` bytes: 1.2 MB an account for d = 384. A projection to
    p = 32 bounds it at 8 kB; the measures are then those of the projected vectors (at most p directions, and
    ``1/p`` of squared cosine by chance), comparable only under the same projection.

    Parameters
    ----------
    vectors : float (n, d)
        Unit rows, in any order within each account.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.
    projection : float (d, p), optional
        As `random_projection` gives it, or the leading directions of ordinary traffic.

    Returns
    -------
    float64 (accounts, d, d), or (accounts, p, p)
        Symmetric; 0 for an empty account.

    Raises
    ------
    ValueError
        A row is not of norm 1, the projection is of another size or maps a row to 0, or the arrays do not fit
        together.

    Notes
    -----
    Range: each entry −n to n.

    References
    ----------
    .. [1] Sums of outer products as the state of order-2 diversity: Jalali, Li and Farnia (2023), NeurIPS 36
       (RKE).
    """
    checked, cut = checked_units(vectors, offsets)
    if projection is not None:
        checked_vectors(projection, name="projection")
        if len(projection) != checked.shape[1]:
            raise ValueError(f"projection: expected {checked.shape[1]} rows, got {len(projection)}")
    return _gram(checked, cut, projection)


def _gram(
    vectors: NDArray[np.floating], offsets: NDArray[np.int64], projection: NDArray[np.floating] | None
) -> NDArray[np.float64]:
    width = vectors.shape[1] if projection is None else projection.shape[1]
    total = np.zeros((offsets.size - 1, width, width))
    for accounts, length in equal_lengths(offsets, vectors.shape[1]):
        total[accounts] = _group_gram(vectors, offsets[accounts], length, projection)
    return total


def _group_gram(
    vectors: NDArray[np.floating],
    starts: NDArray[np.int64],
    length: int,
    projection: NDArray[np.floating] | None,
) -> NDArray[np.float64]:
    width = vectors.shape[1] if projection is None else projection.shape[1]
    total = np.zeros((starts.size, width, width))
    # One account longer than a block is taken in parts.
    for part in row_blocks(length, starts.size * vectors.shape[1]):
        rows = _units(vectors[starts[:, None] + np.arange(part.start, part.stop)], projection)
        total += rows.transpose(0, 2, 1) @ rows
    return total


def _units(rows: NDArray[np.floating], projection: NDArray[np.floating] | None) -> NDArray[np.float64]:
    scaled = rows.astype(np.float64)
    if projection is not None:
        scaled = scaled @ projection.astype(np.float64)
    norms = np.linalg.norm(scaled, axis=-1, keepdims=True)
    if not np.all(norms > 0):
        raise ValueError("projection: expected no row to be mapped to 0, got one that is")
    unit: NDArray[np.float64] = scaled / norms
    return unit


def vendi(vectors: NDArray[np.floating], offsets: ArrayLike, *, order: float = 1.0) -> NDArray[np.float64]:
    """Return the effective number of directions of each account's prompts, from the vectors.

    Formula: ``(Σ λ^q)^{1/(1−q)}``; ``exp(−Σ λ ln λ)`` at q = 1, ``1/max λ`` at q = ∞, ``#{λ > 0}`` at q = 0;
    λ the eigenvalues of ``X Xᵀ / n``

    Order 1 is the Vendi score and the effective rank of X Xᵀ. Below about 20,000 prompts it still grows with
    n: compare accounts of like n. The smaller of the n × n and d × d matrices is taken apart.

    Parameters
    ----------
    vectors : float (n, d)
        Unit rows, in any order within each account.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.
    order : float
        q, 0 and up, ∞ too: the higher, the less rare directions count.

    Returns
    -------
    float64 (accounts,)
        NaN for an empty account.

    Raises
    ------
    ValueError
        A row is not of norm 1, `order` is negative or NaN, or the arrays do not fit together.

    Notes
    -----
    Range: 1 (all prompts alike) to min(n, d); higher = broader.

    References
    ----------
    .. [1] Friedman and Dieng (2023), TMLR; of any order: Pasarkar and Dieng (2024), AISTATS. Effective rank:
       Roy and Vetterli (2007), EUSIPCO.
    """
    checked, cut = checked_units(vectors, offsets)
    _check_order(order)
    return _vendi(checked, cut, order)


def _vendi(vectors: NDArray[np.floating], offsets: NDArray[np.int64], order: float) -> NDArray[np.float64]:
    directions = np.full(offsets.size - 1, np.nan)
    for accounts, length in equal_lengths(offsets, vectors.shape[1]):
        starts = offsets[accounts]
        if length < vectors.shape[1]:
            rows = _units(vectors[starts[:, None] + np.arange(length)], None)
            similarity = rows @ rows.transpose(0, 2, 1)
        else:
            similarity = _group_gram(vectors, starts, length, None)
        directions[accounts] = _hill(similarity, order)
    return directions


def gram_vendi(gram: NDArray[np.floating], *, order: float = 1.0) -> NDArray[np.float64]:
    """Return the effective number of directions of each account's prompts, from its Gram matrix.

    Formula: as `vendi`, λ the eigenvalues of ``G / tr G``

    Parameters
    ----------
    gram : float (accounts, d, d)
        As `gram` gives it, or sums of such.
    order : float
        q, 0 and up, ∞ too.

    Returns
    -------
    float64 (accounts,)
        NaN for an empty account (G = 0).

    Raises
    ------
    ValueError
        `gram` is not a stack of symmetric matrices of finite numbers, or `order` is negative or NaN.

    Notes
    -----
    Range: 1 (all prompts alike) to min(n, d); higher = broader.

    References
    ----------
    .. [1] Friedman and Dieng (2023), TMLR; of any order: Pasarkar and Dieng (2024), AISTATS.
    """
    checked = _checked_gram(gram)
    _check_order(order)
    return _hill(checked, order)


def _hill(similarity: NDArray[np.float64], order: float) -> NDArray[np.float64]:
    """Return the Hill number of the eigenvalues of each matrix; NaN where the trace is 0."""
    weight = np.maximum(np.linalg.eigvalsh(similarity), 0)
    largest = weight.max(axis=1, keepdims=True)
    # What rounding leaves of a zero eigenvalue would count as a direction of its own at low orders.
    noise = largest * weight.shape[1] * np.finfo(np.float64).eps
    positive = weight > noise
    # Relative to the largest, so that no power of a high order underflows to nothing.
    relative = np.where(positive, weight, 0) / np.where(largest > 0, largest, 1)
    logs = np.log(np.where(positive, relative, 1))
    total = relative.sum(axis=1)
    empty = total == 0
    log_largest = -np.log(np.where(empty, 1, total))
    if order == np.inf:
        log_directions = -log_largest
    elif order == 1:
        log_directions = -ratio((relative * logs).sum(axis=1), total) - log_largest
    else:
        sums = (positive * np.exp(order * logs)).sum(axis=1)
        log_directions = (order * log_largest + np.log(np.where(empty, 1, sums))) / (1 - order)
    return np.where(empty, np.nan, np.exp(log_directions))


def rke(gram: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the order-2 number of directions, as it is and without the pairs of a prompt with itself.

    Formula: ``n² / ‖G‖²_F`` and ``n(n−1) / (‖G‖²_F − n)``, n = tr G

    ``‖G‖²_F`` is the sum of squared cosines over all pairs. The first counts each prompt's cosine with itself
    and so can't exceed n; the second is 1 over the mean squared cosine of two different prompts, whose
    expectation is that of two draws for every n. It needs no eigenvalues and converges long before order 1.

    Parameters
    ----------
    gram : float (accounts, d, d)
        As `gram` gives it, or sums of such.

    Returns
    -------
    rke : float64 (accounts,)
        NaN for an empty account.
    rke_unbiased : float64 (accounts,)
        NaN for fewer than 2 prompts; ∞ where all prompts are orthogonal.

    Raises
    ------
    ValueError
        `gram` is not a stack of symmetric matrices of finite numbers.

    Notes
    -----
    Range: first 1 (all prompts alike) to min(n, d), second 1 to ∞; higher = broader.

    References
    ----------
    .. [1] Jalali, Li and Farnia (2023), NeurIPS 36; without the diagonal, the U-statistic of Hoeffding
       (1948).
    """
    return _rke(_checked_gram(gram))


def _rke(gram: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    prompts = np.trace(gram, axis1=1, axis2=2)
    squares = np.einsum("aij,aij->a", gram, gram)
    pairs = prompts * (prompts - 1)
    shared = squares - prompts
    # n orthogonal prompts leave a rest of some ulps of n, on either side of 0.
    orthogonal = shared <= 8 * np.finfo(np.float64).eps * squares
    several = np.rint(prompts) > 1
    unbiased = np.where(several & orthogonal, np.inf, ratio(pairs, shared))
    return ratio(prompts**2, squares), np.where(several, unbiased, np.nan)


def _check_order(order: float) -> None:
    if not order >= 0:
        raise ValueError(f"order: expected 0 or more, got {order}")


def _checked_gram(gram: NDArray[np.floating]) -> NDArray[np.float64]:
    square = gram.ndim == 3 and gram.shape[1] == gram.shape[2] > 0
    if not square or not np.issubdtype(gram.dtype, np.floating):
        raise ValueError(
            f"gram: expected floats of shape (accounts, d, d), got {gram.dtype} of shape {gram.shape}"
        )
    checked = gram.astype(np.float64, copy=False)
    if not np.all(np.isfinite(checked)):
        raise ValueError("gram: expected finite numbers, got NaN or infinity")
    trace = np.trace(checked, axis1=1, axis2=2)
    skew = np.abs(checked - checked.transpose(0, 2, 1)).max(axis=(1, 2))
    if not np.all(skew <= _SYMMETRY * trace):
        raise ValueError("gram: expected symmetric matrices with a trace of 0 and up, got another")
    return checked
