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
LIBRARIES = ("numpy", "torch", "triton", "cupy-cuda13x", "cupy-cuda12x", "faiss-cpu")


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


def seconds(call: Callable[[], object], repeats: int, device: str) -> NDArray[np.float64]:
    """Return the wall seconds of each repeat, after one that is not counted."""
    call()
    wait(device)
    spent = np.empty(repeats)
    for repeat in range(repeats):
        start = time.perf_counter()
        call()
        wait(device)
        spent[repeat] = time.perf_counter() - start
    return spent


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
    spent = seconds(case.call, repeats, device)
    base = seconds(case.baseline, repeats, device)
    p10, median, p90 = np.quantile(spent, [0.1, 0.5, 0.9])
    tflops = case.flops / median / 1e12
    return {
        "op": case.op,
        "case": case.case,
        **case.shape,
        "rows": case.rows,
        "repeats": repeats,
        "p10_s": round(p10, 6),
        "median_s": round(median, 6),
        "p90_s": round(p90, 6),
        "rows_per_s": round(case.rows / median),
        "baseline": case.baseline_name,
        "baseline_median_s": round(float(np.median(base)), 6),
        "speedup": round(float(np.median(base)) / median, 3),
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


def parser(doc: str | None, *, rows: int) -> argparse.ArgumentParser:
    """Return the options that all benchmarks share."""
    made = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    made.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: cuda if here")
    made.add_argument("--rows", type=int, default=rows, help="rows of each case, about")
    made.add_argument("--repeats", type=int, default=9)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--out", type=Path, help="file for the rows; stdout when not given")
    return made


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
