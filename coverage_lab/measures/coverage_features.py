"""Coverage measures as features for scikit-learn: counts of accounts in cells in, measures out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from coverage_lab.measures.collisions import collisions
from coverage_lab.measures.hill import evenness
from coverage_lab.measures.nulls import reference_growth, uniform_growth
from coverage_lab.measures.sample_coverage import new_slope, sample_coverage
from coverage_lab.measures.uniformity import dispersion

#: The measures that `CoverageFeatures` gives, in the order of its columns; see `schema.LEVEL_MEASURES`.
FEATURES = (
    "distinct",
    "sample_coverage",
    "new_slope",
    "collision_ratio",
    "collision_z",
    "growth_vs_reference",
    "growth_vs_uniform",
    "evenness",
    "dispersion_z",
)


class CoverageFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn accounts' counts over cells into measures of coverage, for a scikit-learn pipeline.

    Fitting takes the accounts given as ordinary traffic: the share of each cell is the mean over accounts of
    the account's share of prompts there, smoothed. Transforming compares accounts with that.

    Parameters
    ----------
    smoothing : float
        Share of ordinary traffic that is spread evenly over all cells, above 0 and up to 1, so that no cell
        is impossible. As in a fitted atlas, 0.05 by default.

    Attributes
    ----------
    mass_ : float64 (cells,)
        Share of ordinary traffic in each cell; sums to 1, all above 0.
    n_features_in_ : int
        Cells.

    Notes
    -----
    Rows of X are accounts, columns are cells, values are prompts: whole numbers. Others are rounded to the
    nearest. X may be dense or a sparse matrix. What is not defined (an account without prompts; with one
    prompt all but `distinct`, the growth and the slope) is NaN, which `sklearn.impute.SimpleImputer` fills.
    The order of prompts is not in X, so `order_z` and `return_z` are left out.

    Examples
    --------
    Two accounts that keep to their ground, and one that sweeps:

    >>> import numpy as np
    >>> ordinary = np.array([[9, 3, 0, 0], [0, 4, 8, 0], [6, 0, 0, 6]])
    >>> features = CoverageFeatures().fit(ordinary)
    >>> swept = features.transform(np.array([[3, 3, 3, 3]]))
    >>> dict(zip(features.get_feature_names_out(), swept[0].round(2).tolist()))["evenness"]
    1.0
    """

    def __init__(self, *, smoothing: float = 0.05) -> None:
        self.smoothing = smoothing

    def fit(self, X: ArrayLike, y: object = None) -> CoverageFeatures:  # noqa: N803  (scikit-learn's names)
        """Take the share of ordinary traffic in each cell from accounts' counts.

        Parameters
        ----------
        X : (accounts, cells)
            Prompts of ordinary accounts in cells, dense or sparse; at least one prompt in all.
        y : ignored

        Raises
        ------
        ValueError
            A value is negative or not finite, there is no prompt, or `smoothing` is not in (0, 1].
        """
        if not 0 < self.smoothing <= 1:
            raise ValueError(f"smoothing: expected above 0 and at most 1, got {self.smoothing}")
        counts = self._counts(X, reset=True)
        prompts = np.asarray(counts.sum(axis=1), np.float64).ravel()
        used = prompts > 0
        if not used.any():
            raise ValueError("X: expected at least one prompt, got counts that are all 0 (after rounding)")
        weights = np.divide(1.0, prompts, out=np.zeros_like(prompts), where=used)
        share = (csr_array(counts).T @ weights) / used.sum()
        smoothed = (1 - self.smoothing) * share + self.smoothing / len(share)
        self.mass_ = smoothed / smoothed.sum()
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Measure accounts.

        Parameters
        ----------
        X : (accounts, cells)
            Prompts of accounts in cells, dense or sparse.

        Returns
        -------
        float64 (accounts, 9)
            A column a name of `get_feature_names_out`; NaN where a measure is not defined.

        Raises
        ------
        ValueError
            A value is negative or not finite, or there are other cells than in `fit`.
        """
        check_is_fitted(self)
        counts = self._counts(X, reset=False)
        offsets = counts.indptr.astype(np.int64)
        cells, visits = counts.indices.astype(np.int64), counts.data
        prompts = np.asarray(counts.sum(axis=1), np.int64).ravel()
        distinct = np.diff(offsets).astype(np.float64)
        ratio, z = collisions(visits, offsets, self.mass_)
        found = {
            "distinct": distinct,
            "sample_coverage": sample_coverage(visits, offsets),
            "new_slope": new_slope(visits, offsets),
            "collision_ratio": ratio,
            "collision_z": z,
            "growth_vs_reference": np.log(_against(distinct, reference_growth(self.mass_, prompts)[0])),
            "growth_vs_uniform": _against(distinct, uniform_growth(len(self.mass_), prompts)[0]),
            "evenness": evenness(visits, offsets),
            "dispersion_z": dispersion(cells, visits, offsets, self.mass_)[1],
        }
        return np.column_stack([found[name] for name in FEATURES])

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the columns that `transform` gives."""
        check_is_fitted(self)
        return np.array(FEATURES, dtype=object)

    def _counts(self, values: ArrayLike, *, reset: bool) -> csr_array:
        """Whole prompts as a sparse matrix without zeros, its cells ascending in each row."""
        checked = validate_data(
            self, values, reset=reset, accept_sparse="csr", dtype=np.float64, ensure_non_negative=True
        )
        counts = csr_array(checked, copy=True)
        counts.sum_duplicates()
        counts.data = np.rint(counts.data).astype(np.int64)
        counts.eliminate_zeros()
        return counts

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _against(distinct: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ratio of cells reached to those expected; NaN for an account without prompts."""
    found = np.full(distinct.shape, np.nan)
    np.divide(distinct, expected, out=found, where=expected > 0)
    return found
