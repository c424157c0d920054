"""The benchmark commands: rows of every op, none for a wrong answer, and no silent change of device."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coverage_kernels.causal_novelty import causal_novelty, reference

from coverage_lab.measures import ace, hill_number, ragged

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "kernels" / "bench"
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
ENVIRONMENT.pop("PYTHONPATH", None)
NO_TORCH = importlib.util.find_spec("torch") is None
OPS = {"causal_novelty", "nearest_cell", "growth_curves", "rarefaction", "pitman_yor"}


def bench(
    *options: str, code: str | None = None, script: Path = BENCH / "run"
) -> subprocess.CompletedProcess[str]:
    """Run without PYTHONPATH, as a user does; `code` runs beside the scripts."""
    lines = f"import sys; sys.path[:0] = {[str(BENCH), str(BENCH.parent)]!r}\n{code}"
    command = [str(script)] if code is None else ["-c", lines]
    return subprocess.run(
        [sys.executable, *command, *options], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(NO_TORCH, reason="torch, the baseline of nearest_cell, is not installed")
def test_rows_of_every_op(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    done = bench("--device", "cpu", "--scale", "0.02", "--repeats", "2", "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = rows_of(out)
    assert {row["op"] for row in rows} == OPS
    for row in rows:
        assert {"device", "python", "numpy", "commit", "threads", "max_gap", "baseline"} <= set(row)
        assert row["bf16_matmul_tflops"] is None
        assert row["p10_s"] <= row["median_s"] <= row["p90_s"]
        per_row = row["median_s"] / row["rows"]
        assert row["speedup"] == pytest.approx(
            row["baseline_median_s"] / row["baseline_rows"] / per_row, rel=1e-2
        )
    targets = {(row["op"], row["case"]): row["target"] for row in rows if row["target"]}
    assert targets == {
        ("causal_novelty", "one long"): "speedup >= 0.8",
        ("causal_novelty", "accounts of 300"): "speedup >= 0.8",
        ("pitman_yor", "accounts of 100"): "speedup >= 50",
        ("pitman_yor", "accounts of 300"): "speedup >= 50",
    }


def test_the_help_shows_commands() -> None:
    done = bench("--help")
    assert "kernels/bench/run --device cuda --out rows.jsonl" in done.stdout


@pytest.mark.skipif(NO_TORCH, reason="torch, the baseline of causal_novelty on CUDA, is not installed")
def test_a_gpu_s_cases_are_those_of_the_targets() -> None:
    code = (
        "import causal_novelty as op, json\n"
        "print(json.dumps([op.lengths('cuda', op.ROWS['cuda']), op.MATRIX.least, op.SQUARES.least]))"
    )
    lengths, share, times = json.loads(bench(code=code).stdout)
    assert lengths["one long"] == [100_000]
    assert lengths["accounts of 64"] == [64] * 100_000
    assert (share, times) == (0.5, 10)
    code = (
        "import growth_curves, rarefaction, pitman_yor, nearest_cell\n"
        "print(growth_curves.ROWS['cuda'] // 100, rarefaction.ROWS['cuda'] // rarefaction.POINTS,"
        " pitman_yor.ROWS['cuda'], nearest_cell.MOST, nearest_cell.MATRIX.least)"
    )
    assert bench(code=code).stdout.split() == ["1000000", "1000000", "1000000", "16384", "0.55"]


def test_a_target_is_met_or_not_by_the_row_s_own_number() -> None:
    code = (
        "import rows\n"
        "case = rows.Case('op', 'case', {}, 8, lambda: None, lambda: time.sleep(0.01), 'sleep', lambda: 0.0,"
        " 0.0, baseline_rows=2, target=rows.Target('speedup', LEAST))\n"
        "rows.write([case], 'cpu', 2, None)"
    )
    for least, met in ((1, True), (1e12, False)):
        row = json.loads(bench(code="import time\n" + code.replace("LEAST", str(least))).stdout)
        assert row["baseline_rows"] == 2
        assert row["target"] == f"speedup >= {least:g}"
        assert row["target_met"] is met


def test_ties_go_to_the_earliest_row_at_the_sizes_that_are_timed() -> None:
    # Coordinate vectors make exact products; more rows than one square of the diagonal and one tile hold.
    draw = np.random.default_rng(3)
    vectors = np.eye(48, dtype=np.float32)[draw.integers(0, 40, 2600)]
    offsets = np.cumsum([0, 1500, 300, 800])
    for tile in (700, 1024):
        novelty, nearest = causal_novelty(vectors, offsets, tile=tile, backend="cpu")
        want = reference.causal_novelty(vectors, offsets)
        assert np.array_equal(novelty, want[0], equal_nan=True)
        assert np.array_equal(nearest, want[1])


@pytest.mark.parametrize("block", [1, 7, 40, 1 << 18])
def test_measures_in_blocks_of_accounts_are_those_of_each_alone(monkeypatch, block: int) -> None:
    monkeypatch.setattr(ragged, "_BLOCK", block)
    draw = np.random.default_rng(5)
    accounts = [draw.zipf(1.5, n) % 50 + 1 for n in (0, 3, 0, 30, 1, 7, 64, 0, 2, 0)]
    counts, offsets = np.concatenate(accounts), np.cumsum([0, *map(len, accounts)])
    for measure in (ace, partial(hill_number, q=1), partial(hill_number, q=2)):
        together = measure(counts, offsets)
        alone = [measure(own, [0, own.size])[0] for own in accounts]
        assert np.allclose(together, alone, rtol=1e-13, atol=0, equal_nan=True)
        assert np.array_equal(np.isnan(together[[0, 2, 7, 9]]), [True] * 4)


@pytest.mark.slow
def test_measures_against_scikit_bio_and_their_memory(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    script = ROOT / "scripts" / "bench_measures"
    sizes = ["--accounts", "400", "--repeats", "2", "--prompts", "6000", "12000"]
    done = bench(*sizes, "--out", str(out), script=script)
    assert done.returncode == 0, done.stderr
    rows = rows_of(out)
    timed = {row["op"] for row in rows if "speedup" in row}
    assert timed == {"chao1", "ace", "hill_number, q=0", "hill_number, q=1", "hill_number, q=2"}
    held = [row for row in rows if "growth" in row]
    assert {"rarefaction", "pitman_yor", "level_measures", "novelty", "gram", "mmd"} <= {
        r["op"] for r in held
    }
    # At these sizes fixed parts still matter; what is quadratic would double.
    assert max(row["growth"] for row in held if row["case"] == "accounts of 300") < 1.5
    assert all(row["target_met"] == (row["growth"] <= 1.1) for row in held)


def test_cuda_asked_for_by_name_fails_where_it_is_not() -> None:
    code = "import rows; rows.cuda_is_here = lambda: False; "
    done = bench(code=code + "rows.chosen_device('cuda')")
    assert done.returncode != 0
    assert "device: 'cuda' was asked for, but torch finds no CUDA device" in done.stderr
    done = bench(code=code + "print(rows.chosen_device('auto'))")
    assert done.stdout == "cpu\n"
    assert done.stderr == "no CUDA device on this machine: CPU rows only\n"


def test_a_wrong_answer_is_not_timed() -> None:
    code = (
        "import rows\n"
        "def never(): raise AssertionError('timed')\n"
        "case = rows.Case('op', 'case', {}, 1, never, never, 'none', lambda: float('nan'), 1.0)\n"
        "rows.write([case], 'cpu', 2, None)"
    )
    done = bench(code=code)
    assert done.returncode != 0
    assert "op, case: expected a gap to the reference of 1.0 at most, got nan" in done.stderr
    assert done.stdout == ""
