"""A simulated day in sixteen files of JSON lines, the encoder `static`, one thread a worker.

    scripts/bench job-workers --accounts 600 --repeats 3

One worker and two take turns. A stage's seconds begin when it begins, so the start of its actors counts.
`speedup_of_cpu` compares the CPU seconds of the busiest worker in place of wall time: what the speedup would
be with both cores to ourselves, for machines that others use too. A row is written only if both gave the same
tables to the byte.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import ray
import typer

from benchmarks.actors import Watch
from benchmarks.options import OutOption, RepeatsOption, SeedOption
from benchmarks.rows import Row, quantiles, write
from coverage_lab.config import RunConfig
from coverage_lab.files.manifest import Stage
from coverage_lab.jobs import ingest, run_job
from coverage_lab.simulate import simulate_day

STAGES: dict[Stage, str] = {"read": "ReaderActor", "encode_and_judge": "BucketActor"}
TABLES = ("accounts", "curves", "cells", "flags", "quarantine")
FILES = 16
LEAST = 1.8


def config_of(actors: int) -> RunConfig:
    """Return the config of a run with so many workers."""
    job = {"threads": 1, "buckets": 32, "ray": {"actors": actors}}
    return RunConfig.model_validate({"encoder": {"name": "static"}, "job": job})


def workers_rows(folder: Path, accounts: int, repeats: int, seed: int) -> Iterator[Row]:
    """Yield a row for each stage."""
    day = folder / "day"
    day.mkdir()
    traffic = simulate_day(seed=seed, accounts=accounts).traffic
    step = -(-traffic.num_rows // FILES)
    for number in range(FILES):
        rows = traffic.slice(number * step, step).to_pylist()
        lines = (json.dumps({**row, "timestamp": row["timestamp"].isoformat()}) for row in rows)
        (day / f"part-{number:02d}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    ingest.SMALLEST_SHARE = 1
    seconds: dict[tuple[Stage, int], list[float]] = {(stage, n): [] for stage in STAGES for n in (1, 2)}
    busiest: dict[tuple[Stage, int], list[float]] = {key: [] for key in seconds}
    first: dict[str, bytes] = {}
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        for repeat in range(repeats):
            for actors in (1, 2) if repeat % 2 == 0 else (2, 1):
                out = folder / f"out-{repeat}-{actors}"
                with Watch() as watch:
                    manifest = run_job(day, out, config_of(actors), ray=True)
                for stage, actor in STAGES.items():
                    seconds[stage, actors].append(manifest.timings[stage])
                    busiest[stage, actors].append(watch.busiest(actor))
                found = {name: (out / f"{name}.parquet").read_bytes() for name in TABLES}
                if found != (first := first or found):
                    raise SystemExit("two workers gave other tables than one: no row")
    finally:
        ray.shutdown()
    for stage in STAGES:
        one, two = seconds[stage, 1], seconds[stage, 2]
        ratio = statistics.median(one) / statistics.median(two)
        yield {
            "op": f"job, {stage}",
            "case": "2 Ray workers, JSON lines",
            "prompts": traffic.num_rows,
            "accounts": accounts,
            "threads": 1,
            "repeats": repeats,
            **quantiles(two),
            "baseline": "1 Ray worker",
            "baseline_median_s": quantiles(one)["median_s"],
            "speedup": round(ratio, 3),
            "speedup_each": [round(a / b, 3) for a, b in zip(one, two, strict=True)],
            "busiest_cpu_s": statistics.median(busiest[stage, 2]),
            "baseline_busiest_cpu_s": statistics.median(busiest[stage, 1]),
            "speedup_of_cpu": round(
                statistics.median(busiest[stage, 1]) / statistics.median(busiest[stage, 2]), 3
            ),
            "target": f"speedup >= {LEAST}",
            "target_met": ratio >= LEAST,
        }


def benchmark(
    accounts: Annotated[int, typer.Option("--accounts", min=20, help="Of the simulated day.")] = 2000,
    repeats: RepeatsOption = 3,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time two workers against one."""
    # NumPy's own threads would share the cores with the other worker; Ray's workers take this over.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    with tempfile.TemporaryDirectory() as folder:
        write("job-workers", workers_rows(Path(folder), accounts, repeats, seed), out=out)
