"""From a folder of corpora to a folder of results: the whole benchmark as one command runs it."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import faiss
import pyarrow as pa
import pyarrow.parquet as pq

import coverage_lab
from coverage_lab.config import EvaluateConfig
from coverage_lab.encoders import Encoder, load_encoder
from coverage_lab.errors import ConfigError, OutputError
from coverage_lab.evaluate.baselines import BASELINES, Baseline
from coverage_lab.evaluate.benchmark import (
    ABLATIONS,
    CURVE,
    DETECTOR,
    PROBE,
    BenchmarkSettings,
    check_training,
    run_benchmark,
)
from coverage_lab.evaluate.benchmark_accounts import draw_benchmark_accounts
from coverage_lab.evaluate.benchmark_page import write_page
from coverage_lab.evaluate.corpora import load_corpora
from coverage_lab.evaluate.folds import clusters_of, folds_of, load_together
from coverage_lab.evaluate.known_customers import KnownCustomersResults, known_customers
from coverage_lab.evaluate.known_customers_page import write_known_customers_page
from coverage_lab.evaluate.parted_accounts import part_accounts
from coverage_lab.evaluate.prompt_pool import build_prompt_pool
from coverage_lab.evaluate.results import Results, RunDescription
from coverage_lab.evaluate.scored_accounts import ScoredAccounts
from coverage_lab.evaluate.summary import summarise
from coverage_lab.evaluate.vector_store import VectorStore
from coverage_lab.files.atomic import PARTIAL, whole_file
from coverage_lab.progress import Progress, silent

#: Everything that an evaluation leaves in its folder; the results last, so that with them all is there.
ACCOUNTS, PAGE, RESULTS = "accounts.parquet", "benchmark.html", "results.json"
#: What the second protocol leaves.
KNOWN_CUSTOMERS, KNOWN_CUSTOMERS_PAGE = "known_customers.json", "known_customers.html"


def evaluate_corpora(
    corpora: Path,
    output: Path,
    config: EvaluateConfig,
    *,
    cache: Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Results:
    """Run the benchmark on a folder of corpora and write what it says.

    Parameters
    ----------
    corpora : Path
        Folder of `<kind>_<name>.parquet`.
    output : Path
        Gets `accounts.parquet` (every account with its scores, no text), `benchmark.html` and `results.json`.
    config : EvaluateConfig
        `baselines` are names of `coverage_lab.evaluate.baselines.BASELINES`.
    cache : Path, optional
        Folder in which vectors are kept from one evaluation to the next.
    overwrite : bool
        Replace the results of another evaluation.

    Returns
    -------
    Results
        The same to the byte for the same input on one machine and thread count.

    Raises
    ------
    ConfigError
        An option or a baseline that can't be used, or too few corpora for so many folds.
    MissingExtraError
        The encoder's libraries are not installed.
    TrafficError
        A corpus that can't be read, or none.
    OutputError
        The folder holds another evaluation or foreign files, or can't be written.
    """
    chosen, seed = _chosen(config.baselines), config.seed
    _open(output, RESULTS, overwrite=overwrite)
    groups = load_together(config.together) if config.together is not None else []
    settings = BenchmarkSettings(cells=config.cells, train=config.train, seed=seed, judged=config.judge_sizes)

    progress("read corpora", 0, None)
    read = load_corpora(corpora)
    cluster = clusters_of(read, together=groups)
    fold = folds_of(read, cluster, folds=config.folds, seed=seed)
    progress("read corpora", len(read), len(read))
    pool = build_prompt_pool(read, rows=config.rows, fold=fold, cluster=cluster)
    drawn = draw_benchmark_accounts(
        pool,
        accounts=config.accounts,
        repeats=config.repeats,
        longest=config.longest,
        seed=seed,
        progress=progress,
    )
    check_training(pool, drawn, settings=settings)
    model = load_encoder(config.encoder, progress=progress)
    parted = part_accounts(pool, drawn, progress=progress)
    vectors = VectorStore(model, _cache_of(cache, model)).encode(parted.texts, progress=progress)
    scored = run_benchmark(
        pool, drawn, parted, vectors, model, settings=settings, baselines=chosen, progress=progress
    )
    results = summarise(
        scored,
        settings=RunDescription(
            encoder_id=model.id,
            folds=config.folds,
            seed=seed,
            corpora=dict(Counter(corpus.kind for corpus in read)),
            versions=_versions(),
            options=_options(config, precision=model.precision),
            detector=DETECTOR,
            variants=(*ABLATIONS, *CURVE),
            probes=(PROBE,),
        ),
        seed=seed,
    )
    _write(output, scored, results)
    return results


def evaluate_known_customers(
    corpora: Path,
    output: Path,
    config: EvaluateConfig,
    *,
    cache: Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> KnownCustomersResults:
    """Run the protocol `coverage_lab.evaluate.known_customers`; write its figures and a page.

    Parameters and errors as `evaluate_corpora`.
    """
    _open(output, KNOWN_CUSTOMERS, overwrite=overwrite)
    rows = known_customers(corpora, config, cache=cache, progress=progress)
    results = KnownCustomersResults(
        protocol="corpora cut in two: own customers known by other prompts of theirs, harvests unseen",
        encoder=config.encoder.name,
        folds=config.folds,
        seed=config.seed,
        versions=_versions(),
        options=_options(config, precision=config.encoder.precision),
        rows=tuple(rows),
    )
    try:
        # What another run left must not pass for this one's, should this one be cut off here.
        (output / KNOWN_CUSTOMERS).unlink(missing_ok=True)
        write_known_customers_page(output / KNOWN_CUSTOMERS_PAGE, results)
        with whole_file(output / KNOWN_CUSTOMERS) as unfinished:
            unfinished.write_text(results.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"output {output}: can't be written ({error.strerror or error})") from error
    return results


def _options(config: EvaluateConfig, *, precision: str) -> dict[str, str]:
    """What the results depend on besides folds, seed and encoder, as text."""
    together = config.together
    return {
        "rows": str(config.rows),
        "accounts": str(config.accounts),
        "repeats": str(config.repeats),
        "longest": str(config.longest),
        "judge": ",".join(map(str, config.judge_sizes or ())),
        "cells": ",".join(map(str, config.cells)),
        "train": str(config.train),
        "precision": precision,
        "together": hashlib.sha256(together.read_bytes()).hexdigest() if together is not None else "",
    }


def accounts_table(scored: ScoredAccounts) -> pa.Table:
    """Lay out the accounts as a table, one column a method: higher = more like harvesting. No text."""
    return pa.table(
        {
            "kind": pa.array(scored.kind.tolist(), pa.string()),
            "rung": pa.array(scored.rung.tolist(), pa.string()),
            "prompts": pa.array(scored.prompts, pa.int64()),
            "corpora": pa.array([list(names) for names in scored.corpora], pa.list_(pa.string())),
            "cluster": pa.array(scored.cluster.tolist(), pa.string()),
            "language": pa.array(scored.language.tolist(), pa.string()),
            "fold": pa.array(scored.fold, pa.int64()),
            "campaign": pa.array(scored.campaign, pa.int64()),
            "trajectory": pa.array(scored.trajectory, pa.int64()),
            "archetype": pa.array(scored.archetype.tolist(), pa.string()),
            "p_value": pa.array(scored.p_value, pa.float64()),
        }
        | {method: pa.array(values, pa.float64()) for method, values in scored.scores.items()}
    )


def _chosen(names: Sequence[str] | None) -> tuple[Baseline, ...]:
    known = {baseline.name: baseline for baseline in BASELINES}
    for name in names or ():
        if name not in known:
            raise ConfigError(f"baseline {name!r}: expected one of {', '.join(known)}")
    return BASELINES if names is None else tuple(b for name, b in known.items() if name in names)


def _cache_of(cache: Path | None, encoder: Encoder) -> Path | None:
    """Name the folder; an encoder's id says nothing of its precision, and digits must not depend on it."""
    return cache if cache is None or encoder.precision == "float32" else cache / encoder.precision


def _versions() -> dict[str, str]:
    return {
        "coverage_lab": coverage_lab.__version__,
        "numpy": importlib.metadata.version("numpy"),
        "scikit-learn": importlib.metadata.version("scikit-learn"),
        "faiss": faiss.__version__,
    }


def _open(output: Path, last: str, *, overwrite: bool) -> None:
    """Make the folder, or refuse it before any work is done."""
    if output.exists() and not output.is_dir():
        raise OutputError(f"output {output}: is a file, expected a folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
        held = {entry.name.removesuffix(PARTIAL) for entry in output.iterdir()}
    except OSError as error:
        raise OutputError(f"output {output}: can't be written ({error.strerror})") from error
    foreign = sorted(held - {ACCOUNTS, PAGE, RESULTS, KNOWN_CUSTOMERS, KNOWN_CUSTOMERS_PAGE})
    if foreign:
        raise OutputError(
            f"output {output}: holds files that are not an evaluation's ({foreign[0]!r}); "
            "give an empty folder"
        )
    if last in held and not overwrite:
        raise OutputError(f"output {output}: holds another evaluation; give another folder or --overwrite")


def _write(output: Path, scored: ScoredAccounts, results: Results) -> None:
    try:
        # What another evaluation left must not pass for this one's, should this one be cut off here.
        (output / RESULTS).unlink(missing_ok=True)
        with whole_file(output / ACCOUNTS) as unfinished:
            pq.write_table(accounts_table(scored), unfinished, compression="zstd")
        write_page(output / PAGE, results)
        with whole_file(output / RESULTS) as unfinished:
            unfinished.write_text(results.to_json(), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"output {output}: can't be written ({error.strerror or error})") from error
