"""What each benchmark row holds and how it comes about: first the check, then the clock."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: Of the libraries that any of the paths uses.
LIBRARIES = ("numpy", "scipy", "scikit-bio", "torch", "triton", "cupy-cuda13x", "cupy-cuda12x", "faiss-cpu")
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


def versions() -> dict[str, str]:
    """Return the versions of Python and of those libraries that are installed."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def row(case: Case, device: str, repeats: int, matmul_tflops: float | None) -> dict[str, object]:
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
    p10, median, p90 = np.quantile(spent, [0.1, 0.5, 0.9])
    base_median = float(np.median(base))
    base_rows = case.rows if case.baseline_rows is None else case.baseline_rows
    tflops = case.flops / median / 1e12
    made: dict[str, object] = {
        "op": case.op,
        "case": case.case,
        **case.shape,
        "rows": case.rows,
        "repeats": repeats,
        "p10_s": round(p10, 9),
        "median_s": round(median, 9),
        "p90_s": round(p90, 9),
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
        "device": device_name(device),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
        **versions(),
        "commit": commit(),
    }
    return made | against(case.target, made)


def against(target: Target | None, made: dict[str, object]) -> dict[str, object]:
    """Return what a row says of its target: the target in words and whether it was met, None without one."""
    if target is None:
        return {"target": None, "target_met": None}
    value = made[target.field]
    met = isinstance(value, int | float) and bool(value >= target.least)
    return {"target": f"{target.field} >= {target.least:g}", "target_met": met}


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return the options that all benchmarks share."""
    description, _, rest = (doc or "").partition("\n")
    made = argparse.ArgumentParser(
        description=description, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: cuda if here")
    made.add_argument("--repeats", type=int, default=9, help="of each timing; 9 when not given")
    made.add_argument("--seed", type=int, default=0, help="of the data; 0 when not given")
    made.add_argument("--out", type=Path, help="file for the rows; stdout when not given")
    return made


def run_alone(
    doc: str | None, cases: Callable[[str, int, int], Iterable[Case]], sizes: dict[str, int]
) -> None:
    """Check and time the cases of one op as the command line asks; `sizes` are the rows by device."""
    options = parser(doc)
    options.add_argument(
        "--rows", type=int, help=f"size of each case; {sizes['cpu']} on a CPU when not given"
    )
    told = options.parse_args()
    device = chosen_device(told.device)
    write(cases(device, told.rows or sizes[device], told.seed), device, told.repeats, told.out)


def chosen_device(told: str) -> str:
    """Return 'cpu' or 'cuda'; says so where 'auto' found no CUDA device.

    Raises
    ------
    SystemExit
        'cuda' was asked for and is not here.
    """
    if told == "cpu":
        return "cpu"
    if cuda_is_here():
        return "cuda"
    if told == "cuda":
        raise SystemExit("device: 'cuda' was asked for, but torch finds no CUDA device")
    sys.stderr.write("no CUDA device on this machine: CPU rows only\n")
    return "cpu"


def write(cases: Iterable[Case], device: str, repeats: int, out: Path | None) -> None:
    """Check and time the cases; one JSON row each, written as soon as it is known."""
    rate = round(bf16_rate(repeats), 1) if device == "cuda" else None
    stream = sys.stdout if out is None else out.open("w", encoding="utf-8")
    try:
        for case in cases:
            stream.write(json.dumps(row(case, device, repeats, rate)) + "\n")
            stream.flush()
    finally:
        if out is not None:
            stream.close()
