"""`coverage-lab run`: judge a day of traffic."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from coverage_lab.cli.check import days_found, usable
from coverage_lab.cli.options import (
    ConfigOption,
    FormatOption,
    RunEncoderOption,
    configured,
)
from coverage_lab.cli.terminal import err, out, progress_bars
from coverage_lab.errors import ConfigError
from coverage_lab.files.manifest import CampaignsFound, StateUsed

#: Rows that are looked at before the work begins, so that a wrong input is seen at once.
_LOOKED_AT = 5_000


def run(
    traffic: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Parquet, JSON, CSV or Arrow IPC: files, folders (hive partitions too), globs, an address. "
            "Columns `account_id`, `timestamp`, `prompt`, or a log in one of `traffic.format`; other names "
            "are mapped in the config.",
        ),
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for the results.")],
    config: ConfigOption = None,
    encoder: RunEncoderOption = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Work in Ray actors (`job.ray` in the config); same tables.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another run in OUTPUT.")] = False,
    state: Annotated[
        str | None,
        typer.Option(
            help="Table of account states, a folder or an address (`s3://…`; keys from the environment): "
            "judge accounts by this day and those before (`state.window_days`), and count the day once."
        ),
    ] = None,
    day: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="With --state: the day that INPUT is counted for."),
    ] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="With --state: replace what was counted for --day.")
    ] = False,
    allow_repeated_files: Annotated[
        bool,
        typer.Option(
            "--allow-repeated-files",
            help="With --state: count files whose content another day or another file of INPUT has.",
        ),
    ] = False,
    allow_other_days: Annotated[
        bool,
        typer.Option(
            "--allow-other-days",
            help="With --state: count traffic whose timestamps are mostly of other days.",
        ),
    ] = False,
    format: FormatOption = None,
) -> None:
    """Judge a day of traffic: how each account's coverage grew, how that compares, score and reasons.

    Writes to OUTPUT: `report.html` (start here), `accounts.parquet`, `curves.parquet`, `cells.parquet`,
    `flags.parquet`, `campaigns.parquet` and `members.parquet` (groups of accounts that look like one
    harvest), `quarantine.parquet` (rows that could not be used, and why) and `run.json`.
    A run that was interrupted goes on when the same command is given again.

    Example: `coverage-lab run 'traffic/day=2026-01-15/*.parquet' results --encoder static`
    """
    from coverage_lab.jobs import StateDay, run_job
    from coverage_lab.jobs.check import survey
    from coverage_lab.report import top_accounts_table
    from coverage_lab.report.notices import notices

    settings = configured(config, encoder, format=format)
    counted = None
    if state is not None and day is not None:
        counted = StateDay(state, day.date(), recompute, allow_repeated_files, allow_other_days)
    elif state is not None or day is not None:
        raise ConfigError("--state and --day: expected both or neither, got one")
    elif recompute or allow_repeated_files or allow_other_days:
        raise ConfigError(
            "--recompute, --allow-repeated-files, --allow-other-days: expected --state too, got none"
        )
    looked = survey(traffic, settings.traffic, rows=_LOOKED_AT)
    files = len(looked.checked.sources)
    for line in (f"{files:,} {'file' if files == 1 else 'files'}. {usable(looked)}", days_found(looked)):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    worked: set[str] = set()
    with progress_bars() as progress:

        def noted(stage: str, done: int, total: int | None) -> None:
            worked.add(stage)
            progress(stage, done, total)

        manifest = run_job(
            traffic[0] if len(traffic) == 1 else traffic,
            output,
            settings,
            ray=ray,
            overwrite=overwrite,
            state=counted,
            progress=noted,
        )
    out.print(top_accounts_table(output / "accounts.parquet"))
    for note in notices(manifest):
        err.print(note, markup=False, highlight=False, soft_wrap=True)
    counts, found = manifest.counts, manifest.discoveries
    out.print(
        f"{counts.rows_in:,} rows in = {counts.rows_used:,} used + {counts.rows_quarantined:,} quarantined; "
        f"{counts.accounts:,} accounts: "
        + ", ".join(f"{number:,} {verdict}" for verdict, number in manifest.verdicts.items())
    )
    if found is not None:
        out.print(
            f"Discoveries among {found.judged:,} judged accounts: {found.found:,} (q at most {found.rate:g})."
        )
        if found.note:
            out.print(found.note)
    if manifest.campaigns is not None:
        _print_campaigns(manifest.campaigns, output)
    if manifest.state is not None:
        _print_state(manifest.state)
    if "done" not in worked:
        out.print(f"This very run was finished on {manifest.created}; nothing was computed again.")
    out.print(f"Report: {output / 'report.html'}", markup=False, soft_wrap=True)


def _print_campaigns(found: CampaignsFound, output: Path) -> None:
    import pyarrow.parquet as pq

    if not found.members:
        return
    counted = ", ".join(f"{number:,} {verdict}" for verdict, number in found.verdicts.items() if number)
    out.print(f"Campaigns: {counted}; {found.members:,} accounts in them. First: ", end="")
    first = pq.read_table(output / "campaigns.parquet", columns=["campaign"])["campaign"][0].as_py()
    out.print(f"coverage-lab explain --campaign {first} --run {output}", markup=False, soft_wrap=True)


def _print_state(used: StateUsed) -> None:
    for name, original in used.repeated_files.items():
        out.print(f"Not read: {name}, whose content {original} has.", markup=False)
    out.print(
        f"Judged by the days from {used.window.first} to {used.day}; the day is in {used.url}.",
        markup=False,
        soft_wrap=True,
    )
