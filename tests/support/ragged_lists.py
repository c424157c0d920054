"""Accounts as lists of counts, in the ragged form that measures take."""

from __future__ import annotations

import numpy as np


def ragged(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([value for one in lists for value in one], dtype=np.int64),
        np.cumsum([0, *map(len, lists)]),
    )


def one(counts: list[int]) -> tuple[np.ndarray, list[int]]:
    return np.array(counts, dtype=np.int64), [0, len(counts)]
