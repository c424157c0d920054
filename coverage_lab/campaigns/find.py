"""Sketches of a day's accounts → its campaigns: propose, test the link, judge as one, tell."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coverage_lab.accounts import AccountStates
from coverage_lab.campaigns.judged import PooledJudgement, group_verdict, judge_pool
from coverage_lab.campaigns.link import Link, LinkTest
from coverage_lab.campaigns.propose import propose_groups
from coverage_lab.campaigns.shares import Division, division_of
from coverage_lab.campaigns.sketch import Sketches
from coverage_lab.config import CampaignsConfig
from coverage_lab.detect import Judge
from coverage_lab.detect.fdr import adjusted_p
from coverage_lab.schema import CAMPAIGNS, MEMBERS

#: States of some accounts, given in rising order.
StatesOf: TypeAlias = Callable[[Sequence[str]], AccountStates]


@dataclass(frozen=True)
class FoundCampaigns:
    """Campaigns of a run.

    Attributes
    ----------
    campaigns, members : Table
        Schemas `coverage_lab.schema.CAMPAIGNS` and `MEMBERS`, the gravest first; no account in two.
    proposed, linked : int
        Groups that were proposed, and those of them that are linked beyond chance: all of these were judged.
    """

    campaigns: pa.Table
    members: pa.Table
    proposed: int
    linked: int

    @staticmethod
    def none() -> FoundCampaigns:
        """Nothing was looked for, or nothing found."""
        return FoundCampaigns(CAMPAIGNS.empty_table(), MEMBERS.empty_table(), 0, 0)


@dataclass(frozen=True, eq=False)
class _Group:
    account_ids: tuple[str, ...]
    link: Link
    states: AccountStates
    judged: PooledJudgement
    division: Division
    q_value: float = float("nan")


def find_campaigns(
    sketches: Sketches, states_of: StatesOf, judge: Judge, config: CampaignsConfig, *, config_id: str
) -> FoundCampaigns:
    """Find the campaigns among accounts.

    1. The first half of the prompts proposes groups of accounts that are alike.
    2. The second half tests each against random groups of as many accounts that could have been proposed too;
       `link_q` bounds the share of groups that are alike by chance.
    3. What is linked is judged as one account, by the detector and its calibration at that size.
    4. One that covers ground as harvests do, and that nothing else explains, is a campaign.

    Parameters
    ----------
    sketches : Sketches
        Of all accounts.
    states_of : callable
        States of the accounts that are named; called for one group at a time.
    judge : Judge
        Whose encoder and atlas made the states.
    config : CampaignsConfig
    config_id : str
        Digest of the run's config, for the trace of each campaign.

    Returns
    -------
    FoundCampaigns
        The same for the same accounts, however they were cut.
    """
    among = sketches.comparable()
    proposed = propose_groups(sketches.first, among, least=config.min_accounts, most=config.max_accounts)
    proposed = [group for group in proposed if sketches.prompts[group].sum() >= config.min_prompts]
    if not proposed:
        return FoundCampaigns.none()
    test = LinkTest(sketches.second, among)
    links = [test.test(group) for group in proposed]
    link_q = adjusted_p(np.array([link.p_value for link in links]))
    judged = []
    for group, link, q in zip(proposed, links, link_q, strict=True):
        if q <= config.link_q:
            ids = tuple(sketches.account_ids[i] for i in group)
            states = states_of(ids)
            judged.append(
                _Group(
                    ids,
                    link,
                    states,
                    judge_pool(states, judge, name=campaign_id(ids)),
                    division_of(states, judge.atlas),
                )
            )
    return _tables(judged, judge, proposed=len(proposed), config_id=config_id)


def campaign_id(account_ids: Sequence[str]) -> str:
    """Name of a campaign: a hash of its members, so that the same members give the same name."""
    digest = hashlib.blake2b(digest_size=6)
    for account_id in sorted(account_ids):
        digest.update(hashlib.blake2b(account_id.encode("utf-8", "surrogatepass")).digest())
    return f"campaign-{digest.hexdigest()}"


def _tables(groups: Sequence[_Group], judge: Judge, *, proposed: int, config_id: str) -> FoundCampaigns:
    p = np.array([np.nan if g.judged.p_value is None else g.judged.p_value for g in groups])
    q = adjusted_p(p) if len(p) else p
    trace = {
        "atlas_id": judge.atlas.id,
        "encoder_id": judge.encoder.id,
        "model_id": judge.model_id,
        "config_id": config_id,
    }
    rows: list[dict[str, Any]] = []
    members: list[dict[str, Any]] = []
    for group, q_value in zip(groups, q.tolist(), strict=True):
        verdict, notes = group_verdict(
            group.judged,
            shared_texts=group.division.member_shared_texts,
            text_ratio=group.division.text_ratio,
            config=judge.config,
        )
        if verdict == "clear":
            continue
        name = campaign_id(group.account_ids)
        q_shown = None if np.isnan(q_value) else q_value
        rows.append(_campaign(name, group, verdict, notes, q_shown) | trace)
        members += _members(name, group)
    order = {row["campaign"]: place for place, row in enumerate(sorted(rows, key=_gravity))}
    rows.sort(key=lambda row: order[row["campaign"]])
    members.sort(key=lambda row: (order[row["campaign"]], row["account_id"]))
    return FoundCampaigns(
        pa.Table.from_pylist(rows, schema=CAMPAIGNS),
        pa.Table.from_pylist(members, schema=MEMBERS),
        proposed,
        len(groups),
    )


def _gravity(row: dict[str, Any]) -> tuple[int, float, str]:
    rank = ("review", "watch", "inconclusive").index(row["verdict"])
    return rank, 1.0 if row["p_value"] is None else row["p_value"], row["campaign"]


def _campaign(
    name: str, group: _Group, verdict: str, notes: list[str], q_value: float | None
) -> dict[str, Any]:
    states, link, judged, division = group.states, group.link, group.judged, group.division
    prompts = int(states.prompts.sum())
    return {
        "campaign": name,
        "verdict": verdict,
        "accounts": len(group.account_ids),
        "accounts_at_least": link.accounts_at_least,
        "prompts": prompts,
        "first_seen": int(states.timestamps.min()),
        "last_seen": int(states.timestamps.max()),
        "score": judged.score,
        "p_value": judged.p_value,
        "q_value": q_value,
        "archetype": judged.archetype,
        "archetype_probability": judged.archetype_probability,
        "overlap": link.overlap,
        "content_overlap": link.by_kind["content"],
        "opening_overlap": link.by_kind["openings"],
        "link_p": link.p_value,
        "shared_texts": division.shared_texts,
        "cell_ratio": None if np.isnan(division.cell_ratio) else division.cell_ratio,
        "meetings_z": division.meetings.z,
        "cells_reached": division.cells_reached,
        "cells_expected": division.cells_expected,
        "reasons": [*notes, *_sentences(group, prompts), *judged.reasons],
    }


def _sentences(group: _Group, prompts: int) -> list[str]:
    """What links the accounts and how they divide the work, in words."""
    link, division, judged = group.link, group.division, group.judged
    accounts = len(group.account_ids)
    told = [
        f"{accounts:,} accounts ask alike: two of them overlap by {link.overlap:.2f} on average (1: shares "
        f"of one source, 0: nothing in common) in prompts that had no part in finding them; of 1,000 random "
        f"groups of accounts {round(1000 * link.p_value):,} overlap as much"
    ]
    if judged.p_value is not None:
        told.append(
            f"Their {prompts:,} prompts together stand as high as those of {judged.p_value:.1%} of ordinary "
            "customers of that size"
        )
    if division.shared_texts < 0.01:
        told.append("They hardly ever send the same text: under 1% of their texts came from two of them")
    else:
        told.append(f"{division.shared_texts:.0%} of their different texts came from more than one of them")
    told.append(
        f"Together they reached {division.cells_reached:,} narrow topics, where as many prompts of ordinary "
        f"traffic would reach {division.cells_expected:,.0f}"
    )
    return told


def _members(name: str, group: _Group) -> list[dict[str, Any]]:
    states, link = group.states, group.link
    prompts: NDArray[np.int64] = states.prompts
    return [
        {
            "campaign": name,
            "account_id": account_id,
            "prompts": int(prompts[i]),
            "share": float(prompts[i] / prompts.sum()),
            "overlap": float(link.member_overlap[i]),
            "member_p": float(link.member_p[i]),
            "own_ground": float(group.division.own_ground[i]),
            "first_seen": int(states.timestamps[states.offsets[i]]),
            "last_seen": int(states.timestamps[states.offsets[i + 1] - 1]),
        }
        for i, account_id in enumerate(group.account_ids)
    ]
