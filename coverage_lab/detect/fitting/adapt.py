"""A score fitted to own traffic: own accounts on the ordinary side, shipped harvests on the other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from coverage_lab.detect.calibrate import (
    FEWEST,
    LABELS,
    BenignScores,
    calibrate_labelled,
    calibrate_unlabelled,
)
from coverage_lab.detect.features import Features, join
from coverage_lab.detect.fitting.accounts import TrainingAccounts, even_weights
from coverage_lab.detect.fitting.scorecard import fit_scorecard
from coverage_lab.detect.scorecard import Calibration, Scorecard
from coverage_lab.errors import ConfigError
from coverage_lab.progress import Progress, silent

#: Scores this near 0 or 1 count as this near, so that log-odds stay finite.
_EDGE = 1e-15
#: Shares of own accounts above a threshold that `Separation` tells the harvests beyond of.
CUTS = (0.01, 0.05)


@dataclass(frozen=True)
class Separation:
    """How well a score tells held-out harvests from held-out own accounts.

    Attributes
    ----------
    auroc : float
        P(a harvest scores above an own account); 0..1, 0.5 = no better than chance. Harvest corpora count
        alike.
    caught : (float, float)
        Share of the harvests that score above all but 1%, and all but 5%, of the own accounts.
    """

    auroc: float
    caught: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Adapted:
    """A scorecard for one's own traffic.

    Attributes
    ----------
    scorecard : Scorecard
    own : int
        Own accounts that it was fitted to as ordinary ones.
    left_out : int
        Own accounts that were set aside because they may be harvests.
    labelled_harvests : int
    calibration : BenignScores
    learnt : TrainingAccounts
        Own accounts that the score was fitted to, ordinary ones and labelled harvests.
    usual : TrainingAccounts
        Own accounts that harvests are told from: without labels all of them, also those that were set aside.
    """

    scorecard: Scorecard
    own: int
    left_out: int
    labelled_harvests: int
    calibration: BenignScores
    learnt: TrainingAccounts
    usual: TrainingAccounts


def adapt_scorecard(
    own: Features,
    shipped: TrainingAccounts,
    before: Scorecard,
    *,
    label: NDArray[np.str_] | None = None,
    contamination: float = 0.05,
    seed: int = 0,
) -> Adapted:
    """Fit score and calibration to one's own accounts.

    Own accounts join the ordinary side, each a customer of its own; harvests are the shipped ones, and those
    that reviewers found. Without labels the share `contamination` of own accounts that score highest by the
    scorecard of before is set aside: it may be anything, so it teaches nothing. p-values compare with own
    accounts only (`coverage_lab.detect.calibrate`), by scores of weights that did not see them.

    Parameters
    ----------
    own : Features
        Of own accounts, measured on the atlas of `before`.
    shipped : TrainingAccounts
        Those that `before` was fitted on (`coverage_lab.detect.fitting.shipped`).
    label : str array (A,), optional
        One of `coverage_lab.detect.calibrate.LABELS` for each own account; unknown ones are not used.
    contamination : float
        Without labels: largest share of harvests to guard against, 0 to 0.2.
    seed : int
        Deals own accounts to folds.

    Raises
    ------
    ConfigError
        Fewer than `coverage_lab.detect.calibrate.FEWEST` own accounts are left as ordinary ones, or an option
        is out of range.
    """
    if not 0 <= contamination <= 0.2:
        raise ConfigError(f"contamination: expected 0 to 0.2, got {contamination}")
    if label is not None and set(label.tolist()) - set(LABELS):
        raise ConfigError(f"label: expected one of {', '.join(LABELS)}")
    mine, ordinary = _own_accounts(own, shipped, before, label, contamination, seed)
    if ordinary.sum() < FEWEST:
        raise ConfigError(
            f"own accounts: {ordinary.sum()} ordinary ones, at least {FEWEST} are needed; give more traffic, "
            "or calibrate"
        )
    learnt = mine.at(ordinary | mine.harvest)
    both = _joined(shipped, learnt)
    usual = mine if label is None else mine.at(ordinary)
    card = fit_scorecard(
        both,
        atlas_id=before.atlas_id,
        encoder_id=before.encoder_id,
        archetypes=before.archetypes,
        known=usual,
        scales_of=before,
    )
    odds = _log_odds(np.array(card.calibration.score))
    prompts = np.array(card.calibration.prompts, dtype=np.int64)
    if label is None:
        calibration = calibrate_unlabelled(odds, prompts, contamination=contamination)
    else:
        calibration = calibrate_labelled(odds, prompts, np.full(len(odds), "benign")).benign
    card = card.model_copy(
        update={
            "calibration": Calibration(
                neighbours=calibration.neighbours,
                prompts=tuple(calibration.prompts.tolist()),
                score=tuple(np.minimum(np.ceil(1e6 * expit(calibration.score)) / 1e6, 1.0).tolist()),
            )
        }
    )
    return Adapted(
        scorecard=card,
        own=int(ordinary.sum()),
        left_out=0 if label is not None else int((~ordinary).sum()),
        labelled_harvests=int(mine.harvest.sum()),
        calibration=calibration,
        learnt=learnt,
        usual=usual,
    )


def separations(
    found: Adapted, shipped: TrainingAccounts, *, progress: Progress = silent
) -> tuple[Separation, Separation]:
    """How well scores tell harvests from own accounts: by the shipped accounts alone, and with one's own.

    Each account is scored by weights that saw neither it nor, of harvests, any of its family; so neither is
    the score of `found` itself, but what its like does to accounts that it has not seen.
    """
    folds = len(np.unique(shipped.fold))

    def counted(done: int) -> Progress:
        return lambda _, at, __: progress("check", done + at, 2 * folds)

    before = _separation(shipped, None, found, counted(0))
    after = _separation(shipped, found.learnt, found, counted(folds))
    progress("check", 2 * folds, 2 * folds)
    return before, after


def _own_accounts(
    own: Features,
    shipped: TrainingAccounts,
    before: Scorecard,
    label: NDArray[np.str_] | None,
    contamination: float,
    seed: int,
) -> tuple[TrainingAccounts, NDArray[np.bool_]]:
    """Own accounts as training accounts, and which of them count as ordinary."""
    size = len(own)
    folds = np.unique(shipped.fold)
    names = np.array([f"own {place:08d}" for place in range(size)])
    harvest = np.zeros(size, bool) if label is None else np.asarray(label == "harvest")
    if label is None:
        ordinary = np.full(size, True)
        highest = np.argsort(-before.log_odds(own), kind="stable")
        ordinary[highest[: math.ceil(contamination * size)]] = False
    else:
        ordinary = np.asarray(label == "benign")
    accounts = TrainingAccounts(
        features=own,
        kind=np.where(harvest, "harvest", "product"),
        customer=names,
        cluster=names,
        fold=folds[np.random.default_rng(seed).permutation(size) % len(folds)],
        language=np.full(size, ""),
        pure=np.full(size, True),
    )
    return accounts, ordinary


def _joined(first: TrainingAccounts, second: TrainingAccounts) -> TrainingAccounts:
    columns = ("kind", "customer", "cluster", "fold", "language", "pure")
    return replace(
        first,
        features=join([first.features, second.features]),
        **{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in columns},
    )


def _separation(
    shipped: TrainingAccounts,
    learnt: TrainingAccounts | None,
    adapted: Adapted,
    progress: Progress,
) -> Separation:
    """Score shipped harvests and own accounts fold by fold, by weights of the other folds."""
    harvests = shipped.at(shipped.harvest & shipped.pure)
    own = adapted.usual
    found, usual = np.zeros(len(harvests.kind)), np.zeros(len(own.kind))
    folds = np.unique(shipped.fold).tolist()
    for done, fold in enumerate(folds):
        progress("check", done, len(folds))
        train = shipped.at(shipped.fold != fold)
        if learnt is not None:
            train = _joined(train, learnt.at(learnt.fold != fold))
        card = fit_scorecard(train, atlas_id="", encoder_id="", archetypes=adapted.scorecard.archetypes)
        for accounts, odds in ((harvests, found), (own, usual)):
            here = accounts.fold == fold
            odds[here] = card.log_odds(accounts.features.at(here))
    weight = even_weights(harvests.customer)
    truth = np.repeat([1, 0], [len(found), len(usual)])
    weights = np.concatenate([weight, np.full(len(usual), 1 / len(usual))])
    auroc = float(roc_auc_score(truth, np.concatenate([found, usual]), sample_weight=weights))
    first, second = (float(weight[found > np.quantile(usual, 1 - cut)].sum()) for cut in CUTS)
    return Separation(auroc, (first, second))


def _log_odds(score: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = logit(np.clip(score, _EDGE, 1 - _EDGE))
    return odds
