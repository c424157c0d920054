"""The benchmarks: rows of every op, none for a wrong answer, missing rivals named, no change of device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import (
    causal_novelty as novelty_cases,
)
from benchmarks import (
    growth_curves,
    measures_memory,
    measures_speed,
    nearest_cell,
    pitman_yor,
    rarefaction,
    registry,
    rows,
    traffic_formats,
)
from benchmarks.kernels import OPS
from benchmarks.kernels import benchmark as kernels
from benchmarks.options import DeviceChoice
from benchmarks.registry import BENCHMARKS, Benchmark, require
from coverage_kernels.causal_novelty import causal_novelty, reference

from coverage_lab.measures import ace, hill_number, ragged

ROOT = Path(__file__).resolve().parent.parent
#: Without an active environment and without PYTHONPATH.
ENVIRONMENT = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
if not (ROOT / ".venv").exists():
    ENVIRONMENT["VIRTUAL_ENV"] = sys.prefix


def bench(*options: str, scripts: Path = ROOT / "scripts", **more: str) -> subprocess.CompletedProcess[str]:
    """Call `scripts/bench` as a user does who has activated nothing."""
    return subprocess.run(
        [str(scripts / "bench"), *options],
        capture_output=True,
        text=True,
        check=False,
        env={**ENVIRONMENT, "COLUMNS": "200", **more},
    )


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def case(**changed: Any) -> rows.Case:
    """A case that sleeps a hundredth of a second in its baseline."""
    told: dict[str, Any] = {
        "op": "op",
        "case": "case",
        "shape": {},
        "rows": 8,
        "call": lambda: None,
        "baseline": lambda: time.sleep(0.01),
        "baseline_name": "sleep",
        "gap": lambda: 0.0,
        "tolerance": 0.0,
    }
    return rows.Case(**(told | changed))


@pytest.mark.parametrize("entry", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_every_entry_of_the_registry_says_what_it_is(entry: Benchmark) -> None:
    assert entry.measures.endswith(".")
    assert entry.baseline
    assert entry.devices
    needed = {*entry.libraries, *entry.on_cpu, *entry.on_cuda}
    assert needed <= set(registry.DISTRIBUTIONS)
    source = (ROOT / "scripts" / "benchmarks" / f"{entry.module}.py").read_text(encoding="utf-8")
    assert f'"{entry.name}"' in source, "its rows bear another name"
    assert "\ndef benchmark(" in source
    assert f"scripts/bench {entry.name} " in source, "no command in the module's own words"


def test_modules_that_measure_are_all_in_the_registry() -> None:
    folder = ROOT / "scripts" / "benchmarks"
    found = {f.stem for f in folder.glob("*.py") if "\ndef benchmark(" in f.read_text(encoding="utf-8")}
    assert found == {entry.module for entry in BENCHMARKS.values()}


def test_the_command_lists_every_benchmark() -> None:
    done = bench("--help")
    assert done.returncode == 0, done.stderr
    for entry in BENCHMARKS.values():
        assert f" {entry.name} " in done.stdout


def test_a_missing_rival_is_named_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Benchmark("named", "module", "It.", "that", ("numpy", "onnx"), on_cuda=("cupy",))
    monkeypatch.setattr(registry, "find_spec", lambda name: object() if name == "numpy" else None)
    with pytest.raises(SystemExit, match=r"scripts/bench named: not installed: onnx\. .*\[bench\]'"):
        require(entry)
    with pytest.raises(SystemExit, match=r"not installed: onnx, cupy-cuda12x\. .*\[bench,gpu\]'"):
        require(entry, "cuda")


def test_a_missing_rival_ends_the_command_without_a_traceback(tmp_path: Path) -> None:
    # Python runs this first; what is None there can't be imported.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['skbio'] = None\n")
    done = bench("measures-speed", "--accounts", "2", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "scripts/bench measures-speed: not installed: scikit-bio. Give: pip install -e '.[bench]'\n"
    )
    assert done.stdout == ""


def test_static_runs_without_the_tests_and_without_an_active_environment(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    for name in ("coverage_lab", "kernels", ".venv", "scripts/bench", "scripts/benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = bench("static", "--help", scripts=tmp_path / "scripts")
    assert done.returncode == 0, done.stderr
    assert "--baseline" in done.stdout


def test_a_row_without_its_baseline_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="kernels: expected baseline in every row"):
        rows.write("kernels", [{"op": "op", "case": "case"}], out=None)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_rows_of_every_op(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    kernels(device=DeviceChoice.cpu, scale=0.02, repeats=2, out=out)
    found = rows_of(out)
    assert {row["op"] for row in found} == {op.value for op in OPS}
    for row in found:
        assert {"device", "python", "numpy", "torch", "faiss-cpu", "commit", "threads", "max_gap"} <= set(row)
        assert row["bf16_matmul_tflops"] is None
        assert row["p10_s"] <= row["median_s"] <= row["p90_s"]
        per_row = row["median_s"] / row["rows"]
        assert row["speedup"] == pytest.approx(
            row["baseline_median_s"] / row["baseline_rows"] / per_row, rel=1e-2
        )
    targets = {(row["op"], row["case"]): row["target"] for row in found if row["target"]}
    assert targets == {
        ("causal_novelty", "one long"): "speedup >= 0.8",
        ("causal_novelty", "accounts of 300"): "speedup >= 0.8",
        ("pitman_yor", "accounts of 100"): "speedup >= 50",
        ("pitman_yor", "accounts of 300"): "speedup >= 50",
    }


def test_a_gpu_s_cases_are_those_of_the_targets() -> None:
    lengths = novelty_cases.lengths("cuda", novelty_cases.ROWS["cuda"])
    assert lengths["one long"] == [100_000]
    assert lengths["accounts of 64"] == [64] * 100_000
    assert (novelty_cases.MATRIX.least, novelty_cases.SQUARES.least) == (0.5, 10)
    million = 1_000_000
    assert growth_curves.ROWS["cuda"] // 100 == million
    assert rarefaction.ROWS["cuda"] // rarefaction.POINTS == million
    assert pitman_yor.ROWS["cuda"] == million
    assert (nearest_cell.MOST, nearest_cell.MATRIX.least) == (16384, 0.55)


@pytest.mark.parametrize(("least", "met"), [(1, True), (1e12, False)])
def test_a_target_is_met_or_not_by_the_row_s_own_number(least: float, met: bool) -> None:
    row = rows.timed_row(case(baseline_rows=2, target=rows.Target("speedup", least)), "cpu", 2)
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
    measures_speed.benchmark(accounts=400, repeats=2, out=out)
    timed = {row["op"] for row in rows_of(out) if "speedup" in row}
    assert timed == {"chao1", "ace", "hill_number, q=0", "hill_number, q=1", "hill_number, q=2"}
    measures_memory.benchmark(prompts=[6000, 12000], out=out)
    held = [row for row in rows_of(out) if "growth" in row]
    assert {"rarefaction", "pitman_yor", "level_measures", "novelty", "gram", "mmd"} <= {
        r["op"] for r in held
    }
    # At these sizes fixed parts still matter; what is quadratic would double.
    assert max(row["growth"] for row in held if row["case"] == "accounts of 300") < 1.5
    assert all(row["target_met"] == (row["growth"] <= 1.1) for row in held)


@pytest.mark.slow
def test_small_rows_of_minilm_on_a_cpu(tmp_path: Path) -> None:
    """What runs on CUDA runs on a CPU and little data."""
    from benchmarks import minilm_agreement, minilm_text, minilm_tokenizers, minilm_tokens

    out = tmp_path / "rows.jsonl"
    found: dict[str, list[dict[str, Any]]] = {}
    for module in (minilm_text, minilm_tokens, minilm_agreement):
        module.benchmark(device=DeviceChoice.cpu, small=True, threads=1, out=out)
        found[module.__name__.removeprefix("benchmarks.minilm_")] = rows_of(out)
    minilm_tokenizers.benchmark(small=True, threads=1, out=out)
    (ids,) = rows_of(out)
    (text,), (tokens,) = found["text"], found["tokens"]
    assert {row["case"] for row in found["agreement"]} == {"agreement, packed", "agreement, openvino"}
    for row in (text, tokens, *found["agreement"], ids):
        assert row["device"]
        assert row["commit"]
        assert row["sentence-transformers"]
        assert row["rows"] > 0
    assert text["speedup"] > 0
    assert 0 < text["model_share"] <= 1
    assert tokens["tokens_per_s"] > 0
    assert all(row["mean_cosine"] > 0.999 for row in found["agreement"])
    assert ids["differing_rows"] == 0


def test_cuda_asked_for_by_name_fails_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rows, "cuda_is_here", lambda: False)
    with pytest.raises(SystemExit, match="device: 'cuda' was asked for, but torch finds no CUDA device"):
        rows.chosen_device("kernels", "cuda")
    assert rows.chosen_device("kernels", "auto") == "cpu"
    assert capsys.readouterr().err == "no CUDA device on this machine: CPU rows only\n"


def test_a_wrong_answer_is_not_timed() -> None:
    def never() -> None:
        raise AssertionError("timed")

    wrong = case(call=never, baseline=never, gap=lambda: float("nan"), tolerance=1.0)
    with pytest.raises(
        SystemExit, match=r"op, case: expected a gap to the reference of 1.0 at most, got nan"
    ):
        rows.timed_row(wrong, "cpu", 2)


def test_reading_is_timed_for_each_format_and_only_if_prompts_come_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = list(traffic_formats.format_rows(120, 1, 0))
    assert [row["case"] for row in found] == ["parquet", "jsonl", *traffic_formats.NESTING]
    assert all(row["rows_per_cpu_s"] and row["duckdb_cpu_s"] and row["polars_cpu_s"] for row in found)
    read = traffic_formats.read_by_us
    monkeypatch.setattr(traffic_formats, "read_by_us", lambda path: read(path).slice(1))
    with pytest.raises(SystemExit, match="expected every prompt"):
        list(traffic_formats.format_rows(120, 1, 0))
