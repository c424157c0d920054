"""The sentence head in whole numbers, so that its products come out the same in any order.

A float32 holds whole numbers up to 2^24. Every product here is one of whole numbers whose partial sums stay
within that, so a BLAS, whatever its blocking and threads, and a GPU, whatever its order, give it exactly; a
vector then depends on its own text only, to the last bit. What is rounded is each row before a product (to
±511 of its largest, ±1,023 where no number is negative) and each column of a matrix, once: 1 − cosine to the
head in floats is 2·10⁻⁵ on average.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_lab.encoders.unit import unit_rows

Floats = NDArray[np.float32]

#: The largest whole number up to which a float32 holds all of them.
EXACT = 2**24
#: Largest whole number of a row before a product: of any sign, and of none negative.
SIGNED_LEVELS, POSITIVE_LEVELS = 511, 1023
#: Rows that go through the head at once: their numbers stay in a core's cache.
_BLOCK = 256
#: What the largest of a row counts at least, so that a row of zeros stays one.
TINY = np.float32(1e-30)


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix in whole numbers; ``values * scale`` is near the one it was made from.

    Attributes
    ----------
    values : (rows, columns) float32
        Whole numbers.
    scale : (columns,) float32
        What a column's whole numbers are in.
    """

    values: Floats
    scale: Floats


def whole_numbers(matrix: NDArray[np.float64], *, signed: bool) -> Matrix:
    """Round a matrix so that no partial sum of its product with a row of levels exceeds 2^24.

    Parameters
    ----------
    matrix
        ``(rows, columns)``.
    signed
        Whether the rows it is multiplied with hold negative numbers: then up to `SIGNED_LEVELS`, else up to
        `POSITIVE_LEVELS`.
    """
    levels = SIGNED_LEVELS if signed else POSITIVE_LEVELS
    # Rounding adds up to half a unit to each number.
    room = EXACT / levels - len(matrix) / 2
    if signed:
        largest = np.abs(matrix).sum(axis=0)
    else:
        largest = np.maximum(np.maximum(matrix, 0).sum(axis=0), np.maximum(-matrix, 0).sum(axis=0))
    units = room / np.maximum(largest, np.finfo(np.float64).tiny)
    return Matrix(np.rint(matrix * units).astype(np.float32), (1 / units).astype(np.float32))


class Head:
    """From the sums of pieces to unit vectors.

    With m the sum over √pieces and r(x) = max(x, 0):
    y0 = r(m·d0), y1 = r(m·p1 + y0·d1), y2 = r(y1·d2), v = tanh(y1·p3 + y2·d3).

    Parameters
    ----------
    matrices
        ``d0``, ``d1``, ``d2``, ``d3``, ``p1``, ``p3`` by name, ``(in, out)``.
    unit
        What the sums' whole numbers are in.
    """

    def __init__(self, matrices: Mapping[str, NDArray[np.float64]], *, unit: float) -> None:
        self.dim = matrices["d3"].shape[1]
        self.unit = unit
        # The first two meet sums, which have any sign; the others what max(x, 0) leaves.
        self.matrices = {
            name: whole_numbers(matrix, signed=name in ("d0", "p1")) for name, matrix in matrices.items()
        }

    def vectors(self, sums: Floats, pieces: NDArray[np.int64]) -> Floats:
        """Return unit rows, ``(n, dim)``.

        Parameters
        ----------
        sums
            Whole numbers, ``(n, width)``: the sum of each text's pieces, in `unit`.
        pieces
            How many pieces each text has, ``(n,)``.
        """
        found = np.empty((len(sums), self.dim), dtype=np.float32)
        factor = (np.float32(self.unit) / np.sqrt(pieces.astype(np.float32))).astype(np.float32)
        for start in range(0, len(sums), _BLOCK):
            rows = slice(start, start + _BLOCK)
            found[rows] = unit_rows(self._block(sums[rows], factor[rows]))
        return found

    def _block(self, sums: Floats, factor: Floats) -> Floats:
        # max(x, 0) lets a row's factor pass, so factors are multiplied together and come in before the tanh.
        made = self.matrices
        row, scale = _levels(sums, SIGNED_LEVELS)
        factor = factor * scale
        y0 = _product(row, made["d0"])
        y1 = _product(row, made["p1"])
        few, scale = _positive_levels(y0)
        y1 += _product(few, made["d1"]) * scale[:, None]
        row, scale = _levels(np.maximum(y1, 0, out=y1), POSITIVE_LEVELS)
        factor *= scale
        y2 = _product(row, made["d2"])
        last = _product(row, made["p3"])
        few, scale = _positive_levels(y2)
        last += _product(few, made["d3"]) * scale[:, None]
        last *= factor[:, None]
        return np.tanh(last, out=last)


def _product(rows: Any, matrix: Matrix) -> Floats:
    found: Floats = rows @ matrix.values
    found *= matrix.scale
    return found


def _levels(rows: Floats, levels: int) -> tuple[Floats, Floats]:
    """Return the rows rounded to whole numbers up to `levels`, and what each row's are in."""
    largest = np.maximum(np.maximum(rows.max(axis=1), -rows.min(axis=1)), TINY)
    whole: Floats = rows * (np.float32(levels) / largest)[:, None]
    return np.rint(whole, out=whole), largest / np.float32(levels)


def _positive_levels(rows: Floats) -> tuple[Any, Floats]:
    """Return the same of max(x, 0), up to `POSITIVE_LEVELS`, without its zeros: a sparse (n, columns) array.

    Of the rows that this is for, one number in twenty is positive.
    """
    # SciPy takes longer to import than the command line takes to print its help.
    from scipy.sparse import csr_array

    largest = np.maximum(rows.max(axis=1), TINY)
    positive = rows > 0
    counts = np.count_nonzero(positive, axis=1)
    places = np.flatnonzero(positive)
    values = rows.ravel()[places] * np.repeat(np.float32(POSITIVE_LEVELS) / largest, counts)
    columns = (places % rows.shape[1]).astype(np.int32)
    offsets = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum(counts, out=offsets[1:])
    whole = csr_array((np.rint(values), columns, offsets), shape=rows.shape)
    return whole, largest / np.float32(POSITIVE_LEVELS)
