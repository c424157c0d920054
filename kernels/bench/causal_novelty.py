"""Time `causal_novelty` against its reference in the same run; one JSON row per case.

    PYTHONPATH=kernels python kernels/bench/causal_novelty.py --repeats 9 --out rows.jsonl

A row is written only if both answers agree here, on this device. The baseline is the reference itself: the
whole square of each segment, then the mask.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from coverage_kernels.causal_novelty import causal_novelty, reference
from numpy.typing import NDArray

#: As in the tests: rounding of float32 products.
TOLERANCE = 2e-6
DIM = 384


def cases(rows: int) -> dict[str, list[int]]:
    """Return the segment lengths of each case, about `rows` rows in each."""
    return {
        "one long": [rows],
        "accounts of 300": [300] * max(1, rows // 300),
        "accounts of 10": [10] * max(1, rows // 10),
    }


def seconds(call: Callable[[], object], repeats: int) -> NDArray[np.float64]:
    """Return the wall seconds of each repeat, after one that is not counted."""
    call()
    spent = np.empty(repeats)
    for repeat in range(repeats):
        start = time.perf_counter()
        call()
        spent[repeat] = time.perf_counter() - start
    return spent


def commit() -> str:
    """Return the commit of this checkout, 'unknown' outside of one; '+' marks uncommitted changes."""
    done = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def processor() -> str:
    """Return the model of the CPU as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def row(case: str, lengths: list[int], repeats: int, seed: int) -> dict[str, object]:
    """Check and time one case.

    Raises
    ------
    SystemExit
        The kernel and its reference do not agree; there is no speed without correctness.
    """
    vectors = np.random.default_rng(seed).standard_normal((sum(lengths), DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    offsets = np.cumsum([0, *lengths])
    fast, plain = causal_novelty(vectors, offsets)[0], reference.causal_novelty(vectors, offsets)[0]
    gap = float(np.nanmax(np.abs(fast - plain)))
    if not gap <= TOLERANCE or not np.array_equal(np.isnan(fast), np.isnan(plain)):
        raise SystemExit(f"{case}: expected a gap to the reference of {TOLERANCE} at most, got {gap}")
    spent = seconds(lambda: causal_novelty(vectors, offsets), repeats)
    base = seconds(lambda: reference.causal_novelty(vectors, offsets), repeats)
    p10, median, p90 = np.quantile(spent, [0.1, 0.5, 0.9])
    return {
        "op": "causal_novelty",
        "case": case,
        "rows": sum(lengths),
        "segments": len(lengths),
        "dim": DIM,
        "dtype": "float32",
        "repeats": repeats,
        "p10_s": round(p10, 6),
        "median_s": round(median, 6),
        "p90_s": round(p90, 6),
        "rows_per_s": round(sum(lengths) / median),
        "reference_median_s": round(float(np.median(base)), 6),
        "speedup": round(float(np.median(base)) / median, 3),
        "max_gap": gap,
        "device": processor(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "commit": commit(),
    }


def main() -> None:
    """Write one JSON row per case to a file or stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=6000, help="rows of each case, about")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file for the rows; stdout when not given")
    told = parser.parse_args()
    lines = [json.dumps(row(case, cut, told.repeats, told.seed)) for case, cut in cases(told.rows).items()]
    text = "\n".join(lines) + "\n"
    if told.out is None:
        sys.stdout.write(text)
    else:
        told.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
