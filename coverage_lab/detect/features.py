"""Account states and their measures → features: what the score is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.accounts import AccountStates
from coverage_lab.accounts.prompt_features import OPENINGS, STRUCTURE
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
    "return_z": _signed_log,
    "evenness": _same,
    "dispersion_z": _signed_log,
    "discount": _same,
}
_ACCOUNT: dict[str, Callable[[Column], Column]] = {
    "novelty_mean": _same,
    "novelty_p10": _same,
    "novelty_median": _same,
    "novelty_low_share": _same,
    "novelty_hole": _same,
    "repeat_share": _same,
}
_TRANSFORMS = {f"{name}_{level}": f for level in LEVELS for name, f in _LEVEL.items()} | _ACCOUNT

#: Features that tell how the account covers ground; the last is the mean cosine of two of its prompts.
SHAPE = (*_TRANSFORMS, "mean_cosine")
#: Features that tell how its prompts are built: mean and spread over the prompts, and how alike they open.
BUILD = (*(f"{name}_{moment}" for name in STRUCTURE for moment in ("mean", "sd")), "opening_repeat")
#: Names of the columns of `Features.named`.
FEATURES = SHAPE + BUILD


@dataclass(frozen=True, eq=False)
class Features:
    """Features of many accounts.

    Attributes
    ----------
    named : float64 (A, F)
        One column a name of `FEATURES`; NaN where not defined.
    style : float32 (A, d)
        Mean prompt vector.
    wording : float32 (A, OPENINGS)
        Mean of the hashed opening words, of norm 0 to 1 as its prompts open alike.
    prompts : int64 (A,)
    """

    named: NDArray[np.float64]
    style: NDArray[np.float32]
    wording: NDArray[np.float32]
    prompts: NDArray[np.int64]

    @property
    def opening_repeat(self) -> NDArray[np.float64]:
        """How alike the prompts open, (A,): the mean product of two openings, 1 = always the same words."""
        repeat: NDArray[np.float64] = self.named[:, FEATURES.index("opening_repeat")]
        return repeat

    def __len__(self) -> int:
        return len(self.prompts)

    def at(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Features:
        """Features of some of the accounts."""
        return Features(self.named[rows], self.style[rows], self.wording[rows], self.prompts[rows])


def features_of(states: AccountStates, measures: Mapping[str, Column]) -> Features:
    """Compute the features of many accounts.

    Parameters
    ----------
    states : AccountStates
    measures : mapping of name → float64 (A,)
        Columns of `coverage_lab.schema.MEASURE_COLUMNS`, of those states.

    Returns
    -------
    Features
        In the order of the states.
    """
    count = np.maximum(states.prompts, 1)[:, None]
    mean = states.structure_sums / count
    # Sums lose digits where all prompts are built alike: a spread of 0 may come out just below it.
    spread = np.sqrt(np.maximum(states.structure_squares / count - mean**2, 0))
    shape = [transform(measures[name]) for name, transform in _TRANSFORMS.items()]
    build = np.stack([mean, spread], axis=2).reshape(len(count), 2 * len(STRUCTURE))
    style = states.vector_sums / count
    wording = states.opening_sums / count
    return Features(
        named=np.column_stack(
            [*shape, _between(style, states.prompts), build, _between(wording, states.prompts)]
        ),
        style=style.astype(np.float32),
        wording=wording.astype(np.float32).reshape(len(count), OPENINGS),
        prompts=states.prompts,
    )


def _between(mean: NDArray[np.float64], prompts: NDArray[np.int64]) -> Column:
    """Mean product of two different prompts' unit vectors, from their mean; NaN for fewer than two."""
    n = np.where(prompts > 1, prompts, np.nan).astype(np.float64)
    square = np.einsum("ad,ad->a", mean, mean)
    between: Column = (n * square - 1) / (n - 1)
    return between


def join(parts: list[Features]) -> Features:
    """Put the features of several batches of accounts one after the other."""
    return Features(
        np.concatenate([part.named for part in parts]),
        np.concatenate([part.style for part in parts]),
        np.concatenate([part.wording for part in parts]),
        np.concatenate([part.prompts for part in parts]),
    )
