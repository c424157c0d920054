"""Figures of a benchmark run as pure functions of scores: how well, how sure, and for whom.

Scores are higher the more an account looks like harvesting. An account is flagged where its score lies
strictly above a threshold, so that accounts which tie with the threshold stay clear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.detect.fitting import even_weights
from coverage_lab.errors import CoverageLabError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GroupShare:
    """Share of flagged accounts in one group, in [0, 1]."""

    name: str
    accounts: int
    share: float


@dataclass(frozen=True)
class CampaignShares:
    """How many split harvests show themselves, as shares of campaigns in [0, 1].

    `one_by_chance` is the share that would have at least one account over the threshold if each were
    flagged as often as an innocent one, independently: large campaigns show one by chance alone.
    """

    campaigns: int
    accounts: int
    one: float
    half: float
    one_by_chance: float


@dataclass(frozen=True)
class Detection:
    """Prompts until detection of accounts that grow.

    `median` is in prompts, ``None`` where it lies beyond the data: half of the trajectories or more are
    never detected, or there is none. `never` is the share never detected, ``None`` without trajectories.
    `found_by` has one entry a size: of the trajectories that reach it, the share detected at or before it.
    """

    trajectories: int
    median: float | None
    never: float | None
    found_by: tuple[tuple[int, int, float], ...]


def auroc(
    positive: Floats,
    negative: Floats,
    *,
    positive_weights: Floats | None = None,
    negative_weights: Floats | None = None,
) -> float | None:
    r"""Chance that a harvest scores higher than an innocent account, ties counting half.

    .. math:: \sum_{ij} u_i v_j \, ([s_i > t_j] + [s_i = t_j] / 2) \,/\, \sum_{ij} u_i v_j

    Parameters
    ----------
    positive, negative : ndarray, shape (P,), (N,)
        Scores of harvests, and of innocent accounts.
    positive_weights, negative_weights : ndarray, optional, shape (P,), (N,)
        Not negative; ones where not given. With `coverage_lab.detect.fitting.even_weights` every corpus
        counts the same.

    Returns
    -------
    float or None
        In [0, 1]; 0.5 is chance, 1 is perfect. ``None`` where a side is empty or has no weight.

    References
    ----------
    .. [1] Hanley, McNeil (1982), The meaning and use of the area under a receiver operating
       characteristic (ROC) curve. Radiology 143.
    """
    u = np.ones(positive.size) if positive_weights is None else positive_weights
    v = np.ones(negative.size) if negative_weights is None else negative_weights
    if not (u.sum() > 0 and v.sum() > 0):
        return None
    # Here, not above: the import takes a second.
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([True, False], [positive.size, negative.size])
    return float(roc_auc_score(truth, np.r_[positive, negative], sample_weight=np.r_[u, v]))


def threshold_at(benign: Floats, *, fpr: float) -> float | None:
    """Smallest score of an innocent account that at most a share `fpr` of them lies strictly above.

    Conservative: the share of innocent accounts over the threshold is at most `fpr`, less where there
    are ties or `fpr` is no multiple of 1 / N.

    Parameters
    ----------
    benign : ndarray, shape (N,)
        Scores of innocent accounts of the same size as the accounts that are going to be judged.
    fpr : float
        False-positive rate allowed, in (0, 1).

    Returns
    -------
    float or None
        ``None`` with fewer than 1 / `fpr` accounts: no threshold could be told from the maximum.

    Raises
    ------
    CoverageLabError
        `fpr` does not lie strictly between 0 and 1.
    """
    if not 0 < fpr < 1:
        raise CoverageLabError(f"fpr: expected a rate strictly between 0 and 1, got {fpr}")
    if _allowed(benign.size, fpr) < 1:
        return None
    return float(threshold_replicates(benign, np.ones((1, benign.size)), fpr=fpr)[0])


def _allowed(total: float | Floats, fpr: float) -> Floats:
    """Whole accounts that may lie over the threshold; the nudge undoes 0.29 · 100 = 28.999…"""
    return np.floor(np.asarray(total, dtype=np.float64) * fpr + 1e-9)


def flagged_share(scores: Floats, threshold: float | None, *, weights: Floats | None = None) -> float | None:
    """Share of accounts strictly over a threshold, in [0, 1].

    Parameters
    ----------
    scores : ndarray, shape (A,)
        Scores.
    threshold : float or None
        As `threshold_at` gives it.
    weights : ndarray, optional, shape (A,)
        Not negative; ones where not given.

    Returns
    -------
    float or None
        ``None`` without a threshold or without accounts.
    """
    if threshold is None or scores.size == 0:
        return None
    over = scores > threshold
    share = over.mean() if weights is None else weights[over].sum() / weights.sum()
    return min(float(share), 1.0)


def roc_points(
    positive: Floats,
    benign: Floats,
    *,
    rates: Sequence[float],
    positive_weights: Floats | None = None,
) -> list[tuple[float, float]]:
    """Points (false-positive rate allowed, share of harvests found) of a ROC curve.

    Parameters
    ----------
    positive, benign : ndarray, shape (P,), (N,)
        Scores of harvests, and of innocent accounts.
    rates : sequence of float
        False-positive rates in (0, 1); those under 1 / N are left out.
    positive_weights : ndarray, optional, shape (P,)
        Not negative; ones where not given.

    Returns
    -------
    list of (float, float)
        In the order of `rates`, not falling where `rates` rises; empty where a side is empty.
    """
    points = []
    for rate in rates:
        found = flagged_share(positive, threshold_at(benign, fpr=rate), weights=positive_weights)
        if found is not None:
            points.append((float(rate), found))
    return points


def shares_by(
    groups: NDArray[np.str_], over: NDArray[np.bool_], *, corpus: NDArray[np.str_] | None = None
) -> list[GroupShare]:
    """Share of flagged accounts in each group, ordered by name.

    Parameters
    ----------
    groups : ndarray of str, shape (A,)
        Kind, language, rung or corpus of each account.
    over : ndarray of bool, shape (A,)
        Whether the account is flagged.
    corpus : ndarray of str, optional, shape (A,)
        Where given, every corpus of a group counts the same; otherwise every account does.

    Returns
    -------
    list of GroupShare
        One for each name that occurs; empty for no accounts.
    """
    found = []
    for name in np.unique(groups).tolist():
        mine = groups == name
        weights = np.ones(int(mine.sum())) if corpus is None else even_weights(corpus[mine])
        share = float(weights[over[mine]].sum() / weights.sum())
        found.append(GroupShare(name=name, accounts=int(mine.sum()), share=min(share, 1.0)))
    return found


def campaign_shares(
    campaign: NDArray[np.int64], over: NDArray[np.bool_], *, fpr: float
) -> CampaignShares | None:
    """Share of campaigns with at least one, and with at least half, of their accounts flagged.

    Parameters
    ----------
    campaign : ndarray of int64, shape (A,)
        Number of each account's campaign; every account belongs to one.
    over : ndarray of bool, shape (A,)
        Whether the account is flagged.
    fpr : float
        Share of innocent accounts that are flagged, for `CampaignShares.one_by_chance`.

    Returns
    -------
    CampaignShares or None
        ``None`` for no accounts.
    """
    if campaign.size == 0:
        return None
    numbers, inverse = np.unique(campaign, return_inverse=True)
    sizes = np.bincount(inverse, minlength=numbers.size)
    flagged = np.bincount(inverse[over], minlength=numbers.size)
    return CampaignShares(
        campaigns=int(numbers.size),
        accounts=int(campaign.size),
        one=float((flagged >= 1).mean()),
        half=float((2 * flagged >= sizes).mean()),
        one_by_chance=float((1 - (1 - fpr) ** sizes).mean()),
    )


def prompts_until_detection(
    trajectory: NDArray[np.int64], prompts: NDArray[np.int64], over: NDArray[np.bool_]
) -> Detection:
    """Smallest size at which a growing account is over that size's threshold.

    Parameters
    ----------
    trajectory : ndarray of int64, shape (A,)
        Accounts that are prefixes of one another share a number.
    prompts : ndarray of int64, shape (A,)
        Size of each.
    over : ndarray of bool, shape (A,)
        Whether it is over the threshold of its own size. Leave out sizes that have no threshold.

    Returns
    -------
    Detection
        Trajectories that are never detected count as later than all sizes in the median.
    """
    if trajectory.size == 0:
        return Detection(trajectories=0, median=None, never=None, found_by=())
    numbers, inverse = np.unique(trajectory, return_inverse=True)
    first = np.full(numbers.size, np.inf)
    np.minimum.at(first, inverse[over], prompts[over].astype(np.float64))
    last = np.zeros(numbers.size, dtype=np.int64)
    np.maximum.at(last, inverse, prompts)
    # The mean of the two middle ones, infinite as soon as one of them is.
    low, high = (np.sort(first)[[(numbers.size - 1) // 2, numbers.size // 2]]).tolist()
    median = (low + high) / 2
    return Detection(
        trajectories=int(numbers.size),
        median=median if math.isfinite(median) else None,
        never=float(np.isinf(first).mean()),
        found_by=tuple(
            (int(size), int((last >= size).sum()), float((first[last >= size] <= size).mean()))
            for size in np.unique(prompts).tolist()
        ),
    )


def archetype_shares(
    kind: NDArray[np.str_], archetype: NDArray[np.str_]
) -> dict[str, tuple[int, dict[str, float]]]:
    """How the accounts of each kind were called.

    Parameters
    ----------
    kind : ndarray of str, shape (A,)
        What the account is.
    archetype : ndarray of str, shape (A,)
        What the detector called it; accounts with '' are left out.

    Returns
    -------
    dict
        Kind → (accounts asked, {archetype: share of them in (0, 1]}); kinds of which no account was
        asked are left out.
    """
    asked = archetype != ""
    shares = {}
    for name in np.unique(kind[asked]).tolist():
        called, counts = np.unique(archetype[asked & (kind == name)], return_counts=True)
        total = int(counts.sum())
        parts = zip(called.tolist(), counts.tolist(), strict=True)
        shares[name] = (total, {each: count / total for each, count in parts})
    return shares


def cluster_draws(cluster: NDArray[np.str_], *, replicates: int, rng: np.random.Generator) -> Floats:
    """How often each account is drawn when whole clusters are drawn with replacement.

    Parameters
    ----------
    cluster : ndarray of str, shape (A,)
        Accounts of near-duplicate corpora share a name: they are no independent evidence.
    replicates : int
        Number R of replicates, 1 or more.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of float64, shape (R, A)
        Whole numbers; each replicate draws as many clusters as there are.
    """
    names, inverse = np.unique(cluster, return_inverse=True)
    if names.size == 0:
        return np.zeros((replicates, 0))
    times = rng.multinomial(names.size, np.full(names.size, 1 / names.size), size=replicates)
    return times[:, inverse].astype(np.float64)


def auroc_replicates(
    positive: Floats, negative: Floats, positive_weights: Floats, negative_weights: Floats
) -> Floats:
    """`auroc` under many weightings at once: each pair is ordered once, not once a weighting.

    Parameters
    ----------
    positive, negative : ndarray, shape (P,), (N,)
        Scores.
    positive_weights, negative_weights : ndarray, shape (R, P), (R, N)
        Weights of each replicate, with a positive sum.

    Returns
    -------
    ndarray of float64, shape (R,)
        In [0, 1].
    """
    order = np.argsort(negative, kind="stable")
    ranked = negative[order]
    below = np.zeros((negative_weights.shape[0], negative.size + 1))
    np.cumsum(negative_weights[:, order], axis=1, out=below[:, 1:])
    wins = below[:, np.searchsorted(ranked, positive, side="left")]
    wins += below[:, np.searchsorted(ranked, positive, side="right")]
    wins *= positive_weights
    total = 2 * below[:, -1] * positive_weights.sum(axis=1)
    shares: Floats = np.clip(wins.sum(axis=1) / total, 0.0, 1.0)
    return shares


def threshold_replicates(benign: Floats, weights: Floats, *, fpr: float) -> Floats:
    """`threshold_at` under many weightings at once, without its least number of accounts.

    Parameters
    ----------
    benign : ndarray, shape (N,), N ≥ 1
        Scores of innocent accounts.
    weights : ndarray, shape (R, N)
        How often each account counts in each replicate; whole numbers with a positive sum.
    fpr : float
        False-positive rate allowed, in (0, 1).

    Returns
    -------
    ndarray of float64, shape (R,)
        A score of an account that counts in the replicate.
    """
    order = np.argsort(-benign, kind="stable")
    ranked = benign[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    grouped = np.add.reduceat(weights[:, order], starts, axis=1)
    through = np.cumsum(grouped, axis=1)
    above = through - grouped
    # `above` never falls, and beyond the last account that counts it holds them all: the last value that
    # few enough lie above is always one of a counting account.
    last = (above <= _allowed(through[:, -1], fpr)[:, None]).sum(axis=1) - 1
    thresholds: Floats = ranked[starts[last]]
    return thresholds


def tpr_replicates(
    positive: Floats, benign: Floats, positive_weights: Floats, benign_weights: Floats, *, fpr: float
) -> Floats:
    """Share of harvests over each replicate's own threshold.

    Parameters
    ----------
    positive, benign : ndarray, shape (P,), (N,)
        Scores.
    positive_weights : ndarray, shape (R, P)
        Weights of each replicate, with a positive sum.
    benign_weights : ndarray, shape (R, N)
        How often each innocent account counts; whole numbers with a positive sum.
    fpr : float
        False-positive rate allowed, in (0, 1).

    Returns
    -------
    ndarray of float64, shape (R,)
        In [0, 1].
    """
    thresholds = threshold_replicates(benign, benign_weights, fpr=fpr)
    found = np.where(positive[None, :] > thresholds[:, None], positive_weights, 0.0).sum(axis=1)
    shares: Floats = np.clip(found / positive_weights.sum(axis=1), 0.0, 1.0)
    return shares


def percentile_interval(values: Floats, *, level: float = 0.95) -> tuple[float, float]:
    """Middle share `level` of the replicates, in (0, 1) (Efron's percentile interval).

    Parameters
    ----------
    values : ndarray, shape (R,), R ≥ 1
        The figure in each replicate.
    level : float
        Share of the replicates inside.

    Returns
    -------
    (float, float)
        Low and high end.
    """
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
