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
from coverage_lab.accounts.distinct import Distinct, digests_of
from coverage_lab.accounts.prompt_features import STRUCTURE, openings, structure
from coverage_lab.accounts.prompt_vectors import HostVectors
from coverage_lab.atlas import Atlas, fit_atlas
from coverage_lab.config import EvaluateConfig
from coverage_lab.detect.features import FEATURES, Features, features_of, join
from coverage_lab.detect.fitting import (
    ORDINARY,
    GrowingAccounts,
    TrainingAccounts,
    fit_scorecard,
    side_weights,
)
from coverage_lab.detect.scorecard import PARTS
from coverage_lab.encoders import Encoder
from coverage_lab.errors import ConfigError
from coverage_lab.evaluate.baselines import Baseline, Sample
from coverage_lab.evaluate.benchmark_accounts import BenchmarkAccounts
from coverage_lab.evaluate.parted_accounts import PartedAccounts
from coverage_lab.evaluate.prompt_pool import PromptPool
from coverage_lab.evaluate.reference_mass import ReferenceMass, reference_mass
from coverage_lab.evaluate.sampler import PURE
from coverage_lab.evaluate.scored_accounts import ScoredAccounts
from coverage_lab.measures.ragged import bounded_runs
from coverage_lab.progress import Progress, silent

DETECTOR = "coverage_lab"
#: The detector with half of its evidence: a harvester can change what it says sooner than its need to cover.
ABLATIONS = {
    "content alone": tuple(part for part in PARTS if part != "shape"),
    "coverage shape alone": ("shape",),
}
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
    parted: PartedAccounts,
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
    parted : PartedAccounts
        The accounts' prompts, parted.
    vectors : float32 (U, d)
        Unit vectors of `parted.texts`, by `encoder`.

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
    distinct = _distinct(parted, vectors)
    novelty = _novelty(parted, distinct, progress)
    truth = _truth(pool, drawn)
    families = _families(pool, drawn)
    fold_of = drawn.fold[drawn.trajectory]
    folds = int(drawn.fold.max()) + 1
    names = [DETECTOR, *ABLATIONS, *CURVE, PROBE, *(baseline.name for baseline in baselines)]
    scores = {name: np.zeros(len(fold_of)) for name in names}
    archetype = np.full(len(fold_of), "", dtype="U32")
    p_value = np.ones(len(fold_of))
    for fold in range(folds):
        progress("fold", fold, folds)
        test = np.flatnonzero((fold_of == fold) & judged)
        if not len(test):
            continue
        atlas = _atlas(pool, parted, vectors, encoder, fold, settings)
        placed = replace(distinct, cells=atlas.assign(vectors))
        mass = _mass(pool, parted, placed, atlas, fold)
        train = _training(drawn, truth, fold, settings)
        labelled = replace(
            truth.at(train), features=_features(parted, train, placed, novelty, mass, families)
        )
        held = _features(parted, test, placed, novelty, mass)

        fitted = partial(fit_scorecard, atlas_id=atlas.id, encoder_id=encoder.id)
        card = fitted(labelled)
        scores[DETECTOR][test] = card.log_odds(held)
        p_value[test] = card.p_value(card.score(card.points(held)), held.prompts)
        archetype[test] = [name for name, _ in card.likeliest(held)]
        scored = partial(fitted, archetypes=card.archetypes)
        for name, parts in ABLATIONS.items():
            scores[name][test] = scored(labelled, parts=parts).log_odds(held)
        for name, part in CURVE.items():
            scores[name][test] = scored(_part_of(labelled, part, settings.seed)).log_odds(held)
        scores[PROBE][test] = _probe(labelled, held, truth.language[test])
        told = train[np.isin(truth.kind[train], ORDINARY) | truth.pure[train]]
        for done, baseline in enumerate(baselines):
            progress("baselines", fold * len(baselines) + done, folds * len(baselines))
            score = baseline.fit(_sample(parted, told, vectors, truth), seed=settings.seed)
            scores[baseline.name][test] = score(_sample(parted, test, vectors, truth))
    progress("fold", folds, folds)
    progress("baselines", folds * len(baselines), folds * len(baselines))
    sampled = [drawn.sampled[t] for t in drawn.trajectory]
    return ScoredAccounts(
        kind=truth.kind,
        rung=np.array([account.rung for account in sampled]),
        prompts=drawn.size,
        corpora=tuple(account.corpora for account in sampled),
        cluster=truth.cluster,
        language=truth.language,
        fold=fold_of,
        campaign=np.array([account.campaign for account in sampled]),
        trajectory=drawn.trajectory,
        archetype=archetype,
        p_value=p_value,
        scores=scores,
    ).take(judged)


def label_accounts(
    pool: PromptPool,
    drawn: BenchmarkAccounts,
    parted: PartedAccounts,
    vectors: NDArray[np.float32],
    atlas: Atlas,
    *,
    settings: BenchmarkSettings,
    progress: Progress = silent,
) -> tuple[TrainingAccounts, GrowingAccounts]:
    """Measure accounts of all folds on one atlas, for the scorecard that ships.

    Parameters
    ----------
    parted : PartedAccounts
        The accounts' prompts, parted.
    vectors : float32 (U, d)
        Unit vectors of `parted.texts`, by the encoder of `atlas`.

    Returns
    -------
    TrainingAccounts
        Every pure harvest and at most `settings.train` other accounts, each at up to two of its sizes.
    GrowingAccounts
        Every ordinary account at all its sizes.
    """
    truth = _truth(pool, drawn)
    placed = replace(_distinct(parted, vectors), cells=atlas.assign(vectors))
    novelty = _novelty(parted, placed, progress)
    mass = _mass(pool, parted, placed, atlas, None)
    families = _families(pool, drawn)
    chosen = _training(drawn, truth, None, settings)
    grown = np.flatnonzero(np.isin(truth.kind, ORDINARY))
    labelled, ordinary = (
        replace(truth.at(rows), features=_features(parted, rows, placed, novelty, mass, families))
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


def _distinct(parted: PartedAccounts, vectors: NDArray[np.float32]) -> Distinct:
    """Work out what states need of each text; the cells are filled in atlas by atlas."""
    texts = parted.texts
    return Distinct(
        vectors=HostVectors(vectors),
        digests=digests_of(texts),
        characters=np.fromiter(map(len, texts), np.int64, len(texts)),
        cells=np.zeros((len(vectors), 3), np.int32),
        structure=structure(texts),
        openings=openings(texts),
    )


def _novelty(parted: PartedAccounts, distinct: Distinct, progress: Progress) -> NDArray[np.float32]:
    """Novelty of every prompt's content within its account, (N,): it hangs on no atlas."""
    novelty = np.empty(len(parted.content), np.float32)
    for start, stop in bounded_runs(parted.offsets, _ROWS_AT_ONCE):
        first, last = parted.offsets[start], parted.offsets[stop]
        progress("novelty", int(first), len(novelty))
        offsets = parted.offsets[start : stop + 1] - first
        novelty[first:last] = distinct.vectors.novelty(parted.content[first:last], offsets)
    progress("novelty", len(novelty), len(novelty))
    return novelty


def _families(pool: PromptPool, drawn: BenchmarkAccounts) -> list[frozenset[str]]:
    """Families of corpora that each account's prompts are from."""
    sampled = [frozenset(pool.cluster[name] for name in account.corpora) for account in drawn.sampled]
    return [sampled[t] for t in drawn.trajectory]


def _truth(pool: PromptPool, drawn: BenchmarkAccounts) -> TrainingAccounts:
    """Label every account; the features are filled in fold by fold."""
    sampled = [drawn.sampled[t] for t in drawn.trajectory]
    spoken = [{pool.language[name] for name in account.corpora} for account in sampled]
    none = np.zeros((len(sampled), 0))
    return TrainingAccounts(
        features=Features(none, {}, drawn.size),
        kind=np.array([account.kind for account in sampled]),
        customer=np.array([f"{account.kind}: {pool.cluster[account.corpora[0]]}" for account in sampled]),
        cluster=np.array([pool.cluster[account.corpora[0]] for account in sampled]),
        fold=drawn.fold[drawn.trajectory],
        language=np.array([next(iter(tongues)) if len(tongues) == 1 else "" for tongues in spoken]),
        pure=np.array([account.rung in PURE for account in sampled]),
    )


def _training(
    drawn: BenchmarkAccounts, truth: TrainingAccounts, fold: int | None, settings: BenchmarkSettings
) -> NDArray[np.int64]:
    """Accounts outside a fold: every pure harvest, and others up to a bound, each at two of its sizes."""
    rng = np.random.default_rng(settings.seed if fold is None else (settings.seed, fold))
    outside = drawn.fold[drawn.trajectory] != fold
    chosen: list[NDArray[np.int64]] = []
    order = rng.permutation(len(drawn.sampled))
    used = 0
    starts = np.searchsorted(drawn.trajectory, np.arange(len(drawn.sampled) + 1))
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
    pool: PromptPool,
    parted: PartedAccounts,
    vectors: NDArray[np.float32],
    encoder: Encoder,
    fold: int,
    settings: BenchmarkSettings,
) -> Atlas:
    """Fit the atlas and the reference mass on the other folds' corpora; labels are not needed."""
    rows, family, reference = corpus_contents(pool, parted, fold)
    _, number = np.unique(family, return_inverse=True)
    return fit_atlas(
        vectors[rows],
        number.astype(np.int64),
        reference,
        None,
        encoder=encoder,
        sizes=settings.cells,
        seed=settings.seed,
        iterations=12,
    )


def corpus_contents(
    pool: PromptPool, parted: PartedAccounts, fold: int | None
) -> tuple[NDArray[np.int64], NDArray[np.str_], NDArray[np.bool_]]:
    """Contents of the corpora outside a fold (None: of all): row, family, whether ordinary traffic."""
    names = [name for name in pool.corpora if fold is None or pool.fold[name] != fold]
    lengths = [len(parted.corpora[name]) for name in names]
    return (
        np.concatenate([parted.corpora[name] for name in names]),
        np.repeat(np.array([pool.cluster[name] for name in names]), lengths),
        np.repeat(np.array([name[0] in "DE" for name in names]), lengths),
    )


def _mass(
    pool: PromptPool, parted: PartedAccounts, placed: Distinct, atlas: Atlas, fold: int | None
) -> ReferenceMass:
    rows, family, reference = corpus_contents(pool, parted, fold)
    return reference_mass(atlas, placed.cells[rows[reference], -1], family[reference])


def _features(
    parted: PartedAccounts,
    accounts: NDArray[np.int64],
    distinct: Distinct,
    novelty: NDArray[np.float32],
    mass: ReferenceMass,
    families: Sequence[frozenset[str]] | None = None,
) -> Features:
    """Features of some accounts; with `families`, each by a mass without the corpora that it is made of."""
    group = [frozenset[str]() if families is None else families[account] for account in accounts]
    by_mass: dict[frozenset[str], list[int]] = {}
    for place, out in enumerate(group):
        by_mass.setdefault(out, []).append(place)
    parts: list[Features] = []
    order: list[int] = []
    for out, places in by_mass.items():
        atlas = mass.without(out)
        mine = accounts[places]
        cuts = np.concatenate([[0], np.cumsum(np.diff(parted.offsets)[mine])])
        for start, stop in bounded_runs(cuts, _ROWS_AT_ONCE):
            batch = mine[start:stop]
            offsets = cuts[start : stop + 1] - cuts[start]
            at = parted.places(batch)
            states = states_of(
                tuple(f"{place:09d}" for place in range(len(batch))),
                offsets,
                np.concatenate([np.arange(n) for n in np.diff(offsets)]).astype(np.int64),
                parted.whole[at],
                distinct,
                content=parted.content[at],
                instruction=parted.instruction[at],
                novelty=novelty[at],
            )
            measures = measure(states, atlas).values
            parts.append(features_of(states, measures, middle_cells=atlas.sizes[1]))
        order += places
    return join(parts).at(np.argsort(order, kind="stable"))


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
            sample_weight=side_weights(train.harvest[used], train.customer[used]),
        )
        logit: NDArray[np.float64] = model.decision_function(table(held, languages))
    return logit


def _sample(
    parted: PartedAccounts,
    accounts: NDArray[np.int64],
    vectors: NDArray[np.float32],
    truth: TrainingAccounts,
) -> Sample:
    harvest = truth.harvest[accounts]
    return Sample(
        vectors=vectors,
        rows=tuple(parted.whole[parted.offsets[a] : parted.offsets[a + 1]] for a in accounts),
        harvest=harvest,
        weight=side_weights(harvest, truth.customer[accounts]),
    )
