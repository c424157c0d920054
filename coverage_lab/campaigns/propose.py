"""Groups of accounts that may be one campaign, by half of their prompts and without trying all pairs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import igraph
import numpy as np
from numpy.typing import NDArray

from coverage_lab.campaigns.overlap import Means, mean_overlap, overlap_of_pairs
from coverage_lab.campaigns.sketch import KINDS, Half

#: Neighbours of each account that are looked at.
NEIGHBOURS = 12
#: Overlaps that a link must have, from strict to lax: shares of one bank dealt at random reach 0.9, those
#: dealt by topic or mixed with ordinary traffic 0.4. A group is looked for at each.
STRICTNESS = (0.85, 0.6, 0.4)
#: What a member's mean overlap with the others must exceed to be worth having: of groups that share accounts,
#: the one with the largest sum over its members stays. Those below it on average are no groups.
WORTH = 0.45
#: Accounts from which neighbours are searched in an inverted file, not among all.
EXACT_UP_TO = 20_000


def propose_groups(half: Half, among: NDArray[np.int64], *, least: int, most: int) -> list[NDArray[np.int64]]:
    """Find groups of accounts that are alike: neighbours by content and openings, then communities.

    Parameters
    ----------
    half : Half
        The first half.
    among : int64 (U,)
        Places of the accounts that groups are made of: `Sketches.comparable`.
    least, most : int
        Members of a group. A larger community is left out, unless a stricter link parts it.

    Returns
    -------
    list of int64 (k,)
        Rising places of accounts, no account in two groups. The same for the same input.
    """
    if len(among) < least:
        return []
    mine = half.at(among)
    means = {kind: mine.means(kind) for kind in KINDS}
    one, other = _neighbours(means)
    weight = np.mean([overlap_of_pairs(means[kind], one, other) for kind in KINDS], axis=0)
    found: dict[tuple[int, ...], None] = {}
    for bound in STRICTNESS:
        near = weight >= bound
        for group in _communities(one[near], other[near], weight[near]):
            if least <= len(group) <= most:
                found.setdefault(tuple(np.sort(group).tolist()))
    groups = [np.array(group, dtype=np.int64) for group in found]
    scaled = [means[kind].scaled() for kind in KINDS]
    worth = [len(group) * (mean_overlap(scaled, group) - WORTH) for group in groups]
    return [among[group] for group in _apart(groups, worth)]


def _apart(groups: list[NDArray[np.int64]], worth: list[float]) -> list[NDArray[np.int64]]:
    """Of groups that share accounts, keep the one worth most; none that is worth nothing."""
    taken: set[int] = set()
    kept = []
    for i in sorted(range(len(groups)), key=lambda i: (-worth[i], groups[i].tolist())):
        members = set(groups[i].tolist())
        if worth[i] > 0 and not members & taken:
            taken |= members
            kept.append(groups[i])
    return sorted(kept, key=lambda group: group.tolist())


def _neighbours(means: dict[str, Means]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (i < j) of which one is among the other's nearest, each once, sorted."""
    points = np.ascontiguousarray(np.hstack([means[kind].directions() for kind in KINDS]), dtype=np.float32)
    count = len(points)
    wanted = min(NEIGHBOURS + 1, count)
    index = _index(points)
    near = np.empty((count, wanted), dtype=np.int64)
    for start in range(0, count, EXACT_UP_TO):
        near[start : start + EXACT_UP_TO] = index.search(points[start : start + EXACT_UP_TO], wanted)[1]
    one, other = np.repeat(np.arange(count), wanted), near.ravel()
    known = (other >= 0) & (other != one)
    low, high = np.minimum(one, other)[known], np.maximum(one, other)[known]
    pairs = np.unique(low * count + high)
    return pairs // count, pairs % count


def _index(points: NDArray[np.float32]) -> Any:
    count, width = points.shape
    if count <= EXACT_UP_TO:
        exact = faiss.IndexFlatIP(width)
        exact.add(points)
        return exact
    lists = 4 * int(np.sqrt(count))
    index: Any = faiss.index_factory(width, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    chosen = np.random.default_rng(0).choice(count, min(count, 40 * lists), replace=False)
    index.train(points[np.sort(chosen)])
    index.add(points)
    index.nprobe = 8
    return index


def _communities(
    one: NDArray[np.int64], other: NDArray[np.int64], weight: NDArray[np.float64]
) -> list[NDArray[np.int64]]:
    """Leiden communities by modularity of a weighted graph; accounts without a link are in none."""
    linked, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    if not len(linked):
        return []
    graph = igraph.Graph(n=len(linked), edges=np.column_stack(np.split(places, 2)))
    with _seeded():
        parts = graph.community_leiden(
            objective_function="modularity", weights=weight.tolist(), n_iterations=10
        )
    member = np.array(parts.membership)
    order = np.argsort(member, kind="stable")
    return [linked[rows] for rows in np.split(order, np.flatnonzero(np.diff(member[order])) + 1)]


@contextmanager
def _seeded() -> Iterator[None]:
    """Give igraph a generator of our own; it takes Python's, which others may use, otherwise."""
    igraph.set_random_number_generator(random.Random(0))
    try:
        yield
    finally:
        igraph.set_random_number_generator(random)
