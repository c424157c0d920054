"""Runs of unusable rows in the middle of a file are told, wherever they begin."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coverage_lab.jobs.shape_changes import shape_changes
from coverage_lab.schema import QUARANTINE


def quarantine(path: Path, rows: list[tuple[str, int, str]]) -> Path:
    made = [(name, row, None, why, "d") for name, row, why in rows]
    table = pa.Table.from_pylist([dict(zip(QUARANTINE.names, row, strict=True)) for row in made], QUARANTINE)
    pq.write_table(table, path, row_group_size=7)
    return path


@pytest.mark.parametrize("first", [1, 40, 100_000])
def test_a_file_that_goes_on_in_another_shape(tmp_path: Path, first: int) -> None:
    rows = [("a.jsonl", row, "missing_prompt") for row in range(first, first + 60)]
    single = [("b.jsonl", 3 * row, "missing_prompt") for row in range(80)]
    told = shape_changes(quarantine(tmp_path / "q.parquet", [*rows, *single]))
    assert list(told) == ["a.jsonl"]
    assert (
        f"from row {first:,} on 60 neighbouring rows are in quarantine as missing_prompt" in told["a.jsonl"]
    )


def test_short_runs_other_reasons_and_files_that_begin_so_are_not_told(tmp_path: Path) -> None:
    rows = [
        *(("a", row, "missing_prompt") for row in range(1, 50)),
        *(("a", row, "empty_prompt") for row in range(50, 99)),
        *(("b", row, "missing_prompt") for row in range(90)),
    ]
    assert shape_changes(quarantine(tmp_path / "q.parquet", rows)) == {}
    assert shape_changes(quarantine(tmp_path / "none.parquet", [])) == {}
