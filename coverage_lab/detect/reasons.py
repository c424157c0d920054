"""The features that moved a score, in words that a reviewer can check against the tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coverage_lab.detect.scorecard import Feature, Scorecard, Style
from coverage_lab.schema import LEVELS

_LEVEL_WORDS = {
    "coarse": "broad topics (coarse cells)",
    "middle": "topics (middle cells)",
    "fine": "narrow topics (fine cells)",
}

_MEASURE_WORDS = {
    "sample_coverage": "estimated share of its own range of {level} already seen",
    "new_slope": "share of the {level} it reached that were visited exactly once",
    "collision_ratio": "pairs of its prompts that fall in the same {level}, relative to ordinary traffic",
    "growth_vs_reference": "number of {level} reached, relative to ordinary traffic of the same volume",
    "order_z": "how soon it reached new {level}, in standard deviations from a random order of its prompts",
    "novelty_mean": "mean distance of a prompt to the nearest earlier prompt of the account",
    "novelty_p10": "distance to the nearest earlier prompt that 90% of its prompts exceed",
    "novelty_median": "median distance of a prompt to the nearest earlier prompt of the account",
    "novelty_low_share": "share of prompts that nearly repeat an earlier one",
    "repeat_share": "share of prompts that repeat an earlier one to the letter",
    "log_prompts": "number of prompts",
}


def _shown(name: str, value: float) -> str:
    """Turn a feature's value back into the measure that the tables hold, formatted."""
    measure = name.rsplit("_", 1)[0] if name.endswith(LEVELS) else name
    if measure in ("sample_coverage", "new_slope", "novelty_low_share", "repeat_share"):
        return f"{value:.0%}"
    if measure == "collision_ratio":
        ratio = float(np.expm1(value))
        return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.1f}×"
    if measure == "growth_vs_reference":
        return f"{np.exp(value):.2f}×"
    if measure == "order_z":
        return f"{np.sign(value) * np.expm1(abs(value)):+.1f}"
    if measure == "log_prompts":
        return f"{np.exp(value):,.0f}"
    return f"{value:.2f}"


def _words(name: str) -> str:
    for level in LEVELS:
        if name.endswith(f"_{level}"):
            return _MEASURE_WORDS[name.removesuffix(f"_{level}")].format(level=_LEVEL_WORDS[level])
    return _MEASURE_WORDS[name]


def _sentence(feature: Feature, value: float, points: float) -> str:
    words = _words(feature.name)
    shown = _shown(feature.name, value)
    usual = f"benign accounts: median {_shown(feature.name, feature.benign_median)}"
    span = f"{_shown(feature.name, feature.benign_p05)} to {_shown(feature.name, feature.benign_p95)} for 90%"
    return f"{_effect(points)}: {words} is {shown} ({usual}, {span})"


def _style_sentence(style: Style, points: float) -> str:
    like = "instruction banks" if points > 0 else "people's and products' own requests"
    return (
        f"{_effect(points)}: its prompts, taken together, read more like {like} (benign accounts: median "
        f"{_signed(style.benign_median)} points, {_signed(style.benign_p05)} to "
        f"{_signed(style.benign_p95)} for 90%)"
    )


def _signed(points: float) -> str:
    # Adding 0.0 after rounding turns a negative zero into a plain one.
    return f"{round(points, 1) + 0.0:+.1f}"


def _effect(points: float) -> str:
    return f"{_signed(points)} points {'towards' if points > 0 else 'away from'} harvesting"


def reasons(
    scorecard: Scorecard, features: NDArray[np.float64], points: NDArray[np.float64], *, most: int = 4
) -> list[list[str]]:
    """Put into words what moved each account's score most.

    Parameters
    ----------
    features : float64 (A, F + d), points : float64 (A, F + 1)
        From `feature_matrix` and `Scorecard.points`.
    most : int
        Sentences per account: the features with the most points towards harvesting, then the one
        that speaks most against it, so that a reviewer sees both sides.

    Returns
    -------
    list of list of str
        Per account; a feature within a tenth of a point of no effect is never named.
    """
    sentences = []
    for row, moved in zip(features, points, strict=True):
        order = np.argsort(-moved, kind="stable")
        towards = [j for j in order[: most - 1] if moved[j] > 0.1]
        against = [j for j in order[::-1][:1] if moved[j] < -0.1]
        chosen = towards + against
        sentences.append(
            [
                _sentence(scorecard.features[j], float(row[j]), float(moved[j]))
                if j < len(scorecard.features)
                else _style_sentence(scorecard.style, float(moved[j]))
                for j in chosen
            ]
        )
    return sentences
