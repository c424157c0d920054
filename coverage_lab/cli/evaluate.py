"""`coverage-lab evaluate`: the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from coverage_lab.cli.options import (
    EncoderOption,
    Precision,
    numbers_of,
    three_cells,
)
from coverage_lab.cli.terminal import out, progress_bars
from coverage_lab.config import EvaluateConfig, load_evaluate_config
from coverage_lab.errors import ConfigError


def _help(field: str) -> str:
    """Say what the config says of a field, and its default."""
    info = EvaluateConfig.model_fields[field]
    default = info.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    more = "" if default is None else f"; {default} when not given"
    text = f"{info.description}{more}."
    return text[0].upper() + text[1:]


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
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file; `configs/evaluate.toml` lists every key. The options below come before it."
        ),
    ] = None,
    encoder: EncoderOption = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Of `minilm`; float32 when not given. `bfloat16` is much faster on a GPU. `auto`: what the "
            "device is fast in."
        ),
    ] = None,
    together: Annotated[Path | None, typer.Option(help=_help("together"))] = None,
    folds: Annotated[int | None, typer.Option(help=_help("folds"))] = None,
    rows: Annotated[int | None, typer.Option(help=_help("rows"))] = None,
    accounts: Annotated[int | None, typer.Option(help=_help("accounts"))] = None,
    repeats: Annotated[int | None, typer.Option(help=_help("repeats"))] = None,
    longest: Annotated[int | None, typer.Option(help=_help("longest"))] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="SIZES", help=f"{_help('judge_sizes')} For instance `1000,5000`."),
    ] = None,
    baselines: Annotated[
        bool | None,
        typer.Option("--baselines/--no-baselines", help="Run the published methods beside the detector."),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; may be given again. An unknown one lists them all."),
    ] = None,
    cells: Annotated[str | None, typer.Option(metavar="SIZES", help=_help("cells"))] = None,
    train: Annotated[int | None, typer.Option(help=_help("train"))] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps vectors (no text), so that nothing is encoded twice."),
    ] = None,
    known_customers: Annotated[
        bool,
        typer.Option(
            "--known-customers",
            help="The second protocol in place of the first: own customers are known by other prompts of "
            "theirs (`coverage-lab adapt`), harvests are unseen. Writes `known_customers.json` only.",
        ),
    ] = False,
    seed: Annotated[int | None, typer.Option(help=_help("seed"))] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results in OUT.")] = False,
) -> None:
    """Measure how well harvests are told from customers, on corpora that no model has seen.

    Builds accounts whose truth is known: customers of five kinds, evaluation runs, red-team research, and
    harvests in file order, shuffled, de-duplicated, paced, mixed with ordinary traffic and split over many
    accounts. Then scores each by the detector and by published methods. Atlas, reference mass, models and
    calibration are made without the account's corpus and its near-duplicates.

    Writes to OUT: `benchmark.html` (start here), `results.json` (every figure) and `accounts.parquet` (every
    account with its scores; no text).

    Example: `coverage-lab evaluate corpora/ results --encoder static --cache vectors/`
    """
    from coverage_lab.evaluate.evaluation import PAGE, evaluate_corpora
    from coverage_lab.evaluate.tables import table

    if baseline and baselines is False:
        raise ConfigError("--baseline: can't be given together with --no-baselines")
    settings = load_evaluate_config(config)
    given: dict[str, object] = {
        "together": together,
        "folds": folds,
        "rows": rows,
        "accounts": accounts,
        "repeats": repeats,
        "longest": longest,
        "judge_sizes": None if judge is None else numbers_of(judge, option="--judge", example="1000,5000"),
        "cells": None if cells is None else three_cells(cells),
        "train": train,
        "seed": seed,
    }
    given = {name: value for name, value in given.items() if value is not None}
    asked = {"name": encoder, "precision": precision}
    named = {key: choice.value for key, choice in asked.items() if choice is not None}
    given["encoder"] = settings.encoder.model_dump() | named
    if baseline or baselines is not None:
        given["baselines"] = baseline or (None if baselines else ())
    settings = settings.with_options(given)
    if known_customers:
        _known_customers(corpora, folder, settings, cache=cache, overwrite=overwrite)
        return
    with progress_bars() as progress:
        results = evaluate_corpora(
            corpora, folder, settings, cache=cache, overwrite=overwrite, progress=progress
        )
    out.print(table(results))
    out.print(f"Page: {folder / PAGE}", markup=False, soft_wrap=True)


def _known_customers(
    corpora: Path, folder: Path, settings: EvaluateConfig, *, cache: Path | None, overwrite: bool
) -> None:
    from coverage_lab.evaluate.evaluation import KNOWN_CUSTOMERS_PAGE, evaluate_known_customers
    from coverage_lab.evaluate.known_customers_page import shown_row

    with progress_bars() as progress:
        results = evaluate_known_customers(
            corpora, folder, settings, cache=cache, overwrite=overwrite, progress=progress
        )
    shown = Table(title="Harvests that no score has seen, against customers", title_justify="left")
    rows = [shown_row(row) for row in results.rows]
    for column in rows[0]:
        shown.add_column(column, justify="right")
    for row in rows:
        shown.add_row(*row.values())
    out.print(shown)
    out.print(
        "adapted to: own accounts, with so many unseen harvests among them; nothing: customers unknown. "
        "found at 1%, at 5%: share of harvests above all but 1% and 5% of the customers."
    )
    out.print(f"Page: {folder / KNOWN_CUSTOMERS_PAGE}", markup=False, soft_wrap=True)
