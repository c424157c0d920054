"""The high-water mark of the driver and of the largest of two workers, each of a fresh process.

    scripts/bench job-memory --prompts 100000 --prompts 1000000 --prompts 10000000
    scripts/bench job-memory --prompts 250000 --prompts 2500000 --length 25

The traffic is of accounts of `--length` short prompts out of 20,000 different ones, which are encoded once a
bucket, so that time goes into reading and judging. `growth` is the peak over that of the smallest number of
prompts; flat is at most 1.25, since what is not yet full at 10⁵ prompts (a batch, a bucket) is full later.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from benchmarks.actors import Watch
from benchmarks.options import OutOption, SeedOption
from benchmarks.rows import Row, write

ACTORS = 2
FLAT = 1.25
LENGTH = 300
DISTINCT = 20_000
ROWS_A_FILE = 250_000
SIZES = (10**5, 10**6, 10**7)
#: One run in a process of its own; prints the driver's peak in kB.
DRIVER = """
import resource, sys
from pathlib import Path
from coverage_lab.config import RunConfig
from coverage_lab.jobs import run_job
day, out, actors = sys.argv[1:]
config = {"encoder": {"name": "static"}, "job": {"threads": 1, "ray": {"actors": int(actors)}}}
manifest = run_job(day, Path(out), RunConfig.model_validate(config), ray=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, manifest.counts.buckets)
"""


def write_many(folder: Path, prompts: int, length: int, seed: int) -> None:
    """Write traffic of accounts of `length` prompts, a file at a time, and of many repeated texts."""
    rng = np.random.default_rng(seed)
    words = np.array([f"word{number}" for number in range(2000)])
    texts = pa.array([" ".join(rng.choice(words, 8)) for _ in range(DISTINCT)], pa.large_string())
    for number, start in enumerate(range(0, prompts, ROWS_A_FILE)):
        # Accounts come and go over the day, so that each file has rows of many buckets.
        rows = np.arange(start, min(start + ROWS_A_FILE, prompts))
        table = pa.table(
            {
                "account_id": pa.array([f"acct-{row // length:07d}" for row in rows]),
                "timestamp": pa.array(1_767_225_600_000_000 + rows * 1000, pa.timestamp("us", "UTC")),
                "prompt": texts.take(pa.array(rng.integers(DISTINCT, size=len(rows)))),
            }
        )
        pq.write_table(table, folder / f"part-{number:04d}.parquet", row_group_size=50_000)


def memory_rows(folder: Path, sizes: list[int], length: int, seed: int) -> Iterator[Row]:
    """Yield a row for each number of prompts."""
    smallest: dict[str, int] = {}
    for size in sorted(sizes):
        day = folder / f"day-{size}"
        day.mkdir()
        write_many(day, size, length, seed)
        words = [sys.executable, "-c", DRIVER, str(day), str(folder / f"out-{size}"), str(ACTORS)]
        start = time.perf_counter()
        with Watch() as watch:
            driver = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
        if driver.returncode:
            raise SystemExit("the run failed: no row")
        peak, buckets = (int(word) for word in driver.stdout.split()[-2:])
        for process, kilobytes in (("driver", peak), ("worker", watch.peak_kb)):
            growth = kilobytes / smallest.setdefault(process, kilobytes)
            yield {
                "op": f"job, peak memory of the {process}",
                "case": f"{ACTORS} Ray workers",
                "baseline": f"the same at {min(sizes)} prompts",
                "prompts": size,
                "accounts": -(-size // length),
                "buckets": buckets,
                "peak_mb": round(kilobytes / 1024),
                "growth": round(growth, 3),
                "target": f"growth <= {FLAT}",
                "target_met": growth <= FLAT,
                "seconds": round(time.perf_counter() - start, 1),
            }


def benchmark(
    prompts: Annotated[
        list[int] | None, typer.Option("--prompts", help="May be repeated; 10⁵, 10⁶ and 10⁷ when not given.")
    ] = None,
    length: Annotated[int, typer.Option("--length", min=1, help="Prompts of an account.")] = LENGTH,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Take the peak memory of runs."""
    # NumPy's own threads would share the cores with the other worker; the processes take this over.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    with tempfile.TemporaryDirectory() as folder:
        write("job-memory", memory_rows(Path(folder), prompts or list(SIZES), length, seed), out=out)
