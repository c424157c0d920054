"""Ops are checked and timed in turn; a row with a target says whether it was met.

    scripts/bench kernels --device cuda --out rows.jsonl
    OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 scripts/bench kernels --device cpu --op causal_novelty
    scripts/bench kernels --device cpu --scale 0.02 --repeats 2

Targets are meant for the size that each op has for the device, in its `ROWS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer

from benchmarks import causal_novelty, growth_curves, nearest_cell, pitman_yor, rarefaction
from benchmarks.options import DeviceChoice, DeviceOption, OutOption, RepeatsOption, SeedOption
from benchmarks.registry import Device
from benchmarks.rows import Row, bf16_rate, chosen_device, timed_row, write


class Op(StrEnum):
    """Kernels that can be chosen."""

    causal_novelty = "causal_novelty"
    nearest_cell = "nearest_cell"
    growth_curves = "growth_curves"
    rarefaction = "rarefaction"
    pitman_yor = "pitman_yor"


#: How many rows each op's cases have, by device, and the cases of a device, number of rows and seed.
OPS = {
    Op.causal_novelty: (causal_novelty.ROWS, causal_novelty.cases),
    Op.nearest_cell: (nearest_cell.ROWS, nearest_cell.cases),
    Op.growth_curves: (growth_curves.ROWS, growth_curves.cases),
    Op.rarefaction: (rarefaction.ROWS, rarefaction.cases),
    Op.pitman_yor: (pitman_yor.ROWS, pitman_yor.cases),
}


def rows(ops: list[Op], device: Device, scale: float, repeats: int, seed: int) -> Iterator[Row]:
    """Yield a row for every case of the ops."""
    rate = round(bf16_rate(repeats), 1) if device == "cuda" else None
    for op in ops:
        sizes, cases = OPS[op]
        for case in cases(device, max(1, int(sizes[device] * scale)), seed):
            yield timed_row(case, device, repeats, rate)


def benchmark(
    ops: Annotated[list[Op] | None, typer.Option("--op", help="May be repeated; all when not given.")] = None,
    scale: Annotated[float, typer.Option("--scale", help="Times each op's own size.")] = 1.0,
    device: DeviceOption = DeviceChoice.auto,
    repeats: RepeatsOption = 9,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Check and time the kernels."""
    where = chosen_device("kernels", device)
    write("kernels", rows(ops or list(OPS), where, scale, repeats, seed), out=out, device=where)
