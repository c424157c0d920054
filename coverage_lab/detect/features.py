"""Account states and their measures → features: what the score is computed from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from coverage_lab.accounts import AccountStates
from coverage_lab.accounts.prompt_features import STRUCTURE
from coverage_lab.schema import LEVEL_MEASURES, LEVELS, MEASURES, Format

Column = NDArray[np.float64]
Transform: TypeAlias = Callable[[Column], Column]


@dataclass(frozen=True)
class FeatureSpec:
    """One named feature: how it is made, and how it is told.

    Attributes
    ----------
    name : str
        That of its measure column, or of what it says of the prompts.
    transform, inverse : function
        From a natural value to the feature and back: ``inverse(transform(x)) = x`` within `bounds`. The
        natural value of a measure is what its column holds.
    words : str
        The feature of one account as a clause, with ``{value}`` where the natural value goes.
    format : Format
        How the natural value is written (`coverage_lab.schema.written`).
    bounds : (float, float)
        Least and largest natural value.
    told_with : str
        Name of the feature that says the same and tells this one's part too; "" for most.
    """

    name: str
    transform: Transform
    inverse: Transform
    words: str
    format: Format
    bounds: tuple[float, float] = (-math.inf, math.inf)
    told_with: str = ""


def _same(values: Column) -> Column:
    return values


def _log1p(values: Column) -> Column:
    return np.log1p(np.maximum(values, 0.0))


def _signed_log(values: Column) -> Column:
    """sign(x)·ln(1 + |x|): z-values grow with n, their sign and order of magnitude matter."""
    return np.sign(values) * np.log1p(np.abs(values))


def _signed_exp(values: Column) -> Column:
    return np.sign(values) * np.expm1(np.abs(values))


_SHARE = (0.0, 1.0)
_FACTOR = (0.0, math.inf)
#: Least and largest value of the measures that are neither shares nor unbounded.
_BOUNDS = {
    "collision_ratio": _FACTOR,
    "evenness": _SHARE,
    "discount": (-1.0, 1.0),
    "novelty_mean": (0.0, 2.0),
    "novelty_p10": (0.0, 2.0),
    "novelty_median": (0.0, 2.0),
}


def _measured(
    column: str,
    measure: str,
    transform: Transform = _same,
    inverse: Transform = _same,
) -> FeatureSpec:
    """Make the feature of a measure column, in the schema's words."""
    told = MEASURES[column]
    bounds = _SHARE if told.format == "percent" else _BOUNDS.get(measure, (-math.inf, math.inf))
    return FeatureSpec(column, transform, inverse, told.statement, told.format, bounds)


#: Level measures that the score does not use.
_LEFT_OUT = ("distinct", "collision_z", "growth_vs_uniform")
_LEVEL_TRANSFORMS: dict[str, tuple[Transform, Transform]] = {
    "collision_ratio": (_log1p, np.expm1),
    "order_z": (_signed_log, _signed_exp),
    "return_z": (_signed_log, _signed_exp),
    "dispersion_z": (_signed_log, _signed_exp),
}

_MEASURED = tuple(
    _measured(f"{name}_{level}", name, *_LEVEL_TRANSFORMS.get(name, (_same, _same)))
    for level in LEVELS
    for name in LEVEL_MEASURES
    if name not in _LEFT_OUT
) + tuple(
    _measured(name, name)
    for name in (
        "novelty_mean",
        "novelty_p10",
        "novelty_median",
        "novelty_low_share",
        "novelty_hole",
        "repeat_share",
    )
)
_MEAN_COSINE = FeatureSpec(
    "mean_cosine",
    _same,
    _same,
    "two of its prompts are {value} alike on average (cosine; 1: the same meaning, 0: unrelated)",
    "number",
    (-1.0, 1.0),
)


def _counted(name: str, typical: str, varies: str, *, from_one: bool = False) -> tuple[FeatureSpec, ...]:
    """Features of ln(1 + count): the mean as a typical count, the spread as a factor of it.

    With `from_one` the count is told with the 1: line ends as lines.
    """
    log, back = (np.log, np.exp) if from_one else (np.log1p, np.expm1)
    least = 1.0 if from_one else 0.0
    return (
        FeatureSpec(f"{name}_mean", log, back, typical, "number", (least, math.inf)),
        FeatureSpec(f"{name}_sd", np.log, np.exp, varies, "times", (1.0, math.inf)),
    )


def _found(name: str, words: str) -> tuple[FeatureSpec, ...]:
    """Features of what a prompt has or has not: the spread is √(p (1 − p)) of the mean p, so no news."""
    return (
        FeatureSpec(f"{name}_mean", _same, _same, words, "percent", _SHARE),
        FeatureSpec(f"{name}_sd", _same, _same, "", "number", (0.0, 0.5), told_with=f"{name}_mean"),
    )


_BUILD = {
    "length": _counted(
        "length",
        "its typical prompt has {value} characters",
        "the length of its prompts varies by {value} (1×: all alike)",
    ),
    "question": _found("question", "{value} of its prompts have a question mark"),
    "lines": _counted(
        "lines",
        "its typical prompt has {value} lines",
        "the number of lines of its prompts varies by {value} (1×: all alike)",
        from_one=True,
    ),
    "digits": (
        FeatureSpec(
            "digits_mean",
            _same,
            _same,
            "{value} of the characters of its prompts are digits",
            "percent",
            _SHARE,
        ),
        FeatureSpec(
            "digits_sd",
            _same,
            _same,
            "the share of digits in its prompts varies by {value} (0%: all alike)",
            "percent",
            _SHARE,
        ),
    ),
    "colon": _found("colon", "{value} of its prompts have a colon"),
    "first_person": _found("first_person", "{value} of its prompts speak as a person (I, my, we)"),
    "quotes": _found("quotes", "{value} of its prompts have quotation marks or apostrophes"),
    "code": _found("code", "{value} of its prompts have code"),
    "please": _found("please", "{value} of its prompts say please"),
    "sentences": _counted(
        "sentences",
        "its typical prompt has {value} sentence ends (. ! ?)",
        "the number of sentence ends of its prompts varies by {value} (1×: all alike)",
    ),
    "list": _found("list", "{value} of its prompts have a list"),
}
_OPENING_REPEAT = FeatureSpec(
    "opening_repeat",
    _same,
    _same,
    "its prompts open {value} alike (1: always with the same words, 0: never)",
    "number",
    _SHARE,
)

#: Every named feature, in the order of the columns of `Features.named`.
SPECS = (
    *_MEASURED,
    _MEAN_COSINE,
    *(spec for name in STRUCTURE for spec in _BUILD[name]),
    _OPENING_REPEAT,
)
FEATURES = tuple(spec.name for spec in SPECS)
#: Features that tell how the account covers ground; the last is the mean cosine of two of its prompts.
SHAPE = FEATURES[: len(_MEASURED) + 1]
#: Features that tell how its prompts are built: mean and spread over the prompts, and how alike they open.
BUILD = FEATURES[len(SHAPE) :]


#: Vectors that an account is summed up by, each evidence of its own (`features_of`).
VECTORS = ("prompts", "instruction", "topics", "spread", "openings", "content_openings")

_MIDDLE = LEVELS.index("middle")


@dataclass(frozen=True, eq=False)
class Features:
    """Features of many accounts.

    Attributes
    ----------
    named : float64 (A, F)
        One column a name of `FEATURES`; NaN where not defined.
    vectors : mapping of name → float32 (A, k)
        One matrix a name of `VECTORS`. ``prompts``: mean vector of the whole prompts. ``instruction``: mean
        vector of the instructions that prompts are wrapped in, a prompt without one counting as zero.
        ``topics``: square root of the share of contents in each middle cell. ``spread``: standard deviation
        of the contents' vectors, column by column. ``openings``, ``content_openings``: mean of the hashed
        opening words of prompts and of contents.
    prompts : int64 (A,)
        How many prompts.
    """

    named: NDArray[np.float64]
    vectors: Mapping[str, NDArray[np.float32]]
    prompts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def wrapped(self) -> NDArray[np.float64]:
        """How much of an account is wrapped in one instruction, (A,): 0 nothing to 1 every prompt.

        The length of the mean of its instructions' unit vectors: several unlike ones count for less.
        """
        length: NDArray[np.float64] = np.linalg.norm(self.vectors["instruction"].astype(np.float64), axis=1)
        return np.minimum(length, 1.0)

    def at(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Features:
        """Features of some of the accounts."""
        return Features(
            self.named[rows], {name: x[rows] for name, x in self.vectors.items()}, self.prompts[rows]
        )


def features_of(states: AccountStates, measures: Mapping[str, Column], *, middle_cells: int) -> Features:
    """Compute the features of many accounts.

    Parameters
    ----------
    states : AccountStates
    measures : mapping of name → float64 (A,)
        Columns of `coverage_lab.schema.MEASURE_COLUMNS`, of those states.
    middle_cells : int
        Middle cells of the atlas that the states were traced on.

    Returns
    -------
    Features
        In the order of the states.
    """
    count = np.maximum(states.prompts, 1)[:, None]
    mean = states.structure_sums / count
    # Sums lose digits where all prompts are built alike: a spread of 0 may come out just below it.
    spread = np.sqrt(np.maximum(states.structure_squares / count - mean**2, 0))
    shape = [spec.transform(measures[spec.name]) for spec in _MEASURED]
    build = np.stack([mean, spread], axis=2).reshape(len(count), 2 * len(STRUCTURE))
    content = states.content_sums / count
    openings = states.opening_sums / count
    vectors = {
        "prompts": states.vector_sums / count,
        "instruction": states.instruction_sums / count,
        "topics": np.sqrt(_shares(states, middle_cells)),
        "spread": np.sqrt(np.maximum(states.content_squares / count - content**2, 0)),
        "openings": openings,
        "content_openings": states.content_opening_sums / count,
    }
    return Features(
        named=np.column_stack(
            [*shape, _between(content, states.prompts), build, _between(openings, states.prompts)]
        ),
        vectors={name: vectors[name].astype(np.float32) for name in VECTORS},
        prompts=states.prompts,
    )


def _shares(states: AccountStates, cells: int) -> NDArray[np.float64]:
    """Share of each account's contents in each middle cell, (A, cells)."""
    size = len(states.account_ids)
    account = np.repeat(np.arange(size), states.prompts)
    held = np.bincount(account * cells + states.cells[:, _MIDDLE], minlength=size * cells)
    shares: NDArray[np.float64] = held.reshape(size, cells) / np.maximum(states.prompts, 1)[:, None]
    return shares


def _between(mean: NDArray[np.float64], prompts: NDArray[np.int64]) -> Column:
    """Mean product of two different prompts' unit vectors, from their mean; NaN for fewer than two."""
    n = np.where(prompts > 1, prompts, np.nan).astype(np.float64)
    square = np.einsum("ad,ad->a", mean, mean)
    between: Column = (n * square - 1) / (n - 1)
    return between


def join(parts: Sequence[Features]) -> Features:
    """Put the features of several batches of accounts one after the other."""
    return Features(
        np.concatenate([part.named for part in parts]),
        {name: np.concatenate([part.vectors[name] for part in parts]) for name in VECTORS},
        np.concatenate([part.prompts for part in parts]),
    )
