"""Which accounts a benchmark has: trajectories drawn from every fold, each judged at several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coverage_lab.errors import ConfigError
from coverage_lab.evaluate.prompt_pool import PromptPool
from coverage_lab.evaluate.sampler import LEAST, MIXED, PURE, SPLIT, AccountSampler, SampledAccount
from coverage_lab.progress import Progress, silent

#: Sizes at which accounts are judged; one of 700 prompts is judged at its first 50, 100, 250 and 500.
SIZES = (50, 100, 250, 500, 1000, 2000, 5000, 10_000)

#: Share of each kind among the ordinary accounts.
ORDINARY_MIX = {"task": 0.3, "product": 0.4, "payload": 0.1, "multi_tenant": 0.12, "person": 0.08}
#: Accounts of the kinds told apart, for each ordinary account.
APART_MIX = {"evaluation_run": 0.1, "red_team": 0.05}

_CAMPAIGNS = 2


@dataclass(frozen=True, eq=False)
class BenchmarkAccounts:
    """Accounts, as prefixes of trajectories.

    Attributes
    ----------
    sampled : tuple of SampledAccount
        The trajectories; those of a campaign number share a harvest, whatever their fold.
    fold : int64 (T,)
        Fold of each trajectory.
    trajectory, size : int64 (A,)
        Each account is the first `size` prompts of a trajectory.
    """

    sampled: tuple[SampledAccount, ...]
    fold: NDArray[np.int64]
    trajectory: NDArray[np.int64]
    size: NDArray[np.int64]

    def rows(self, account: int) -> NDArray[np.int64]:
        """Rows of the pool that an account sent, in order."""
        rows: NDArray[np.int64] = self.sampled[self.trajectory[account]].rows[: self.size[account]]
        return rows


def draw_benchmark_accounts(
    pool: PromptPool,
    *,
    accounts: int,
    repeats: int,
    longest: int,
    sizes: Sequence[int] = SIZES,
    seed: int,
    progress: Progress = silent,
) -> BenchmarkAccounts:
    """Draw all trajectories of all folds.

    Parameters
    ----------
    accounts : int
        Ordinary trajectories over all folds.
    repeats : int
        Harvests of each corpus on each pure and mixed rung.
    longest : int
        Prompts of a trajectory at most; shorter where a corpus has no more.
    sizes : sequence of int
        Rising, the first at least 2.

    Raises
    ------
    ConfigError
        The corpora have no harvest or no ordinary account, `longest` is below the first size, or the sizes
        don't rise.
    """
    if sizes[0] < 2 or list(sizes) != sorted(set(sizes)):
        raise ConfigError(f"sizes: expected rising numbers from 2 up, got {list(sizes)}")
    if longest < sizes[0]:
        raise ConfigError(f"longest: expected at least {sizes[0]}, got {longest}")
    folds = max(pool.fold.values()) + 1
    sampled: list[SampledAccount] = []
    fold_of: list[int] = []
    campaigns = 0
    for fold in range(folds):
        sampler = AccountSampler(pool, fold=fold, size=lambda _, most: min(most, longest), seed=seed)
        small = AccountSampler(pool, fold=fold, size=lambda _, most: min(most, 100), seed=seed + 1)
        wanted: list[tuple[str, str, int]] = [
            (kind, "", max(1, round(share * accounts / folds)))
            for kind, share in (ORDINARY_MIX | APART_MIX).items()
        ]
        harvests = len(pool.names("A", fold)) * repeats
        wanted += [("harvest", rung, harvests) for rung in (*PURE, *MIXED)]
        drawn: list[SampledAccount] = []
        for kind, rung, count in wanted:
            if sampler.can(kind, rung):
                drawn += [account for _ in range(count) for account in sampler.draw(kind, rung)]
        for rung in SPLIT:
            if small.can("harvest", rung):
                for _ in range(_CAMPAIGNS):
                    campaigns += 1
                    drawn += [replace(account, campaign=campaigns) for account in small.draw("harvest", rung)]
        sampled += drawn
        fold_of += [fold] * len(drawn)
        progress("draw accounts", fold + 1, folds)
    kept = [i for i, account in enumerate(sampled) if len(account.rows) >= max(sizes[0], LEAST)]
    sampled = [sampled[i] for i in kept]
    if not any(account.kind == "harvest" for account in sampled) or all(
        account.kind == "harvest" for account in sampled
    ):
        raise ConfigError(f"corpora: expected harvests (A) and task use (D) of at least {LEAST} prompts")
    trajectory, size = [], []
    for i, account in enumerate(sampled):
        reached = [n for n in sizes if n <= len(account.rows)]
        # One account of a split harvest is what it is: it is judged once, by all that it sent.
        for n in reached[-1:] if account.campaign >= 0 else reached:
            trajectory.append(i)
            size.append(n)
    return BenchmarkAccounts(
        tuple(sampled),
        np.array([fold_of[i] for i in kept], dtype=np.int64),
        np.array(trajectory, dtype=np.int64),
        np.array(size, dtype=np.int64),
    )
