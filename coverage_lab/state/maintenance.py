"""Looking after a state table: taking out a day, an account or old days; its schema."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from coverage_lab.errors import ConfigError
from coverage_lab.state.files import holds, rewritten
from coverage_lab.state.ledger import blank_names, delete_record, read_record, sweep_records
from coverage_lab.state.table import Change, StateFile, StateTable, state_url


@dataclass(frozen=True)
class DayShown:
    """A day in a state table: its run, prompts counted, accounts, files of traffic, bytes stored."""

    day: date
    run: str
    prompts: int
    accounts: int
    traffic_files: int
    bytes: int


def show_state(state: str | Path) -> tuple[StateTable, list[DayShown]]:
    """List the days of a state table.

    Raises
    ------
    OutputError
        As `coverage_lab.state.table.StateTable`.
    """
    table = StateTable(state_url(state))
    files = table.files()
    shown = []
    for day, run in table.days().items():
        mine = [file for file in files if file.day == day]
        record = read_record(table, day, run)
        shown.append(
            DayShown(
                day=day,
                run=run,
                prompts=record.prompts,
                accounts=sum(file.rows for file in mine),
                traffic_files=len(record.files),
                bytes=sum(file.size for file in mine),
            )
        )
    return table, shown


def rollback_day(state: str | Path, day: date) -> int:
    """Take a day out of a state table, as if it had never been counted; returns its accounts.

    Its files of traffic may be counted again. The bytes stay until the next `retain_days` or
    `forget_account`, for runs that read an older version.

    Raises
    ------
    ConfigError
        The day is not in the table.
    OutputError
        As `coverage_lab.state.table.StateTable`.
    """
    table = StateTable(state_url(state))
    run = table.days().get(day)
    if run is None:
        raise ConfigError(f"--day {day}: not in the state {table.url}")
    return _without_days(table, [day], action="rollback")


def retain_days(state: str | Path, days: int) -> list[date]:
    """Delete all but the newest days and their bytes; returns the days deleted.

    Parameters
    ----------
    days : int
        Days to keep, counted back on the calendar from the newest in the table, 1 or more. Runs judge by
        `state.window_days`: fewer days than that kept are fewer that accounts are judged by.

    Raises
    ------
    ConfigError
        `days` is less than 1.
    OutputError
        As `coverage_lab.state.table.StateTable`.
    """
    if days < 1:
        raise ConfigError(f"--days: expected 1 or more, got {days}")
    table = StateTable(state_url(state))
    have = list(table.days())
    old = [day for day in have if day <= have[-1] - timedelta(days=days)]
    if old:
        _without_days(table, old, action="retain")
    sweep_records(StateTable(table.url))
    table.vacuum()
    return old


def forget_account(state: str | Path, account_id: str) -> tuple[int, int]:
    """Delete an account from all days, and its bytes from the storage.

    Every file with a row of it is written anew without it, all in one commit, and everything that the table
    does not hold any more is deleted, with the older versions and what killed runs left. Names of traffic
    files that hold the id are blanked. Neither the id nor a hash of it is left in the table's history.
    Started again after a kill it does what is left to do.

    Returns
    -------
    days, files
        Days that the account was in; files deleted from the storage.

    Raises
    ------
    ConfigError
        `account_id` is empty.
    OutputError
        As `coverage_lab.state.table.StateTable`.
    """
    if not account_id:
        raise ConfigError("ACCOUNT: expected an account_id, got nothing")
    table = StateTable(state_url(state))
    days: set[date] = set()
    with tempfile.TemporaryDirectory(prefix="coverage-lab-") as scratch:

        def without(newest: StateTable) -> Change | None:
            mine = [file for file in newest.files() if holds(newest, file, account_id)]
            days.update(file.day for file in mine)
            added = [
                rewritten(
                    newest, file, lambda rows: _without_account(rows, account_id), scratch=Path(scratch)
                )
                for file in mine
            ]
            return Change(removed=mine, added=added) if mine else None

        table.commit(without, told={"action": "forget"})
    files = table.vacuum()
    newest = StateTable(table.url)
    sweep_records(newest)
    blank_names(newest, account_id)
    return len(days), files


def migrate_state(state: str | Path) -> int:
    """Bring a state table up to today's version, where there is one that it can be brought up from.

    Versions before 4 were summed up from whole prompts. What they lack is of the prompts' contents, and the
    prompts are gone: such a table is left as it is, and refused.

    Returns
    -------
    version
        Today's.

    Raises
    ------
    OutputError
        The table is of a newer version, or of one that can't be brought up.
    """
    return StateTable(state_url(state)).schema_version


def _without_days(table: StateTable, days: Sequence[date], *, action: str) -> int:
    gone: list[StateFile] = []
    runs = {day: run for day, run in table.days().items() if day in days}

    def without(newest: StateTable) -> Change | None:
        gone[:] = [file for file in newest.files() if runs.get(file.day) == file.run]
        return Change(removed=list(gone), added=[]) if gone else None

    table.commit(
        without, told={"action": action, "first": min(days).isoformat(), "last": max(days).isoformat()}
    )
    still = StateTable(table.url).days()
    for day, run in runs.items():
        if still.get(day) != run:  # else the same run has counted the day again meanwhile
            delete_record(table, day, run)
    return sum(file.rows for file in gone)


def _without_account(rows: pa.Table, account_id: str) -> pa.Table:
    return rows.filter(pc.not_equal(rows["account_id"], account_id))
