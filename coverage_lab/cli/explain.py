"""`coverage-lab explain`: one account or campaign of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coverage_lab.cli.terminal import out
from coverage_lab.errors import ConfigError, OutputError


def explain(
    account: Annotated[
        str | None, typer.Argument(metavar="[ACCOUNT]", help="An account_id of the run.", show_default=False)
    ] = None,
    results: Annotated[Path, typer.Option("--run", help="The OUTPUT folder of a run.")] = Path("results"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the account's rows of the tables as one JSON object.")
    ] = False,
    campaign: Annotated[
        str | None,
        typer.Option(
            help="In place of ACCOUNT: a campaign of the run, from `campaigns.parquet` or the page."
        ),
    ] = None,
) -> None:
    """Show what is known of one account of a finished run: score, reasons, growth, cells.

    Or of one campaign: what links its accounts, what they are together, and each member's part. An id that
    begins with a dash comes last, after `--`.

    Example: `coverage-lab explain acct-0042 --run results`
    """
    import orjson

    from coverage_lab.report import Explanation, explain_account, percentiles_of, rows_of_accounts

    if (account is None) == (campaign is None):
        raise ConfigError("ACCOUNT and --campaign: expected one of the two")
    if as_json and campaign is not None:
        raise ConfigError("--json: shows an account; read campaigns.parquet and members.parquet")
    tables = ("accounts", "curves", "cells") if account is not None else ("campaigns", "members")
    for name in ("run.json", *(f"{table}.parquet" for table in tables)):
        if not (results / name).exists():
            raise OutputError(
                f"--run {results}: no finished run there (no {name}); give a run's OUTPUT folder"
            )
    if account is None:
        _explain_campaign(str(campaign), results)
        return
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


def _explain_campaign(campaign: str, results: Path) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from coverage_lab.report import explain_campaign, members_of

    rows = pq.read_table(results / "campaigns.parquet")
    mine = rows.filter(pc.equal(rows["campaign"], campaign)).to_pylist()
    if not mine:
        found = ", ".join(rows["campaign"].to_pylist()[:5]) or "none"
        raise ConfigError(
            f"--campaign {campaign!r}: not in the run at {results}, whose campaigns are: {found}"
        )
    out.print(explain_campaign(mine[0], members_of(results / "members.parquet", campaign)))
