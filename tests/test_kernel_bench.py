"""The benchmark command: rows of every op, none for a wrong answer, and no silent change of device."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "kernels" / "bench"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(BENCH.parent), "OPENBLAS_NUM_THREADS": "1"}
NO_TORCH = importlib.util.find_spec("torch") is None


def bench(*options: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    script = [str(BENCH / "run")] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, *script, *options], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )


@pytest.mark.skipif(NO_TORCH, reason="torch, the baseline of nearest_cell, is not installed")
def test_rows_of_every_op(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    done = bench("--device", "cpu", "--scale", "0.02", "--repeats", "2", "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {row["op"] for row in rows} == {"causal_novelty", "nearest_cell", "growth_curves", "rarefaction"}
    for row in rows:
        assert {"device", "python", "numpy", "commit", "threads", "max_gap", "baseline"} <= set(row)
        assert row["bf16_matmul_tflops"] is None
        assert row["p10_s"] <= row["median_s"] <= row["p90_s"]


def test_cuda_asked_for_by_name_fails_where_it_is_not() -> None:
    code = f"import sys; sys.path.insert(0, {str(BENCH)!r}); import rows; rows.cuda_is_here = lambda: False; "
    done = bench(code=code + "rows.chosen_device('cuda')")
    assert done.returncode != 0
    assert "device: 'cuda' was asked for, but torch finds no CUDA device" in done.stderr
    done = bench(code=code + "print(rows.chosen_device('auto'))")
    assert done.stdout == "cpu\n"
    assert done.stderr == "no CUDA device on this machine: CPU rows only\n"


def test_a_wrong_answer_is_not_timed() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(BENCH)!r}); import rows\n"
        "def never(): raise AssertionError('timed')\n"
        "case = rows.Case('op', 'case', {}, 1, never, never, 'none', lambda: float('nan'), 1.0)\n"
        "rows.write([case], 'cpu', 2, None)"
    )
    done = bench(code=code)
    assert done.returncode != 0
    assert "op, case: expected a gap to the reference of 1.0 at most, got nan" in done.stderr
    assert done.stdout == ""
