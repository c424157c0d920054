"""Groups that ask alike and harvest nothing, found among an ordinary simulated day by the shipped card."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.traced import traffic

from coverage_lab.accounts import AccountStates, merge, trace_prompts
from coverage_lab.accounts.table import states_from_table, states_to_table
from coverage_lab.campaigns.find import FoundCampaigns, find_campaigns
from coverage_lab.campaigns.sketch import sketches_of
from coverage_lab.config import CampaignsConfig, DetectConfig, RunConfig
from coverage_lab.detect import Judge
from coverage_lab.detect.load import load_judge, resolve_config
from coverage_lab.simulate import kinds
from coverage_lab.simulate.kinds import Turn
from coverage_lab.simulate.look_alikes import ACCOUNTS, LOOK_ALIKES

FLAGGED = ("review", "watch")
#: The document's table is of 20; the suite has fewer, for time.
SEEDS = int(os.environ.get("SEEDS", "3"))


@cache
def judge() -> Judge:
    return load_judge(resolve_config(RunConfig.model_validate({"encoder": {"name": "static"}})), threads=1)


def states_of_turns(accounts: Mapping[str, Sequence[Turn]]) -> AccountStates:
    rows = [
        (name, int(turn.second), turn.prompt, turn.end_user)
        for name, turns in accounts.items()
        for turn in turns
    ]
    return trace_prompts(traffic(rows), judge().encoder, judge().atlas)


@cache
def ordinary(accounts: int) -> AccountStates:
    """Customers, products and people in turn, a hundred prompts each."""
    makers = (kinds.task, kinds.product, kinds.person)
    return states_of_turns(
        {f"ordinary {i}": makers[i % 3](np.random.default_rng([7, i]))[:100] for i in range(accounts)}
    )


def campaigns_among(groups: Mapping[str, list[list[Turn]]], *, accounts: int) -> FoundCampaigns:
    named = {f"{name} {i}": turns for name, parts in groups.items() for i, turns in enumerate(parts)}
    states = merge([ordinary(accounts), states_of_turns(named)])
    table = states_to_table(states)

    def states_of(ids: Sequence[str]) -> AccountStates:
        mine = pc.is_in(table["account_id"], value_set=pa.array(ids, pa.large_string()))
        return states_from_table(table.filter(mine), dim=judge().encoder.dim)

    return find_campaigns(sketches_of(states), states_of, judge(), CampaignsConfig(), config_id="tests")


def verdicts(found: FoundCampaigns) -> dict[str, str]:
    """Gravest verdict of the campaigns that are mostly of each group; the gravest stand first."""
    told: dict[str, str] = {}
    for row in found.campaigns.to_pylist():
        mine = pc.equal(found.members["campaign"], row["campaign"])
        names = [name.rsplit(" ", 1)[0] for name in found.members.filter(mine)["account_id"].to_pylist()]
        told.setdefault(Counter(names).most_common(1)[0][0], row["verdict"])
    return told


def test_an_evaluation_run_on_ten_workers_is_never_for_review():
    """Its questions sweep as a harvest does, so what it reads like is all that tells it."""
    run = {"evaluation run": LOOK_ALIKES["evaluation run"](np.random.default_rng([4, 0]))}
    (row,) = campaigns_among(run, accounts=12).campaigns.to_pylist()
    assert (row["verdict"], row["accounts"]) == ("watch", ACCOUNTS)
    assert row["p_value"] <= 0.01  # as grave as harvests for review
    assert "evaluation run" in row["reasons"][0]


def test_a_class_a_list_and_a_document_are_no_campaigns():
    drawn = {
        name: LOOK_ALIKES[name](np.random.default_rng(3))
        for name in ("exercise sheet", "popular prompts", "one document")
    }
    told = verdicts(campaigns_among(drawn, accounts=12))
    assert not set(told) & set(drawn)


def test_a_split_harvest_is_a_campaign_beside_look_alikes():
    drawn = {
        "harvest": kinds.split_harvest(np.random.default_rng(2)),
        "company's keys": LOOK_ALIKES["company's keys"](np.random.default_rng(2)),
    }
    told = verdicts(campaigns_among(drawn, accounts=12))
    assert told.pop("harvest") in FLAGGED
    assert "company's keys" not in told


@pytest.mark.slow
def test_look_alikes_of_several_seeds():
    """None is for review. Of those that are no evaluation run no more are watched than p-values allow."""
    found: dict[str, Counter[str]] = {name: Counter() for name in LOOK_ALIKES}
    for seed in range(SEEDS):
        drawn = {
            name: make(np.random.default_rng([seed, i])) for i, (name, make) in enumerate(LOOK_ALIKES.items())
        }
        run = {"evaluation run": drawn.pop("evaluation run")}
        for groups in (run, drawn):
            told = verdicts(campaigns_among(groups, accounts=40))
            for name in groups:
                found[name][told.get(name, "clear")] += 1
    print(*(f"{name}: {dict(count)}" for name, count in found.items()), sep="\n")
    assert all(count["review"] == 0 for count in found.values())
    others = [count for name, count in found.items() if name != "evaluation run"]
    assert sum(count["watch"] for count in others) <= DetectConfig().watch_p * SEEDS * len(others)


@pytest.mark.slow
def test_split_harvests_of_several_seeds_are_campaigns():
    """What keeps look-alikes out loses no split harvest."""
    told = [
        verdicts(campaigns_among({"harvest": kinds.split_harvest(np.random.default_rng(seed))}, accounts=40))
        for seed in range(SEEDS)
    ]
    assert all(one.get("harvest") in FLAGGED for one in told)
