"""Whether the p-values of a benchmark run hold on corpora that nothing was fitted or calibrated on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import false_discovery_control

from coverage_lab.detect.fitting import even_weights
from coverage_lab.evaluate.scored_accounts import ScoredAccounts

#: Levels that p-values are looked at, and the rate of false discoveries that q-values promise.
LEVELS = (0.01, 0.05)
RATE = 0.1


class Low(BaseModel):
    """Accounts with p at most each of `LEVELS`, every customer counting the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    accounts: int
    customers: int
    shares: tuple[float, ...]


class KnownDiscoveries(BaseModel):
    """Accounts with q at most `RATE`, where the truth is known: ordinary ones and pure harvests of a size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    found: int
    ordinary: int
    false_share: float | None = Field(description="None without a discovery")


class PValues(BaseModel):
    """What the detector's p-values are at one size. Ordinary shares should be no more than the level."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    ordinary: Low
    harvests: Low
    by_kind: tuple[Low, ...]
    by_language: tuple[Low, ...] = Field(description="of five customers or more; '' = several or unknown")
    discoveries: KnownDiscoveries


def p_values_at(scored: ScoredAccounts, size: int) -> PValues:
    """Sum up the p-values of the accounts of one size."""
    mine = scored.take(scored.prompts == size)
    customer = np.char.add(np.char.add(mine.kind, ": "), mine.cluster)

    def low(name: str, here: NDArray[np.bool_]) -> Low:
        weight = even_weights(customer[here])
        shares = tuple(round(float(weight[mine.p_value[here] <= level].sum()), 6) for level in LEVELS)
        return Low(
            name=name, accounts=int(here.sum()), customers=len(np.unique(customer[here])), shares=shares
        )

    kinds = [low(str(kind), mine.benign & (mine.kind == kind)) for kind in np.unique(mine.kind[mine.benign])]
    tongues = [
        low(str(tongue), mine.benign & (mine.language == tongue))
        for tongue in np.unique(mine.language[mine.benign])
    ]
    judged = mine.benign | mine.pure
    found = false_discovery_control(mine.p_value[judged]) <= RATE if judged.any() else np.zeros(0, bool)
    false = int((found & mine.benign[judged]).sum())
    return PValues(
        size=size,
        ordinary=low("ordinary", mine.benign),
        harvests=low("harvests", mine.pure),
        by_kind=tuple(kinds),
        by_language=tuple(row for row in tongues if row.customers >= 5),
        discoveries=KnownDiscoveries(
            found=int(found.sum()),
            ordinary=false,
            false_share=round(false / int(found.sum()), 6) if found.any() else None,
        ),
    )
