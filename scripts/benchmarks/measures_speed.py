"""All accounts in one call, against scikit-bio's `skbio.diversity.alpha`.

    scripts/bench measures-speed --accounts 10000

scikit-bio is given a sample of the accounts, one at a time, as the counts of the cells that each reached. A
row is written only if both agree on that sample.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.measures_memory import LENGTH, cells_of
from benchmarks.options import OutOption, RepeatsOption, SeedOption
from benchmarks.rows import Case, Target, timed_row, write
from coverage_lab import measures

#: Accounts that scikit-bio is given.
SAMPLE = 300
#: Largest relative difference to scikit-bio.
TOLERANCE = 1e-9
Theirs = Callable[[NDArray[np.int64]], float]
TEN_TIMES = Target("speedup", 10)


def one_at_a_time(measure: Theirs, accounts: list[NDArray[np.int64]]) -> list[float]:
    """Return the measure of each account by a call of its own."""
    return [measure(counts) for counts in accounts]


def gap(known: NDArray[np.float64], measure: Theirs, accounts: list[NDArray[np.int64]]) -> float:
    """Return the largest relative difference to scikit-bio."""
    return float(np.abs(known / np.array(one_at_a_time(measure, accounts)) - 1).max())


def speed_cases(accounts: int, seed: int) -> Iterator[Case]:
    """Yield Chao1, ACE and three Hill numbers."""
    with warnings.catch_warnings():
        # Of its optional parts, on import.
        warnings.simplefilter("ignore")
        from skbio.diversity import alpha
    cells, offsets = cells_of(accounts * LENGTH, LENGTH, seed)
    _, counts, cut = measures.cell_counts(cells, offsets)
    each = [counts[start:stop] for start, stop in pairwise(cut[: SAMPLE + 1].tolist())]
    pairs: dict[str, tuple[Callable[[], NDArray[np.float64]], Theirs]] = {
        "chao1": (lambda: measures.chao1(counts, cut)[0], alpha.chao1),
        "ace": (lambda: measures.ace(counts, cut), alpha.ace),
    }
    for q in (0, 1, 2):
        pairs[f"hill_number, q={q}"] = (
            partial(measures.hill_number, counts, cut, q=q),
            partial(alpha.hill, order=q),
        )
    for name, (call, theirs) in pairs.items():
        # ACE has no value, and scikit-bio raises, where every rare cell was reached only once.
        known = call()[: len(each)]
        used = np.flatnonzero(np.isfinite(known))
        own = [each[account] for account in used.tolist()]
        yield Case(
            op=name,
            case=f"accounts of {LENGTH}",
            shape={"counts": counts.size, "dtype": "int64"},
            rows=accounts,
            call=call,
            baseline=partial(one_at_a_time, theirs, own),
            baseline_name="skbio.diversity.alpha, one account at a time",
            gap=partial(gap, known[used], theirs, own),
            tolerance=TOLERANCE,
            baseline_rows=len(own),
            target=TEN_TIMES,
        )


def benchmark(
    accounts: Annotated[int, typer.Option("--accounts", min=2, help="Accounts of 300 prompts.")] = 100_000,
    repeats: RepeatsOption = 5,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time the measures of counts."""
    rows = (timed_row(case, "cpu", repeats) for case in speed_cases(accounts, seed))
    write("measures-speed", rows, out=out)
