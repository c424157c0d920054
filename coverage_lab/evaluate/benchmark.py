"""The benchmark: every method fitted without the corpora that it is then asked about.

For each fold the atlas, the reference mass, every model and its calibration are made from the accounts
and corpora of the other folds; then the fold's own accounts are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from coverage_lab.accounts import measure, states_of
from coverage_lab.accounts.distinct import Distinct
from coverage_lab.accounts.prompt_features import STRUCTURE, openings, structure
from coverage_lab.accounts.prompt_vectors import HostVectors
from coverage_lab.atlas import Atlas, fit_atlas
from coverage_lab.config import EvaluateConfig
from coverage_lab.detect.features import FEATURES, Features, features_of, join
from coverage_lab.detect.fit import ORDINARY, GrowingAccounts, TrainingAccounts, corpus_weights, fit_scorecard
from coverage_lab.detect.scorecard import Scorecard
from coverage_lab.encoders import Encoder
from coverage_lab.errors import ConfigError
from coverage_lab.evaluate.baselines import Baseline, Sample
from coverage_lab.evaluate.benchmark_accounts import BenchmarkAccounts
from coverage_lab.evaluate.prompt_pool import PromptPool
from coverage_lab.evaluate.sampler import PURE
from coverage_lab.evaluate.scored_accounts import ScoredAccounts
from coverage_lab.measures import novelty as causal_novelty
from coverage_lab.measures.ragged import bounded_runs
from coverage_lab.progress import Progress, silent

DETECTOR = "coverage_lab"
#: The two halves: a harvester can change what its prompts say sooner than its need to cover.
HALVES = {"content alone": ("build", "style", "wording"), "coverage shape alone": ("shape",)}
#: What length and language alone would give; a detector that is no better has learnt the files.
PROBE = "probe: length and language only"
#: Parts of the harvest and ordinary clusters that a learning curve is fitted on.
CURVE = {"coverage_lab, 1/4 of the corpora": 4, "coverage_lab, 1/2 of the corpora": 2}

#: Prompts whose states are made at once.
_ROWS_AT_ONCE = 200_000

_DEFAULT = EvaluateConfig()


@dataclass(frozen=True)
class BenchmarkSettings:
    """What a benchmark depends on besides the corpora.

    Attributes
    ----------
    cells : (int, int, int)
        Cells of each fold's atlas.
    train : int
        Accounts that models are fitted on in each fold, at most, besides the harvests.
    seed : int
    judged : tuple of int, optional
        Sizes at which accounts are judged; all that they reach when None. Models learn from all sizes
        either way.
    """

    cells: tuple[int, int, int] = _DEFAULT.cells
    train: int = _DEFAULT.train
    seed: int = _DEFAULT.seed
    judged: tuple[int, ...] | None = None


def run_benchmark(
    pool: PromptPool,
    drawn: BenchmarkAccounts,
    vectors: NDArray[np.float32],
    encoder: Encoder,
    *,
    settings: BenchmarkSettings,
    baselines: Sequence[Baseline],
    progress: Progress = silent,
) -> ScoredAccounts:
    """Score every account by every method, corpus-out.

    Parameters
    ----------
    vectors : float32 (P, d)
        Unit vectors of the pool's texts, by `encoder`.

    Returns
    -------
    ScoredAccounts
        The same to the last digit for the same input and seed on one machine and thread count.

    Raises
    ------
    ConfigError
        As `check_training`.
    """
    check_training(pool, drawn, settings=settings)
    judged = np.isin(drawn.size, drawn.size if settings.judged is None else settings.judged)
    distinct = _distinct(pool, vectors)
    novelties = _novelties(drawn, vectors, progress)
    truth = _truth(pool, drawn)
    fold_of = drawn.fold[drawn.trajectory]
    folds = int(drawn.fold.max()) + 1
    names = [DETECTOR, *HALVES, *CURVE, PROBE, *(baseline.name for baseline in baselines)]
    scores = {name: np.zeros(len(fold_of)) for name in names}
    archetype = np.full(len(fold_of), "", dtype="U32")
    for fold in range(folds):
        progress("fold", fold, folds)
        test = np.flatnonzero((fold_of == fold) & judged)
        if not len(test):
            continue
        atlas = _atlas(pool, vectors, encoder, fold, settings)
        placed = replace(distinct, cells=atlas.assign(vectors))
        train = _training(drawn, truth, fold, settings)
        features = {
            side: _features(drawn, rows, placed, novelties, atlas)
            for side, rows in (("train", train), ("test", test))
        }
        labelled = replace(truth.at(train), features=features["train"])
        held = features["test"]

        fitted = partial(fit_scorecard, atlas_id=atlas.id, encoder_id=encoder.id, seed=settings.seed)
        card = fitted(labelled)
        scores[DETECTOR][test] = _log_odds(card, held)
        archetype[test] = [name for name, _ in card.likeliest(held)]
        scored = partial(fitted, archetypes=card.archetypes)
        for name, parts in HALVES.items():
            scores[name][test] = _log_odds(scored(labelled, parts=parts), held)
        for name, part in CURVE.items():
            scores[name][test] = _log_odds(scored(_part_of(labelled, part, settings.seed)), held)
        scores[PROBE][test] = _probe(labelled, held, truth.language[test])
        told = train[np.isin(truth.kind[train], ORDINARY) | truth.pure[train]]
        for done, baseline in enumerate(baselines):
            progress("baselines", fold * len(baselines) + done, folds * len(baselines))
            score = baseline.fit(_sample(drawn, told, vectors, truth), seed=settings.seed)
            scores[baseline.name][test] = score(_sample(drawn, test, vectors, truth))
    progress("fold", folds, folds)
    progress("baselines", folds * len(baselines), folds * len(baselines))
    plans = [drawn.plans[t] for t in drawn.trajectory]
    return ScoredAccounts(
        kind=truth.kind,
        rung=np.array([plan.rung for plan in plans]),
        prompts=drawn.size,
        corpora=tuple(plan.corpora for plan in plans),
        cluster=truth.cluster,
        language=truth.language,
        fold=fold_of,
        campaign=np.array([plan.campaign for plan in plans]),
        trajectory=drawn.trajectory,
        archetype=archetype,
        scores=scores,
    ).take(judged)


def label_accounts(
    pool: PromptPool,
    drawn: BenchmarkAccounts,
    vectors: NDArray[np.float32],
    atlas: Atlas,
    *,
    settings: BenchmarkSettings,
    progress: Progress = silent,
) -> tuple[TrainingAccounts, GrowingAccounts]:
    """Measure accounts of all folds on one atlas, for the scorecard that ships.

    Parameters
    ----------
    vectors : float32 (P, d)
        Unit vectors of the pool's texts, by the encoder of `atlas`.

    Returns
    -------
    TrainingAccounts
        Every pure harvest and at most `settings.train` other accounts, each at up to two of its sizes.
    GrowingAccounts
        Every ordinary account at all its sizes.
    """
    truth = _truth(pool, drawn)
    placed = replace(_distinct(pool, vectors), cells=atlas.assign(vectors))
    novelties = _novelties(drawn, vectors, progress)
    chosen = _training(drawn, truth, None, settings)
    grown = np.flatnonzero(np.isin(truth.kind, ORDINARY))
    labelled, ordinary = (
        replace(truth.at(rows), features=_features(drawn, rows, placed, novelties, atlas))
        for rows in (chosen, grown)
    )
    return labelled, GrowingAccounts(ordinary, drawn.trajectory[grown])


def check_training(pool: PromptPool, drawn: BenchmarkAccounts, *, settings: BenchmarkSettings) -> None:
    """Refuse accounts that some fold could not be scored with; needs no vectors.

    Raises
    ------
    ConfigError
        Outside a fold there are fewer than two clusters of harvests or of ordinary accounts, or fewer
        distinct prompts than fine cells; or no account reaches a size that is to be judged.
    """
    reached = set(drawn.size.tolist())
    if settings.judged is not None and not reached >= set(settings.judged):
        raise ConfigError(
            f"judge: expected some of {', '.join(map(str, sorted(reached)))}, the sizes that accounts reach, "
            f"got {', '.join(map(str, settings.judged))}"
        )
    truth = _truth(pool, drawn)
    for fold in np.unique(drawn.fold[drawn.trajectory]):
        train = _training(drawn, truth, int(fold), settings)
        guilty = set(truth.cluster[train][truth.harvest[train]].tolist())
        ordinary = set(truth.cluster[train][np.isin(truth.kind[train], ORDINARY)].tolist()) - guilty
        if min(len(guilty), len(ordinary)) < 2:
            raise ConfigError(
                f"corpora: outside fold {fold + 1} there are {len(guilty)} clusters of harvests and "
                f"{len(ordinary)} of ordinary accounts without one, expected two of each; "
                "give more corpora or fewer folds"
            )
        rows = np.concatenate([pool.corpora[name] for name in pool.corpora if pool.fold[name] != fold])
        distinct = len(np.unique(pool.digests[rows]))
        if distinct < settings.cells[-1]:
            raise ConfigError(
                f"cells: expected at most {distinct}, the distinct prompts outside fold {fold + 1}, "
                f"got {settings.cells[-1]}"
            )


def _log_odds(card: Scorecard, held: Features) -> NDArray[np.float64]:
    """Score before it is squeezed into 0..1. With the intercept: every fold has its own."""
    odds: NDArray[np.float64] = card.points(held).sum(axis=1) + card.intercept
    return odds


def _distinct(pool: PromptPool, vectors: NDArray[np.float32]) -> Distinct:
    """Work out what states need of each text; the cells are filled in atlas by atlas."""
    return Distinct(
        vectors=HostVectors(vectors),
        digests=pool.digests,
        cells=np.zeros((len(vectors), 3), np.int32),
        structure=structure(pool.texts),
        openings=openings(pool.texts),
    )


def _novelties(
    drawn: BenchmarkAccounts, vectors: NDArray[np.float32], progress: Progress
) -> list[NDArray[np.float32]]:
    """Novelty of each trajectory; a prefix's is a prefix of it."""
    found: list[NDArray[np.float32]] = []
    for i, plan in enumerate(drawn.plans):
        found.append(causal_novelty(vectors[plan.rows], np.array([0, len(plan.rows)]))[0])
        if i % 200 == 0:
            progress("novelty", i, len(drawn.plans))
    progress("novelty", len(drawn.plans), len(drawn.plans))
    return found


def _truth(pool: PromptPool, drawn: BenchmarkAccounts) -> TrainingAccounts:
    """Label every account; the features are filled in fold by fold."""
    plans = [drawn.plans[t] for t in drawn.trajectory]
    spoken = [{pool.language[name] for name in plan.corpora} for plan in plans]
    none = np.zeros((len(plans), 0))
    return TrainingAccounts(
        features=Features(none, none.astype(np.float32), none.astype(np.float32), drawn.size),
        kind=np.array([plan.kind for plan in plans]),
        corpus=np.array([plan.corpora[0] for plan in plans]),
        cluster=np.array([pool.cluster[plan.corpora[0]] for plan in plans]),
        language=np.array([next(iter(tongues)) if len(tongues) == 1 else "" for tongues in spoken]),
        pure=np.array([plan.rung in PURE for plan in plans]),
    )


def _training(
    drawn: BenchmarkAccounts, truth: TrainingAccounts, fold: int | None, settings: BenchmarkSettings
) -> NDArray[np.int64]:
    """Accounts outside a fold: every pure harvest, and others up to a bound, each at two of its sizes."""
    rng = np.random.default_rng(settings.seed if fold is None else (settings.seed, fold))
    outside = drawn.fold[drawn.trajectory] != fold
    chosen: list[NDArray[np.int64]] = []
    order = rng.permutation(len(drawn.plans))
    used = 0
    starts = np.searchsorted(drawn.trajectory, np.arange(len(drawn.plans) + 1))
    for t in order:
        rows = np.arange(starts[t], starts[t + 1])
        if not len(rows) or not outside[rows[0]]:
            continue
        harvest = truth.kind[rows[0]] == "harvest"
        if harvest and not truth.pure[rows[0]]:
            continue
        if not harvest and used >= settings.train:
            continue
        picked = rng.choice(rows, min(2, len(rows)), replace=False)
        used += 0 if harvest else len(picked)
        chosen.append(picked)
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))


def _atlas(
    pool: PromptPool, vectors: NDArray[np.float32], encoder: Encoder, fold: int, settings: BenchmarkSettings
) -> Atlas:
    """Fit the atlas and the reference mass on the other folds' corpora; labels are not needed."""
    names = [name for name in pool.corpora if pool.fold[name] != fold]
    rows = np.concatenate([pool.corpora[name] for name in names])
    account = np.repeat(np.arange(len(names)), [len(pool.corpora[name]) for name in names])
    reference = np.array([name[0] in "DE" for name in names])[account]
    return fit_atlas(
        vectors[rows],
        account,
        reference,
        None,
        encoder=encoder,
        sizes=settings.cells,
        seed=settings.seed,
        iterations=12,
    )


def _features(
    drawn: BenchmarkAccounts,
    accounts: NDArray[np.int64],
    distinct: Distinct,
    novelties: Sequence[NDArray[np.float32]],
    atlas: Atlas,
) -> Features:
    parts: list[Features] = []
    cuts = np.concatenate([[0], np.cumsum(drawn.size[accounts])])
    for start, stop in bounded_runs(cuts, _ROWS_AT_ONCE):
        batch = accounts[start:stop]
        offsets = cuts[start : stop + 1] - cuts[start]
        states = states_of(
            tuple(f"{account:09d}" for account in batch),
            offsets,
            np.concatenate([np.arange(n) for n in drawn.size[batch]]).astype(np.int64),
            np.concatenate([drawn.rows(account) for account in batch]),
            distinct,
            novelty=np.concatenate([novelties[drawn.trajectory[a]][: drawn.size[a]] for a in batch]),
        )
        parts.append(features_of(states, measure(states, atlas).values))
    return join(parts)


def _part_of(labelled: TrainingAccounts, part: int, seed: int) -> TrainingAccounts:
    """Keep one in `part` of the clusters with harvests, of those with ordinary accounts, of the rest."""
    rng = np.random.default_rng(seed)
    kept: set[str] = set()
    guilty = set(labelled.cluster[labelled.harvest].tolist())
    ordinary = set(labelled.cluster[np.isin(labelled.kind, ORDINARY)].tolist()) - guilty
    for side in (guilty, ordinary, set(labelled.cluster.tolist()) - guilty - ordinary):
        ordered = rng.permutation(sorted(side))
        kept |= set(ordered[: max(2, len(ordered) // part)].tolist())
    return labelled.at(np.array([cluster in kept for cluster in labelled.cluster]))


def _probe(train: TrainingAccounts, held: Features, languages: NDArray[np.str_]) -> NDArray[np.float64]:
    """Score by how long prompts are and which language the catalogue says they are in."""
    columns = [FEATURES.index(f"{name}_{m}") for name in STRUCTURE[:1] for m in ("mean", "sd")]
    known = sorted(set(train.language.tolist()))

    def table(features: Features, spoken: NDArray[np.str_]) -> NDArray[np.float64]:
        tongues = np.array([[language == name for name in known] for language in spoken], dtype=float)
        return np.column_stack([features.named[:, columns], tongues])

    used = np.isin(train.kind, ORDINARY) | train.pure
    model = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=8, random_state=0)
    with threadpool_limits(1):  # trees this small are slower by threads, which wait for one another
        model.fit(
            table(train.features, train.language)[used],
            train.harvest[used],
            sample_weight=corpus_weights(train.harvest[used], train.corpus[used]),
        )
        logit: NDArray[np.float64] = model.decision_function(table(held, languages))
    return logit


def _sample(
    drawn: BenchmarkAccounts,
    accounts: NDArray[np.int64],
    vectors: NDArray[np.float32],
    truth: TrainingAccounts,
) -> Sample:
    harvest = truth.harvest[accounts]
    return Sample(
        vectors=vectors,
        rows=tuple(drawn.rows(account) for account in accounts),
        harvest=harvest,
        weight=corpus_weights(harvest, truth.corpus[accounts]),
    )
