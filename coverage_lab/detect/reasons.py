"""Why an account has its score: kinds of evidence that moved it, in words and in numbers.

The score adds up kinds of evidence (`coverage_lab.detect.scorecard`), so each that moved it is a reason. How
strong an effect is called follows from what the scorecard can move: the most that the weightiest kind of
evidence can add is slope × weight × `coverage_lab.detect.scorecard.MOST`. An effect is strong from half of
that on, some from a quarter, little from a tenth; what moves less is not told.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit, ndtr, ndtri

from coverage_lab.accounts.opening_words import OpeningWords
from coverage_lab.detect.counterfactual import Without
from coverage_lab.detect.features import FEATURES, SPECS, Features
from coverage_lab.detect.mixture import HarvestedShare
from coverage_lab.detect.scorecard import MOST, NAMED_PARTS, ROOTED, Scorecard, evidence_of
from coverage_lab.schema import ReasonUnit, written

Direction: TypeAlias = Literal["towards", "away"]
Effect: TypeAlias = Literal["strong", "some", "little"]

#: Least part of `most_points` of each effect; the strongest first.
EFFECTS: tuple[tuple[float, Effect], ...] = ((0.5, "strong"), (0.25, "some"), (0.1, "little"))
#: A score without the top topics is told where it differs by at least so much.
_LEAST_SCORE = 0.01

#: Reasons at most, towards harvesting and away from it.
MOST_TOWARDS, MOST_AWAY = 4, 2

#: The sixths of ordinary accounts on a normal curve: a scorecard's steps are cut at them, and two in three
#: accounts lie between the outer ones.
_SIXTHS = tuple(float(ndtri(k / 6)) for k in range(1, 6))
_P95 = float(ndtri(0.95))
#: Upper end of that range on the scale on which 0 is the median and 1 the 95th percentile.
_USUAL = _SIXTHS[-1] / _P95
#: Measures, topics and openings that are named, and the part of an effect that "most of it" means.
_MEASURES_NAMED, _TOPICS_NAMED, _OPENINGS_NAMED = 2, 3, 3
_MOST_OF_IT = 0.8

#: Each kind of evidence as a clause.
_CLAUSES: Mapping[str, str] = {
    "shape": "it covers ground as {source} do",
    "build": "its prompts are built like those of {source}",
    "prompts": "its prompts, taken together, read like those of {source}",
    "instruction": "the instructions around its prompts read like those of {source}",
    "topics": "its mix of topics is like that of {source}",
    "spread": "its prompts differ from one another as those of {source} do",
    "openings": "its prompts open like those of {source}",
    "content_openings": "what varies in its prompts opens like that of {source}",
}
_SOURCES: Mapping[Direction, str] = {"towards": "prompt banks", "away": "ordinary people and products"}
#: Evidence that says how prompts read; with it stand the topics, and the share of prompts that read so.
_READING = ("prompts", "instruction", "openings", "content_openings")


@dataclass(frozen=True)
class RestsOn:
    """One measure, topic or opening that a reason rests on; see `coverage_lab.schema.REASON_DETAILS`."""

    name: str
    share: float
    value: float
    ordinary_low: float | None
    ordinary_median: float | None
    ordinary_high: float | None
    unit: ReasonUnit
    percentile: float | None


@dataclass(frozen=True)
class Reason:
    """One kind of evidence that moved a score; see `coverage_lab.schema.REASON_DETAILS`."""

    evidence: str
    direction: Direction
    effect: Effect
    points: float
    value: float
    ordinary_low: float
    ordinary_median: float
    ordinary_high: float
    unit: ReasonUnit
    percentile: float
    pushing: int | None
    carrying: int | None
    rests_on: tuple[RestsOn, ...]
    sentence: str

    def row(self) -> dict[str, Any]:
        """The same as a row of the column `reason_details`."""
        return asdict(self)


def most_points(scorecard: Scorecard) -> float:
    """Points (log-odds) that the weightiest kind of evidence can add at most."""
    return scorecard.slope * MOST * max(part.weight for part in scorecard.parts.values())


def least_told(scorecard: Scorecard) -> float:
    """Points below which an effect is not told."""
    return EFFECTS[-1][0] * most_points(scorecard)


def reasons(
    scorecard: Scorecard,
    features: Features,
    *,
    share: HarvestedShare,
    account_ids: Sequence[str],
    topics: Mapping[str, Sequence[tuple[str, float]]],
    topic_labels: Sequence[str] = (),
    opening_words: OpeningWords | None = None,
    raised: Sequence[int] = (),
) -> list[list[Reason]]:
    """Tell what moved each account's score.

    Parameters
    ----------
    features : Features (A accounts)
    share : HarvestedShare
        Of each account; NaN where it is not known.
    account_ids : sequence of str (A,)
    topics : mapping of account id → (label, share of its prompts)
        The middle cells that each account stands out in, the most first.
    topic_labels : sequence of str
        Labels of the atlas's middle cells; a cell without one is shown as "#number".
    opening_words : OpeningWords, optional
        Names openings of the accounts `raised`; without it they are only counted.
    raised : sequence of int
        Positions of accounts whose openings may be named.

    Returns
    -------
    list of list of Reason
        Per account the kinds of evidence that speak most for harvesting, then those that speak most against
        it, each the strongest first.
    """
    most = most_points(scorecard)
    if most <= 0:
        return [[] for _ in account_ids]
    little, may_be_named = least_told(scorecard), set(raised)
    standing = scorecard.standings(features)
    totals = scorecard.totals(features)
    points = scorecard.points(features)
    ranges = _Ranges(scorecard, features)
    evidence: dict[str, NDArray[np.float64]] = {}
    told = []
    for i, account_id in enumerate(account_ids):
        moved = {name: float(totals[name][i]) for name in scorecard.parts}
        order = sorted(moved, key=lambda name: (-moved[name], name))
        towards = [name for name in order if moved[name] >= little][:MOST_TOWARDS]
        away = [name for name in reversed(order) if moved[name] <= -little][:MOST_AWAY]
        # What reads so only a little says nothing of where.
        least = EFFECTS[1][0] * most
        first_reading = next((name for name in towards if name in _READING and moved[name] >= least), None)
        mine = []
        for name in towards + away:
            sign = 1.0 if moved[name] > 0 else -1.0
            pushing: int | None = None
            carrying: int | None = None
            rests: tuple[RestsOn, ...] = ()
            if name in NAMED_PARTS:
                pushing, carrying, rests = ranges.measures(i, name, sign * points[i], features)
            elif name == "topics" or name in ROOTED:
                if name not in evidence:
                    evidence[name] = evidence_of(features, name) * np.array(scorecard.linear[name].weight)
                pushes = np.maximum(sign * evidence[name][i], 0)
                pushing, carrying = _counted(pushes)
                if name == "topics":
                    rests = _topics(pushes, features.vectors[name][i], topic_labels)
                elif opening_words is not None and i in may_be_named:
                    rests = _openings(pushes, opening_words, account_id, content=name != "openings")
            mine.append(
                _reason(
                    name,
                    moved[name],
                    float(standing[name][i]),
                    most,
                    pushing=pushing,
                    carrying=carrying,
                    rests=rests,
                    more=""
                    if name != first_reading
                    else _more(() if "topics" in towards else topics.get(account_id, ()), share, i),
                )
            )
        told.append(mine)
    return told


def _reason(
    name: str,
    points: float,
    standing: float,
    most: float,
    *,
    pushing: int | None,
    carrying: int | None,
    rests: tuple[RestsOn, ...],
    more: str,
) -> Reason:
    effect = next(word for least, word in EFFECTS if abs(points) >= least * most)
    direction: Direction = "towards" if points > 0 else "away"
    percentile = 100 * float(ndtr(standing * _P95))
    rank = percentile if points > 0 else 100 - percentile
    usual = f"ordinary: 0, two in three {_signed(-_USUAL)} to {_signed(_USUAL)}"
    sentence = (
        f"{effect.capitalize()} sign {'of' if points > 0 else 'against'} harvesting: "
        f"{_CLAUSES[name].format(source=_SOURCES[direction])}, more so than {_in_hundred(rank)} ordinary "
        f"accounts of its size [its value {_signed(standing)}; {usual}]"
    )
    if rests:
        sentence += _resting(name, rests)
    elif name in NAMED_PARTS and pushing:
        sentence += "; no single measure stands out"
    if name in ROOTED and pushing:
        sentence += f"; {carrying:,} of {pushing:,} hashed openings make up {_MOST_OF_IT:.0%} of that"
    return Reason(
        evidence=name,
        direction=direction,
        effect=effect,
        points=points,
        value=standing,
        ordinary_low=-_USUAL,
        ordinary_median=0.0,
        ordinary_high=_USUAL,
        unit="standing",
        percentile=percentile,
        pushing=pushing,
        carrying=carrying,
        rests_on=rests,
        sentence=sentence + more,
    )


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"


def _in_hundred(percent: float) -> str:
    """Write an estimated rank; its far ends are not known well enough for more than this."""
    if percent > 99:
        return "over 99 in 100"
    return f"about {max(round(percent), 1)} in 100"


def _resting(evidence: str, rests: Sequence[RestsOn]) -> str:
    """Name what a reason rests on most."""
    if evidence in ROOTED:
        named = [f"“{one.name}” ({written(one.value, 'percent')} of its prompts)" for one in rests]
        return f"; the openings that count most are {_listed(named)}"
    if evidence == "topics":
        return f"; the topics that count most are {_with_shares([(one.name, one.value) for one in rests])}"
    clauses = []
    for one in rests:
        spec = _SPEC_OF[one.name]
        clause = spec.words.format(value=written(one.value, spec.format))
        if one.ordinary_low is not None and one.ordinary_median is not None and one.ordinary_high is not None:
            low, middle, high = (
                written(value, spec.format)
                for value in (one.ordinary_low, one.ordinary_median, one.ordinary_high)
            )
            clause += f" [ordinary: {middle}, two in three {low} to {high}]"
        clauses.append(clause)
    return f": {' and '.join(clauses)}"


def _more(topics: Sequence[tuple[str, float]], share: HarvestedShare, i: int) -> str:
    """Say where the account moves, and how many of its prompts are estimated to read so."""
    more = ""
    if topics:
        more += f"; it stands out in the topics {_with_shares(topics[:_TOPICS_NAMED])}"
    estimate, low, high = (float(end[i]) for end in share)
    # An interval from nothing to all says nothing.
    if low > 0 or high < 1:
        more += f"; an estimated {estimate:.0%} of its prompts read so (90% interval {low:.0%} to {high:.0%})"
    return more


def _with_shares(topics: Sequence[tuple[str, float]]) -> str:
    return _listed([f"“{label}” ({written(share, 'percent')} of its prompts)" for label, share in topics])


def _listed(named: Sequence[str]) -> str:
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _counted(pushes: NDArray[np.float64]) -> tuple[int, int]:
    """How many push, and how few of them make up most of it."""
    rising = np.sort(pushes[pushes > 0])[::-1]
    if not len(rising):
        return 0, 0
    reached = np.cumsum(rising)
    return len(rising), int(np.argmax(reached >= _MOST_OF_IT * reached[-1])) + 1


def _topics(
    pushes: NDArray[np.float64], roots: NDArray[np.float32], labels: Sequence[str]
) -> tuple[RestsOn, ...]:
    """Topics that push most; an account's topics are held as roots of shares."""
    total, named = float(pushes.sum()), np.argsort(-pushes, kind="stable")[:_TOPICS_NAMED].tolist()
    return tuple(
        _bare(
            (labels[k] if k < len(labels) else "") or f"#{k}",
            float(pushes[k]) / total,
            float(roots[k]) ** 2,
            "percent",
        )
        for k in named
        if pushes[k] > 0
    )


def _openings(
    pushes: NDArray[np.float64], words: OpeningWords, account_id: str, *, content: bool
) -> tuple[RestsOn, ...]:
    columns = np.argsort(-pushes, kind="stable")
    columns = columns[pushes[columns] > 0][: 4 * _OPENINGS_NAMED].tolist()
    found = words.named(account_id, columns, content=content)
    total = float(pushes.sum())
    named: list[RestsOn] = []
    for column in columns:
        if column in found and len(named) < _OPENINGS_NAMED:
            phrase, share = found[column]
            named.append(_bare(phrase, float(pushes[column]) / total, share, "share_of_prompts"))
    return tuple(named)


def _bare(name: str, share: float, value: float, unit: ReasonUnit) -> RestsOn:
    """Make what has no range among ordinary accounts."""
    return RestsOn(name, share, value, None, None, None, unit, None)


_SPEC_OF = {spec.name: spec for spec in SPECS}
_PLACE = {name: j for j, name in enumerate(FEATURES)}


class _Ranges:
    """What named features are among ordinary accounts of each account's size."""

    def __init__(self, scorecard: Scorecard, features: Features) -> None:
        self._scorecard = scorecard
        self._z = scorecard.standardised(features)
        self._size = np.log(np.maximum(features.prompts, 1))

    def measures(
        self, i: int, part: str, pushes: NDArray[np.float64], features: Features
    ) -> tuple[int, int, tuple[RestsOn, ...]]:
        """Count the measures that push, and name those that push most.

        `pushes` are points of all terms, positive in the direction that is told.
        """
        together = np.zeros(len(FEATURES))
        for j in range(*NAMED_PARTS[part].indices(len(FEATURES))):
            together[_PLACE[SPECS[j].told_with] if SPECS[j].told_with else j] += pushes[j]
        # A value that is not defined moves nothing, whatever is told with it.
        together[np.isnan(features.named[i])] = 0
        together = np.maximum(together, 0)
        pushing, carrying = _counted(together)
        named: list[RestsOn] = []
        for j in np.argsort(-together, kind="stable")[:carrying].tolist():
            z, cuts = float(self._z[i, j]), self._scorecard.features[j].edges
            # Where so many ordinary accounts are alike that sixths fall together, no range can be told.
            if len(named) == _MEASURES_NAMED or len(cuts) != len(_SIXTHS) or cuts[0] <= z <= cuts[-1]:
                continue
            one = self._measure(i, j, float(features.named[i, j]), float(together[j] / together.sum()))
            if _looks_out(one):
                named.append(one)
        return pushing, carrying, tuple(named)

    def _measure(self, i: int, j: int, value: float, share: float) -> RestsOn:
        feature, spec = self._scorecard.features[j], SPECS[j]
        a, b, c = feature.by_size
        at = a + b * self._size[i] + c * self._size[i] ** 2
        cuts = (feature.edges[0], feature.edges[len(_SIXTHS) // 2], feature.edges[-1])
        told = spec.inverse(np.array([value, *(at + feature.sd * z for z in cuts)]))
        value, low, middle, high = (min(max(float(x), spec.bounds[0]), spec.bounds[1]) for x in told)
        return RestsOn(
            name=spec.name,
            share=share,
            value=value,
            ordinary_low=low,
            ordinary_median=middle,
            ordinary_high=high,
            unit=spec.format,
            percentile=_percentile(float(self._z[i, j]), feature.edges),
        )


def _looks_out(measure: RestsOn) -> bool:
    """Whether a value that lies outside the ordinary range looks so as it is written."""
    shown = _SPEC_OF[measure.name].format
    ends = (measure.ordinary_low, measure.ordinary_high)
    return written(measure.value, shown) not in [written(end, shown) for end in ends if end is not None]


def _percentile(z: float, cuts: Sequence[float]) -> float:
    """Percent of ordinary accounts of the size that lie below.

    Between the sixths that the scorecard holds, and beyond them, as a normal curve through them goes.
    """
    k = min(max(bisect.bisect_left(cuts, z) - 1, 0), len(cuts) - 2)
    slope = (_SIXTHS[k + 1] - _SIXTHS[k]) / (cuts[k + 1] - cuts[k])
    return 100 * float(ndtr(_SIXTHS[k] + (z - cuts[k]) * slope))


def without_sentence(without: Without, prompts: int, score: float, *, least: float) -> str | None:
    """Say what the score would be without the account's top fine cells, or why that can't be said.

    Parameters
    ----------
    without : Without
        From `coverage_lab.detect.counterfactual.without_top_cells`.
    prompts, score
        Of the whole account.
    least : float
        Points by which the score must move to be told (`least_told`).

    Returns
    -------
    str or None
        None where the score hardly moves: that is no news.
    """
    if without.score is not None and (
        abs(float(logit(without.score) - logit(score))) < least or abs(without.score - score) < _LEAST_SCORE
    ):
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
