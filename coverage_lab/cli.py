"""The command line: `coverage-lab run | explain | calibrate | simulate | evaluate | atlas | state | …`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

import coverage_lab
from coverage_lab.config import RunConfig, load_config
from coverage_lab.errors import ConfigError, CoverageLabError, MissingExtraError, OutputError
from coverage_lab.progress import Progress, ProgressLines

EXIT_CODES = """
Exit codes: 0 done; 1 unexpected failure; 2 bad option or config, or a missing extra; 3 traffic that can't be
read; 4 damaged atlas or one of another encoder; 5 output folder or disk; 130 interrupted (run the same
command again to go on from where it stopped).
"""

INTERRUPTED = 130

app = typer.Typer(
    name="coverage-lab",
    help="Is this account using the model, or harvesting it? Prompt-coverage analysis of API traffic.\n\n"
    "Start with `coverage-lab simulate DAY` and `coverage-lab run DAY/traffic.parquet RESULTS`."
    f"\n\n{EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
atlas_app = typer.Typer(
    help="The map of the capability surface that prompts are placed on.", no_args_is_help=True
)
app.add_typer(atlas_app, name="atlas")
state_app = typer.Typer(
    help="The table of account states that `run --state` keeps between days.", no_args_is_help=True
)
app.add_typer(state_app, name="state")

out = Console()
err = Console(stderr=True)


class EncoderChoice(StrEnum):
    """Encoders that ship with the package."""

    static = "static"
    minilm = "minilm"


class RunEncoderChoice(StrEnum):
    """What `run` and `serve` can judge with: an encoder, or both in turn."""

    static = "static"
    minilm = "minilm"
    cascade = "cascade"


class Precision(StrEnum):
    """What a transformer computes in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file; `configs/default.toml` lists every key with its meaning."),
]
EncoderOption = Annotated[
    EncoderChoice | None,
    typer.Option(
        "--encoder",
        help="`minilm`: a transformer, the default where a GPU is found. `static`: its distilled word "
        "vectors, much faster, the default on a CPU.",
    ),
]
RunEncoderOption = Annotated[
    RunEncoderChoice | None,
    typer.Option(
        "--encoder",
        help="`minilm`: a transformer, the default where a GPU is found. `static`: its distilled word "
        "vectors, much faster, the default on a CPU. `cascade`: `static` for all accounts, `minilm` for "
        "those that it can't clear.",
    ),
]


StateArgument = Annotated[
    str,
    typer.Argument(metavar="STATE", help="Folder or address of the table, as `run --state` was given it."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class _Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s")


@contextmanager
def _bars() -> Iterator[Progress]:
    """Progress on stderr: bars, one a stage, or a line every half minute where that is no terminal."""
    if not err.is_terminal:
        yield ProgressLines(lambda line: err.print(f"coverage-lab: {line}", markup=False, soft_wrap=True))
        return
    with Bars(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(escape(stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def _configured(config: Path | None, encoder: EncoderChoice | RunEncoderChoice | None) -> RunConfig:
    settings = load_config(config)
    return settings if encoder is None else settings.with_encoder(encoder.value)


@app.command()
def run(
    traffic: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="Parquet, JSONL or Arrow IPC: a file, a folder (hive partitions too) or a quoted glob. "
            "Columns `account_id`, `timestamp`, `prompt`; other names are mapped in the config.",
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
) -> None:
    """Judge a day of traffic: how each account's coverage grew, how that compares, score and reasons.

    Writes to OUTPUT: `report.html` (start here), `accounts.parquet`, `curves.parquet`, `cells.parquet`,
    `flags.parquet`, `quarantine.parquet` (rows that could not be used, and why) and `run.json`.
    A run that was interrupted goes on when the same command is given again.

    Example: `coverage-lab run 'traffic/day=2026-01-15/*.parquet' results --encoder static`
    """
    from coverage_lab.jobs import StateDay, run_job
    from coverage_lab.report import top_accounts_table

    settings = _configured(config, encoder)
    counted = None
    if state is not None and day is not None:
        counted = StateDay(state, day.date(), recompute, allow_repeated_files)
    elif state is not None or day is not None:
        raise ConfigError("--state and --day: expected both or neither, got one")
    elif recompute or allow_repeated_files:
        raise ConfigError("--recompute and --allow-repeated-files: expected --state beside them, got none")
    worked: set[str] = set()
    with _bars() as progress:

        def noted(stage: str, done: int, total: int | None) -> None:
            worked.add(stage)
            progress(stage, done, total)

        manifest = run_job(
            traffic, output, settings, ray=ray, overwrite=overwrite, state=counted, progress=noted
        )
    out.print(top_accounts_table(output / "accounts.parquet"))
    counts, verdicts = manifest["counts"], manifest["verdicts"]
    assert isinstance(counts, dict)
    assert isinstance(verdicts, dict)
    out.print(
        f"{counts['rows_in']:,} rows in = {counts['rows_used']:,} used + {counts['rows_quarantined']:,} "
        f"quarantined; {counts['accounts']:,} accounts: "
        + ", ".join(f"{number:,} {verdict}" for verdict, number in verdicts.items())
    )
    discoveries = manifest.get("discoveries")
    if isinstance(discoveries, dict):
        out.print(
            f"Discoveries among {discoveries['judged']:,} judged accounts: {discoveries['found']:,} "
            f"(q at most {discoveries['rate']:g})."
        )
        if discoveries["note"]:
            out.print(discoveries["note"])
    _print_state(manifest.get("state"))
    if "done" not in worked:
        out.print(f"This very run was finished on {manifest['created']}; nothing was computed again.")
    out.print(f"Report: {output / 'report.html'}", markup=False, soft_wrap=True)


def _print_state(told: object) -> None:
    if not isinstance(told, dict):
        return
    for name, original in told["repeated_files"].items():
        out.print(f"Not read: {name}, whose content {original} has.", markup=False)
    out.print(
        f"Judged by the days from {told['window']['first']} to {told['day']}; the day is in {told['url']}.",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def explain(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="An account_id of the run.")],
    results: Annotated[Path, typer.Option("--run", help="The OUTPUT folder of a run.")] = Path("results"),
) -> None:
    """Show what is known of one account of a finished run: score, reasons, growth, cells.

    An id that begins with a dash comes last, after `--`.

    Example: `coverage-lab explain acct-0042 --run results`
    """
    from coverage_lab.report import explain_account, rows_of_accounts

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
    out.print(explain_account(row.to_pylist()[0], curves, cells))


@app.command()
def calibrate(
    results: Annotated[Path, typer.Argument(metavar="RUN", help="The OUTPUT folder of a finished run.")],
    to: Annotated[Path, typer.Option("--out", help="The scorecard to write, a JSON file; must not exist.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Reviewers' labels: a .csv or .parquet file with the columns `account_id` and `label` "
            "(benign, harvest or unknown). Accounts that it does not name are not used."
        ),
    ] = None,
    contamination: Annotated[
        float | None,
        typer.Option(
            help="Without labels: the largest share of harvesting accounts to guard against, 0 to 0.2; "
            "0.05 when not given.",
            min=0,
            max=0.2,
        ),
    ] = None,
) -> None:
    """Calibrate the scorecard of a run on the run's own accounts, with or without reviewers' labels.

    The score stays the same; the benign accounts that p-values compare with become yours in place of those
    that ship. Without labels the highest scores are taken for possible harvests, and p-values below the
    share `--contamination` rest on an extrapolated tail. Use the file as `detect.scorecard` in the config.
    It holds each account's score and number of prompts, and no account_id.

    Example: `coverage-lab calibrate results --out scorecard.json --contamination 0.05`
    """
    from coverage_lab.jobs.calibration import recalibrate

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


@app.command()
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
    from coverage_lab.evaluate.simulate import simulate_day, write_day

    with _bars() as progress:
        if corpora is None:
            day = simulate_day(seed=seed, accounts=accounts, date=date.date(), progress=progress)
        else:
            from coverage_lab.evaluate.day import day_of_corpora

            day = day_of_corpora(corpora, accounts=accounts, seed=seed, date=date.date(), progress=progress)
        traffic, truth = write_day(day, folder)
    out.print(f"{day.traffic.num_rows:,} prompts: {traffic}\nwho is who:    {truth}", markup=False)


@app.command()
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
    with _bars() as progress:
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
            judge=None if judge is None else _numbers(judge, option="--judge", example="1000,5000"),
            cells=_three_cells(cells),
            train=train,
            cache=cache,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    out.print(table(results))
    out.print(f"Page: {folder / PAGE}", markup=False, soft_wrap=True)


def _three_cells(cells: str) -> tuple[int, int, int]:
    example = "64,512,4096"
    sizes = _numbers(cells, option="--cells", example=example)
    if len(sizes) != 3:
        raise ConfigError(f"--cells {cells!r}: expected three numbers such as {example}")
    return sizes[0], sizes[1], sizes[2]


def _numbers(text: str, *, option: str, example: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{option} {text!r}: expected numbers such as {example}") from error


@atlas_app.command("build")
def atlas_build(
    traffic: Annotated[str, typer.Argument(metavar="INPUT", help="Reference traffic, as for `run`.")],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the atlas; must not exist yet.")],
    config: ConfigOption = None,
    encoder: EncoderOption = None,
    cells: Annotated[
        str, typer.Option(help="Cells per level, coarse,middle,fine; about 40 prompts a fine cell or more.")
    ] = "64,512,4096",
    seed: Annotated[int, typer.Option(help="Of the k-means start.")] = 0,
) -> None:
    """Build an atlas from your own reference traffic, in place of the one that ships.

    Every account of INPUT counts as ordinary traffic, each with the same weight. A run on it
    (`atlas.path` in the config) gives measures; score and p-value need a scorecard made for it.

    Example: `coverage-lab atlas build reference/ my-atlas --cells 64,512,4096`
    """
    from coverage_lab.jobs.reference import build_atlas

    settings = _configured(config, encoder)
    sizes = _three_cells(cells)
    with _bars() as progress:
        atlas = build_atlas(traffic, folder, settings, sizes=sizes, seed=seed, progress=progress)
    out.print(f"atlas {atlas.id[:12]} in {folder}", markup=False)


@atlas_app.command("show")
def atlas_show(
    atlas: Annotated[
        str, typer.Argument(metavar="ATLAS", help="`static`, `minilm`, or a folder.")
    ] = "static",
    top: Annotated[int, typer.Option(help="Cells listed per level.", min=1)] = 10,
) -> None:
    """Show an atlas: its levels, how ordinary traffic lies on it, its heaviest cells with labels.

    Example: `coverage-lab atlas show minilm --top 5`
    """
    from coverage_lab.atlas import default_atlas, load_atlas

    shown = default_atlas(atlas) if atlas in {c.value for c in EncoderChoice} else load_atlas(Path(atlas))
    out.print(f"atlas {shown.id}\nencoder {shown.encoder_name} {shown.encoder_id}", markup=False)
    out.print(shown.description, markup=False)
    from coverage_lab.schema import LEVELS

    for level, mass, labels in zip(LEVELS, shown.masses, shown.labels, strict=True):
        table = Table(
            title=f"{level}: {len(mass):,} cells, effective {1 / float((mass**2).sum()):,.0f}",
            title_justify="left",
        )
        table.add_column("cell", justify="right")
        table.add_column("ordinary traffic", justify="right")
        table.add_column("label")
        for cell in (-mass).argsort(kind="stable")[:top]:
            table.add_row(str(cell), f"{mass[cell]:.2%}", escape(labels[cell]))
        out.print(table)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address; any but loopback needs an API key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8711,
    config: ConfigOption = None,
    encoder: RunEncoderOption = None,
) -> None:
    """Score accounts over HTTP: POST /v1/score, GET /healthz, /docs.

    The API key is read from the environment variable COVERAGE_LAB_API_KEY; without one only loopback
    addresses are served.

    Example: `coverage-lab serve --encoder static`, then open http://127.0.0.1:8711/docs
    """
    try:
        from coverage_lab.service import serve_forever
    except ImportError as error:
        raise MissingExtraError("fastapi and uvicorn", "service", "serve") from error
    serve_forever(_configured(config, encoder), host=host, port=port)


@state_app.command("show")
def state_show(state: StateArgument) -> None:
    """Show the days in a state table: the run that counted each, its prompts, accounts and stored bytes.

    Example: `coverage-lab state show state`
    """
    from coverage_lab.jobs.state_care import show_state

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
def state_rollback(
    state: StateArgument,
    day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The day to take out.")],
    yes: YesOption = False,
) -> None:
    """Take a day out, as if it had never been counted; its files may then be counted again.

    Runs that judged accounts by that day keep their tables: run those days again into another OUTPUT to judge
    without it. The bytes stay in STATE until the next `retain` or `forget`.

    Example: `coverage-lab state rollback state --day 2026-01-15 --yes`
    """
    from coverage_lab.jobs.state_care import rollback_day

    _confirm(f"Take {day:%Y-%m-%d} out of {state}?", yes)
    accounts = rollback_day(state, day.date())
    out.print(f"{day:%Y-%m-%d} with {accounts:,} accounts is out of {state}.", markup=False, soft_wrap=True)


@state_app.command("forget")
def state_forget(
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
    from coverage_lab.jobs.state_care import forget_account

    _confirm(f"Delete this account from all days of {state} for good?", yes)
    days, files = forget_account(state, account)
    out.print(f"The account was in {days:,} days; {files:,} files with old bytes deleted.", soft_wrap=True)


@state_app.command("retain")
def state_retain(
    state: StateArgument,
    days: Annotated[int, typer.Option(min=1, help="Days to keep, back from the newest.")],
    yes: YesOption = False,
) -> None:
    """Delete days older than `--days` and their bytes for good; run it once a day.

    Keep at least `state.window_days`, which is what accounts are judged by. No run may be working with STATE
    meanwhile. A file that only a deleted day has counted is not known any more when it is delivered again.

    Example: `coverage-lab state retain state --days 60 --yes`
    """
    from coverage_lab.jobs.state_care import retain_days

    _confirm(f"Delete all but the newest {days:,} days of {state} for good?", yes)
    gone = retain_days(state, days)
    which = f": {gone[0]} to {gone[-1]}" if gone else ""
    out.print(f"{len(gone):,} days deleted{which}.")


@state_app.command("migrate")
def state_migrate(state: StateArgument) -> None:
    """Bring a state table of an older version of coverage_lab up to this one's schema.

    Nothing is lost and no score changes. Interrupted, it goes on when it is given again; until it is done
    runs refuse the table.

    Example: `coverage-lab state migrate state`
    """
    from coverage_lab.jobs.state_care import migrate_state

    before, after = migrate_state(state)
    done = f"brought up from version {before}" if before != after else "there was nothing to do"
    out.print(f"Schema version {after}; {done}.")


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("--yes: expected where nobody can be asked, got none")
    typer.confirm(question, abort=True)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(coverage_lab.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: errors that a user can act on become one line and an exit code."""
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            err.print(
                "coverage-lab: interrupted; for `run`, the same command again goes on from where it stopped",
                markup=False,
                soft_wrap=True,
            )
        raise
    except CoverageLabError as error:
        err.print(f"coverage-lab: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
