"""Measures and mean prompt vector → features: what the score is computed from.

Measures that depend on how many prompts there are reach the score together with ln n, and the
conformal p-value compares an account with benign accounts of its size only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from coverage_lab.schema import LEVELS

Column = NDArray[np.float64]


def _log1p(values: Column) -> Column:
    return np.log1p(np.maximum(values, 0.0))


def _signed_log(values: Column) -> Column:
    """sign(x)·ln(1 + |x|): z-values grow with n, their sign and order of magnitude matter."""
    return np.sign(values) * np.log1p(np.abs(values))


def _same(values: Column) -> Column:
    return values


#: Level measure → transform. A feature is named after its measure column.
_LEVEL: dict[str, Callable[[Column], Column]] = {
    "sample_coverage": _same,
    "new_slope": _same,
    "collision_ratio": _log1p,
    "growth_vs_reference": _same,
    "order_z": _signed_log,
}
_ACCOUNT: dict[str, Callable[[Column], Column]] = {
    "novelty_mean": _same,
    "novelty_p10": _same,
    "novelty_median": _same,
    "novelty_low_share": _same,
    "repeat_share": _same,
}
_TRANSFORMS = {f"{name}_{level}": f for level in LEVELS for name, f in _LEVEL.items()} | _ACCOUNT

#: Names of the features that are measures, in the order of `feature_matrix`'s first columns.
FEATURES = (*_TRANSFORMS, "log_prompts")


def feature_matrix(
    measures: Mapping[str, Column], prompts: NDArray[np.int64], vector_sums: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the features of many accounts.

    Parameters
    ----------
    measures : mapping of name → float64 (A,)
        Columns of `coverage_lab.schema.MEASURE_COLUMNS`.
    prompts : int64 (A,)
        Prompts of each account.
    vector_sums : float64 (A, d)
        Sum of each account's prompt vectors.

    Returns
    -------
    float64 (A, len(FEATURES) + d)
        The measures' features, NaN where a measure is not defined, then the mean prompt vector.
    """
    columns = [transform(measures[name]) for name, transform in _TRANSFORMS.items()]
    count = np.maximum(prompts, 1)
    return np.column_stack([*columns, np.log(count), vector_sums / count[:, None]])
