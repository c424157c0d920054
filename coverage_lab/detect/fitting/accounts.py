"""Accounts whose truth is known, and how much each weighs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.detect.features import Features

#: Kinds of accounts that a harvest is told from; the others are told apart by their archetype only.
ORDINARY = ("task", "product", "person", "multi_tenant", "payload")

#: Kind of account → archetype.
ARCHETYPE_OF = {
    "task": "task_use",
    "product": "mixed_product",
    "person": "personal_use",
    "multi_tenant": "multi_tenant",
    "payload": "data_processing",
    "evaluation_run": "evaluation_run",
    "red_team": "red_team_research",
    "harvest": "harvesting",
}


@dataclass(frozen=True, eq=False)
class TrainingAccounts:
    """Accounts whose truth is known.

    Attributes
    ----------
    features : Features
    kind : str array (A,)
        Keys of `ARCHETYPE_OF`.
    customer : str array (A,)
        Whose account it is: accounts of one kind from one cluster of corpora. Each counts the same.
    cluster : str array (A,)
        Near-duplicate corpora share one.
    fold : int64 (A,)
        Held out together to calibrate: no cluster of corpora and no instruction is in two folds.
    language : str array (A,)
        "" where several or unknown; never used for a score.
    pure : bool (A,)
        A harvest without ordinary traffic in it; mixtures teach nothing about harvests.
    """

    features: Features
    kind: NDArray[np.str_]
    customer: NDArray[np.str_]
    cluster: NDArray[np.str_]
    fold: NDArray[np.int64]
    language: NDArray[np.str_]
    pure: NDArray[np.bool_]

    def at(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> TrainingAccounts:
        """Some of the accounts."""
        return TrainingAccounts(
            self.features.at(rows),
            self.kind[rows],
            self.customer[rows],
            self.cluster[rows],
            self.fold[rows],
            self.language[rows],
            self.pure[rows],
        )

    @property
    def harvest(self) -> NDArray[np.bool_]:
        """Harvests, pure or mixed."""
        return np.asarray(self.kind == "harvest")

    @property
    def ordinary(self) -> NDArray[np.bool_]:
        """Accounts that a harvest is told from."""
        return np.isin(self.kind, ORDINARY)


@dataclass(frozen=True, eq=False)
class GrowingAccounts:
    """Ordinary accounts as they grew: each at every size that it reached.

    Attributes
    ----------
    accounts : TrainingAccounts
        Of the kinds in `ORDINARY`; an account's first 50 prompts, its first 100, … in that order.
    trajectory : int64 (A,)
        Number of the account that each is a part of; rising.
    """

    accounts: TrainingAccounts
    trajectory: NDArray[np.int64]


def even_weights(customer: NDArray[np.str_]) -> NDArray[np.float64]:
    """Weigh every customer the same: 1 / (customers · accounts of the account's customer).

    Parameters
    ----------
    customer : str array (A,)
        Whose account each is.

    Returns
    -------
    float64 (A,)
        Positive, summing to 1; empty for no accounts.
    """
    names, which, counts = np.unique(customer, return_inverse=True, return_counts=True)
    return 1.0 / (max(names.size, 1) * counts[which].astype(np.float64))


def side_weights(side: NDArray[np.generic], customer: NDArray[np.str_]) -> NDArray[np.float64]:
    """Weigh accounts so that each customer of a side counts the same, and each side too; mean 1."""
    weight = np.zeros(len(side))
    sides = np.unique(side)
    for value in sides:
        here = side == value
        weight[here] = even_weights(customer[here]) * (len(side) / len(sides))
    return weight
