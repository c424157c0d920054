"""Campaigns of a run: from what the buckets left of their accounts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coverage_lab.accounts import AccountStates, merge
from coverage_lab.accounts.table import states_from_table, states_to_table
from coverage_lab.campaigns.find import FoundCampaigns, find_campaigns
from coverage_lab.campaigns.sketch import join, sketches_of
from coverage_lab.campaigns.sketch_table import sketches_from_table, sketches_to_table
from coverage_lab.config import CampaignsConfig
from coverage_lab.detect import Judge
from coverage_lab.files.atomic import synced
from coverage_lab.state.files import write_states

#: In a part: states that its accounts were judged by, and their sketches.
_TRACES, _SKETCHES = "traces.parquet", "sketches.parquet"


def write_traces(states: AccountStates, folder: Path) -> None:
    """Keep in a part what campaigns are found by."""
    write_states(states_to_table(states), folder / _TRACES)
    path = folder / _SKETCHES
    pq.write_table(sketches_to_table(sketches_of(states)), path, compression="zstd", use_dictionary=False)
    synced(path)


def campaigns_of_parts(
    parts: Sequence[Path], judge: Judge, config: CampaignsConfig, *, config_id: str
) -> FoundCampaigns:
    """Find the campaigns among all accounts of a run.

    Held are the sketches of all accounts, some 5 kB each, and the states of one group at a time.

    Parameters
    ----------
    parts : sequence of Path
        Of all buckets; no account in two.
    judge : Judge
        Of a cascade the first stage, which judges all accounts, is the one that campaigns are judged by.
    config : CampaignsConfig
    config_id : str
        Digest of the run's config.
    """
    if not config.enabled:
        return FoundCampaigns.none()
    dim = judge.encoder.dim
    sketches = [sketches_from_table(pq.read_table(part / _SKETCHES), dim=dim) for part in parts]
    part_of = {name: place for place, part in enumerate(sketches) for name in part.account_ids}

    def states_of(account_ids: Sequence[str]) -> AccountStates:
        wanted: dict[int, list[str]] = {}
        for account_id in account_ids:
            wanted.setdefault(part_of[account_id], []).append(account_id)
        found = [AccountStates.empty(dim)]
        for place, ids in sorted(wanted.items()):
            rows = pq.read_table(
                parts[place] / _TRACES, filters=[("account_id", "in", pa.array(ids, pa.large_string()))]
            )
            found.append(states_from_table(rows, dim=dim))
        return merge(found)

    joined = join(sketches)
    usable = np.flatnonzero(joined.prompts > 0)
    return find_campaigns(joined.at(usable), states_of, judge, config, config_id=config_id)
