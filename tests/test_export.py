"""A run's tables for other tools: the same values, and nothing that a spreadsheet would run."""

import csv
import json

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import call, some_traffic

import coverage_lab as cl
from coverage_lab.config import RunConfig
from coverage_lab.errors import ConfigError, OutputError
from coverage_lab.jobs import export
from coverage_lab.jobs.export import export_run

CONFIG = RunConfig.model_validate({"job": {"buckets": 2, "threads": 1}})
HOSTILE = '=HYPERLINK("http://x","y")'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of which one account's id is a formula."""
    folder = tmp_path_factory.mktemp("run") / "results"
    traffic = some_traffic(3, 20)
    ids = [HOSTILE if name == "acct-0" else name for name in traffic["account_id"].to_pylist()]
    cl.analyze(traffic.set_column(0, "account_id", pa.array(ids)), config=CONFIG, output=folder)
    return folder


def accounts(run):
    return pq.read_table(run / "accounts.parquet").to_pylist()


def test_csv_has_every_table_and_no_formula(run, tmp_path):
    rows = export_run(run, "csv", tmp_path / "out")
    assert rows["accounts"] == 3
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(rows)
    with (tmp_path / "out" / "accounts.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    for mine, theirs in zip(found, accounts(run), strict=True):
        assert mine["account_id"] == ("'" if theirs["account_id"] == HOSTILE else "") + theirs["account_id"]
        assert float(mine["score"]) == theirs["score"]
        assert json.loads(mine["reasons"]) == theirs["reasons"]
        assert mine["first_seen"] == theirs["first_seen"].isoformat()


def test_workbook_has_numbers_as_numbers_and_texts_as_texts(run, tmp_path):
    export_run(run, "xlsx", tmp_path / "out.xlsx", tables=["accounts", "cells"])
    book = openpyxl.load_workbook(tmp_path / "out.xlsx")
    assert book.sheetnames == ["accounts", "cells"]
    head, *rows = book["accounts"].iter_rows()
    place = {cell.value: at for at, cell in enumerate(head)}
    for row, theirs in zip(rows, accounts(run), strict=True):
        assert (row[place["account_id"]].value, row[place["account_id"]].data_type) == (
            theirs["account_id"],
            "s",
        )
        assert row[place["score"]].value == pytest.approx(theirs["score"], rel=1e-12)
        assert row[place["prompts"]].value == theirs["prompts"]


def test_long_text_is_cut_and_long_tables_are_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_SHEET_TEXT", 12)
    export_run(run, "xlsx", tmp_path / "cut.xlsx", tables=["accounts"])
    sheet = openpyxl.load_workbook(tmp_path / "cut.xlsx")["accounts"]
    assert any(str(cell.value).endswith("… (cut)") and len(cell.value) == 12 for cell in sheet[2])
    monkeypatch.setattr(export, "_SHEET_ROWS", 3)
    with pytest.raises(OutputError, match=r"table accounts: expected at most 2 rows for a sheet, got 3"):
        export_run(run, "xlsx", tmp_path / "long.xlsx", tables=["accounts"])
    assert not (tmp_path / "long.xlsx").exists()


def test_duckdb_has_the_tables_as_they_are(run, tmp_path):
    export_run(run, "duckdb", tmp_path / "out.duckdb")
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as base:
        found = base.execute("SELECT account_id, score, reasons FROM accounts ORDER BY account_id").fetchall()
    expected = [(row["account_id"], row["score"], row["reasons"]) for row in accounts(run)]
    assert found == sorted(expected)


def test_what_cannot_be_exported_is_said(run, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputError, match=r"OUT .*there: exists already; give a new name"):
        export_run(run, "csv", tmp_path / "there")
    with pytest.raises(OutputError, match=r"RUN .*: expected a finished run, run.json is missing"):
        export_run(tmp_path, "csv", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"table: expected some of accounts, .*got 'prompts'"):
        export_run(run, "csv", tmp_path / "out", tables=["prompts"])


def test_command_says_what_it_wrote(run, tmp_path, capsys):
    code, printed, _ = call(capsys, "export", run, tmp_path / "out", "--to", "csv", "--table", "flags")
    assert code == 0
    assert f"flags: {pq.read_metadata(run / 'flags.parquet').num_rows} rows" in printed
    assert (tmp_path / "out" / "flags.csv").exists()
