"""The second protocol: how much better is the score once it is fitted to one's own customers?

Every corpus is cut in two. Its first half is the past: from it come the accounts that ship, and one's own
customers. Its second half is what is judged. Fold by fold, the corpora of the fold are one's own: their
ordinary accounts of the past are the traffic that is adapted to (with some unseen harvests among them, where
contamination is asked for), and all of the fold's accounts of later are judged. Of the fold's harvests no
score knows that they are harvests: those among one's own accounts, of the very corpora that are judged, are
taken for ordinary ones. Of ordinary customers other prompts have been seen. The atlas is the one that ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sklearn.metrics import roc_auc_score

from coverage_lab.atlas import default_atlas
from coverage_lab.config import EvaluateConfig
from coverage_lab.detect.fitting import ORDINARY, TrainingAccounts, fit_scorecard
from coverage_lab.detect.fitting.accounts import even_weights
from coverage_lab.detect.fitting.adapt import adapt_scorecard
from coverage_lab.detect.scorecard import Scorecard
from coverage_lab.encoders import Encoder, load_encoder
from coverage_lab.errors import ConfigError
from coverage_lab.evaluate.corpora import Corpus, load_corpora
from coverage_lab.evaluate.corpora_accounts import corpora_accounts
from coverage_lab.evaluate.folds import clusters_of, folds_of, load_together
from coverage_lab.progress import Progress, silent

#: Shares of unseen harvests among the own accounts that are adapted to.
CONTAMINATIONS = (0.0, 0.02, 0.05, 0.10)
#: What `adapt` is told to guard against, as its default is.
_GUARDED = 0.05


class KnownCustomersRow(BaseModel):
    """How one score does at one size.

    `contamination` is None for the score that knows no own customer. Harvest corpora count alike, and so do
    ordinary customers; `caught` is the share of harvests above all but 1% and 5% of the ordinary accounts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    contamination: float | None
    size: int | None  # None: accounts of all sizes
    harvests: int
    ordinary: int
    auroc: float
    caught: tuple[float, float]
    harvests_at_p_5pct: float
    ordinary_at_p: tuple[float, float]  # at p ≤ .01 and ≤ .05
    ordinary_accounts_at_p: tuple[float, float]  # the same, accounts alike: what own calibration promises
    ordinary_at_p_5pct_by_kind: dict[str, float]


class KnownCustomersResults(BaseModel):
    """All rows of a run of the protocol, and what they depend on; `known_customers.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str
    encoder: str
    folds: int
    seed: int
    versions: dict[str, str]
    options: dict[str, str]
    rows: tuple[KnownCustomersRow, ...]


def known_customers(
    corpora: Path,
    config: EvaluateConfig,
    *,
    cache: Path | None = None,
    contaminations: Sequence[float] = CONTAMINATIONS,
    progress: Progress = silent,
) -> list[KnownCustomersRow]:
    """Run the protocol on a folder of corpora.

    Parameters
    ----------
    corpora : Path
        Folder of `<kind>_<name>.parquet`.
    config : EvaluateConfig
        `encoder`, `together`, `folds`, `rows`, `accounts`, `longest`, `train`, `seed` and `judge_sizes` are
        used. `rows` holds for each half.
    cache : Path, optional
        Folder that keeps vectors.
    contaminations : sequence of float
        Shares of harvests among the own accounts that are adapted to, each 0 to below 1.

    Returns
    -------
    list of KnownCustomersRow
        For all sizes together and each of `judge_sizes`: first without own customers, then by contamination.

    Raises
    ------
    ConfigError
        Too few accounts in a fold.
    TrafficError
        A corpus that can't be read, or none.
    """
    groups = load_together(config.together) if config.together is not None else []
    read = load_corpora(corpora)
    cluster = clusters_of(read, together=groups)
    fold = folds_of(read, cluster, folds=config.folds, seed=config.seed)
    encoder = load_encoder(config.encoder, progress=progress)
    halves = [(half_of(corpus, second=False), half_of(corpus, second=True)) for corpus in read]
    halves = [pair for pair in halves if all(half.prompts for half in pair)]
    past, later = (
        _accounts(
            [pair[second] for pair in halves],
            cluster,
            fold,
            encoder,
            config,
            cache,
            seed=config.seed + second,
            progress=progress,
        )
        for second in (False, True)
    )
    scores = {share: _Scores.of(later) for share in (None, *contaminations)}
    folds = np.unique(later.fold).tolist()
    for done, held in enumerate(folds):
        progress("fold", done, len(folds))
        ships = past.at(past.fold != held)
        card = fit_scorecard(ships, atlas_id="", encoder_id="")
        judged = later.fold == held
        scores[None].fill(card, later, judged)
        for share in contaminations:
            own = _own(past.at(past.fold == held), share, np.random.default_rng((config.seed, held)))
            found = adapt_scorecard(own.features, ships, card, contamination=_GUARDED, seed=config.seed)
            scores[share].fill(found.scorecard, later, judged)
    progress("fold", len(folds), len(folds))
    return [
        _row(share, size, later, found)
        for size in (None, *(config.judge_sizes or ()))
        for share, found in scores.items()
    ]


def half_of(corpus: Corpus, *, second: bool) -> Corpus:
    """Every other prompt of a corpus, each text once; where it says who spoke, every other person's."""
    order: dict[str, int] = {}
    seen: set[str] = set()
    rows = []
    for place, (text, who) in enumerate(zip(corpus.prompts, corpus.people, strict=True)):
        side = len(seen) % 2 if who is None else order.setdefault(who, len(order)) % 2
        if text not in seen and side == second:
            rows.append(place)
        seen.add(text)
    return Corpus(
        corpus.name,
        corpus.kind,
        tuple(corpus.prompts[row] for row in rows),
        tuple(corpus.people[row] for row in rows),
        corpus.language,
    )


class _Scores:
    """Log-odds and p-value of every account, filled in fold by fold."""

    def __init__(self, size: int) -> None:
        self.odds, self.p = np.full(size, np.nan), np.full(size, np.nan)

    @staticmethod
    def of(accounts: TrainingAccounts) -> _Scores:
        return _Scores(len(accounts.kind))

    def fill(self, card: Scorecard, accounts: TrainingAccounts, rows: NDArray[np.bool_]) -> None:
        features = accounts.features.at(rows)
        self.odds[rows] = card.log_odds(features)
        self.p[rows] = card.p_value(card.score(card.points(features)), features.prompts)


def _accounts(
    corpora: list[Corpus],
    cluster: dict[str, str],
    fold: dict[str, int],
    encoder: Encoder,
    config: EvaluateConfig,
    cache: Path | None,
    *,
    seed: int,
    progress: Progress,
) -> TrainingAccounts:
    return corpora_accounts(
        corpora,
        encoder,
        default_atlas(encoder.name),
        cluster=cluster,
        fold=fold,
        rows=config.rows,
        accounts=config.accounts,
        longest=config.longest,
        train=config.train,
        seed=seed,
        cache=cache,
        progress=progress,
    )[0]


def _own(past: TrainingAccounts, share: float, rng: np.random.Generator) -> TrainingAccounts:
    """One's own accounts of the past: the ordinary ones, and so many harvests that they make up a share."""
    ordinary = np.flatnonzero(np.isin(past.kind, ORDINARY))
    guilty = np.flatnonzero(past.harvest & past.pure)
    wanted = min(round(len(ordinary) * share / (1 - share)), len(guilty))
    return past.at(np.concatenate([ordinary, rng.choice(guilty, wanted, replace=False)]))


def _row(
    share: float | None, size: int | None, accounts: TrainingAccounts, scores: _Scores
) -> KnownCustomersRow:
    at = np.full(len(scores.odds), True) if size is None else accounts.features.prompts == size
    guilty = at & accounts.harvest & accounts.pure & ~np.isnan(scores.odds)
    usual = at & np.isin(accounts.kind, ORDINARY) & ~np.isnan(scores.odds)
    if not guilty.any() or not usual.any():
        raise ConfigError(f"judge: no harvest or no ordinary account of {size or 'any number of'} prompts")
    weight = {"h": even_weights(accounts.customer[guilty]), "o": even_weights(accounts.customer[usual])}
    odds = scores.odds[usual]
    order = np.argsort(-odds, kind="stable")
    reached = np.cumsum(weight["o"][order])

    def caught(cut: float) -> float:
        threshold = odds[order][min(int(np.searchsorted(reached, cut)), len(order) - 1)]
        return float(weight["h"][scores.odds[guilty] > threshold].sum())

    def at_most(p: float, rows: NDArray[np.bool_]) -> float:
        return float(even_weights(accounts.customer[rows])[scores.p[rows] <= p + 1e-12].sum())

    def alike(p: float) -> float:
        return float(np.mean(scores.p[usual] <= p + 1e-12))

    kinds = np.unique(accounts.kind[usual]).tolist()
    return KnownCustomersRow(
        contamination=share,
        size=size,
        harvests=int(guilty.sum()),
        ordinary=int(usual.sum()),
        auroc=float(
            roc_auc_score(
                np.repeat([1, 0], [guilty.sum(), usual.sum()]),
                np.concatenate([scores.odds[guilty], odds]),
                sample_weight=np.concatenate([weight["h"], weight["o"]]),
            )
        ),
        caught=(caught(0.01), caught(0.05)),
        harvests_at_p_5pct=at_most(0.05, guilty),
        ordinary_at_p=(at_most(0.01, usual), at_most(0.05, usual)),
        ordinary_accounts_at_p=(alike(0.01), alike(0.05)),
        ordinary_at_p_5pct_by_kind={kind: at_most(0.05, usual & (accounts.kind == kind)) for kind in kinds},
    )
