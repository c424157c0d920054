"""The features that moved a score, in words that a reviewer can check against the tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coverage_lab.detect.counterfactual import Without
from coverage_lab.detect.features import FEATURES, VECTORS, Features
from coverage_lab.detect.scorecard import REST, ROOTED, Feature, Scorecard, evidence_of
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


#: Points (log-odds) from which an effect is called so, the strongest first; below the last nothing is said.
_STRENGTHS = ((1.5, "Strong"), (0.5, "Some"), (0.1, "Little"))


def _sentence(feature: Feature, value: float, points: float) -> str:
    words = _words(feature.name)
    span = f"{_shown(feature.name, feature.benign_p05)} to {_shown(feature.name, feature.benign_p95)}"
    usual = f"for nine in ten ordinary accounts it is {span}"
    shown = "not defined" if np.isnan(value) else _shown(feature.name, value)
    return f"{_effect(points)}: {words} is {shown}; {usual}"


#: What each linear kind of evidence looks at.
_EVIDENCE_WORDS = {
    "prompts": "its prompts, taken together, read",
    "instruction": "the instructions that its prompts are wrapped in read",
    "topics": "the topics that it covers, and in which shares, look",
    "spread": "the ways in which its prompts differ from one another look",
    "openings": "its prompts' opening words read",
    "content_openings": "the opening words of what varies in its prompts read",
}
#: Topics that are named, and the part of an effect that "most of it" means.
_TOPICS_NAMED = 3
_MOST_OF_IT = 0.8


def _linear_sentence(
    scorecard: Scorecard, name: str, evidence: NDArray[np.float64], points: float, labels: Sequence[str]
) -> str:
    """Say what a linear kind of evidence reads like, what it rests on and where ordinary accounts lie."""
    term = scorecard.linear[name]
    like = "collected instruction banks" if points > 0 else "people's and products' own requests"
    pushes = evidence * np.array(term.weight)
    value = float(pushes.sum()) + term.offset
    usual = f"for nine in ten ordinary accounts it is {term.benign_p05:.2f} to {term.benign_p95:.2f}"
    pushes = np.maximum(pushes if points > 0 else -pushes, 0)
    rests = _rests_on(name, pushes, labels)
    reads = f"{_EVIDENCE_WORDS[name]} more like {like}{rests}"
    return f"{_effect(points)}: {reads}; its value is {value:.2f}, {usual}"


def _rests_on(name: str, pushes: NDArray[np.float64], labels: Sequence[str]) -> str:
    """Name what pushes most in the direction of the effect; empty where that can't be named."""
    order = np.argsort(-pushes, kind="stable")
    pushing = order[pushes[order] > 0]
    if not len(pushing):
        return ""
    if name == "topics":
        named = [(labels[k] if k < len(labels) else "") or f"#{k}" for k in pushing[:_TOPICS_NAMED].tolist()]
        return f", most of all in the topics {'; '.join(named)}"
    if name in ROOTED:
        reached = np.cumsum(pushes[pushing]) >= _MOST_OF_IT * pushes.sum()
        count = int(np.argmax(reached)) + 1
        return f" ({count} of {len(pushing)} hashed opening phrases make up {_MOST_OF_IT:.0%} of what counts)"
    return ""


def _effect(points: float) -> str:
    strength = next((word for least, word in _STRENGTHS if abs(points) >= least), _STRENGTHS[-1][1])
    return f"{strength} sign {'of' if points > 0 else 'against'} harvesting"


def reasons(
    scorecard: Scorecard,
    features: Features,
    points: NDArray[np.float64],
    *,
    topic_labels: Sequence[str] = (),
    most: int = 4,
) -> list[list[str]]:
    """Put into words what moved each account's score most.

    Parameters
    ----------
    features : Features, points : float64 (A, F + 7)
        From `features_of` and `Scorecard.points`.
    topic_labels : sequence of str
        Labels of the atlas's middle cells; a cell without one is shown as "#number".
    most : int
        Sentences per account: the terms with the most points towards harvesting, then the one
        that speaks most against it, so that a reviewer sees both sides.

    Returns
    -------
    list of list of str
        Per account; a term within a tenth of a point of no effect is never named.
    """
    sentences = []
    evidence: dict[str, NDArray[np.float64]] = {}
    for i, (row, moved) in enumerate(zip(features.named, points, strict=True)):
        order = np.argsort(-moved[:REST], kind="stable")
        towards = [j for j in order[: most - 1] if moved[j] > 0.1]
        against = [j for j in order[::-1][:1] if moved[j] < -0.1]
        mine: list[str] = []
        for j in (int(j) for j in towards + against):
            if j < len(FEATURES):
                mine.append(_sentence(scorecard.features[j], float(row[j]), float(moved[j])))
                continue
            name = VECTORS[j - len(FEATURES)]
            if name not in evidence:
                evidence[name] = evidence_of(features, name)
            mine.append(_linear_sentence(scorecard, name, evidence[name][i], float(moved[j]), topic_labels))
        sentences.append(mine)
    return sentences


def without_sentence(without: Without, prompts: int, score: float) -> str | None:
    """Say what the score would be without the account's top fine cells, or why that can't be said.

    Parameters
    ----------
    without : Without
        From `coverage_lab.detect.counterfactual.without_top_cells`.
    prompts, score
        Of the whole account.

    Returns
    -------
    str or None
        None where the score would be the same to three digits: that is no news.
    """
    if without.score is not None and f"{without.score:.3f}" == f"{score:.3f}":
        return None
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
