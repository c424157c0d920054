"""`coverage-lab explain`: one account of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coverage_lab.cli.terminal import out
from coverage_lab.errors import ConfigError, OutputError


def explain(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="An account_id of the run.")],
    results: Annotated[Path, typer.Option("--run", help="The OUTPUT folder of a run.")] = Path("results"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the account's rows of the tables as one JSON object.")
    ] = False,
) -> None:
    """Show what is known of one account of a finished run: score, reasons, growth, cells.

    An id that begins with a dash comes last, after `--`.

    Example: `coverage-lab explain acct-0042 --run results`
    """
    import orjson

    from coverage_lab.report import Explanation, explain_account, percentiles_of, rows_of_accounts

    for name in ("run.json", "accounts.parquet", "curves.parquet", "cells.parquet"):
        if not (results / name).exists():
            raise OutputError(
                f"--run {results}: no finished run there (no {name}); give a run's OUTPUT folder"
            )
    row = rows_of_accounts(results / "accounts.parquet", [account])
    if row.num_rows == 0:
        raise ConfigError(f"ACCOUNT {account!r}: not in the run at {results}")
    curves = rows_of_accounts(results / "curves.parquet", [account])
    cells = rows_of_accounts(results / "cells.parquet", [account])
    (mine,) = row.to_pylist()
    percentiles = percentiles_of(mine, results / "accounts.parquet")
    if as_json:
        story = Explanation(mine, curves, cells, percentiles).to_dict()
        typer.echo(orjson.dumps(story, option=orjson.OPT_INDENT_2).decode())
        return
    out.print(explain_account(mine, curves, cells, percentiles))
