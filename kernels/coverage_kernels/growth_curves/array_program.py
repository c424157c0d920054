"""Sort, flag first visits, scan, read on the grid: no loop over accounts, the same for NumPy and CuPy."""

from __future__ import annotations

from typing import Any


def growth_curves(xp: Any, cells: Any, offsets: Any, grid: Any, grid_offsets: Any) -> Any:
    """Return what `coverage_kernels.growth_curves.growth_curves` returns; input is not checked.

    Parameters
    ----------
    xp : module
        NumPy or CuPy; the arrays are int64 of that library.
    cells, offsets, grid, grid_offsets : int64 arrays
        As there.

    Returns
    -------
    int64 array
        Of the same library.
    """
    if not grid.size:
        return xp.zeros(0, dtype=xp.int64)
    visits = first_visits(xp, cells, segment_of(xp, offsets, cells.size))
    # With a leading 0, reached[i] counts the first visits before row i of the whole batch.
    reached = xp.concatenate([xp.zeros(1, dtype=xp.int64), xp.cumsum(visits)])
    start = offsets[:-1][segment_of(xp, grid_offsets, grid.size)]
    return reached[start + grid] - reached[start]


def first_visits(xp: Any, cells: Any, account: Any) -> Any:
    """Return 1 where an account reaches a cell for the first time, 0 elsewhere; int64 (n,)."""
    order = xp.lexsort(xp.stack([xp.arange(cells.size), cells, account]))
    ordered_cells, ordered_account = cells[order], account[order]
    visits = xp.ones(cells.size, dtype=xp.int64)
    same = (ordered_cells[1:] == ordered_cells[:-1]) & (ordered_account[1:] == ordered_account[:-1])
    visits[order[1:]] = xp.where(same, 0, 1)
    return visits


def segment_of(xp: Any, offsets: Any, rows: int) -> Any:
    """Return the segment of each of `rows` rows. CuPy's repeat takes no array of counts."""
    return xp.searchsorted(offsets, xp.arange(rows), side="right") - 1
