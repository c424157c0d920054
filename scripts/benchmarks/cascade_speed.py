"""The stage encode_and_judge of whole runs of `coverage-lab run` on a day of replayed corpora.

    scripts/bench cascade-speed CORPORA --out speed.jsonl

The day has ordinary accounts and as many harvests as told. The cascade and the static run see all of the day,
MiniLM a random sample of its prompts (encoding is nearly all of its time), in turn. `characters_a_prompt` and
that of the escalated say how much dearer the escalated prompts are than the average: time goes with tokens.
The shipped scorecards know these corpora, so nothing is said of accuracy here.
"""

from __future__ import annotations

import datetime
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from benchmarks.cascade_accuracy import SPEEDUP
from benchmarks.options import CorporaArgument, OutOption, RepeatsOption, SeedOption
from benchmarks.rows import Row, write
from coverage_lab.config import RunConfig
from coverage_lab.detect.cascade import accounts_to_escalate
from coverage_lab.encoders.packaged import MAX_CHARACTERS
from coverage_lab.evaluate.replayed_day import day_of_corpora
from coverage_lab.evaluate.scored_accounts import BENIGN_KINDS
from coverage_lab.files.manifest import Manifest
from coverage_lab.jobs import run_job


def write_day(
    corpora: Path, folder: Path, *, accounts: int, harvests: int, sample: int, seed: int
) -> dict[str, Path]:
    """Write the whole day, and MiniLM's sample of its prompts."""
    day = day_of_corpora(corpora, accounts=accounts, seed=seed, date=datetime.date(2026, 1, 15))
    kind = np.array(day.truth["kind"].to_pylist())
    name = np.array(day.truth["account_id"].to_pylist())
    ordinary, harvesting = name[np.isin(kind, BENIGN_KINDS)], name[kind == "harvest"][:harvests]
    everyone = pa.array([*ordinary.tolist(), *harvesting.tolist()], pa.large_string())
    whole = day.traffic.filter(pc.is_in(day.traffic["account_id"], value_set=everyone))
    rng = np.random.default_rng(seed)
    rows = rng.choice(whole.num_rows, min(sample, whole.num_rows), replace=False)
    files = {name: folder / f"{name}.parquet" for name in ("day", "sample")}
    pq.write_table(whole, files["day"])
    pq.write_table(whole.take(pa.array(np.sort(rows))), files["sample"])
    return files


def characters(traffic: pa.Table) -> float | None:
    """Return the mean length of prompts as far as they are read; None without any."""
    found = pc.mean(pc.min_element_wise(pc.utf8_length(traffic["prompt"]), MAX_CHARACTERS)).as_py()
    return None if found is None else round(found, 1)


def speed_rows(
    files: dict[str, Path],
    scratch: Path,
    encoder: dict[str, Any],
    *,
    buckets: int,
    threads: int,
    repeats: int,
) -> Iterator[Row]:
    """Yield the one row."""
    found: dict[str, list[tuple[float, Manifest]]] = {}
    for turn in range(repeats):
        for name, part in (("static", "day"), ("minilm", "sample"), ("cascade", "day")):
            options = {"name": name} | ({} if name == "static" else encoder)
            config = RunConfig.model_validate(
                {"encoder": options, "job": {"threads": threads, "buckets": buckets}}
            )
            manifest = run_job(files[part], scratch / f"{name}-{turn}", config)
            rate = manifest.counts.rows_used / manifest.timings["encode_and_judge"]
            found.setdefault(name, []).append((rate, manifest))
    rates = {name: float(np.median([rate for rate, _ in each])) for name, each in found.items()}
    manifest = found["cascade"][0][1]
    counts, cascade = manifest.counts, manifest.cascade
    assert cascade is not None, "the run is of a cascade"
    day = pq.read_table(files["day"])
    tables = [pq.read_table(scratch / f"{name}-0" / "accounts.parquet") for name in ("static", "cascade")]
    ids = accounts_to_escalate(
        tables[0], escalate_p=cascade.escalate_p, min_prompts=RunConfig().detect.min_prompts
    )
    if len(ids) != cascade.escalated.accounts:
        raise SystemExit("the cascade escalated other accounts than its static p-values say")
    theirs = day.filter(pc.is_in(day["account_id"], value_set=ids))
    share = cascade.escalated.prompts / counts.rows_used
    speedup = rates["cascade"] / rates["minilm"]
    yield {
        "op": "cascade, speed",
        "case": "whole runs, encode_and_judge",
        "encoder": encoder,
        "escalate_p": cascade.escalate_p,
        "accounts": counts.accounts,
        "prompts": counts.rows_used,
        "escalated_accounts": len(ids),
        "characters_a_prompt": characters(day),
        "characters_a_prompt_escalated": characters(theirs),
        "escalated_prompts": round(share, 4),
        "baseline": f"minilm on a sample of {found['minilm'][0][1].counts.rows_used} prompts",
        "repeats": repeats,
        "threads": threads,
        **{f"{name}_prompts_per_s": round(rate, 1) for name, rate in rates.items()},
        "static_over_minilm": round(rates["static"] / rates["minilm"], 1),
        "expected": round(1 / (share + rates["minilm"] / rates["static"]), 1),
        # With ordinary accounts only, and prompts that are all alike.
        "expected_at_escalate_p": round(1 / (cascade.escalate_p + rates["minilm"] / rates["static"]), 1),
        "speedup": round(speedup, 1),
        "target": f"speedup >= {SPEEDUP}",
        "target_met": speedup >= SPEEDUP,
    }


def benchmark(
    corpora: CorporaArgument,
    accounts: Annotated[int, typer.Option(help="Accounts of the day that ordinary ones are taken of.")] = 150,
    harvests: Annotated[int, typer.Option(help="Harvests that are kept beside them.")] = 1,
    sample: Annotated[int, typer.Option(help="Prompts that MiniLM alone sees.")] = 2000,
    encoder: Annotated[str, typer.Option(help="JSON of `encoder` keys for MiniLM, without the name.")] = "{}",
    buckets: Annotated[int, typer.Option(min=1, help="Buckets of a run.")] = 4,
    threads: Annotated[int | None, typer.Option(min=1, help="One a core when not given.")] = None,
    repeats: RepeatsOption = 2,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time the cascade against both encoders alone."""
    with tempfile.TemporaryDirectory() as scratch:
        files = write_day(
            corpora, Path(scratch), accounts=accounts, harvests=harvests, sample=sample, seed=seed
        )
        rows = speed_rows(
            files,
            Path(scratch),
            json.loads(encoder),
            buckets=buckets,
            threads=threads or os.cpu_count() or 1,
            repeats=repeats,
        )
        write("cascade-speed", rows, out=out)
