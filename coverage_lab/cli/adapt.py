"""`coverage-lab adapt`: a score fitted to the user's own traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from coverage_lab.cli.options import ConfigOption, ContaminationOption, FormatOption, LabelsOption, configured
from coverage_lab.cli.terminal import err, out, progress_bars
from coverage_lab.untrusted.text import visible


def adapt(
    to: Annotated[Path, typer.Option("--out", help="Folder for the scorecard; must not exist.")],
    traffic: Annotated[
        str | None, typer.Argument(metavar="INPUT", help="Your own traffic, as for `run`.")
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(help="State table of your runs (`run --state`), in place of INPUT. It is only read."),
    ] = None,
    corpora: Annotated[
        Path | None,
        typer.Option(
            help="Folder of labelled corpora, as for `evaluate`, to take harvests from. Needed for another "
            "encoder than `static` and for an atlas of your own; else those that ship are used."
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="With --corpora: folder that keeps their vectors between calls.")
    ] = None,
    labels: LabelsOption = None,
    contamination: ContaminationOption = None,
    config: ConfigOption = None,
    format: FormatOption = None,
    seed: Annotated[int, typer.Option(help="Deals your accounts to folds.")] = 0,
) -> None:
    """Fit score and calibration to your own traffic, your accounts against the harvests that ship.

    `calibrate` changes only what p-values compare with. `adapt` also learns what your ordinary accounts look
    like, so that it takes fewer of them for harvests. Without labels the accounts that score highest so far
    are set aside: they may be harvests, so nothing is learnt from them. Give a few weeks of traffic, at least
    some hundred accounts.

    Writes `scorecard.json`, for `detect.scorecard` in the config, and `adapted.json`, what changed. Neither
    holds an account id or a prompt.

    Example: `coverage-lab adapt traffic/ --out mine`

    Example: `coverage-lab adapt --state state --out mine`
    """
    from coverage_lab.detect.fitting.adapt import CUTS
    from coverage_lab.jobs.adapt import SCORECARD
    from coverage_lab.jobs.adapt import adapt as adapt_job

    settings = configured(config, None, format=format)
    with progress_bars() as progress:
        done = adapt_job(
            traffic,
            to,
            settings,
            state=state,
            corpora=corpora,
            cache=cache,
            labels=labels,
            contamination=contamination,
            seed=seed,
            progress=progress,
        )
    found, before, after = done.adapted, done.before, done.after
    for name, why in done.skipped_files.items():
        err.print(f"not read: {visible(name)}: {why}", markup=False, soft_wrap=True)
    if done.rows_quarantined:
        err.print(
            f"{done.rows_quarantined:,} rows could not be used; `coverage-lab check INPUT` says why.",
            soft_wrap=True,
        )
    aside = f" {found.left_out:,} were set aside: they may be harvests." if found.left_out else ""
    known = f" {found.labelled_harvests:,} labelled harvests." if labels is not None else ""
    out.print(f"Fitted to {found.own:,} of your accounts.{aside}{known}")
    whose = "Shipped" if corpora is None else "The corpora's"
    table = Table(title=f"{whose} harvests against all your accounts, both held out", title_justify="left")
    for column in ("", "before", "after"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("AUROC", f"{before.auroc:.3f}", f"{after.auroc:.3f}")
    for at, cut in enumerate(CUTS):
        name = f"harvests above all but {cut:.0%} of your accounts"
        table.add_row(name, f"{before.caught[at]:.0%}", f"{after.caught[at]:.0%}")
    out.print(table)
    out.print(f"Smallest p-value: {found.calibration.smallest_p:.3g}.")
    if found.calibration.extrapolated_below:
        out.print(f"p-values below {found.calibration.extrapolated_below:g} rest on an extrapolated tail.")
    path = to / SCORECARD
    out.print(f"Scorecard: {path}. Use it as detect.scorecard in the config.", markup=False, soft_wrap=True)
