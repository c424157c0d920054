"""`run.json` as a typed value: what is written is read back, and another shape is one clear line."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError
from support.manifests import a_manifest, a_model, edit_manifest

from coverage_lab.config import RunConfig
from coverage_lab.errors import OutputError
from coverage_lab.files.manifest import (
    AtlasUsed,
    Discoveries,
    EncoderUsed,
    Escalated,
    InputFile,
    Manifest,
    SecondStage,
    StateRead,
    StateUsed,
    StateWindow,
    read_manifest,
)
from coverage_lab.schema import SCHEMA_VERSION

STATE = StateUsed(
    url="s3://bucket/état",
    day=date(2026, 1, 30),
    run="f" * 32,
    schema_version=3,
    window=StateWindow(first=date(2026, 1, 1), days=30),
    read_version=7,
    files=(InputFile(name="a.parquet", sha256="0" * 64, bytes=12),),
    repeated_files={"b.parquet": "a.parquet"},
    read=StateRead(files=1, row_groups=2, rows=3, bytes=4),
)
SECOND = SecondStage(
    escalate_p=0.005,
    escalated=Escalated(accounts=3, prompts=400),
    encoder=EncoderUsed(name="minilm", id="f" * 64, device="cuda", precision="auto"),
    atlas=AtlasUsed(id="b" * 64, sizes=(64, 512, 4096), description="tests"),
    model=None,
)
CONFIG = RunConfig.model_validate(
    {
        "traffic": {"as_of": "2026-01-31T00:00:00Z", "columns": {"prompt": "text"}},
        "detect": {"scorecard": "own.json"},
        "job": {"ray": {"num_gpus": 0.5}},
    }
)
MANIFESTS = {
    "plain": a_manifest(),
    "without scorecard": a_manifest(model=None),
    "full": a_manifest(
        config=CONFIG,
        cascade=SECOND,
        state=STATE,
        model=a_model("m", size=1000, auroc=0.9203, whole=1.0, cannot="é"),
        discoveries=Discoveries(rate=0.1, judged=60, found=16, fewest=2, note="With 500 …"),
    ),
}


def write(manifest: Manifest, folder: Path) -> Path:
    path = folder / "run.json"
    path.write_text(manifest.to_json(), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", MANIFESTS)
def test_what_is_written_is_read_back(kind: str, tmp_path: Path) -> None:
    manifest = MANIFESTS[kind]
    path = write(manifest, tmp_path)
    assert read_manifest(path) == manifest
    assert read_manifest(path).to_json() == path.read_text(encoding="utf-8")


def test_a_run_without_state_has_no_such_key_and_no_cascade_is_null() -> None:
    plain = json.loads(MANIFESTS["plain"].to_json())
    assert "state" not in plain
    assert plain["cascade"] is None
    assert list(plain) == [name for name in Manifest.model_fields if name != "state"]


def test_the_file_in_full(tmp_path: Path) -> None:
    """What readers outside rely on: the names, plain JSON types, whole numbers that stay whole."""
    raw = json.loads(MANIFESTS["full"].to_json())
    assert raw["state"] == {
        "url": "s3://bucket/état",
        "day": "2026-01-30",
        "run": "f" * 32,
        "schema_version": 3,
        "window": {"first": "2026-01-01", "days": 30},
        "read_version": 7,
        "files": [{"name": "a.parquet", "sha256": "0" * 64, "bytes": 12}],
        "repeated_files": {"b.parquet": "a.parquet"},
        "read": {"files": 1, "row_groups": 2, "rows": 3, "bytes": 4},
    }
    assert list(raw["cascade"]) == ["escalate_p", "escalated", "encoder", "atlas", "model"]
    assert raw["cascade"]["atlas"]["sizes"] == [64, 512, 4096]
    assert raw["config"]["detect"]["scorecard"] == "own.json"
    assert raw["config"]["traffic"]["as_of"] == "2026-01-31T00:00:00Z"
    assert repr(raw["model"]["card"]) == "{'size': 1000, 'auroc': 0.9203, 'whole': 1.0, 'cannot': 'é'}"
    assert '"sizes": [\n' in MANIFESTS["full"].to_json(), "indented, for people"


def test_it_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        MANIFESTS["plain"].counts.rows_in = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"schema_version": 2}, f"schema version {SCHEMA_VERSION}, got 2"),
        ({"counts": ...}, "'counts' is missing"),
        ({"counts": {"rows_in": 1}}, "'counts.rows_used' is missing (and 5 more)"),
        ({"peak_memory_mb": "much"}, "'peak_memory_mb': Input should be a valid integer"),
        ({"timings": {"encode": 1.0}}, "'gather', 'commit' or 'report', got 'encode'"),
        ({"config": {"detect": {"gone": 1}}}, "unknown key 'config.detect.gone'"),
        ({"more": 1}, "unknown key 'more'"),
    ],
)
def test_another_shape_is_one_clear_line(changed: dict[str, object], problem: str, tmp_path: Path) -> None:
    path = write(MANIFESTS["plain"], tmp_path)
    edit_manifest(tmp_path, **changed)
    with pytest.raises(OutputError, match=r"run again with --overwrite$") as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00\x01", '{"run_id": "\ud800"'])
def test_a_damaged_file_is_one_clear_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(OutputError, match=str(path)) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)
