"""`coverage-lab banks build|match`: known prompt banks, and the accounts that send them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from coverage_lab.cli.options import ConfigOption, EncoderOption, FormatOption, configured
from coverage_lab.cli.terminal import out, progress_bars
from coverage_lab.errors import ConfigError
from coverage_lab.untrusted.text import shortened, visible

banks_app = typer.Typer(
    help="Known prompt banks, and the accounts that send their prompts.", no_args_is_help=True
)


@banks_app.command("build")
def build(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Banks: a .txt, .jsonl, .csv or .parquet file each, in order."),
    ],
    to: Annotated[Path, typer.Option("--out", metavar="BANKS", help="Folder to make; must not exist yet.")],
    column: Annotated[str, typer.Option(help="Where the prompts are, in files with columns.")] = "prompt",
    config: ConfigOption = None,
    encoder: EncoderOption = None,
) -> None:
    """Index known prompt banks, so that accounts can be matched with them.

    Kept are vectors and numbers of rows, no text.

    Example: `coverage-lab banks build banks/ --out known-banks`
    """
    from coverage_lab.jobs.banks import index_banks

    with progress_bars() as progress:
        made = index_banks(folder, to, column=column, config=configured(config, encoder), progress=progress)
    for bank in made.banks:
        out.print(f"{shortened(visible(bank.name), 60)}: {len(bank.rows):,} prompts", markup=False)
    out.print(f"Banks: {to}", markup=False, soft_wrap=True)


@banks_app.command("match")
def match(
    traffic: Annotated[list[str], typer.Argument(metavar="INPUT", help="Traffic to look at, as for `run`.")],
    banks: Annotated[Path, typer.Option("--banks", help="Folder that `banks build` made.")],
    ordinary: Annotated[
        str | None,
        typer.Option(help="Ordinary traffic for the chance level; else the other accounts of INPUT."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.5, max=1, help="Cosine similarity from which on a prompt matches.")
    ] = 0.85,
    top: Annotated[int, typer.Option(min=1, help="Rows shown.")] = 20,
    to: Annotated[
        Path | None, typer.Option("--to", help="`.parquet` file for all rows, with places of examples.")
    ] = None,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Print the closest prompt of each row shown. Personal data.")
    ] = False,
    config: ConfigOption = None,
    encoder: EncoderOption = None,
    format: FormatOption = None,
) -> None:
    """Tell which accounts send prompts of known banks, how many beyond chance, and in which order.

    `order` is 1 where an account walks a bank from its beginning and 0 where it sends it in no order.
    A match is evidence that a person should look at, not proof: banks are public, and people ask what is in
    them.

    Example: `coverage-lab banks match traffic.parquet --banks known-banks --to matches.parquet`
    """
    import pyarrow.parquet as pq

    from coverage_lab.banks import load_banks
    from coverage_lab.files.atomic import whole_file
    from coverage_lab.jobs.banks import match_sent, texts_of

    if to is not None and to.suffix != ".parquet":
        raise ConfigError(f"--to {to}: expected a name that ends with .parquet")
    settings = configured(config, encoder, format=format)
    source = traffic[0] if len(traffic) == 1 else traffic
    with progress_bars() as progress:
        known = load_banks(banks)
        texts = texts_of(source, settings, progress=progress)
        found = match_sent(
            texts, known, ordinary=ordinary, threshold=threshold, config=settings, progress=progress
        )
    if to is not None:
        with whole_file(to) as target:
            pq.write_table(found, target, compression="zstd")
    shown = found.sort_by([("p_value", "ascending"), ("share", "descending")]).slice(0, top).to_pylist()
    if not shown:
        out.print(f"No prompt matches a bank (similarity {threshold:g} or more).", markup=False)
        return
    table = Table(title="Accounts that send prompts of known banks", title_justify="left")
    for name in ("account", "bank"):
        table.add_column(name, overflow="fold", min_width=10)
    for name in ("prompts", "match", "chance", "p", "of bank", "order"):
        table.add_column(name, justify="right")
    for row in shown:
        order = "n/a" if row["order"] is None else f"{row['order']:.2f}"
        table.add_row(
            escape(shortened(visible(row["account_id"]), 40)),
            escape(shortened(visible(row["bank"]), 40)),
            f"{row['prompts']:,}",
            f"{row['share']:.1%}",
            "n/a" if row["chance_high"] is None else f"{row['chance_high']:.1%}",
            "n/a" if row["p_value"] is None else f"{row['p_value']:.2g}",
            f"{row['bank_share']:.1%}",
            order,
        )
    out.print(table)
    for row in shown if show_text else ():
        closest = row["examples"][0]
        text = shortened(visible(texts[row["account_id"]][closest["prompt"] - 1]), 200)
        name, bank = (shortened(visible(row[key]), 40) for key in ("account_id", "bank"))
        out.print(f"{name}, prompt {closest['prompt']} ~ {bank}, row {closest['row']}: {text}", markup=False)
    out.print(
        f"{found.num_rows:,} pairs of account and bank with a match. Chance: the 95th percentile of "
        f"{'ordinary accounts' if ordinary else 'the other accounts'}.",
        markup=False,
        soft_wrap=True,
    )
