"""Options that several benchmarks share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class DeviceChoice(StrEnum):
    """Where to measure."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(StrEnum):
    """What a transformer computes in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


DeviceOption = Annotated[
    DeviceChoice, typer.Option("--device", help="`auto`: `cuda` where torch finds a CUDA device.")
]
RepeatsOption = Annotated[int, typer.Option("--repeats", min=1, help="Timings of each case.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the data.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="File for the rows; stdout when not given.")]
CorporaArgument = Annotated[
    Path,
    typer.Argument(
        exists=True, file_okay=False, help="Folder of corpora, as `coverage-lab evaluate` reads it."
    ),
]
CorporaOption = Annotated[
    Path | None,
    typer.Option(
        "--corpora", exists=True, file_okay=False, help="Folder of corpora; words of our own when not given."
    ),
]
SmallOption = Annotated[
    bool, typer.Option("--small", help="Little data, one repeat, no targets: only to see whether it runs.")
]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="`auto`: the device's best.")]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads of every way; torch's choice when not given."),
]
