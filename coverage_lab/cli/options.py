"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from coverage_lab.config import RunConfig, load_config
from coverage_lab.errors import ConfigError


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
        help="`static`: multilingual, very fast, the default. `minilm`: a transformer for English, of "
        "the extra `transformer`.",
    ),
]


RunEncoderOption = Annotated[
    RunEncoderChoice | None,
    typer.Option(
        "--encoder",
        help="`static`: multilingual, very fast, the default. `minilm`: a transformer for English, of "
        "the extra `transformer`. `cascade`: `static` for all accounts, `minilm` for those "
        "that it can't clear.",
    ),
]


StateArgument = Annotated[
    str,
    typer.Argument(metavar="STATE", help="Folder or address of the table, as `run --state` was given it."),
]


LabelsOption = Annotated[
    Path | None,
    typer.Option(
        help="Reviewers' labels: a .csv or .parquet file with the columns `account_id` and `label` "
        "(benign, harvest or unknown). Accounts that it does not name are not used."
    ),
]


ContaminationOption = Annotated[
    float | None,
    typer.Option(
        help="Without labels: the largest share of harvesting accounts to guard against, 0 to 0.2; "
        "0.05 when not given.",
        min=0,
        max=0.2,
    ),
]


YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="What one row of INPUT is (`traffic.format`), for instance `openai-chat`; recognised by the "
        "first rows when not given.",
    ),
]


def configured(
    config: Path | None, encoder: EncoderChoice | RunEncoderChoice | None, *, format: str | None = None
) -> RunConfig:
    """Load the config that `--config` names, with what `--encoder` and `--format` name."""
    settings = load_config(config)
    if format is not None:
        settings = settings.with_format(format)
    return settings if encoder is None else settings.with_encoder(encoder.value)


def three_cells(cells: str) -> tuple[int, int, int]:
    """Read `--cells`: how many coarse, middle and fine cells."""
    example = "64,512,4096"
    sizes = numbers_of(cells, option="--cells", example=example)
    if len(sizes) != 3:
        raise ConfigError(f"--cells {cells!r}: expected three numbers such as {example}")
    return sizes[0], sizes[1], sizes[2]


def numbers_of(text: str, *, option: str, example: str) -> tuple[int, ...]:
    """Read whole numbers with commas between them."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{option} {text!r}: expected numbers such as {example}") from error
