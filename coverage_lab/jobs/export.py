"""A run's tables in the formats of other tools: CSV files, a spreadsheet, a DuckDB database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from coverage_lab.errors import ConfigError, MissingExtraError, OutputError
from coverage_lab.files.atomic import PARTIAL, disk_errors, whole_file
from coverage_lab.files.manifest import MANIFEST
from coverage_lab.files.output_folder import TABLES

Target: TypeAlias = Literal["csv", "xlsx", "duckdb"]
TARGETS: tuple[Target, ...] = ("csv", "xlsx", "duckdb")

#: What a sheet holds at most: rows with the head, and characters of a text.
_SHEET_ROWS, _SHEET_TEXT = 1_048_576, 32_767
_CUT = "… (cut)"
#: A text that begins so is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def export_run(run: Path, to: Target, output: Path, *, tables: Sequence[str] = ()) -> dict[str, int]:
    """Write the tables of a finished run for another tool.

    Lists and what is nested become JSON text in CSV and spreadsheets, times ISO 8601; DuckDB has them as they
    are. A text that a spreadsheet would take for a formula gets an apostrophe before it in CSV. In a sheet, a
    text of more than 32,767 characters is cut and says so.

    Parameters
    ----------
    run : Path
        OUTPUT folder of a run.
    to : str
        "csv" (a folder with a file a table), "xlsx" (a workbook with a sheet a table) or "duckdb".
    output : Path
        Must not exist.
    tables : sequence of str
        Tables to take; all when empty.

    Returns
    -------
    dict of table → rows

    Raises
    ------
    OutputError
        There is no finished run, `output` exists or can't be written, or a table is too long for a sheet.
    ConfigError
        There is no such format or table.
    MissingExtraError
        The library of the format is not installed.
    """
    if to not in TARGETS:
        raise ConfigError(f"to: expected one of {', '.join(TARGETS)}, got {str(to)[:40]!r}")
    if not (run / MANIFEST).is_file():
        raise OutputError(
            f"RUN {run}: expected a finished run, {MANIFEST} is missing; give a run's OUTPUT folder"
        )
    there = [name for name in TABLES if (run / f"{name}.parquet").is_file()]
    for name in tables:
        if name not in there:
            raise ConfigError(f"table: expected some of {', '.join(there)}, got {str(name)[:40]!r}")
    if output.exists():
        raise OutputError(f"OUT {output}: exists already; give a new name")
    files = {name: run / f"{name}.parquet" for name in dict.fromkeys(tables or there)}
    write = {"csv": _to_csv, "xlsx": _to_xlsx, "duckdb": _to_duckdb}[to]
    with disk_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        write(files, output)
    return {name: pq.read_metadata(file).num_rows for name, file in files.items()}


def _to_csv(files: dict[str, Path], output: Path) -> None:
    output.mkdir()
    for name, file in files.items():
        schema = pa.schema([_plain_field(field) for field in pq.read_schema(file)])
        with (
            whole_file(output / f"{name}.csv") as partial,
            pyarrow.csv.CSVWriter(partial, schema) as writer,
        ):
            for batch in pq.ParquetFile(file).iter_batches(batch_size=4_096):
                writer.write_table(_plain(batch, schema))


def _plain_field(field: pa.Field) -> pa.Field:
    plain = (
        pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_boolean(field.type)
    )
    return field if plain else pa.field(field.name, pa.large_string())


def _plain(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    columns = []
    for field, column in zip(schema, batch.columns, strict=True):
        if field.type == column.type and not pa.types.is_large_string(field.type):
            columns.append(column)
        else:
            texts = [_safe(_text(value)) for value in column.to_pylist()]
            columns.append(pa.array(texts, pa.large_string()))
    return pa.Table.from_arrays(columns, schema=schema)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=str)


def _safe(text: str | None) -> str | None:
    return f"'{text}" if text is not None and text.startswith(_FORMULA) else text


def _to_xlsx(files: dict[str, Path], output: Path) -> None:
    try:
        import xlsxwriter
    except ImportError as error:
        raise MissingExtraError("XlsxWriter", "export", "a spreadsheet") from error
    for name, file in files.items():
        rows = pq.read_metadata(file).num_rows
        if rows >= _SHEET_ROWS:
            raise OutputError(
                f"table {name}: expected at most {_SHEET_ROWS - 1:,} rows for a sheet, got {rows:,}; "
                "take csv or duckdb, or leave the table out"
            )
    with whole_file(output) as partial:
        options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        options |= {"nan_inf_to_errors": True, "in_memory": False}
        with xlsxwriter.Workbook(str(partial), options) as book:
            bold = book.add_format({"bold": True})
            for name, file in files.items():
                sheet = book.add_worksheet(name)
                sheet.freeze_panes(1, 1)
                for column, title in enumerate(pq.read_schema(file).names):
                    sheet.write_string(0, column, title, bold)
                for at, row in enumerate(_rows(file), start=1):
                    for column, value in enumerate(row):
                        _write(sheet, at, column, value)


def _rows(file: Path) -> Iterator[tuple[Any, ...]]:
    for batch in pq.ParquetFile(file).iter_batches(batch_size=4_096):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _write(sheet: Any, row: int, column: int, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool | int | float):
        sheet.write(row, column, value)
        return
    text = _text(value) or ""
    if len(text) > _SHEET_TEXT:
        text = text[: _SHEET_TEXT - len(_CUT)] + _CUT
    sheet.write_string(row, column, text)


def _to_duckdb(files: dict[str, Path], output: Path) -> None:
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtraError("duckdb", "export", "a DuckDB database") from error
    partial = output.with_name(output.name + PARTIAL)
    try:
        with duckdb.connect(str(partial)) as base:
            for name, file in files.items():
                # A table's name is one of ours; the path, which is the user's, is a parameter.
                base.execute(f'CREATE TABLE "{name}" AS SELECT * FROM read_parquet(?)', [str(file)])
        partial.replace(output)
    except duckdb.Error as error:
        raise OutputError(
            f"OUT {output}: DuckDB can't write it ({str(error).splitlines()[0][:200]})"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
