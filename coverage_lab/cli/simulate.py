"""`coverage-lab simulate`: a day of sample traffic."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from coverage_lab.cli.terminal import out, progress_bars


def simulate(
    folder: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for traffic.parquet and truth.parquet.")
    ],
    accounts: Annotated[int, typer.Option(help="How many accounts, at least 20.", min=20)] = 60,
    seed: Annotated[int, typer.Option(help="Same seed, same traffic to the byte.")] = 0,
    date: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The day.")] = datetime(2026, 1, 15),
    corpora: Annotated[
        Path | None,
        typer.Option(
            help="Build the accounts from a folder of real prompt corpora `<kind>_<name>.parquet` (kinds: A "
            "harvest, B benchmark, C red-team, D task use, E chat) in place of the generators."
        ),
    ] = None,
) -> None:
    """Write a day of sample traffic, with the truth in a file apart.

    Customers with one task, products, people, a reseller, a benchmark run, red-team research, an account
    that harvests, and a harvest that is split over ten accounts.

    Example: `coverage-lab simulate day --accounts 60 --seed 7`
    """
    from coverage_lab.simulate import simulate_day, write_day

    with progress_bars() as progress:
        if corpora is None:
            day = simulate_day(seed=seed, accounts=accounts, date=date.date(), progress=progress)
        else:
            from coverage_lab.evaluate.replayed_day import day_of_corpora

            day = day_of_corpora(corpora, accounts=accounts, seed=seed, date=date.date(), progress=progress)
        traffic, truth = write_day(day, folder)
    out.print(f"{day.traffic.num_rows:,} prompts: {traffic}\nwho is who:    {truth}", markup=False)
