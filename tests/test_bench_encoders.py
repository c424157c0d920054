"""The encoders' benchmark runs the code that it runs on CUDA, on a CPU and little data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "bench_encoders"


@pytest.mark.slow
def test_small_rows_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    subprocess.run(
        [sys.executable, str(SCRIPT), "--device", "cpu", "--small", "--threads", "1", "--out", str(out)],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["op"] for row in rows] == ["encode", "encode_tensor", "encode", "encode", "tokenize"]
    for row in rows:
        assert row["device"]
        assert row["commit"]
        assert row["sentence-transformers"]
        assert row["rows"] > 0
    assert rows[0]["speedup"] > 0
    assert 0 < rows[0]["model_share"] <= 1
    assert rows[1]["tokens_per_s"] > 0
    assert all(row["mean_cosine"] > 0.999 for row in rows[2:4])
    assert rows[4]["differing_rows"] == 0
