"""`coverage-lab calibrate`: p-values against the user's own accounts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coverage_lab.cli.options import ContaminationOption, LabelsOption
from coverage_lab.cli.terminal import out


def calibrate(
    results: Annotated[Path, typer.Argument(metavar="RUN", help="The OUTPUT folder of a finished run.")],
    to: Annotated[Path, typer.Option("--out", help="The scorecard to write, a JSON file; must not exist.")],
    labels: LabelsOption = None,
    contamination: ContaminationOption = None,
) -> None:
    """Calibrate the scorecard of a run on the run's own accounts, with or without reviewers' labels.

    The score stays the same; the benign accounts that p-values compare with become yours in place of those
    that ship. Without labels the highest scores are taken for possible harvests, and p-values below the
    share `--contamination` rest on an extrapolated tail. Use the file as `detect.scorecard` in the config.
    It holds each account's score and number of prompts, and no account_id.

    Example: `coverage-lab calibrate results --out scorecard.json --contamination 0.05`
    """
    from coverage_lab.jobs.recalibrate import recalibrate

    made = recalibrate(results, to, labels=labels, contamination=contamination)
    card = made.scorecard
    out.print(
        f"{made.used:,} of {made.accounts:,} scored accounts are what p-values compare with, "
        f"{card.calibration.neighbours:,} of similar size at a time."
    )
    out.print(f"Smallest p-value: {card.smallest_p:.3g}.")
    if card.smallest_p > made.review_p:
        out.print(
            f"That is above detect.review_p = {made.review_p:g}: with so few accounts none can be for review."
        )
    if made.extrapolated_below:
        out.print(f"p-values below {made.extrapolated_below:g} rest on an extrapolated tail.")
    if made.benign is not None:
        auroc = "not known (no account labelled harvest)" if made.auroc is None else f"{made.auroc:.3f}"
        out.print(
            f"Labels: {made.benign:,} benign, {made.harvest:,} harvest; {made.without_account:,} of accounts "
            f"that were not judged. AUROC of the score on them: {auroc}."
        )
    out.print(f"Scorecard: {to}", markup=False, soft_wrap=True)
