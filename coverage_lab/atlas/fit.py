"""Spherical k-means of many prompts' vectors, nested upwards, with account-weighted reference mass."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from coverage_lab.atlas.label import label_cells, numbered_cells
from coverage_lab.atlas.model import Atlas, content_id, unit_centroids
from coverage_lab.atlas.probe import PROBE
from coverage_lab.atlas.threads import faiss_threads
from coverage_lab.encoders import Encoder
from coverage_lab.errors import AtlasError
from coverage_lab.progress import Progress, silent
from coverage_lab.schema import LEVELS

_log = logging.getLogger(__name__)

#: Share of each level's mass that is spread evenly over its cells, so that no cell is impossible.
SMOOTHING = 0.05


def fit_atlas(
    vectors: NDArray[np.float32],
    accounts: NDArray[np.int64],
    reference: NDArray[np.bool_],
    texts: Sequence[str] | None,
    *,
    encoder: Encoder,
    sizes: Sequence[int] = (64, 512, 4096),
    iterations: int = 25,
    seed: int = 0,
    description: str = "",
    min_label_accounts: int = 3,
    progress: Progress = silent,
) -> Atlas:
    """Fit an atlas.

    Fine cells are a spherical k-means (Dhillon & Modha 2001 [1]_, by FAISS) of all rows. Their centroids,
    weighted by the prompts they hold, are clustered into the middle cells, and those into the coarse ones,
    so levels nest strictly and every cell holds a fine cell. Centroids are rounded to what is stored before
    anything is computed from them: the fitted atlas equals the saved and loaded one.

    The reference mass of cell c is the mean over accounts of the account's share of prompts in c, taken
    over the rows where `reference` is true, then smoothed: ``(1 − ε)·p_c + ε/K`` with ε = 0.05.

    Parameters
    ----------
    vectors
        Unit rows, ``(N, d)`` float32 or float16.
    accounts
        Account of each row, ``(N,)``; any integers.
    reference
        Rows that are ordinary traffic, ``(N,)`` bool; all rows shape the cells.
    texts
        Prompts to draw the labels from, N of them; None labels cells by number.
    encoder
        The encoder that made `vectors`.
    sizes
        Cells per level, coarsest first, not decreasing.
    iterations
        Rounds of k-means per level.
    seed
        Of the k-means. The same data, options, FAISS build and thread count give the same atlas.
    description
        For people; kept in the atlas.
    min_label_accounts
        Words of fewer accounts than this stay out of the labels, which are published.
    progress
        Told after each of the five steps.

    Raises
    ------
    AtlasError
        Shapes don't agree, vectors are not unit rows, no row is reference, or there are fewer distinct
        vectors than fine cells.

    References
    ----------
    .. [1] I. S. Dhillon and D. S. Modha, "Concept decompositions for large sparse text data using
       clustering", Machine Learning 42, 2001.
    """
    cells_per_level = tuple(int(size) for size in sizes)
    data = np.ascontiguousarray(vectors, dtype=np.float32)
    _check(data, accounts, reference, texts, encoder, cells_per_level)
    step = _Steps(progress)
    stored = _spherical_kmeans(data, cells_per_level[-1], None, iterations, seed).astype(np.float16)
    centroids = unit_centroids(stored)
    step()
    blank = Atlas(
        id="",
        encoder_id=encoder.id,
        encoder_name=encoder.name,
        description=description,
        centroids=centroids,
        parents=np.tile(np.arange(len(centroids), dtype=np.int32), (len(LEVELS), 1)),
        masses=(),
        labels=(),
        probe=np.asarray(encoder.encode(PROBE), dtype=np.float32),
        smoothing=SMOOTHING,
    )
    fine = blank.assign(data)[:, -1]
    step()
    held = np.bincount(fine, minlength=cells_per_level[-1])
    parents = _nest(centroids, held, cells_per_level, iterations, seed)
    step()
    share = _account_weighted_share(fine[reference], accounts[reference], cells_per_level[-1])
    masses = reference_masses(share, parents, cells_per_level)
    step()
    labels = (
        numbered_cells(cells_per_level)
        if texts is None
        else label_cells(texts, accounts, fine, parents, cells_per_level, min_accounts=min_label_accounts)
    )
    step()
    counts = {
        "prompts": len(data),
        "accounts": len(np.unique(accounts)),
        "reference_prompts": int(reference.sum()),
        "reference_accounts": len(np.unique(accounts[reference])),
    }
    identity = content_id(
        encoder_id=encoder.id,
        encoder_name=encoder.name,
        description=description,
        stored=stored,
        parents=parents,
        masses=masses,
        labels=labels,
        probe=blank.probe,
        smoothing=SMOOTHING,
        counts=counts,
    )
    return Atlas(
        id=identity,
        encoder_id=encoder.id,
        encoder_name=encoder.name,
        description=description,
        centroids=centroids,
        parents=parents,
        masses=masses,
        labels=labels,
        probe=blank.probe,
        smoothing=SMOOTHING,
        counts=counts,
        stored=stored,
    )


class _Steps:
    """Counts the five steps of a fit."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0

    def __call__(self) -> None:
        self._done += 1
        self._progress("fit atlas", self._done, 5)


def _check(
    vectors: NDArray[np.float32],
    accounts: NDArray[np.int64],
    reference: NDArray[np.bool_],
    texts: Sequence[str] | None,
    encoder: Encoder,
    sizes: tuple[int, ...],
) -> None:
    if len(sizes) != len(LEVELS) or sizes[0] < 1 or list(sizes) != sorted(sizes):
        raise AtlasError(f"sizes: expected {len(LEVELS)} numbers >= 1, not decreasing, got {sizes}")
    if vectors.ndim != 2 or vectors.shape[1] != encoder.dim:
        raise AtlasError(f"vectors: expected shape (N, {encoder.dim}), got {vectors.shape}")
    rows = len(vectors)
    if accounts.shape != (rows,) or reference.shape != (rows,) or reference.dtype != np.bool_:
        raise AtlasError(
            f"accounts and reference: expected ({rows},) integers and bools, got {accounts.shape} "
            f"{accounts.dtype} and {reference.shape} {reference.dtype}"
        )
    if texts is not None and len(texts) != rows:
        raise AtlasError(f"texts: expected {rows}, got {len(texts)}")
    norms = np.einsum("ij,ij->i", vectors, vectors)
    if not (np.abs(norms - 1) < 0.01).all():
        raise AtlasError("vectors: expected unit rows, got a row of another norm")
    if not reference.any():
        raise AtlasError("reference: expected at least one row of ordinary traffic, got none")
    distinct = len(np.unique(vectors.view([("", np.void, vectors.shape[1] * 4)])))
    if distinct < sizes[-1]:
        raise AtlasError(f"vectors: expected at least {sizes[-1]} distinct ones (fine cells), got {distinct}")


def _spherical_kmeans(
    points: NDArray[np.float32], cells: int, weights: NDArray[np.float32] | None, iterations: int, seed: int
) -> NDArray[np.float32]:
    """Return unit centroids, ``(cells, d)``."""
    gpu = hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
    if gpu:
        _log.info("fit atlas: k-means on the GPU")
    kmeans: Any = faiss.Kmeans(
        points.shape[1],
        cells,
        niter=iterations,
        seed=seed,
        spherical=True,
        gpu=gpu,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points) // cells + 1,
    )
    with faiss_threads(None, products=len(points) * cells):
        kmeans.train(points, weights=weights)
    return np.asarray(kmeans.centroids, dtype=np.float32)


def _nest(
    fine: NDArray[np.float32], held: NDArray[np.int64], sizes: tuple[int, ...], iterations: int, seed: int
) -> NDArray[np.int32]:
    """Cluster upwards, each level's centroids into the next coarser level's.

    Returns the cell of each fine cell at each level, coarsest first.
    """
    rows = [np.arange(len(fine), dtype=np.int32)]
    points, weights = fine, np.maximum(held, 1).astype(np.float32)
    for size in sizes[-2::-1]:
        parent = _parents(points, weights, size, iterations, seed)
        rows.append(parent[rows[-1]])
        sums = np.zeros((size, points.shape[1]))
        np.add.at(sums, parent, points.astype(np.float64) * weights[:, None])
        points = np.ascontiguousarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), dtype=np.float32)
        weights = np.bincount(parent, weights=weights, minlength=size).astype(np.float32)
    return np.stack(rows[::-1])


def _parents(
    points: NDArray[np.float32], weights: NDArray[np.float32], size: int, iterations: int, seed: int
) -> NDArray[np.int32]:
    """Cell of each point in a weighted spherical k-means; every cell gets a point.

    A cell that would stay empty takes the point farthest from its own centroid among the cells that can
    spare one.
    """
    if size == len(points):
        return np.arange(size, dtype=np.int32)
    centroids = _spherical_kmeans(points, size, weights, iterations, seed)
    similarity = points @ centroids.T
    parent = np.asarray(similarity.argmax(axis=1), dtype=np.int32)
    own = similarity[np.arange(len(points)), parent]
    for empty in np.setdiff1d(np.arange(size), parent):
        spare = np.bincount(parent, minlength=size)[parent] > 1
        moved = int(np.argmin(np.where(spare, own, np.inf)))
        parent[moved] = empty
        own[moved] = np.inf
    return parent


def reference_masses(
    share: NDArray[np.float64], parents: NDArray[np.int32], sizes: Sequence[int]
) -> tuple[NDArray[np.float64], ...]:
    """Masses of all levels from the share of ordinary traffic in each fine cell, smoothed.

    Parameters
    ----------
    share : float64 (K,)
        Sums to 1.
    parents : int32 (levels, K)
        Cell of each level that a fine cell lies in, coarsest first.
    sizes : sequence of int
        Cells per level.
    """
    return tuple(
        _smoothed(np.bincount(row, weights=share, minlength=size).astype(np.float64))
        for row, size in zip(parents, sizes, strict=True)
    )


def _account_weighted_share(
    cells: NDArray[np.int32], accounts: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """Mean over accounts of the account's distribution over cells."""
    _, account, prompts = np.unique(accounts, return_inverse=True, return_counts=True)
    share = np.bincount(cells, weights=1 / prompts[account], minlength=size) / len(prompts)
    normalised: NDArray[np.float64] = share / share.sum()
    return normalised


def _smoothed(share: NDArray[np.float64]) -> NDArray[np.float64]:
    mass = (1 - SMOOTHING) * share + SMOOTHING / len(share)
    normalised: NDArray[np.float64] = mass / mass.sum()
    return normalised
