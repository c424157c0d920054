"""Corpora → accounts whose truth is known, measured on one atlas: what a scorecard is fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from coverage_lab.atlas import Atlas
from coverage_lab.detect.fitting import GrowingAccounts, TrainingAccounts
from coverage_lab.encoders import Encoder
from coverage_lab.evaluate.benchmark import BenchmarkSettings, label_accounts
from coverage_lab.evaluate.benchmark_accounts import draw_benchmark_accounts
from coverage_lab.evaluate.corpora import Corpus
from coverage_lab.evaluate.parted_accounts import part_accounts
from coverage_lab.evaluate.prompt_pool import build_prompt_pool
from coverage_lab.evaluate.vector_store import VectorStore
from coverage_lab.progress import Progress, silent


def corpora_accounts(
    corpora: Sequence[Corpus],
    encoder: Encoder,
    atlas: Atlas,
    *,
    cluster: Mapping[str, str],
    fold: Mapping[str, int],
    rows: int,
    accounts: int,
    longest: int,
    train: int,
    seed: int,
    cache: Path | None = None,
    progress: Progress = silent,
) -> tuple[TrainingAccounts, GrowingAccounts]:
    """Draw accounts from corpora and measure them; no account's family is in its own reference mass.

    Parameters
    ----------
    cluster, fold : mapping of corpus → cluster, fold
    rows : int
        Prompts of each corpus at most.
    accounts : int
        Ordinary accounts.
    longest : int
        Prompts of an account at most.
    train : int
        Accounts besides harvests that are labelled, at most.
    cache : Path, optional
        Folder that keeps vectors.

    Returns
    -------
    TrainingAccounts, GrowingAccounts
        As `coverage_lab.evaluate.benchmark.label_accounts`.

    Raises
    ------
    ConfigError
        Accounts can't be drawn from these corpora.
    """
    pool = build_prompt_pool(corpora, rows=rows, fold=fold, cluster=cluster)
    drawn = draw_benchmark_accounts(
        pool, accounts=accounts, repeats=1, longest=longest, seed=seed, progress=progress
    )
    parted = part_accounts(pool, drawn, progress=progress)
    vectors = VectorStore(encoder, cache).encode(parted.texts, progress=progress)
    settings = BenchmarkSettings(train=train, seed=seed)
    return label_accounts(pool, drawn, parted, vectors, atlas, settings=settings, progress=progress)
