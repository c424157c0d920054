"""`coverage-lab export`: a run's tables for other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from coverage_lab.cli.terminal import out


class ExportTarget(StrEnum):
    """Formats of `--to`."""

    CSV = "csv"
    XLSX = "xlsx"
    DUCKDB = "duckdb"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The OUTPUT folder of a run.")],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="What to write; must not exist. For `csv` a folder.")
    ],
    to: Annotated[
        ExportTarget, typer.Option("--to", help="`csv`: a file a table; `xlsx`: a workbook; `duckdb`.")
    ],
    table: Annotated[
        list[str] | None, typer.Option("--table", help="A table to take; again for more. All when not given.")
    ] = None,
) -> None:
    """Write a run's tables for a spreadsheet, DuckDB or whatever reads CSV.

    The tables themselves are Parquet, which pandas, Polars and DuckDB read as they are. `xlsx` and `duckdb`
    need the extra `export`.

    Example: `coverage-lab export results results.xlsx --to xlsx --table accounts`
    """
    from coverage_lab.jobs.export import export_run

    for name, rows in export_run(run, to.value, output, tables=table or ()).items():
        out.print(f"{name}: {rows:,} rows", markup=False)
    out.print(f"Written: {output}", markup=False, soft_wrap=True)
