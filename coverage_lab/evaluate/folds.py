"""Corpora that must not be parted → clusters → folds: nothing like a test corpus is ever trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from coverage_lab.errors import ConfigError
from coverage_lab.evaluate.corpora import KINDS, Corpus

#: Corpora that share this part of the smaller one's distinct prompts are kept together; letter case and
#: white space make no difference.
SHARED = 0.05


def load_together(path: Path) -> list[tuple[str, ...]]:
    """Read which corpora must stay together: one group a line, names parted by spaces, # for comments.

    Raises
    ------
    ConfigError
        The file can't be read, or a line names only one corpus.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"together {path}: can't be read as text") from error
    groups = [tuple(line.split("#")[0].split()) for line in lines]
    for number, group in enumerate(groups, start=1):
        if len(group) == 1:
            raise ConfigError(f"together {path}, line {number}: expected two or more corpora, got one")
    return [group for group in groups if group]


def clusters_of(corpora: Sequence[Corpus], *, together: Sequence[Sequence[str]] = ()) -> dict[str, str]:
    """Name the cluster of each corpus: near-duplicates have one, by list or by the prompts they share.

    Parameters
    ----------
    together : sequence of sequences of corpus names
        Groups that are known to share an origin; names of corpora that are not here are passed over.

    Returns
    -------
    dict of corpus name → cluster
        A cluster is named after its first corpus by name.
    """
    root = {corpus.name: corpus.name for corpus in corpora}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    def join(one: str, other: str) -> None:
        low, high = sorted((find(one), find(other)))
        root[high] = low

    for group in together:
        known = [name for name in group if name in root]
        for name in known[1:]:
            join(known[0], name)
    holders: dict[str, list[str]] = {}
    size: dict[str, int] = {}
    for corpus in corpora:
        distinct = {" ".join(text.lower().split()) for text in corpus.prompts}
        size[corpus.name] = len(distinct)
        for text in distinct:
            holders.setdefault(text, []).append(corpus.name)
    shared: dict[tuple[str, str], int] = {}
    for names in holders.values():
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                shared[one, other] = shared.get((one, other), 0) + 1
    for (one, other), count in sorted(shared.items()):
        if count >= SHARED * min(size[one], size[other]):
            join(one, other)
    return {name: find(name) for name in root}


def folds_of(
    corpora: Sequence[Corpus], clusters: Mapping[str, str], *, folds: int, seed: int
) -> dict[str, int]:
    """Deal clusters to folds, kind by kind, so that each fold has about as many corpora of every kind.

    Returns
    -------
    dict of corpus name → fold, 0 to folds − 1
        No fold is empty; the order of `corpora` has no influence.

    Raises
    ------
    ConfigError
        There are fewer clusters than folds.
    """
    rng = np.random.default_rng(seed)
    members: dict[str, list[Corpus]] = {}
    for corpus in sorted(corpora, key=lambda corpus: (clusters[corpus.name], corpus.name)):
        members.setdefault(clusters[corpus.name], []).append(corpus)
    if not 2 <= folds <= len(members):
        raise ConfigError(
            f"folds: expected 2 to {len(members)}, the clusters of near-duplicates, got {folds}"
        )
    load = {kind: np.zeros(folds) for kind in KINDS}
    fold_of: dict[str, int] = {}
    for group in sorted(members.values(), key=lambda group: (-len(group), rng.random())):
        here = sum((load[corpus.kind] for corpus in group), np.zeros(folds))
        fold = int(np.argmin(here + 1e-3 * sum(load.values(), np.zeros(folds))))
        for corpus in group:
            load[corpus.kind][fold] += 1
            fold_of[corpus.name] = fold
    return fold_of
