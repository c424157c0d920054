"""Accounts of a benchmark with the score that every method gave them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.detect.fitting import ORDINARY
from coverage_lab.errors import CoverageLabError
from coverage_lab.evaluate.sampler import PURE

#: Kinds whose false alarms make the headline false-positive rate.
BENIGN_KINDS = ORDINARY
#: Innocent kinds that sweep on purpose: reported apart, and expected to carry their own archetype.
APART_KINDS = ("evaluation_run", "red_team")
HARVEST = "harvest"
KINDS = (*BENIGN_KINDS, *APART_KINDS, HARVEST)

#: Rungs on which an account sends nothing but its harvest, and all of it by itself.
PURE_RUNGS = PURE


@dataclass(frozen=True, eq=False)
class ScoredAccounts:
    """Accounts of a benchmark with the score that every method gave them, corpus-out.

    Attributes
    ----------
    kind : ndarray of str, shape (A,)
        One of `KINDS`.
    rung : ndarray of str, shape (A,)
        Of harvests ``in_order``, ``shuffled``, ``deduplicated``, ``paced``, ``trace_template``,
        ``mixed_<percent of ordinary traffic>`` or ``split_<accounts>_<how>``; of the others ''.
    prompts : ndarray of int64, shape (A,)
        Size of the account, one of the benchmark's sizes.
    corpora : tuple of tuples of str, length A
        Where the prompts come from; the first is the corpus that the account counts for.
    cluster : ndarray of str, shape (A,)
        Near-duplicate group of ``corpora[i][0]``, the unit of resampling.
    language : ndarray of str, shape (A,)
        '' where several or unknown.
    fold : ndarray of int64, shape (A,)
        Fold in which the account was held out.
    campaign : ndarray of int64, shape (A,)
        Accounts of one split harvest share a number; -1 for the others.
    trajectory : ndarray of int64, shape (A,)
        Accounts that are prefixes of one another (same prompts, growing size) share a number.
    archetype : ndarray of str, shape (A,)
        What the detector called the account, corpus-out; '' where it was not asked.
    scores : mapping of str to ndarray of float64, shape (A,)
        Method → score, higher = more like harvesting; comparable within one size only.

    Raises
    ------
    CoverageLabError
        A length differs, a score is not finite, a kind is unknown, a harvest has no rung (or another
        account has one), a size is less than 1, or an account names no corpus.
    """

    kind: NDArray[np.str_]
    rung: NDArray[np.str_]
    prompts: NDArray[np.int64]
    corpora: tuple[tuple[str, ...], ...]
    cluster: NDArray[np.str_]
    language: NDArray[np.str_]
    fold: NDArray[np.int64]
    campaign: NDArray[np.int64]
    trajectory: NDArray[np.int64]
    archetype: NDArray[np.str_]
    p_value: NDArray[np.float64]
    scores: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        accounts = self.kind.size
        arrays = {
            "kind": self.kind,
            "rung": self.rung,
            "prompts": self.prompts,
            "cluster": self.cluster,
            "language": self.language,
            "fold": self.fold,
            "campaign": self.campaign,
            "trajectory": self.trajectory,
            "archetype": self.archetype,
            "p_value": self.p_value,
        } | {f"scores[{method!r}]": values for method, values in self.scores.items()}
        for name, values in arrays.items():
            if values.shape != (accounts,):
                raise CoverageLabError(f"{name}: expected shape ({accounts},), got {values.shape}")
        if len(self.corpora) != accounts:
            raise CoverageLabError(f"corpora: expected {accounts} accounts, got {len(self.corpora)}")
        if not all(names and names[0] for names in self.corpora):
            raise CoverageLabError("corpora: expected a corpus for every account, got an account without")
        for method, values in self.scores.items():
            bad = int(accounts - np.isfinite(values).sum())
            if bad:
                raise CoverageLabError(f"scores[{method!r}]: expected finite scores, got {bad} that are not")
        unknown = sorted(set(self.kind.tolist()) - set(KINDS))
        if unknown:
            raise CoverageLabError(f"kind: expected one of {', '.join(KINDS)}, got {unknown[0]!r}")
        if np.any((self.rung != "") != (self.kind == HARVEST)):
            raise CoverageLabError("rung: expected one for every harvest and '' for the others")
        if np.any(self.prompts < 1):
            raise CoverageLabError(f"prompts: expected 1 or more, got {int(self.prompts.min())}")

    @property
    def accounts(self) -> int:
        """Number of accounts."""
        return int(self.kind.size)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, sorted."""
        return tuple(sorted(self.scores))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes that occur, ascending."""
        return tuple(int(size) for size in np.unique(self.prompts))

    @property
    def corpus(self) -> NDArray[np.str_]:
        """Corpus that each account counts for, shape (A,)."""
        return np.array([names[0] for names in self.corpora], dtype=np.str_)

    @property
    def benign(self) -> NDArray[np.bool_]:
        """Accounts of the headline false-positive rate, shape (A,)."""
        return np.isin(self.kind, BENIGN_KINDS)

    @property
    def harvest(self) -> NDArray[np.bool_]:
        """Harvests on any rung, shape (A,)."""
        return np.isin(self.kind, (HARVEST,))

    @property
    def pure(self) -> NDArray[np.bool_]:
        """Harvests on one of `PURE_RUNGS`: the headline's positives, shape (A,)."""
        return np.isin(self.rung, PURE_RUNGS)

    @property
    def ordinary_share(self) -> NDArray[np.float64]:
        """Share of ordinary traffic in a harvest, in [0, 1]: 0 on pure rungs, q on ``mixed_<100q>``.

        NaN for accounts of split harvests and for all that are no harvest. Shape (A,).

        Raises
        ------
        CoverageLabError
            A rung starts with ``mixed_`` and no percentage from 0 to 100 follows.
        """
        share_of = {rung: _share_of(rung) for rung in np.unique(self.rung).tolist()}
        return np.array([share_of[rung] for rung in self.rung.tolist()], dtype=np.float64)

    def take(self, chosen: NDArray[np.bool_]) -> ScoredAccounts:
        """The accounts where `chosen`, a mask of shape (A,), is true."""
        return ScoredAccounts(
            kind=self.kind[chosen],
            rung=self.rung[chosen],
            prompts=self.prompts[chosen],
            corpora=tuple(names for names, kept in zip(self.corpora, chosen.tolist(), strict=True) if kept),
            cluster=self.cluster[chosen],
            language=self.language[chosen],
            fold=self.fold[chosen],
            campaign=self.campaign[chosen],
            trajectory=self.trajectory[chosen],
            archetype=self.archetype[chosen],
            p_value=self.p_value[chosen],
            scores={method: values[chosen] for method, values in self.scores.items()},
        )


def disguise_order(rung: str) -> tuple[int, tuple[int, ...], str]:
    """Return what sorts rungs: pure ones, then mixtures and splits by their numbers, then all others."""
    numbers = tuple(int(part) for part in re.findall(r"[0-9]{1,9}", rung))
    if rung in PURE_RUNGS:
        return 0, (PURE_RUNGS.index(rung),), rung
    for rank, start in ((1, "mixed_"), (2, "split_")):
        if rung.startswith(start):
            return rank, numbers, rung
    return 3, numbers, rung


def _share_of(rung: str) -> float:
    if rung in PURE_RUNGS:
        return 0.0
    if not rung.startswith("mixed_"):
        return float("nan")
    percent = rung.removeprefix("mixed_")
    if not (percent.isdecimal() and int(percent) <= 100):
        raise CoverageLabError(f"rung: expected mixed_<0 to 100>, got {rung!r}")
    return int(percent) / 100
