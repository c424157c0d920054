"""The features that moved a score, in words that a reviewer can check against the tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coverage_lab.detect.counterfactual import Without
from coverage_lab.detect.features import FEATURES, Features
from coverage_lab.detect.scorecard import VARIED, Feature, Linear, Scorecard
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
    "return_z": "how often it stays within one of its {level}, in standard deviations from a random order",
    "evenness": "evenness of its use of {level}, 0 to 1",
    "dispersion_z": "scatter of its use of {level} about ordinary traffic's shares, in standard deviations",
    "discount": "Pitman–Yor discount of its {level} (near 1: new ground without end)",
    "novelty_mean": "mean distance of a prompt to the nearest earlier prompt of the account",
    "novelty_p10": "distance to the nearest earlier prompt that 90% of its prompts exceed",
    "novelty_median": "median distance of a prompt to the nearest earlier prompt of the account",
    "novelty_low_share": "share of prompts that nearly repeat an earlier one",
    "repeat_share": "share of prompts that repeat an earlier one to the letter",
    "novelty_hole": "near repeats, against those that its other distances let expect (below 0: cut off)",
    "mean_cosine": "mean cosine of two of its prompts (1: all mean the same)",
    "opening_repeat": "how alike its prompts open (1: always the same words)",
}

_BUILD_WORDS = {
    "length": "length of its prompts in characters",
    "lines": "line breaks in its prompts",
    "sentences": "sentences in its prompts",
    "digits": "share of digits in its prompts",
    "question": "share of its prompts with a question mark",
    "colon": "share of its prompts with a colon",
    "first_person": "share of its prompts that speak as a person (I, my, we)",
    "quotes": "share of its prompts with quotation marks",
    "code": "share of its prompts with code",
    "please": "share of its prompts that say please",
    "list": "share of its prompts with a list",
}
#: Counts that are held as ln(1 + count).
_COUNTED = ("length", "lines", "sentences")


def _shown(name: str, value: float) -> str:
    """Turn a feature's value back into the measure that the tables hold, formatted."""
    measure = name.rsplit("_", 1)[0] if name.endswith((*LEVELS, "_mean", "_sd")) else name
    if measure in _BUILD_WORDS:
        if name.endswith("_sd"):
            return f"{value:.2f}"
        return f"{np.expm1(value):,.1f}" if measure in _COUNTED else f"{value:.1%}"
    measure = name.rsplit("_", 1)[0] if name.endswith(LEVELS) else name
    if measure in ("sample_coverage", "new_slope", "novelty_low_share", "repeat_share"):
        return f"{value:.0%}"
    if measure == "collision_ratio":
        ratio = float(np.expm1(value))
        return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.1f}×"
    if measure == "growth_vs_reference":
        return f"{np.exp(value):.2f}×"
    if measure in ("order_z", "return_z", "dispersion_z"):
        return f"{np.sign(value) * np.expm1(abs(value)):+.1f}"
    return f"{value:.2f}"


def _words(name: str) -> str:
    for level in LEVELS:
        if name.endswith(f"_{level}"):
            return _MEASURE_WORDS[name.removesuffix(f"_{level}")].format(level=_LEVEL_WORDS[level])
    if name in _MEASURE_WORDS:
        return _MEASURE_WORDS[name]
    part, moment = name.rsplit("_", 1)
    return _BUILD_WORDS[part] if moment == "mean" else f"spread (standard deviation) of: {_BUILD_WORDS[part]}"


def _sentence(feature: Feature, value: float, points: float) -> str:
    words = _words(feature.name)
    shown = _shown(feature.name, value)
    usual = f"benign accounts: median {_shown(feature.name, feature.benign_median)}"
    span = f"{_shown(feature.name, feature.benign_p05)} to {_shown(feature.name, feature.benign_p95)} for 90%"
    return f"{_effect(points)}: {words} is {shown} ({usual}, {span})"


def _linear_sentence(term: Linear, what: str, points: float) -> str:
    like = "instruction banks" if points > 0 else "people's and products' own requests"
    return (
        f"{_effect(points)}: {what} more like {like} (benign accounts: median "
        f"{_signed(term.benign_median)} points, {_signed(term.benign_p05)} to "
        f"{_signed(term.benign_p95)} for 90%)"
    )


def _signed(points: float) -> str:
    # Adding 0.0 after rounding turns a negative zero into a plain one.
    return f"{round(points, 1) + 0.0:+.1f}"


def _effect(points: float) -> str:
    return f"{_signed(points)} points {'towards' if points > 0 else 'away from'} harvesting"


def reasons(
    scorecard: Scorecard, features: Features, points: NDArray[np.float64], *, most: int = 4
) -> list[list[str]]:
    """Put into words what moved each account's score most.

    Parameters
    ----------
    features : Features, points : float64 (A, F + 3)
        From `features_of` and `Scorecard.points`.
    most : int
        Sentences per account: the terms with the most points towards harvesting, then the one
        that speaks most against it, so that a reviewer sees both sides.

    Returns
    -------
    list of list of str
        Per account; a term within a tenth of a point of no effect is never named.
    """
    sentences = []
    for row, moved in zip(features.named, points, strict=True):
        order = np.argsort(-moved, kind="stable")
        towards = [j for j in order[: most - 1] if moved[j] > 0.1]
        against = [j for j in order[::-1][:1] if moved[j] < -0.1]
        sentences.append([_of_term(scorecard, int(j), row, float(moved[j])) for j in towards + against])
    return sentences


def _of_term(scorecard: Scorecard, term: int, row: NDArray[np.float64], points: float) -> str:
    if term < len(FEATURES):
        return _sentence(scorecard.features[term], float(row[term]), points)
    if term == len(FEATURES):
        return _linear_sentence(scorecard.style, "its prompts, taken together, read", points)
    if term == len(FEATURES) + 1:
        return _linear_sentence(scorecard.wording, "its prompts' opening words read", points)
    alike = float(row[FEATURES.index("opening_repeat")])
    return (
        f"{_effect(points)}: its prompts open alike ({alike:.2f} of 1; no relief up to {VARIED:g}), as a "
        "product's fixed instruction makes them, and what one instruction says counts once"
    )


def without_sentence(without: Without, prompts: int, score: float) -> str:
    """Say what the score would be without the account's top fine cells, or why that can't be said.

    Parameters
    ----------
    without : Without
        From `coverage_lab.detect.counterfactual.without_top_cells`.
    prompts, score
        Of the whole account.
    """
    count = len(without.labels)
    cells = f"its {count} top narrow topics" if count > 1 else "its top narrow topic"
    cells = f"{cells} ({'; '.join(without.labels)})"
    if without.score is None:
        return (
            f"All but {without.left:,} of its {prompts:,} prompts lie in {cells}: too few are left to score"
        )
    return (
        f"Without {cells}, which hold {1 - without.left / prompts:.0%} of its prompts, the score would be "
        f"{without.score:.3f} instead of {score:.3f}"
    )
