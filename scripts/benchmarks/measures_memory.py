"""Every measure's memory should be linear in its input.

    scripts/bench measures-memory --prompts 100000 --prompts 1000000

Measured is the peak of what a call allocates beyond its input (tracemalloc, which NumPy reports to), at each
number of prompts, for accounts of 300 prompts and for all prompts in one account. `growth` is the peak per
prompt over that of the smallest number: about 1 is linear, less is a fixed part that matters less. Measures
whose time is quadratic in the longest account (`novelty`, `mmd`) see accounts of 300 only. The whole takes
about ten minutes and 6 GB for 10⁷ prompts.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.options import OutOption, SeedOption
from benchmarks.rows import Row, write
from coverage_lab import measures

LENGTH = 300
CELLS = 16384
DIM = 16
#: Rows of ordinary traffic that `mmd` holds each account against.
ORDINARY = 100
#: Of random Fourier features, per bandwidth; fewer than the default, which takes minutes for 10⁷ prompts.
FREQUENCIES = 16
#: Largest peak per prompt over that of the smallest number of prompts that counts as linear.
LINEAR = 1.1

Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Measured:
    """A call whose memory is asked for, and what it is given."""

    name: str
    call: Callable[[], object]
    given: Arrays


def cells_of(prompts: int, length: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return cells with a heavy tail and, in every second account, even ones; and offsets."""
    draw = np.random.default_rng(seed)
    offsets = np.append(np.arange(0, prompts, length), prompts)
    cells = draw.zipf(1.3, prompts) % CELLS
    even = np.repeat(np.arange(offsets.size - 1) % 2 == 1, np.diff(offsets))
    cells[even] = draw.integers(CELLS, size=int(even.sum()))
    return cells, offsets


def mass_of_all() -> NDArray[np.float64]:
    """Return reference masses with a heavy tail, none of them 0."""
    mass = 1 / np.arange(1.0, CELLS + 1)
    scaled: NDArray[np.float64] = mass / mass.sum()
    return scaled


def of_cells(prompts: int, length: int, seed: int) -> Iterator[Measured]:
    """Yield the measures of cells and counts."""
    cells, offsets = cells_of(prompts, length, seed)
    mass = mass_of_all()
    cell, counts, cut = measures.cell_counts(cells, offsets)
    lengths = np.diff(offsets)
    grid, grid_cut = measures.curve_grids(lengths)
    beyond, beyond_cut = 2 * lengths, np.arange(lengths.size + 1)
    visits, tally, gridded = (cells, offsets), (counts, cut), (counts, cut, grid, grid_cut)
    calls: dict[str, tuple[Callable[..., object], Arrays]] = {
        "cell_counts": (measures.cell_counts, visits),
        "growth_curve": (measures.growth_curve, (*visits, grid, grid_cut)),
        "growth_curves": (measures.growth_curves, (*visits, mass)),
        "level_measures": (measures.level_measures, (*visits, mass)),
        "order_z": (measures.order_z, visits),
        "runs": (measures.runs, visits),
        "rarefaction": (measures.rarefaction, gridded),
        "coverage_curve": (measures.coverage_curve, gridded),
        "extrapolation": (measures.extrapolation, (*tally, beyond, beyond_cut)),
        "collisions": (measures.collisions, (*tally, mass)),
        "collision_tails": (measures.collision_tails, (*tally, mass)),
        "dispersion": (measures.dispersion, (cell, *tally, mass)),
        "sample_coverage": (measures.sample_coverage, tally),
        "new_slope": (measures.new_slope, tally),
        "chao1": (measures.chao1, tally),
        "ace": (measures.ace, tally),
        "pitman_yor": (measures.pitman_yor, tally),
    }
    for name, (function, given) in calls.items():
        yield Measured(name, partial(function, *given), given)
    for q in (0, 1, 2):
        yield Measured(f"hill_number, q={q}", partial(measures.hill_number, *tally, q=q), tally)
        yield Measured(f"hill_estimate, q={q}", partial(measures.hill_estimate, *tally, q=q), tally)
    yield Measured("evenness", lambda: measures.evenness(*tally), tally)
    yield Measured("good_toulmin", lambda: measures.good_toulmin(*tally, t=2.0), tally)
    yield Measured("growth_at_coverage", lambda: measures.growth_at_coverage(*tally, coverage=0.5), tally)


def of_novelty(prompts: int, length: int, seed: int) -> Iterator[Measured]:
    """Yield the measures of novelties: each prompt's nearest is any earlier one of its account."""
    draw = np.random.default_rng(seed)
    offsets = np.append(np.arange(0, prompts, length), prompts)
    start = np.repeat(offsets[:-1], np.diff(offsets))
    place = np.arange(prompts) - start
    nearest = np.where(place > 0, start + (place * draw.random(prompts)).astype(np.int64), -1)
    novelty = np.where(place > 0, draw.random(prompts, dtype=np.float32), np.float32(np.nan))
    grid, grid_cut = measures.curve_grids(np.diff(offsets))
    told, gridded = (novelty, offsets), (offsets, grid, grid_cut)
    yield Measured("novelty_summary", lambda: measures.novelty_summary(*told), told)
    yield Measured("lower_tail", lambda: measures.lower_tail(*told), told)
    given = (novelty, *gridded)
    yield Measured("separated_growth", lambda: measures.separated_growth(*given), given)
    chained = (novelty, nearest, *gridded)
    yield Measured("cover_growth", lambda: measures.cover_growth(*chained), chained)


def of_vectors(prompts: int, length: int, seed: int) -> Iterator[Measured]:
    """Yield the measures of vectors."""
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal((prompts, DIM), dtype=np.float32)
    vectors /= np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    offsets = np.append(np.arange(0, prompts, length), prompts)
    given = (vectors, offsets)
    ordinary = vectors[:ORDINARY]
    waves = measures.fourier_frequencies(DIM, count=FREQUENCIES)
    mean, covariance, _ = measures.shrunk_covariance(vectors[: 100 * DIM])
    yield Measured("gram", lambda: measures.gram(*given), given)
    yield Measured("vendi", lambda: measures.vendi(*given), given)
    yield Measured("feature_sums", lambda: measures.feature_sums(*given, waves), given)
    yield Measured("whitened_sums", lambda: measures.whitened_sums(*given, mean, covariance), given)
    yield Measured("shrunk_covariance", lambda: measures.shrunk_covariance(vectors), given)
    if length < prompts:
        yield Measured("novelty", lambda: measures.novelty(*given), given)
        yield Measured("mmd", lambda: measures.mmd(*given, ordinary), given)


FAMILIES = (of_cells, of_novelty, of_vectors)


def peak(call: Callable[[], object]) -> int:
    """Return the most bytes that were allocated at once during the call, its answer included."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def memory_rows(sizes: list[int], names: list[str] | None, seed: int) -> Iterator[Row]:
    """Yield a row for every measure, way of cutting and number of prompts."""
    smallest: dict[tuple[str, bool], float] = {}
    for size in sorted(sizes):
        for family in FAMILIES:
            for one in (False, True):
                for measured in family(size, size if one else LENGTH, seed):
                    if names is not None and measured.name not in names:
                        continue
                    start = time.perf_counter()
                    most = peak(measured.call)
                    per_prompt = most / size
                    growth = per_prompt / smallest.setdefault((measured.name, one), per_prompt)
                    yield {
                        "op": measured.name,
                        "baseline": f"the same at {min(sizes)} prompts",
                        "case": "one account" if one else f"accounts of {LENGTH}",
                        "prompts": size,
                        "dim": DIM if family is of_vectors else None,
                        "input_bytes_per_prompt": round(sum(a.nbytes for a in measured.given) / size, 1),
                        "peak_bytes": most,
                        "peak_bytes_per_prompt": round(per_prompt, 1),
                        "growth": round(growth, 3),
                        "target": f"growth <= {LINEAR}",
                        "target_met": growth <= LINEAR,
                        "seconds_traced": round(time.perf_counter() - start, 2),
                    }


def benchmark(
    prompts: Annotated[
        list[int] | None, typer.Option("--prompts", help="May be repeated; 10⁶ and 10⁷ when not given.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--measure", help="May be repeated; all when not given.")
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Take the peak memory of the measures."""
    write("measures-memory", memory_rows(prompts or [10**6, 10**7], names, seed), out=out)
