"""Ours, in the device's best precision without a cache, against sentence-transformers' default `encode`.

    scripts/bench minilm-text --corpora CORPORA --device cuda
    scripts/bench minilm-text --small

Without --corpora the prompts are made of words of our own with lengths like those of real prompts.
`model_share` is the time with tokens given over the time from text; on CUDA 1 − model_share is the share of
time in which the GPU waits. Both are timed in turn; a row is written only if the vectors agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.minilm import TOLERANCE, Encode, library, library_encode, ours, prompts_of, set_threads, worst
from benchmarks.options import (
    CorporaOption,
    DeviceChoice,
    DeviceOption,
    OutOption,
    Precision,
    PrecisionOption,
    RepeatsOption,
    SeedOption,
    SmallOption,
    ThreadsOption,
)
from benchmarks.registry import Device
from benchmarks.rows import Case, Row, Target, chosen_device, once, timed_row, write
from coverage_lab.encoders.packaged import MAX_CHARACTERS

#: Of the prompts, with `--small` and without.
SMALL, MANY = 24, 2_000
PromptsOption = Annotated[
    int | None, typer.Option("--prompts", min=1, help=f"{MANY} when not given; {SMALL} with `--small`.")
]


def against_ways(
    ways: list[tuple[str, Encode, float]],
    prompts: list[str],
    *,
    device: Device,
    precision: str,
    repeats: int,
    small: bool,
) -> Iterator[Row]:
    """Yield a row for ours against each other way: its name, how it encodes, how many times faster to be."""
    cut = [prompt[:MAX_CHARACTERS] for prompt in prompts]
    packed = ours(device, precision)
    exact = library_encode(library(device, torch.float32))(cut)
    tokens = packed.tokenize(cut)
    shape: Row = {"dtype": precision, "tokens": len(tokens.ids), "tokenizer": packed.tokenizer}

    def case(name: str, baseline: Encode, least: float) -> Case:
        return Case(
            op="encode",
            case=f"from text, against {name}",
            shape=shape,
            rows=len(cut),
            call=lambda: packed.encode(cut),
            baseline=lambda: baseline(cut),
            baseline_name=name,
            gap=lambda: max(
                worst(packed.encode(cut), exact) / TOLERANCE[precision],
                worst(baseline(cut), exact) / TOLERANCE["bfloat16"],
            ),
            tolerance=1.0,
            flops=packed.shape.flops(len(tokens.ids), int((tokens.lengths**2).sum())),
            target=None if small else Target("speedup", least),
        )

    given = float(np.median([once(lambda: packed.encode_tensor(tokens), device) for _ in range(repeats)]))
    for name, baseline, least in ways:
        made = timed_row(case(name, baseline, least), device, repeats)
        median = made["median_s"]
        assert isinstance(median, float)
        yield made | {"tokens_given_s": round(given, 6), "model_share": round(min(given / median, 1.0), 4)}


def benchmark(
    corpora: CorporaOption = None,
    prompts: PromptsOption = None,
    precision: PrecisionOption = Precision.auto,
    threads: ThreadsOption = None,
    small: SmallOption = False,
    device: DeviceOption = DeviceChoice.auto,
    repeats: RepeatsOption = 9,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time the encoder from text."""
    where = chosen_device("minilm-text", device)
    used = set_threads(threads)
    half = torch.float16 if where == "cuda" else torch.float32
    rows = against_ways(
        [
            (
                f"sentence-transformers {str(half).removeprefix('torch.')}, default encode",
                library_encode(library(where, half)),
                3.0 if where == "cuda" else 2.0,
            )
        ],
        prompts_of(corpora, prompts or (SMALL if small else MANY), seed),
        device=where,
        precision=ours(where, precision).precision,
        repeats=1 if small else repeats,
        small=small,
    )
    write("minilm-text", ({"threads": used, **row} for row in rows), out=out, device=where)
