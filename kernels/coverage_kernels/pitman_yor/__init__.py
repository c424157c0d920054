"""Maximum-likelihood Pitman–Yor discount and concentration of many accounts."""

from __future__ import annotations

from numpy.typing import ArrayLike

from coverage_kernels.backends import CupyBackend, chosen
from coverage_kernels.pitman_yor import batched, gpu
from coverage_kernels.pitman_yor.batched import Fits
from coverage_kernels.ragged import checked_integers, checked_offsets
from coverage_kernels.tensors import Values, like

__all__ = ["ITERATIONS", "CupyBackend", "Fits", "pitman_yor"]

#: Newton steps at most. Simulated accounts of all shapes needed 35 at most and 4 on average.
ITERATIONS = 100


def pitman_yor(
    r: Values,
    frequency: Values,
    offsets: ArrayLike,
    *,
    iterations: int = ITERATIONS,
    backend: CupyBackend = "cpu",
) -> Fits[Values]:
    """Return the maximum-likelihood Pitman–Yor process of each account, on both branches.

    Formula: the maximum over d and θ of
    ``Σ_{0<i<K} ln(θ + i d) − Σ_{0<i<n} ln(θ + i) + Σ_r f_r Σ_{0<j<r} ln(j − d)``,
    with 0 ≤ d < 1 and θ > −d, or with d < 0 and θ = M|d| for real M ≥ K

    Parameters
    ----------
    r : int (k,)
        Distinct cell counts of each account, 1 and up.
    frequency : int (k,)
        f_r, how many cells have that count, 1 and up.
    offsets : int (accounts + 1,)
        Account a has rows ``offsets[a]:offsets[a + 1]`` of both.
    iterations : int
        Newton steps at most, 1 or more.
    backend : {'auto', 'cpu', 'cupy'}
        'cupy' needs CuPy and a CUDA device; 'auto' uses it where they are, and logs its choice once.

    Returns
    -------
    Fits
        Named columns, each (accounts,), float64 but for `converged`; arrays for arrays, tensors on the device
        of `r` for tensors:

        ``discount`` d: −∞ (uniform over M cells) to 1. ``concentration`` θ: above −d; ∞ where d = −∞.
        ``support`` M: K and up; ∞ where d ≥ 0. ``log_likelihood``: 0 or less. ``discount_se``,
        ``concentration_se``: from the observed information; NaN at a boundary (d = −∞ or M = K).
        ``new_chance``: ``(θ + K d)/(θ + n)``, 0 to 1. ``converged``: bool.

        Fewer than 2 prompts: all NaN, not converged. One cell only, or no revisit: the likelihood has no
        single top, so d, θ and the errors are NaN; M, ln L and `new_chance` are the limits (1, 0, 0 and
        ∞, 0, 1).

    Raises
    ------
    ValueError
        An argument is not as above.
    RuntimeError
        'cupy' was asked for and can't run here.
    """
    counts = checked_integers(r, "r", rows="k")
    times = checked_integers(frequency, "frequency", rows="k")
    for name, values in (("r", counts), ("frequency", times)):
        if values.size and values.min() < 1:
            raise ValueError(f"{name}: expected 1 or more, got {values.min()}")
    if counts.size != times.size:
        raise ValueError(f"frequency: expected the shape of r ({counts.size},), got ({times.size},)")
    cut = checked_offsets(offsets, counts.size)
    if iterations < 1:
        raise ValueError(f"iterations: expected 1 or more, got {iterations}")
    fit = batched.fit if chosen(backend, "cupy", op="pitman_yor") == "cpu" else gpu.fit
    return Fits(*(like(column, r) for column in fit(counts, times, cut, iterations=iterations)))
