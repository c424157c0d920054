"""The one writer of rows: first the check, then the clock, then what every row says of where it was made."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.registry import BENCHMARKS, DISTRIBUTIONS, Device, require

Row = dict[str, object]
#: What every row says, whatever it measures.
EVERY_ROW = ("op", "case", "baseline")
#: Seconds after which a slow baseline is not repeated again.
BASELINE_S = 20.0


@dataclass(frozen=True)
class Target:
    """What a field of the row is to reach.

    Attributes
    ----------
    field
        Name of the field.
    least
        The least value that meets the target.
    """

    field: str
    least: float


@dataclass(frozen=True)
class Case:
    """One row to be.

    Attributes
    ----------
    op, case, shape
        What is timed and on what.
    rows
        Prompts (or grid points) that a call answers.
    call, baseline
        What is timed; neither has side effects.
    baseline_name
        What the baseline is.
    gap
        Largest difference of the answer of `call` to the op's reference, on this device.
    tolerance
        The largest gap that may be timed.
    flops
        Floating-point operations that the answer needs, 0 where that says nothing.
    baseline_rows
        Rows that the baseline answers, if it is given a sample; as many as the call where None.
    target
        What the row is to reach at the default size; None where nothing was promised.
    """

    op: str
    case: str
    shape: dict[str, object]
    rows: int
    call: Callable[[], object]
    baseline: Callable[[], object]
    baseline_name: str
    gap: Callable[[], float]
    tolerance: float
    flops: float = 0.0
    baseline_rows: int | None = None
    target: Target | None = None


def cuda_is_here() -> bool:
    """Return whether torch finds a CUDA device."""
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def wait(device: str) -> None:
    """Wait for what the device still has to do."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def once(call: Callable[[], object], device: str) -> float:
    """Return the wall seconds of one call."""
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def seconds(call: Callable[[], object], repeats: int, device: str) -> NDArray[np.float64]:
    """Return the wall seconds of each repeat, after one that is not counted."""
    once(call, device)
    return np.array([once(call, device) for _ in range(repeats)])


def in_turn(case: Case, repeats: int, device: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the wall seconds of call and baseline, in turn, so that other work on the machine slows both.

    The first of each is not counted. The baseline stops early once it has taken `BASELINE_S`.
    """
    once(case.call, device)
    once(case.baseline, device)
    spent: list[float] = []
    base: list[float] = []
    for _ in range(repeats):
        spent.append(once(case.call, device))
        if sum(base) < BASELINE_S:
            base.append(once(case.baseline, device))
    return np.array(spent), np.array(base)


def bf16_rate(repeats: int) -> float:
    """Return the TFLOP/s of a large bfloat16 matrix product on the CUDA device: what it gives at best."""
    import torch

    size = 8192
    one, other = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return float(2 * size**3 / np.median(seconds(lambda: one @ other, repeats, "cuda")) / 1e12)


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


def device_name(device: str) -> str:
    """Return the model of the GPU, or of the CPU as the system names it."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of libraries, given as they are imported."""
    found = {"python": platform.python_version()}
    for library in libraries:
        try:
            found[DISTRIBUTIONS[library]] = version(DISTRIBUTIONS[library])
        except PackageNotFoundError:
            # A distribution of another name, as CuPy has one for every CUDA; require() found the module.
            found[DISTRIBUTIONS[library]] = str(import_module(library).__version__)
    return found


def quantiles(seconds: NDArray[np.float64] | list[float]) -> dict[str, float]:
    """Return the tenth, the middle and the ninetieth percentile of timings."""
    p10, median, p90 = (round(float(value), 9) for value in np.quantile(seconds, [0.1, 0.5, 0.9]))
    return {"p10_s": p10, "median_s": median, "p90_s": p90}


def timed_row(case: Case, device: str, repeats: int, matmul_tflops: float | None = None) -> Row:
    """Check and time one case.

    Raises
    ------
    SystemExit
        The answer and the reference do not agree; there is no speed without correctness.
    """
    gap = case.gap()
    if not gap <= case.tolerance:
        raise SystemExit(
            f"{case.op}, {case.case}: expected a gap to the reference of {case.tolerance} at most, got {gap}"
        )
    spent, base = in_turn(case, repeats, device)
    median = float(np.median(spent))
    base_median = float(np.median(base))
    base_rows = case.rows if case.baseline_rows is None else case.baseline_rows
    tflops = case.flops / median / 1e12
    made: Row = {
        "op": case.op,
        "case": case.case,
        **case.shape,
        "rows": case.rows,
        "repeats": repeats,
        **quantiles(spent),
        "rows_per_s": round(case.rows / median),
        "baseline": case.baseline_name,
        "baseline_repeats": base.size,
        "baseline_rows": base_rows,
        "baseline_median_s": round(base_median, 9),
        "speedup": float(f"{base_median / base_rows / (median / case.rows):.4g}"),
        "tflops": round(tflops, 4) if case.flops else None,
        "bf16_matmul_tflops": matmul_tflops,
        "share_of_bf16_matmul": round(tflops / matmul_tflops, 4) if matmul_tflops and case.flops else None,
        "max_gap": gap,
    }
    return made | against(case.target, made)


def against(target: Target | None, made: Row) -> Row:
    """Return what a row says of its target: the target in words and whether it was met, None without one."""
    if target is None:
        return {"target": None, "target_met": None}
    value = made[target.field]
    met = isinstance(value, int | float) and bool(value >= target.least)
    return {"target": f"{target.field} >= {target.least:g}", "target_met": met}


def chosen_device(name: str, told: str) -> Device:
    """Return where the benchmark of that name runs; says so where 'auto' found no CUDA device.

    Raises
    ------
    SystemExit
        'cuda' was asked for and is not here, or a library that is compared there is not installed.
    """
    device: Device = "cuda" if told != "cpu" and cuda_is_here() else "cpu"
    if told == "cuda" and device == "cpu":
        raise SystemExit("device: 'cuda' was asked for, but torch finds no CUDA device")
    if told == "auto" and device == "cpu":
        sys.stderr.write("no CUDA device on this machine: CPU rows only\n")
    require(BENCHMARKS[name], device)
    return device


def write(name: str, rows: Iterable[Row], *, out: Path | None, device: Device = "cpu") -> None:
    """Write the rows of the benchmark of that name as JSON lines, each as soon as it is known.

    Raises
    ------
    ValueError
        A row doesn't say what it measured, on what, or against which baseline.
    """
    made_here: Row = {
        "benchmark": name,
        "device": device_name(device),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
        **versions(BENCHMARKS[name].compared(device)),
        "commit": commit(),
    }
    with nullcontext(sys.stdout) if out is None else out.open("w", encoding="utf-8") as stream:
        for row in rows:
            if missing := [field for field in EVERY_ROW if not row.get(field)]:
                raise ValueError(f"{name}: expected {', '.join(missing)} in every row, got {row}")
            stream.write(json.dumps(made_here | row) + "\n")
            stream.flush()
