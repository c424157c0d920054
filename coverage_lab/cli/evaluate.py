"""`coverage-lab evaluate`: the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coverage_lab.cli.options import (
    EncoderOption,
    Precision,
    numbers_of,
    three_cells,
)
from coverage_lab.cli.terminal import out, progress_bars
from coverage_lab.errors import ConfigError


def evaluate(
    corpora: Annotated[
        Path,
        typer.Argument(
            metavar="CORPORA",
            help="Folder of `<kind>_<name>.parquet`, each with a column `prompt` and, where known, `user`. "
            "Kinds: A harvest, B benchmark, C red-team, D task use, E chat. Languages from CATALOG.csv "
            "(columns `file`, `language`) where there is one.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the results.")],
    encoder: EncoderOption = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Of `minilm`; `bfloat16` is much faster on a GPU. `auto`: what the device is fast in."
        ),
    ] = Precision.float32,
    together: Annotated[
        Path | None,
        typer.Option(
            help="Corpora that share an origin and must not be parted, one group a line "
            "(`configs/together.txt` for this project's own). Those that share prompts are found anyway."
        ),
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts of the corpora, each held out in turn.", min=2)] = 5,
    rows: Annotated[
        int,
        typer.Option(
            help="Prompts kept of each corpus; a harvest is split over 100 accounts from 5000.", min=50
        ),
    ] = 2400,
    accounts: Annotated[
        int, typer.Option(help="Ordinary accounts, each judged at all sizes it reaches.", min=1)
    ] = 600,
    repeats: Annotated[int, typer.Option(help="Harvests of each corpus, on each rung.", min=1)] = 1,
    longest: Annotated[int, typer.Option(help="Prompts of an account at most.", min=50)] = 1000,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES",
            help="Judge accounts at these sizes only, for instance `1000,5000`: for many accounts in less "
            "time. Models are the same either way.",
        ),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option("--baselines/--no-baselines", help="Run the published methods beside the detector."),
    ] = True,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; may be given again. An unknown one lists them all."),
    ] = None,
    cells: Annotated[
        str, typer.Option(help="Cells of each fold's atlas per level, coarse,middle,fine.")
    ] = "64,512,2048",
    train: Annotated[
        int, typer.Option(help="Accounts that each fold learns from, besides the harvests.", min=1)
    ] = 2000,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps vectors (no text), so that nothing is encoded twice."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same results to the byte.", min=0)] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results in OUT.")] = False,
) -> None:
    """Measure how well harvests are told from customers, on corpora that no model has seen.

    Builds accounts whose truth is known: customers of five kinds, evaluation runs, red-team research, and
    harvests in file order, shuffled, de-duplicated, paced, mixed with ordinary traffic and split over many
    accounts. Then scores each by the detector and by published methods, all made without the account's
    corpus and its near-duplicates: atlas, reference mass, models and calibration.

    Writes to OUT: `benchmark.html` (start here), `results.json` (every figure) and `accounts.parquet` (every
    account with its scores; no text).

    Example: `coverage-lab evaluate corpora/ results --encoder static --cache vectors/`
    """
    from coverage_lab.config import EncoderConfig
    from coverage_lab.evaluate.evaluation import PAGE, evaluate_corpora
    from coverage_lab.evaluate.results import table

    if baseline and not baselines:
        raise ConfigError("--baseline: can't be given together with --no-baselines")
    config = EncoderConfig(name="auto" if encoder is None else encoder.value, precision=precision.value)
    with progress_bars() as progress:
        results = evaluate_corpora(
            corpora,
            folder,
            encoder=config,
            baselines=(baseline or None) if baselines else (),
            together=together,
            folds=folds,
            rows=rows,
            accounts=accounts,
            repeats=repeats,
            longest=longest,
            judge=None if judge is None else numbers_of(judge, option="--judge", example="1000,5000"),
            cells=three_cells(cells),
            train=train,
            cache=cache,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    out.print(table(results))
    out.print(f"Page: {folder / PAGE}", markup=False, soft_wrap=True)
