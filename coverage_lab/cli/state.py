"""`coverage-lab state …`: the table of account states between days."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from coverage_lab.cli.options import (
    StateArgument,
    YesOption,
)
from coverage_lab.cli.terminal import confirm, out

state_app = typer.Typer(
    help="The table of account states that `run --state` keeps between days.", no_args_is_help=True
)


@state_app.command("show")
def show(state: StateArgument) -> None:
    """Show the days in a state table: the run that counted each, its prompts, accounts and stored bytes.

    Example: `coverage-lab state show state`
    """
    from coverage_lab.state.maintenance import show_state

    table, days = show_state(state)
    bound = table.binding
    out.print(
        f"Schema version {table.schema_version}, encoder {bound.encoder_id[:12]}, "
        f"atlas {bound.atlas_id[:12]}, {len(days):,} days, {sum(day.bytes for day in days) / 1e6:,.1f} MB",
        soft_wrap=True,
    )
    shown = Table()
    for column in ("day", "run", "prompts", "accounts", "files", "MB"):
        shown.add_column(column, justify="left" if column in ("day", "run") else "right")
    for day in days:
        numbers = [f"{number:,}" for number in (day.prompts, day.accounts, day.traffic_files)]
        shown.add_row(day.day.isoformat(), day.run[:12], *numbers, f"{day.bytes / 1e6:,.1f}")
    out.print(shown)


@state_app.command("rollback")
def rollback(
    state: StateArgument,
    day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The day to take out.")],
    yes: YesOption = False,
) -> None:
    """Take a day out, as if it had never been counted; its files may then be counted again.

    Runs that judged accounts by that day keep their tables: run those days again into another OUTPUT to judge
    without it. The bytes stay in STATE until the next `retain` or `forget`.

    Example: `coverage-lab state rollback state --day 2026-01-15 --yes`
    """
    from coverage_lab.state.maintenance import rollback_day

    confirm(f"Take {day:%Y-%m-%d} out of {state}?", yes)
    accounts = rollback_day(state, day.date())
    out.print(f"{day:%Y-%m-%d} with {accounts:,} accounts is out of {state}.", markup=False, soft_wrap=True)


@state_app.command("forget")
def forget(
    state: StateArgument,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account_id to delete.")],
    yes: YesOption = False,
) -> None:
    """Delete an account from all days for good, for instance on a legal request; its bytes are gone after.

    No run may be working with STATE meanwhile: whatever is not committed is deleted too, and so are the older
    versions of the table. OUTPUT folders of runs, logs and your own traffic files are not touched. An id that
    begins with a dash comes last, after `--`.

    Example: `coverage-lab state forget state acct-0042 --yes`
    """
    from coverage_lab.state.maintenance import forget_account

    confirm(f"Delete this account from all days of {state} for good?", yes)
    days, files = forget_account(state, account)
    out.print(f"The account was in {days:,} days; {files:,} files with old bytes deleted.", soft_wrap=True)


@state_app.command("retain")
def retain(
    state: StateArgument,
    days: Annotated[int, typer.Option(min=1, help="Days to keep, back from the newest.")],
    yes: YesOption = False,
) -> None:
    """Delete days older than `--days` and their bytes for good; run it once a day.

    Keep at least `state.window_days`, which is what accounts are judged by. No run may be working with STATE
    meanwhile. A file that only a deleted day has counted is not known any more when it is delivered again.

    Example: `coverage-lab state retain state --days 60 --yes`
    """
    from coverage_lab.state.maintenance import retain_days

    confirm(f"Delete all but the newest {days:,} days of {state} for good?", yes)
    gone = retain_days(state, days)
    which = f": {gone[0]} to {gone[-1]}" if gone else ""
    out.print(f"{len(gone):,} days deleted{which}.")


@state_app.command("migrate")
def migrate(state: StateArgument) -> None:
    """Bring a state table of an older version of coverage_lab up to this one's schema.

    Tables of versions before 5 can't be brought up: the prompts that they were made from are gone. Such a
    table is left as it is; start a new one at another place.

    Example: `coverage-lab state migrate state`
    """
    from coverage_lab.state.maintenance import migrate_state

    out.print(f"Schema version {migrate_state(state)}; there was nothing to do.")
