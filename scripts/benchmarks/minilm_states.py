"""Prompts to cells, novelty and sums of accounts of 300 prompts, on a CUDA device.

    scripts/bench minilm-states --corpora CORPORA

Ours keeps the vectors on the GPU; the baseline fetches them, and goes on with FAISS and novelty on the CPU. A
row is written only if both give the same cells, and the same numbers to 0.002.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.minilm import ours, prompts_of, set_threads
from benchmarks.minilm_text import MANY, SMALL, PromptsOption
from benchmarks.options import (
    CorporaOption,
    DeviceChoice,
    OutOption,
    Precision,
    PrecisionOption,
    RepeatsOption,
    SeedOption,
    SmallOption,
    ThreadsOption,
)
from benchmarks.rows import Case, Row, Target, chosen_device, timed_row, write
from coverage_lab.accounts import HostVectors
from coverage_lab.accounts.device_vectors import encoded_on_device
from coverage_lab.accounts.prompt_vectors import Vectors
from coverage_lab.atlas import default_atlas
from coverage_lab.encoders.packaged import MAX_CHARACTERS

#: Prompts of an account.
ACCOUNT = 300


def states_rows(precision: str, prompts: list[str], repeats: int, small: bool) -> Iterator[Row]:
    """Yield vectors that stay on the GPU against vectors that are fetched."""
    packed, atlas = ours("cuda", precision), default_atlas("minilm")
    texts = list(dict.fromkeys(prompt[:MAX_CHARACTERS] for prompt in prompts))
    which = np.arange(len(texts))
    offsets = np.append(which[::ACCOUNT], len(texts))

    def worked_out(vectors: Vectors) -> tuple[NDArray[Any], ...]:
        return vectors.cells(atlas), vectors.novelty(which, offsets), vectors.sums(which, offsets)

    def stays() -> tuple[NDArray[Any], ...]:
        return worked_out(encoded_on_device(packed, texts))

    def fetched() -> tuple[NDArray[Any], ...]:
        return worked_out(HostVectors(packed.encode(texts)))

    def gap() -> float:
        one, other = stays(), fetched()
        if not np.array_equal(one[0], other[0]):
            return float("inf")
        return float(np.nanmax(np.abs(one[1] - other[1]), initial=0))

    yield timed_row(
        Case(
            op="states",
            case=f"from text, vectors stay on the GPU, accounts of {ACCOUNT}",
            shape={"dtype": precision, "cells": atlas.sizes[-1]},
            rows=len(texts),
            call=stays,
            baseline=fetched,
            baseline_name="vectors fetched, FAISS and novelty on the CPU",
            gap=gap,
            tolerance=2e-3,
            target=None if small else Target("speedup", 1.0),
        ),
        "cuda",
        repeats,
    )


def benchmark(
    corpora: CorporaOption = None,
    prompts: PromptsOption = None,
    precision: PrecisionOption = Precision.auto,
    threads: ThreadsOption = None,
    small: SmallOption = False,
    repeats: RepeatsOption = 9,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time vectors that stay on the GPU against vectors that are fetched."""
    where = chosen_device("minilm-states", DeviceChoice.cuda)
    used = set_threads(threads)
    rows = states_rows(
        ours(where, precision).precision,
        prompts_of(corpora, prompts or (SMALL if small else MANY), seed),
        1 if small else repeats,
        small,
    )
    write("minilm-states", ({"threads": used, **row} for row in rows), out=out, device=where)
