"""Groups of accounts that are alike in the first half of their prompts, without comparing all pairs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import igraph
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from coverage_lab.campaigns.sketch import KINDS, Half

#: Accounts that are all compared with one another. More are first parted into blocks of at most so many.
BLOCK = 2_000
#: Neighbours of each account that blocks are made by.
NEIGHBOURS = 12
#: Accounts from which neighbours are searched in an inverted file, not among all.
EXACT_UP_TO = 20_000
#: Outsiders that a group is held against: those nearest to it, so many for each member.
OUTSIDERS = 0.25
#: Outsiders that are as alike as copies leave so much room to be more alike.
LEAST_ROOM = 0.01
#: What a group's separation must exceed.
LEAST_SEPARATION = 0.15


def propose_groups(half: Half, among: NDArray[np.int64], *, least: int, most: int) -> list[NDArray[np.int64]]:
    """Find groups of accounts that are more alike than any of them is with those around.

    Accounts are compared by the mean of two cosines, of mean contents and of mean opening words, each about
    the traffic's. Many accounts are parted into blocks of nearest neighbours. In each block average linkage
    gives a tree, whose branches are the groups that there may be, from two accounts to all. How alike shares
    of one source are depends on how they were dealt: by topic far less than at random. So a group is weighed
    not by how alike its members are but by how much more than the nearest outsiders: a part of a group has
    the rest of it outside, and two groups together are less alike than each.

    Parameters
    ----------
    half : Half
        The first half.
    among : int64 (U,)
        Places of the accounts that groups are made of: `Sketches.comparable`.
    least, most : int
        Members of a group.

    Returns
    -------
    list of int64 (k,)
        Rising places of accounts, no account in two groups. The same for the same input.
    """
    if len(among) < least:
        return []
    points = _points(half.at(among))
    found: list[tuple[float, NDArray[np.int64]]] = []
    for block, around in _blocks(points):
        branches = _branches(points[block], points[around], least=least, most=most)
        found += [(worth, block[group]) for worth, group in branches]
    return [among[group] for group in _apart(found)]


def _points(half: Half) -> NDArray[np.float32]:
    """Vectors whose products are the mean of the cosines of all kinds, (U, d); 0 without a direction."""
    directions = [half.means(kind).directions() for kind in KINDS]
    return np.ascontiguousarray(np.hstack(directions) / np.sqrt(len(KINDS)), dtype=np.float32)


def _apart(found: list[tuple[float, NDArray[np.int64]]]) -> list[NDArray[np.int64]]:
    """Of groups that share accounts, keep the one that stands most apart."""
    taken: set[int] = set()
    kept = []
    for _, group in sorted(found, key=lambda one: (-one[0], one[1].tolist())):
        members = set(group.tolist())
        if not members & taken:
            taken |= members
            kept.append(group)
    return sorted(kept, key=lambda group: group.tolist())


def _branches(
    points: NDArray[np.float32], around: NDArray[np.float32], *, least: int, most: int
) -> list[tuple[float, NDArray[np.int64]]]:
    """Branches of the tree of a block that stand apart, each with by how much (`_separation`).

    `around` are accounts of other blocks: outsiders, never members.
    """
    count = len(points)
    if count < least:
        return []
    mine = points.astype(np.float64)
    alike = mine @ np.concatenate([mine, around.astype(np.float64)]).T
    apart = np.maximum(1 - alike[:, :count], 0.0)
    np.fill_diagonal(apart, 0.0)
    tree = linkage(squareform(apart, checks=False), "average")
    np.fill_diagonal(alike, 0.0)
    members = {i: np.array([i], dtype=np.int64) for i in range(count)}
    # Sum of each account's likeness with a branch's members; that of a branch is the sum of its two.
    sums = {i: alike[i] for i in range(count)}
    found = []
    for step, row in enumerate(tree):
        one, other = int(row[0]), int(row[1])
        node = count + step
        members[node] = np.sort(np.concatenate([members.pop(one), members.pop(other)]))
        sums[node] = sums.pop(one) + sums.pop(other)
        if least <= len(members[node]) <= most:
            worth = _separation(sums[node], members[node])
            if worth > LEAST_SEPARATION:
                found.append((worth, members[node]))
    return found


def _separation(sums: NDArray[np.float64], group: NDArray[np.int64]) -> float:
    """How far a group stands apart from those around: (inside − outside) / (1 − outside).

    Measured against what could still be gained, a campaign within a topic stands apart as far as one beside
    it.

    Parameters
    ----------
    sums : float64 (B,)
        Members and outsiders: sum of each account's likeness with the members, without its own.
    group : int64 (k,)
        Places of the members, k at least 2.

    Returns
    -------
    float
        At most 1. *Inside* is the mean over members of the mean likeness with the others, *outside* the mean
        over the ⌈k/4⌉ nearest outsiders of that with all members, or 0 where they are less alike than
        unrelated accounts.
    """
    size = len(group)
    inside = float(sums[group].mean()) / (size - 1)
    outside = np.delete(sums, group) / size
    near = min(int(np.ceil(OUTSIDERS * size)), len(outside))
    nearest = float(np.partition(outside, -near)[-near:].mean()) if near else 0.0
    held = min(max(nearest, 0.0), 1 - LEAST_ROOM)
    return (inside - held) / (1 - held)


def _blocks(points: NDArray[np.float32]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Part accounts into blocks of at most `BLOCK`, near ones together; each with its neighbours outside."""
    whole = np.arange(len(points), dtype=np.int64)
    if len(points) <= BLOCK:
        return [(whole, whole[:0])]
    one, other = _neighbours(points)
    weight = np.einsum("pd,pd->p", points[one], points[other], dtype=np.float64)
    near = weight > 0
    one, other, weight = one[near], other[near], weight[near]
    blocks = _parted(whole, one, other, weight)
    number = np.empty(len(points), np.int64)
    number[np.concatenate(blocks)] = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    across = number[one] != number[other]
    one, other = one[across], other[across]
    pairs = np.unique(np.column_stack([number[np.r_[one, other]], np.r_[other, one]]), axis=0)
    bounds = np.searchsorted(pairs[:, 0], np.arange(len(blocks) + 1))
    return [(block, pairs[bounds[i] : bounds[i + 1], 1]) for i, block in enumerate(blocks)]


def _parted(
    whole: NDArray[np.int64],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    weight: NDArray[np.float64],
) -> list[NDArray[np.int64]]:
    """Communities of a graph of all accounts, finer and finer until each fits; one without links is alone."""
    alone = np.setdiff1d(whole, np.concatenate([one, other]))
    blocks = list(alone[:, None])
    waiting = [(whole, one, other, weight, 1.0)]
    place = np.empty(len(whole), np.int64)
    while waiting:
        among, one, other, weight, resolution = waiting.pop()
        for part in _communities(one, other, weight, resolution=resolution):
            if len(part) <= BLOCK:
                blocks.append(among[part])
                continue
            place[: len(among)] = -1
            place[part] = np.arange(len(part))
            within = (place[one] >= 0) & (place[other] >= 0)
            edges = place[one[within]], place[other[within]], weight[within]
            waiting.append((among[part], *edges, 4 * resolution))
    return blocks


def _neighbours(points: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (i < j) of which one is among the other's nearest, each once, sorted."""
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
    one: NDArray[np.int64], other: NDArray[np.int64], weight: NDArray[np.float64], *, resolution: float
) -> list[NDArray[np.int64]]:
    """Leiden communities by modularity of a weighted graph; accounts without a link are in none."""
    linked, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    if not len(linked):
        return []
    graph = igraph.Graph(n=len(linked), edges=np.column_stack(np.split(places, 2)))
    with _seeded():
        parts = graph.community_leiden(
            objective_function="modularity", weights=weight.tolist(), resolution=resolution, n_iterations=10
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
