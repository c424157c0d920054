"""How fast an account's new ground runs out: the Pitman–Yor process that explains its counts best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from coverage_kernels.pitman_yor import ITERATIONS, CupyBackend
from coverage_kernels.pitman_yor import pitman_yor as fit
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.counts import _tally
from coverage_lab.measures.ragged import checked_segments


@dataclass(frozen=True, eq=False)
class PitmanYor:
    """Maximum-likelihood Pitman–Yor processes, one row an account.

    Attributes
    ----------
    discount : float64 (accounts,)
        d, −∞ to 1. Above 0: new cells without end, as n^d. 0: as ln n. Below 0: M cells in all, the more
        alike the lower; −∞: uniform draws from M cells.
    concentration : float64 (accounts,)
        θ, above −d; ∞ where d = −∞.
    support : float64 (accounts,)
        M = −θ/d, K and up, not rounded to a whole number; ∞ where d ≥ 0.
    log_likelihood : float64 (accounts,)
        Of the partition of the prompts into cells, 0 or less.
    discount_se, concentration_se : float64 (accounts,)
        Standard errors by the observed information; NaN where the maximum is at a boundary (d = −∞, or
        M = K).
    new_chance : float64 (accounts,)
        Chance that the next prompt is in a new cell, ``(θ + K d)/(θ + n)``, 0 to 1.
    converged : bool (accounts,)
        Whether the maximum (or the known limit) was reached.
    """

    discount: NDArray[np.float64]
    concentration: NDArray[np.float64]
    support: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    discount_se: NDArray[np.float64]
    concentration_se: NDArray[np.float64]
    new_chance: NDArray[np.float64]
    converged: NDArray[np.bool_]


def pitman_yor(
    counts: NDArray[np.integer],
    offsets: ArrayLike,
    *,
    iterations: int = ITERATIONS,
    backend: CupyBackend = "cpu",
) -> PitmanYor:
    """Return the Pitman–Yor discount and concentration under which the account's counts are likeliest.

    Formula: d and θ that maximise
    ``Σ_{0<i<K} ln(θ + i d) − [ln Γ(θ + n) − ln Γ(θ + 1)] + Σ_r f_r [ln Γ(r − d) − ln Γ(1 − d)]``
    over 0 ≤ d < 1, θ > −d and over d < 0, ``θ = M|d|``, M ≥ K (d = −∞: uniform over M cells)

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    iterations : int
        Newton steps at most, 1 or more; accounts that need more are not `converged`.
    backend : {'auto', 'cpu', 'cupy'}
        'cupy' needs CuPy and a CUDA device; 'auto' uses it where they are, and logs its choice once.

    Returns
    -------
    PitmanYor
        Fewer than 2 prompts: all NaN, not converged. One cell only, or no revisit at all: every value of
        d fits as well as the next, so d, θ and their errors are NaN; M, the likelihood and the chance of new
        ground are the limits (1, 0 and 0; ∞, 0 and 1).

    Raises
    ------
    ValueError
        An argument is not as above.
    RuntimeError
        'cupy' was asked for and can't run here.

    Notes
    -----
    Range: discount −∞ to 1, chance of new ground 0 to 1; high discount = new cells without end, below 0 = a
    limited ground that is swept the more evenly the lower. On uniform sweeps about half of the accounts come
    out at −∞, the others far below 0: a negative discount's size is not to be averaged.

    Columns: `discount` (held at −1)

    References
    ----------
    .. [1] Pitman and Yor (1997), Annals of Probability 25:855; the likelihood (EPPF) is Pitman (1995), PTRF
       102:145.
    """
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    columns = fit(*_tally(checked, cut), iterations=iterations, backend=backend)
    return PitmanYor(**columns._asdict())
