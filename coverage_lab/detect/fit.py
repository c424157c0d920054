"""Accounts whose truth is known → a scorecard.

Each kind of evidence is fitted by itself (logistic regression, corpora weighted alike), scored on accounts
whose corpora it did not see, brought to one scale by those scores, and added up; a last two-parameter
logistic turns the sum into log-odds. With some fifty harvest corpora in all, fitting the four against one
another was no better than adding them, and the reasons are easier to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from coverage_lab.detect.archetype import CLIP, ArchetypeModel, clipped
from coverage_lab.detect.features import FEATURES, SHAPE, Features
from coverage_lab.detect.scorecard import (
    Calibration,
    Feature,
    GrowthCalibration,
    Linear,
    Mixture,
    Scorecard,
    direction,
    sameness,
)
from coverage_lab.errors import ConfigError

#: The kinds of evidence, each of which can be fitted alone.
PARTS = ("shape", "build", "style", "wording")
#: Kinds of accounts that a harvest is told from; the others are told apart by their archetype only.
ORDINARY = ("task", "product", "person", "multi_tenant", "payload")

#: Kind of account → archetype.
ARCHETYPE_OF = {
    "task": "task_use",
    "product": "mixed_product",
    "person": "personal_use",
    "multi_tenant": "multi_tenant",
    "payload": "data_processing",
    "evaluation_run": "evaluation_run",
    "red_team": "red_team_research",
    "harvest": "harvesting",
}

#: Steps of a named feature; inverse penalties of the four logistic regressions and of the archetypes.
STEPS = 6
_INVERSE_PENALTY = {"shape": 0.03, "build": 0.03, "style": 0.005, "wording": 6.0}
_ARCHETYPE_PENALTY = 0.02
_ARCHETYPE_SCALE = {"style": 4.0, "wording": 7.5}
#: Relief for openings that are all alike, in benign spreads of one kind of evidence (1 = from the benign
#: median to the 95th percentile). Without it one payload account in ten outscores most harvests at n = 1,000,
#: since a fixed instruction reads like an instruction bank. Chosen among 0, 2, 3 and 4 on the folds that the
#: card reports; fitted it came out anywhere from 0.2 to 2.3, there being too few templates to learn it from.
RELIEF = 2.0
_LEAST_SPREAD = 1e-4
#: Parts of the corpora that are held out in turn to bring the kinds of evidence to one scale.
INNER_FOLDS = 4
_NEIGHBOURS = 500

Row = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainingAccounts:
    """Accounts whose truth is known.

    Attributes
    ----------
    features : Features
    kind : str array (A,)
        Keys of `ARCHETYPE_OF`.
    corpus : str array (A,)
        What the account counts for: each corpus of a side weighs the same.
    cluster : str array (A,)
        Near-duplicate corpora share one; never parted by the inner folds.
    language : str array (A,)
        "" where several or unknown. Its directions are taken out of style and wording, never used.
    pure : bool (A,)
        A harvest without ordinary traffic in it; mixtures teach nothing about harvests.
    """

    features: Features
    kind: NDArray[np.str_]
    corpus: NDArray[np.str_]
    cluster: NDArray[np.str_]
    language: NDArray[np.str_]
    pure: NDArray[np.bool_]

    def at(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> TrainingAccounts:
        """Some of the accounts."""
        return TrainingAccounts(
            self.features.at(rows),
            self.kind[rows],
            self.corpus[rows],
            self.cluster[rows],
            self.language[rows],
            self.pure[rows],
        )

    @property
    def harvest(self) -> NDArray[np.bool_]:
        """Harvests, of any rung."""
        return np.asarray(self.kind == "harvest")


@dataclass(frozen=True, eq=False)
class GrowingAccounts:
    """Ordinary accounts as they grew: each at every size that it reached.

    Attributes
    ----------
    accounts : TrainingAccounts
        Of the kinds in `ORDINARY`; an account's first 50 prompts, its first 100, … in that order.
    trajectory : int64 (A,)
        Number of the account that each is a part of; rising.
    """

    accounts: TrainingAccounts
    trajectory: NDArray[np.int64]


def even_weights(corpus: NDArray[np.str_]) -> Row:
    """Weights with which every corpus counts the same: 1 / (corpora · accounts of the account's corpus).

    Parameters
    ----------
    corpus : str array (A,)
        Corpus that each account counts for.

    Returns
    -------
    float64 (A,)
        Positive, summing to 1; empty for no accounts.
    """
    names, which, counts = np.unique(corpus, return_inverse=True, return_counts=True)
    return 1.0 / (max(names.size, 1) * counts[which].astype(np.float64))


def corpus_weights(side: NDArray[np.generic], corpus: NDArray[np.str_]) -> Row:
    """Weigh accounts so that each corpus of a side counts the same, and each side too; mean 1."""
    weight = np.zeros(len(side))
    sides = np.unique(side)
    for value in sides:
        here = side == value
        weight[here] = even_weights(corpus[here]) * (len(side) / len(sides))
    return weight


def fit_scorecard(
    labelled: TrainingAccounts,
    *,
    atlas_id: str,
    encoder_id: str,
    parts: Sequence[str] = PARTS,
    seed: int = 0,
    card: dict[str, str | float | int] | None = None,
    archetypes: ArchetypeModel | None = None,
    grown: GrowingAccounts | None = None,
) -> Scorecard:
    """Fit the score, the archetypes and the calibration.

    Parameters
    ----------
    labelled : TrainingAccounts
        Harvests and ordinary accounts; evaluation runs and research for the archetypes.
    parts : subset of `PARTS`
        Evidence to use; the others add no points.
    archetypes : ArchetypeModel, optional
        To take as they are; fitted where not given.
    grown : GrowingAccounts, optional
        What looks at growing accounts are calibrated on (`coverage_lab.detect.trajectory`); without it the
        scorecard has no such calibration.

    Returns
    -------
    Scorecard
        Calibrated on the ordinary accounts' scores by weights that did not see their corpora.

    Raises
    ------
    ConfigError
        A part is not known, or harvests or ordinary accounts come from fewer than two clusters.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise ConfigError(f"parts: expected some of {PARTS}, got {list(parts)}")
    ordinary = np.isin(labelled.kind, ORDINARY)
    scored = labelled.at(ordinary | labelled.pure)
    benign = ~scored.harvest
    for side, here in (("harvests", ~benign), ("ordinary accounts", benign)):
        if len(np.unique(scored.cluster[here])) < 2:
            raise ConfigError(f"{side}: expected accounts of at least two clusters of corpora")
    frame = _frame(labelled)
    inner = _Inner.of(scored, frame, parts, seed)
    held_out, raw = inner.points(scored), inner.raw(scored)
    middle = np.median(held_out[benign], axis=0)
    spread = np.maximum(np.quantile(held_out[benign], 0.95, axis=0) - middle, 1e-9)
    total = _total(held_out, middle, spread, scored)
    last = LogisticRegression(C=1e6, max_iter=1000)
    last.fit(total[:, None], scored.harvest, sample_weight=corpus_weights(scored.harvest, scored.corpus))
    slope = max(float(last.coef_[0, 0]), 0.0)
    scale = dict(zip(parts, slope / spread, strict=True))
    score = expit(float(last.intercept_[0]) + slope * total)
    terms = {part: _fit_part(part, scored, frame) for part in parts}
    size = scored.features.prompts[benign]
    order = np.argsort(size, kind="stable")
    linear = raw @ np.array([scale.get(part, 0.0) for part in _LINEAR])
    return Scorecard(
        atlas_id=atlas_id,
        encoder_id=encoder_id,
        intercept=_short(
            float(last.intercept_[0]) - sum(scale[p] * m for p, m in zip(parts, middle, strict=True))
        ),
        features=_features(terms, scale, frame, labelled.features.named[ordinary]),
        style=_linear("style", terms, scale, frame, scored.at(benign)),
        wording=_linear("wording", terms, scale, frame, scored.at(benign)),
        template_relief=_short(RELIEF * slope),
        archetypes=_archetypes(labelled, frame) if archetypes is None else archetypes,
        mixture=Mixture(benign=_quantiles(linear[benign]), harvest=_quantiles(linear[~benign])),
        calibration=Calibration(
            neighbours=min(_NEIGHBOURS, int(benign.sum())),
            prompts=tuple(int(n) for n in size[order]),
            score=tuple(round(float(s), 6) for s in score[benign][order]),
        ),
        growth=None
        if grown is None
        else _growth(
            grown,
            expit(
                float(last.intercept_[0])
                + slope * _total(inner.points(grown.accounts), middle, spread, grown.accounts)
            ),
        ),
        card=card or {},
    )


def _total(points: Row, middle: Row, spread: Row, accounts: TrainingAccounts) -> Row:
    """Add up the kinds of evidence on one scale, (A,): 0 = benign medians, 1 = one benign spread above."""
    total: Row = ((points - middle) / spread).sum(axis=1) - RELIEF * sameness(accounts.features)
    return total


def _growth(grown: GrowingAccounts, score: Row) -> GrowthCalibration:
    """Lay out scores as trajectories, an account a row."""
    prompts = grown.accounts.features.prompts
    sizes = np.unique(prompts)
    names, row = np.unique(grown.trajectory, return_inverse=True)
    table = np.full((len(names), len(sizes)), np.nan)
    table[row, np.searchsorted(sizes, prompts)] = score
    return GrowthCalibration(
        sizes=tuple(int(n) for n in sizes),
        score=tuple(tuple(round(float(s), 6) for s in line[~np.isnan(line)]) for line in table),
    )


@dataclass(frozen=True, eq=False)
class _Frame:
    """What benign accounts are like: sizes curves and spread of each feature, steps, language directions."""

    by_size: Row  # (F, 3)
    sd: Row  # (F,)
    edges: list[Row]
    centre: dict[str, Row]
    projection: dict[str, Row]  # (d, directions), orthonormal: what is taken out

    def z(self, features: Features) -> Row:
        size = np.log(np.maximum(features.prompts, 1))
        curve = np.vander(size, 3, increasing=True) @ self.by_size.T
        z: Row = (features.named - curve) / self.sd
        return z

    def steps(self, features: Features, part: str) -> Row:
        """One-hot steps of the part's features, (A, Σ steps); none where a feature is not defined."""
        z = self.z(features)
        columns = []
        for j in _COLUMNS[part]:
            step = np.searchsorted(self.edges[j], z[:, j], side="right")
            hot = np.zeros((len(z), len(self.edges[j]) + 1))
            known = ~np.isnan(z[:, j])
            hot[np.flatnonzero(known), step[known]] = 1
            columns.append(hot)
        return np.concatenate(columns, axis=1)

    def linear(self, features: Features, part: str) -> Row:
        """The part's vector, benign mean and language directions taken out."""
        x = _vector(features, part) - self.centre[part]
        out = self.projection[part]
        rest: Row = x - (x @ out) @ out.T
        return rest


_LINEAR = ("style", "wording")
_COLUMNS = {"shape": range(len(SHAPE)), "build": range(len(SHAPE), len(FEATURES))}


def _vector(features: Features, part: str) -> Row:
    return direction(features.style if part == "style" else features.wording)


def _frame(labelled: TrainingAccounts) -> _Frame:
    """Work out what ordinary accounts are like, and what language does to all accounts but harvests."""
    ordinary = labelled.at(np.isin(labelled.kind, ORDINARY))
    benign = labelled.at(~labelled.harvest)
    features = ordinary.features
    weight = corpus_weights(ordinary.harvest, ordinary.corpus)
    size = np.vander(np.log(np.maximum(features.prompts, 1)), 3, increasing=True)
    by_size, sd, edges = [], [], []
    for column in features.named.T:
        known = ~np.isnan(column)
        root = np.sqrt(weight[known])
        # A ridge this small only matters where all accounts are of one size.
        a = np.vstack([size[known] * root[:, None], 1e-3 * np.eye(3)])
        curve = np.linalg.lstsq(a, np.append(column[known] * root, np.zeros(3)), rcond=None)[0]
        rest = column[known] - size[known] @ curve
        deviation = (
            max(float(np.sqrt(np.average(rest**2, weights=weight[known]))), 1e-6) if known.any() else 1.0
        )
        by_size.append(curve)
        sd.append(deviation)
        cuts = np.quantile(rest / deviation, np.arange(1, STEPS) / STEPS) if known.any() else np.empty(0)
        edges.append(np.unique(np.round(cuts, 4)))
    return _Frame(
        by_size=np.array(by_size),
        sd=np.array(sd),
        edges=edges,
        centre={part: np.average(_vector(features, part), axis=0, weights=weight) for part in _LINEAR},
        projection={part: _language_directions(_vector(benign.features, part), benign) for part in _LINEAR},
    )


def _language_directions(x: Row, benign: TrainingAccounts) -> Row:
    """Orthonormal basis of the differences between the languages' mean benign corpora, (d, languages − 1)."""
    means: dict[str, list[Row]] = {}
    for name in np.unique(benign.corpus):
        here = (benign.corpus == name) & (benign.language != "")
        for language in np.unique(benign.language[here]):
            means.setdefault(str(language), []).append(x[here & (benign.language == language)].mean(axis=0))
    centres = [np.mean(rows, axis=0) for _, rows in sorted(means.items())]
    if len(centres) < 2:
        return np.zeros((x.shape[1], 0))
    differences = np.array(centres[1:]) - centres[0]
    _, strength, basis = np.linalg.svd(differences, full_matrices=False)
    found: Row = basis[strength > 1e-9 * strength[0]].T
    return found


@dataclass(frozen=True, eq=False)
class _Term:
    """One part's fit: coefficients of its steps or of its vector."""

    weight: Row

    def of(self, features: Features, part: str, frame: _Frame) -> Row:
        x = frame.linear(features, part) if part in _LINEAR else frame.steps(features, part)
        points: Row = x @ self.weight
        return points


def _fit_part(part: str, train: TrainingAccounts, frame: _Frame) -> _Term:
    x = frame.linear(train.features, part) if part in _LINEAR else frame.steps(train.features, part)
    # The d coordinates of style differ in spread; so standardised, one penalty fits them all.
    sd = x.std(axis=0) if part == "style" else np.ones(x.shape[1])
    # A coordinate that all accounts share is rounding: it gets no weight rather than a huge one.
    sd = np.where(sd < _LEAST_SPREAD, np.inf, sd)
    model = LogisticRegression(C=_INVERSE_PENALTY[part], max_iter=2000)
    model.fit(x / sd, train.harvest, sample_weight=corpus_weights(train.harvest, train.corpus))
    return _Term(model.coef_[0] / sd)


@dataclass(frozen=True, eq=False)
class _Inner:
    """Weights by which every account can be scored that saw no corpus of its cluster."""

    parts: Sequence[str]
    frame: _Frame
    fold: dict[str, int]  # of each cluster
    terms: list[dict[str, _Term]]  # of each fold; none where it left nothing to learn from

    @staticmethod
    def of(scored: TrainingAccounts, frame: _Frame, parts: Sequence[str], seed: int) -> _Inner:
        fold = _inner_folds(scored, seed)
        here = np.array([fold[str(cluster)] for cluster in scored.cluster])
        terms: list[dict[str, _Term]] = []
        for held in range(INNER_FOLDS):
            train = scored.at(here != held)
            learns = (here == held).any() and train.harvest.any() and not train.harvest.all()
            terms.append({part: _fit_part(part, train, frame) for part in parts} if learns else {})
        return _Inner(parts, frame, fold, terms)

    def points(self, accounts: TrainingAccounts) -> Row:
        """Points of each part, (A, parts)."""
        points = np.zeros((len(accounts.kind), len(self.parts)))
        for held, features, terms in self._folds(accounts):
            for i, part in enumerate(self.parts):
                points[held, i] = terms[part].of(features, part, self.frame)
        return points

    def raw(self, accounts: TrainingAccounts) -> Row:
        """Value of style and wording on means as they are, (A, 2); see `Scorecard.linear`."""
        raw = np.zeros((len(accounts.kind), len(_LINEAR)))
        for held, features, terms in self._folds(accounts):
            for i, part in enumerate(_LINEAR):
                if part in terms:
                    mean = features.style if part == "style" else features.wording
                    raw[held, i] = mean.astype(np.float64) @ _projected(terms[part], part, self.frame)
        return raw

    def _folds(
        self, accounts: TrainingAccounts
    ) -> Iterator[tuple[NDArray[np.bool_], Features, dict[str, _Term]]]:
        # A cluster that nothing was learnt from may be scored by any of the weights.
        here = np.array([self.fold.get(str(cluster), 0) for cluster in accounts.cluster])
        for fold, terms in enumerate(self.terms):
            held = here == fold
            if terms and held.any():
                yield held, accounts.features.at(held), terms


def _projected(term: _Term, part: str, frame: _Frame) -> Row:
    """Weights on the vector itself: those of a term act on what is left without the language directions."""
    out = frame.projection[part]
    weight: Row = term.weight - out @ (out.T @ term.weight)
    return weight


def _inner_folds(scored: TrainingAccounts, seed: int) -> dict[str, int]:
    """Deal clusters to folds, those with harvests first, so that every fold has some of both sides."""
    rng = np.random.default_rng(seed)
    names, which = np.unique(scored.cluster, return_inverse=True)
    with_harvest = np.array([scored.harvest[which == i].any() for i in range(len(names))])
    order = np.lexsort((rng.random(len(names)), ~with_harvest))
    fold = np.empty(len(names), dtype=np.int64)
    fold[order] = np.arange(len(names)) % INNER_FOLDS
    return {str(name): int(number) for name, number in zip(names, fold, strict=True)}


def _features(
    terms: dict[str, _Term], scale: dict[str, float], frame: _Frame, benign: Row
) -> tuple[Feature, ...]:
    low, mid, high = np.nanquantile(benign, (0.05, 0.5, 0.95), axis=0)
    features = []
    for part, columns in _COLUMNS.items():
        at = 0
        for j in columns:
            steps = len(frame.edges[j]) + 1
            points = terms[part].weight[at : at + steps] * scale[part] if part in terms else np.zeros(steps)
            at += steps
            features.append(
                Feature(
                    name=FEATURES[j],
                    by_size=(
                        _short(frame.by_size[j, 0]),
                        _short(frame.by_size[j, 1]),
                        _short(frame.by_size[j, 2]),
                    ),
                    sd=_short(frame.sd[j]),
                    edges=tuple(float(edge) for edge in frame.edges[j]),
                    points=tuple(round(float(p), 4) for p in points),
                    benign_p05=_short(low[j]),
                    benign_median=_short(mid[j]),
                    benign_p95=_short(high[j]),
                )
            )
    return tuple(features)


def _linear(
    part: str, terms: dict[str, _Term], scale: dict[str, float], frame: _Frame, benign: TrainingAccounts
) -> Linear:
    x = _vector(benign.features, part)
    if part not in terms:
        return Linear(weight=(0.0,) * x.shape[1], offset=0.0, benign_p05=0, benign_median=0, benign_p95=0)
    weight = _projected(terms[part], part, frame) * scale[part]
    kept = np.array([_short(w) for w in weight])
    offset = -float(frame.centre[part] @ kept)
    low, mid, high = np.quantile(x @ kept + offset, (0.05, 0.5, 0.95))
    return Linear(
        weight=tuple(kept.tolist()),
        offset=_short(offset),
        benign_p05=_short(low),
        benign_median=_short(mid),
        benign_p95=_short(high),
    )


def _archetypes(labelled: TrainingAccounts, frame: _Frame) -> ArchetypeModel:
    kinds = np.array([ARCHETYPE_OF[str(kind)] for kind in labelled.kind])
    named = clipped(frame.z(labelled.features))
    vectors = [frame.linear(labelled.features, part) for part in _LINEAR]
    x = np.concatenate(
        [named / CLIP, *(v * _ARCHETYPE_SCALE[part] for v, part in zip(vectors, _LINEAR, strict=True))],
        axis=1,
    )
    model = LogisticRegression(C=_ARCHETYPE_PENALTY, max_iter=1000)
    model.fit(x, kinds, sample_weight=corpus_weights(kinds, labelled.corpus))
    intercept = model.intercept_.copy()
    blocks = [model.coef_[:, : named.shape[1]] / CLIP]
    at = named.shape[1]
    for part, vector in zip(_LINEAR, vectors, strict=True):
        raw = model.coef_[:, at : at + vector.shape[1]] * _ARCHETYPE_SCALE[part]
        at += vector.shape[1]
        out = frame.projection[part]
        weight = raw - (raw @ out) @ out.T
        intercept -= weight @ frame.centre[part]
        blocks.append(weight)
    return ArchetypeModel(
        names=tuple(str(name) for name in model.classes_),
        intercept=tuple(_short(b) for b in intercept),
        weight=tuple(tuple(_short(w) for w in row) for row in np.concatenate(blocks, axis=1)),
    )


def _quantiles(values: Row) -> tuple[float, ...]:
    """A hundred and one quantiles: enough to tell mixtures from, and no account of its own."""
    if not len(values):
        return ()
    return tuple(_short(float(v)) for v in np.quantile(values, np.linspace(0, 1, 101)))


def _short(value: float) -> float:
    """Keep six digits: what is written is what is used."""
    return float(f"{value:.6g}")
