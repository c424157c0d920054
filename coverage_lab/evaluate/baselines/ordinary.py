"""Ordinary traffic as a baseline sees it: a balanced draw of the benign training accounts' prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.baseline import Sample


def ordinary_vectors(train: Sample, most: int, *, seed: int) -> NDArray[np.float32]:
    """Return prompts of benign accounts, each account as likely as its weight, each prompt at most once.

    Formula: row r of the bank has mass ``p_r = Σ_a w_a #{r in a}/n_a``; the rows with the smallest
    ``E_r/p_r`` are kept, E exponential: draws one after another without replacement, each with chances p

    Parameters
    ----------
    train : Sample
    most : int
        Rows that are drawn; all rows of mass above 0 where there are fewer.
    seed : int

    Returns
    -------
    float32 (m, d)
        m from 2 to `most`.

    Raises
    ------
    ValueError
        Benign accounts of weight above 0 have fewer than 2 different prompts.

    References
    ----------
    .. [1] Efraimidis and Spirakis (2006), Information Processing Letters 97:181.
    """
    mass = np.zeros(len(train.vectors))
    for rows, weight in zip(train.rows, np.where(train.harvest, 0.0, train.weight).tolist(), strict=True):
        if rows.size and weight > 0:
            np.add.at(mass, rows, weight / rows.size)
    present = np.flatnonzero(mass > 0)
    if present.size < 2:
        raise ValueError(f"train: expected 2 or more prompts of benign accounts, got {present.size}")
    wait = np.random.default_rng(seed).exponential(size=present.size) / mass[present]
    return train.vectors[present[np.argsort(wait)[:most]]]
