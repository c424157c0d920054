"""Benign scores to compare with, from a user's own traffic: without labels, or with reviewers'."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from coverage_lab.detect.conformal import conformal_p

#: What reviewers may say of an account.
LABELS = ("benign", "harvest", "unknown")

#: Fewer accounts than this show no tail to extrapolate.
FEWEST = 100

#: The tail is fitted to the accounts between the top `contamination` and this many times as many.
REACH = 4

#: A fitted tail falls by at least this factor's logarithm over the accounts that it is fitted to.
_SLOWEST = 0.1
#: At this rate nothing is left of the tail: its mean is 1/500 of the way that it is fitted to.
_FASTEST = 500.0


@dataclass(frozen=True, eq=False)
class BenignScores:
    """What `conformal_p` compares an account with.

    Attributes
    ----------
    prompts : int64 (M,)
        Rising.
    score : float64 (M,)
    neighbours : int
        How many of similar size an account is compared with; at most M.
    extrapolated_below : float
        p-values below this rest on an extrapolated tail, not on accounts seen; 0 = none do.
    left_out : int
        Accounts that were taken for harvests and left out.
    """

    prompts: NDArray[np.int64]
    score: NDArray[np.float64]
    neighbours: int
    extrapolated_below: float
    left_out: int

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that these allow: 1 / (neighbours + 1)."""
        return 1 / (self.neighbours + 1)

    def p_value(self, score: NDArray[np.float64], prompts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Conformal p-value against accounts of similar size, shape ``(A,)``; see `conformal_p`."""
        return conformal_p(
            score,
            prompts,
            calibration_score=self.score,
            calibration_prompts=self.prompts,
            neighbours=self.neighbours,
        )


class LabelledCalibration(NamedTuple):
    """Calibration from labelled accounts, and how well the score tells the labels apart.

    Attributes
    ----------
    benign : BenignScores
    auroc : float
        P(a harvest scores above a benign account of similar size), ties counted half; 0..1, 0.5 = no
        better than chance; NaN without harvests.
    """

    benign: BenignScores
    auroc: float


def calibrate_unlabelled(
    score: NDArray[np.float64],
    prompts: NDArray[np.int64],
    *,
    contamination: float = 0.05,
    neighbours: int = 500,
) -> BenignScores:
    """Calibrate on traffic that nobody has labelled, with up to a share `contamination` of harvests in it.

    Accounts are put in blocks of similar size, each of at least `neighbours` (and `FEWEST`) where there
    are that many. In each block the top `contamination` may be anything, so they are set aside, and the
    benign tail that belongs there is extrapolated from the next highest: beyond a block's (1 − 4c)
    quantile u scores are taken to fall off exponentially. Seen only up to v, the (1 − c) quantile,
    the mean of (score − u)/(v − u) is 1/r − 1/(eʳ − 1), which gives the maximum-likelihood r [1]_; all
    blocks share r, each has its own u and v. Above v then belong n/(eʳ − 1) accounts, n being those
    between u and v, but never more than were set aside, at the quantiles of an exponential with mean
    (v − u)/r. What was set aside beyond that number is left out.

    *The trade*, by simulation (false alarms of new benign accounts and power, at p ≤ 0.01, for
    harvests well above a logistic benign population, with 0%, 2% and 5% of them in the traffic):

    ===================================  =====================  ==================
    what is done with the top 5%         false alarms           power
    ===================================  =====================  ==================
    nothing (``contamination=0``)        .010, .000, .000       .98, .44, .20
    left out                             .058, .039, .010       1.0, 1.0, .96
    extrapolated (this)                  .004, .005, .005       .95, .96, .91
    ===================================  =====================  ==================

    Doing nothing is valid whatever the tail, and blind as soon as there are more harvests than α;
    leaving out raises false alarms sixfold where there are no harvests. Extrapolating keeps both where
    the benign tail is one tail, about exponential or lighter *in the unit of the score*: pass log-odds,
    not probabilities. What it can't do: a heavier tail raises false alarms (Student's t of 4 degrees of
    freedom .011, of 2 .024), and so does a benign minority smaller than `contamination` that scores like
    harvests (evaluation runs, say): it is taken for harvests, up to its share. Only labels can tell
    those apart; see `calibrate_labelled`.

    Parameters
    ----------
    score, prompts : (A,)
        Accounts of the traffic. Score in log-odds; NaN = not scored, not used.
    contamination : float
        c, the largest share of harvests to guard against, in [0, 0.2]. 0 = take all as benign.
    neighbours : int
        Accounts of similar size that a p-value compares with; lowered to the number there are.

    Returns
    -------
    BenignScores
        p-values below c rest on the extrapolated tail.

    Raises
    ------
    ValueError
        Fewer than `FEWEST` scored accounts, or an option out of range.

    References
    ----------
    .. [1] Deemer, Votaw. "Estimation of parameters of truncated or censored exponential
       distributions." Annals of Mathematical Statistics 26 (1955).
    """
    if not 0 <= contamination <= 0.2:
        raise ValueError(f"contamination must be in 0..0.2, got {contamination}")
    _check_neighbours(neighbours)
    score, prompts = _with_scores(score, prompts)
    if len(score) < FEWEST:
        raise ValueError(f"score: {len(score)} scored accounts, at least {FEWEST} are needed")
    if contamination == 0:
        return _benign(score, prompts, neighbours=neighbours)
    blocks = [
        block[np.argsort(score[block], kind="stable")]
        for block in np.array_split(np.arange(len(score)), max(1, len(score) // max(neighbours, FEWEST)))
    ]
    aside = [math.ceil(contamination * len(block)) for block in blocks]
    rate = _shared_rate([_seen(score[block], top) for block, top in zip(blocks, aside, strict=True)])
    kept, replaced = [], score.copy()
    for block, top in zip(blocks, aside, strict=True):
        clean = len(block) - top
        low, high = score[block[clean - (REACH - 1) * top - 1]], score[block[clean - 1]]
        belong = min(top, math.ceil((REACH - 1) * top / math.expm1(rate)))
        tail = block[clean : clean + belong]
        above = 1 - (np.arange(belong) + 0.5) / belong
        replaced[tail] = high - (high - low) / rate * np.log(above)
        kept.append(block[: clean + belong])
    rows = np.sort(np.concatenate(kept))
    return _benign(
        replaced[rows],
        prompts[rows],
        neighbours=neighbours,
        extrapolated_below=contamination,
        left_out=len(score) - len(rows),
    )


def calibrate_labelled(
    score: NDArray[np.float64],
    prompts: NDArray[np.int64],
    label: NDArray[np.str_],
    *,
    neighbours: int = 500,
) -> LabelledCalibration:
    """Calibrate on the accounts that reviewers found benign.

    The p-value means what it says if the benign accounts are like all benign ones: reviewers who are
    shown only what scored high label high benign accounts, which makes p too large (never too small).

    Parameters
    ----------
    score, prompts : (A,)
        Accounts of the traffic. NaN score = not scored, not used.
    label : str (A,)
        One of `LABELS`; unknown ones are not used.
    neighbours : int
        Accounts of similar size that a p-value compares with; lowered to the number there are.

    Returns
    -------
    LabelledCalibration

    Raises
    ------
    ValueError
        A label that is none of `LABELS`, no benign account, or `neighbours` out of range.
    """
    _check_neighbours(neighbours)
    others = sorted(set(label.tolist()) - set(LABELS))
    if others:
        raise ValueError(f"label must be one of {', '.join(LABELS)}, got {others[0]!r}")
    known, size = _with_scores(score[label == "benign"], prompts[label == "benign"])
    if not len(known):
        raise ValueError("label: no scored account is labelled benign")
    benign = _benign(known, size, neighbours=neighbours)
    return LabelledCalibration(
        benign, _auroc(benign, *_with_scores(score[label == "harvest"], prompts[label == "harvest"]))
    )


def _check_neighbours(neighbours: int) -> None:
    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")


def _with_scores(
    score: NDArray[np.float64], prompts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Keep what has a score, by rising prompts."""
    rows = np.flatnonzero(~np.isnan(score))
    rows = rows[np.argsort(prompts[rows], kind="stable")]
    return score[rows], prompts[rows]


def _benign(
    score: NDArray[np.float64],
    prompts: NDArray[np.int64],
    *,
    neighbours: int,
    extrapolated_below: float = 0.0,
    left_out: int = 0,
) -> BenignScores:
    return BenignScores(prompts, score, min(neighbours, len(score)), extrapolated_below, left_out)


def _seen(score: NDArray[np.float64], top: int) -> NDArray[np.float64]:
    """Put the sorted scores from below the `top` highest down to the tail's start on a scale from 0 to 1."""
    end = len(score) - top
    start = end - (REACH - 1) * top
    low, high = score[start - 1], score[end - 1]
    if not high > low:
        return np.empty(0)
    seen: NDArray[np.float64] = (score[start:end] - low) / (high - low)
    return seen


def _shared_rate(seen: list[NDArray[np.float64]]) -> float:
    """Return the rate at which the mean seen is that of the values; from `_SLOWEST` to `_FASTEST`."""
    values = np.concatenate(seen)
    if not len(values):
        return _SLOWEST
    mean = float(values.mean())
    if mean >= _mean_seen(_SLOWEST):
        return _SLOWEST
    if mean <= _mean_seen(_FASTEST):
        return _FASTEST
    return float(brentq(lambda rate: _mean_seen(rate) - mean, _SLOWEST, _FASTEST))


def _mean_seen(rate: float) -> float:
    """Return the mean of an exponential of this rate seen only between 0 and 1; falls with the rate."""
    return 1 / rate - 1 / math.expm1(rate)


def _auroc(benign: BenignScores, score: NDArray[np.float64], prompts: NDArray[np.int64]) -> float:
    if not len(score):
        return math.nan
    mirrored = BenignScores(benign.prompts, -benign.score, benign.neighbours, 0.0, 0)
    # p counts the benign accounts at or above; the mirrored p those at or below.
    above = benign.p_value(score, prompts) * (benign.neighbours + 1) - 1
    below = mirrored.p_value(-score, prompts) * (benign.neighbours + 1) - 1
    return float(np.mean((below + benign.neighbours - above) / (2 * benign.neighbours)))
