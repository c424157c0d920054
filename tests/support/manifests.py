"""Manifests of made-up runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coverage_lab.config import RunConfig
from coverage_lab.files.manifest import (
    AtlasUsed,
    CalibrationUsed,
    Counts,
    EncoderUsed,
    Execution,
    Manifest,
    ScorecardUsed,
)
from coverage_lab.schema import SCHEMA_VERSION, VERDICTS


def a_manifest(**changed: Any) -> Manifest:
    """A run of one stage without state in which nothing was found, changed where it is said."""
    values: dict[str, Any] = {
        "run_id": "r" * 64,
        "schema_version": SCHEMA_VERSION,
        "created": "2026-01-31T02:03:04+00:00",
        "input": "traffic/2026-01-30",
        "config_id": "c" * 64,
        "config": RunConfig(),
        "encoder": EncoderUsed(name="static", id="e" * 64, device="cpu", precision="float32"),
        "atlas": AtlasUsed(id="a" * 64, sizes=(64, 1024, 16384), description="default static atlas"),
        "model": a_model("m" * 64),
        "cascade": None,
        "counts": Counts(
            rows_in=0,
            rows_used=0,
            rows_quarantined=0,
            quarantine_reasons={},
            accounts=0,
            buckets=1,
            as_of="2026-01-31T02:00:00+00:00",
        ),
        "verdicts": dict.fromkeys(VERDICTS, 0),
        "discoveries": None,
        "timings": {"load": 0.5, "read": 1.21, "encode_and_judge": 33.5, "gather": 0.31},
        "peak_memory_mb": 700,
        "execution": Execution(ray=False, threads=2, machine="x86_64"),
        "versions": {"coverage-lab": "0.2.0", "python": "3.11.7", "faiss-cpu": "1.12.0", "plotly": "7"},
    }
    assert changed.keys() <= Manifest.model_fields.keys()
    return Manifest(**values | changed)


def a_model(scorecard_id: str, **card: str | float) -> ScorecardUsed:
    return ScorecardUsed(
        id=scorecard_id, calibration=CalibrationUsed(accounts=1200, smallest_p=0.000833), card=card
    )


def edit_manifest(folder: Path, **changed: Any) -> None:
    """Change values of a run's `run.json` as an editor would; `...` takes a key out."""
    path = folder / "run.json"
    values = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))
