"""A sample's vectors, some accounts at a time: those of all accounts at once may not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.baseline import Sample

#: Rows of vectors held at once (100 MB of float32 at d = 384).
ROWS = 1 << 16


def prompt_counts(sample: Sample) -> NDArray[np.int64]:
    """Return the number of prompts of every account."""
    return np.array([row.size for row in sample.rows], dtype=np.int64)


def drawn_rows(rows: NDArray[np.int64], most: int | None, *, seed: int) -> NDArray[np.int64]:
    """Return at most `most` of an account's rows, in their order, drawn without replacement.

    Which places are kept hangs on the seed and the number of rows alone: an account keeps the same rows
    whatever accounts stand beside it.
    """
    if most is None or rows.size <= most:
        return rows
    places = np.random.default_rng([seed, rows.size]).choice(rows.size, most, replace=False)
    return rows[np.sort(places)]


def each_account(
    sample: Sample, *, most: int | None = None, seed: int = 0
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield each account that has prompts, and its vectors in the order of time, thinned by `thinned`."""
    for account, rows in enumerate(sample.rows):
        if rows.size:
            yield account, sample.vectors[drawn_rows(rows, most, seed=seed)]


def account_vectors(
    sample: Sample, *, most: int | None = None, seed: int = 0
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.int64]]]:
    """Yield runs of accounts with their vectors in the order of time, and the offsets that cut them.

    Parameters
    ----------
    sample : Sample
    most : int, optional
        Prompts of an account that are kept, as `drawn_rows` draws them; all where not given.
    seed : int
        Of that draw.

    Yields
    ------
    accounts : slice
    vectors : float32 (n, d)
    offsets : int64 (accounts + 1,)
    """
    first = 0
    kept: list[NDArray[np.int64]] = []
    held = 0
    for account, rows in enumerate(sample.rows):
        part = drawn_rows(rows, most, seed=seed)
        if kept and held + part.size > ROWS:
            yield slice(first, account), *_joined(sample, kept)
            first, kept, held = account, [], 0
        kept.append(part)
        held += part.size
    if kept:
        yield slice(first, len(sample.rows)), *_joined(sample, kept)


def _joined(sample: Sample, rows: list[NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    offsets = np.concatenate([[0], np.cumsum([row.size for row in rows])]).astype(np.int64)
    return sample.vectors[np.concatenate(rows)], offsets
