"""One kind of evidence fitted by itself, and by weights that did not see an account's cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from coverage_lab.detect.features import Features
from coverage_lab.detect.fitting.accounts import TrainingAccounts, side_weights
from coverage_lab.detect.fitting.frame import Frame, Row
from coverage_lab.detect.scorecard import ADDITIVE, NAMED_PARTS
from coverage_lab.errors import ConfigError

#: Inverse penalty of each logistic regression, chosen by family-held-out figures at n = 300 and 1,000.
_INVERSE_PENALTY = {
    "shape": 0.03,
    "build": 0.03,
    "prompts": 0.002,
    "instruction": 0.001,
    "topics": 0.003,
    "spread": 0.01,
    "openings": 0.02,
    "content_openings": 0.1,
}


def fit_part(part: str, train: TrainingAccounts, frame: Frame) -> Row:
    """Fit one kind of evidence: weights of its steps or of its scaled vector; customers weigh alike."""
    x = frame.steps(train.features, part) if part in NAMED_PARTS else frame.scaled(train.features, part)
    model = LogisticRegression(C=_INVERSE_PENALTY[part], max_iter=2000, tol=1e-3)
    model.fit(x, train.harvest, sample_weight=side_weights(train.harvest, train.customer))
    weight: Row = model.coef_[0]
    return weight


def value_of(weight: Row, part: str, features: Features, frame: Frame) -> Row:
    """Value of one kind of evidence by fitted weights, (A,)."""
    x = frame.steps(features, part) if part in NAMED_PARTS else frame.scaled(features, part)
    value: Row = x @ weight
    return value


#: Folds that clusters are dealt to where accounts are all of one.
_DEALT = 4


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Weights by which every account can be scored that saw no account of its fold.

    An instruction that the weights have learnt as a product's makes every account behind it look ordinary; so
    what is held out with an account is its corpora and its instruction alike.

    Attributes
    ----------
    parts : sequence of str
    frame : Frame
    weights : mapping of fold → part → weights
        Without a fold that leaves nothing to learn from.
    where : mapping of cluster → fold
    """

    parts: Sequence[str]
    frame: Frame
    weights: dict[int, dict[str, Row]]
    where: dict[str, int]

    @staticmethod
    def of(scored: TrainingAccounts, frame: Frame, parts: Sequence[str]) -> HeldOut:
        """Fit each fold's weights on the accounts of the others.

        Where folds leave nothing to learn from (there is one, or one holds all harvests), clusters are dealt
        to new ones; instructions are then not parted.

        Raises
        ------
        ConfigError
            Harvests or ordinary accounts are of fewer than two clusters.
        """
        weights: dict[int, dict[str, Row]] = {}
        for where in (scored.fold, _dealt(scored)):
            for held in np.unique(where).tolist():
                train = scored.at(where != held)
                if (where == held).all() or not train.harvest.any() or train.harvest.all():
                    continue
                weights[held] = {part: fit_part(part, train, frame) for part in parts}
            if weights:
                break
        else:
            raise ConfigError("corpora: expected two clusters of harvests and of ordinary accounts each")
        fold_of = dict(zip(scored.cluster.tolist(), where.tolist(), strict=True))
        return HeldOut(parts, frame, weights, fold_of)

    def values(self, accounts: TrainingAccounts) -> dict[str, Row]:
        """Value of each part, (A,)."""
        values = {part: np.zeros(len(accounts.kind)) for part in self.parts}
        for held, features, weights in self._folds(accounts):
            for part in self.parts:
                values[part][held] = value_of(weights[part], part, features, self.frame)
        return values

    def additive(self, accounts: TrainingAccounts, gain: dict[str, float]) -> Row:
        """Sum of the evidence that is a mean over prompts, each times its gain, not centred, (A,)."""
        found = np.zeros(len(accounts.kind))
        for held, features, weights in self._folds(accounts):
            for part in ADDITIVE:
                if part in weights:
                    x = features.vectors[part].astype(np.float64)
                    found[held] += gain[part] * (x @ (weights[part] * self.frame.scale[part]))
        return found

    def fold_of(self, accounts: TrainingAccounts) -> NDArray[np.int64]:
        """Fold whose weights score each account, (A,)."""
        # Where a fold left nothing to learn from, all the others' weights saw it: any of them will have to
        # do.
        spare = next(iter(self.weights))
        mine = np.array([self.where.get(str(cluster), spare) for cluster in accounts.cluster], dtype=np.int64)
        used: NDArray[np.int64] = np.where(np.isin(mine, list(self.weights)), mine, spare)
        return used

    def _folds(self, accounts: TrainingAccounts) -> Iterator[tuple[np.ndarray, Features, dict[str, Row]]]:
        used = self.fold_of(accounts)
        for fold, weights in self.weights.items():
            held = used == fold
            if held.any():
                yield held, accounts.features.at(held), weights


def _dealt(scored: TrainingAccounts) -> NDArray[np.int64]:
    """Deal clusters to folds, those with harvests first, so that every fold has some of both sides, (A,)."""
    names, which = np.unique(scored.cluster, return_inverse=True)
    with_harvest = np.array([scored.harvest[which == i].any() for i in range(len(names))])
    place = np.empty(len(names), dtype=np.int64)
    place[np.argsort(~with_harvest, kind="stable")] = np.arange(len(names)) % _DEALT
    dealt: NDArray[np.int64] = place[which]
    return dealt
