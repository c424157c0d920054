"""The report of tables that stay on the disk: the same page and rows as of tables in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.report_fixture import Run

from coverage_lab import schema
from coverage_lab.errors import CoverageLabError
from coverage_lab.files import table_rows as rows
from coverage_lab.report import plots, top_accounts_table, write_report
from coverage_lab.report.accounts_view import Percentiles

TABLES = ("accounts", "curves", "cells", "flags")


@pytest.fixture(scope="module")
def run() -> Run:
    """Accounts of two atlases, some without score or p-value."""
    made = Run(ordinary=90, flagged=9)
    listed = made.accounts.to_pylist()
    for number, row in enumerate(listed):
        row["atlas_id"] = ("b" if number % 3 else "a") * 64
        if number % 7 == 0:
            row["p_value"] = None
        if number % 11 == 0 and row["verdict"] == "clear":
            row["score"] = None
    made.accounts = pa.Table.from_pylist(listed, schema=schema.ACCOUNTS)
    return made


def on_disk(run: Run, folder: Path, *, group: int) -> dict[str, Any]:
    """Arguments of `write_report` with files in place of tables."""
    arguments = run.arguments()
    for name in TABLES:
        pq.write_table(arguments[name], folder / f"{name}.parquet", row_group_size=group)
        arguments[name] = folder / f"{name}.parquet"
    return arguments


@pytest.mark.parametrize(("group", "batch"), [(5, 3), (40, 7), (10_000, 10_000)])
def test_files_give_the_page_of_the_tables(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int, batch: int
) -> None:
    monkeypatch.setattr(plots, "MAX_POINTS", 40)
    write_report(tmp_path / "whole.html", **run.arguments(), max_accounts=6)
    monkeypatch.setattr(rows, "_BATCH", batch)
    write_report(tmp_path / "read.html", **on_disk(run, tmp_path, group=group), max_accounts=6)
    assert (tmp_path / "read.html").read_bytes() == (tmp_path / "whole.html").read_bytes()


def test_files_give_the_terminal_s_table_too(run: Run, tmp_path: Path) -> None:
    def printed(accounts: rows.Rows) -> str:
        console = Console(width=160, record=True, file=(tmp_path / "out").open("w"))
        console.print(top_accounts_table(accounts, limit=12))
        return console.export_text()

    file = on_disk(run, tmp_path, group=8)["accounts"]
    assert printed(file) == printed(run.accounts)


@pytest.mark.parametrize("name", TABLES)
def test_a_file_without_a_column_is_refused_by_name(run: Run, tmp_path: Path, name: str) -> None:
    arguments = on_disk(run, tmp_path, group=100)
    pq.write_table(run.arguments()[name].drop_columns(["account_id"]), arguments[name])
    with pytest.raises(CoverageLabError, match=rf"^{name}: .*'account_id' is missing"):
        write_report(tmp_path / "report.html", **arguments)


@given(st.data())
def test_rows_at_any_places_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, 30))
    table = pa.table({"account_id": [f"a{number}" for number in range(count)], "n": np.arange(count)})
    file = tmp_path_factory.mktemp("rows") / "table.parquet"
    pq.write_table(table, file, row_group_size=data.draw(st.integers(1, 12)))
    places = data.draw(st.lists(st.integers(0, count - 1), unique=True) if count else st.just([]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_BATCH", data.draw(st.integers(1, 12)))
        found = rows.rows_at(file, np.array(places, np.int64), ["n", "account_id"])
        assert found.column_names == ["n", "account_id"]
        assert found["n"].to_pylist() == places
        names = [f"a{place}" for place in places]
        assert rows.positions(file, [*names, "nobody"]).tolist() == sorted(places)
        assert rows.rows_of_accounts(file, names)["n"].to_pylist() == sorted(places)
        assert rows.numbers(file, "n").tolist() == list(range(count))
        assert rows.count(file) == count


def test_codes_come_in_the_order_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_BATCH", 2)
    table = pa.table({"verdict": ["watch", "clear", "clear", "review", "watch"]})
    pq.write_table(table, tmp_path / "table.parquet", row_group_size=3)
    for one in (table, tmp_path / "table.parquet"):
        names, codes = rows.codes(one, "verdict")
        assert names == ["watch", "clear", "review"]
        assert codes.tolist() == [0, 1, 1, 2, 0]


@given(
    st.lists(st.none() | st.sampled_from([0.0, 0.25, 0.5, float("nan"), float("inf"), 1.0]), max_size=12),
    st.integers(1, 5),
)
def test_percentiles_counted_as_they_come_are_those_by_definition(
    scores: list[float | None], chunk: int
) -> None:
    names = (*schema.MEASURE_COLUMNS, *schema.BEHAVIOUR_COLUMNS)
    columns = {name: pa.nulls(len(scores), pa.float64()) for name in names}
    accounts = pa.table({"score": pa.array(scores, pa.float64()), **columns})
    known = [score for score in scores if score is not None and np.isfinite(score)]
    percentiles = Percentiles([{"score": score} for score in known])
    for batch in accounts.to_batches(max_chunksize=chunk):
        percentiles.count(batch)
    for score in known:
        less, equal = sum(x < score for x in known), known.count(score)
        expected = None if len(known) < 2 else 100 * (less + (equal - 1) / 2) / (len(known) - 1)
        assert percentiles.of("score", score) == expected
        assert percentiles.of("distinct_fine", None) is None
