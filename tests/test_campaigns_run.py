"""Campaigns as a stage of the run: one split harvest in every table, page and command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.commands import call
from support.drawn_states import DIM, drawn_states

from coverage_lab.campaigns.collisions import meeting_ratio
from coverage_lab.campaigns.find import campaign_id
from coverage_lab.campaigns.judged import PooledJudgement, group_verdict
from coverage_lab.campaigns.mark import Membership, mark_members, memberships
from coverage_lab.campaigns.sketch import sketches_of
from coverage_lab.campaigns.sketch_table import sketches_from_table, sketches_to_table
from coverage_lab.config import CampaignsConfig, DetectConfig, RunConfig
from coverage_lab.detect.verdict import verdict_of
from coverage_lab.errors import ConfigError
from coverage_lab.files.manifest import read_manifest
from coverage_lab.files.output_folder import TABLES
from coverage_lab.jobs import run_job
from coverage_lab.schema import CAMPAIGNS, FLAGS, MEMBERS
from coverage_lab.simulate import simulate_day

#: Few prompts of each account leave the pooled p-value larger than a whole day's would be.
SETTINGS = {
    "encoder": {"name": "static"},
    "traffic": {"as_of": "2026-01-20T00:00:00Z"},
    "detect": {"review_p": 0.001, "watch_p": 0.5},
    "job": {"buckets": 1, "threads": 1},
}
CONFIG = RunConfig.model_validate(SETTINGS)
KEPT = 120


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A simulated day's first prompts of each account, and who its accounts are."""
    simulated = simulate_day(seed=3, accounts=26)
    traffic = simulated.traffic
    ids = np.array(traffic["account_id"].to_pylist())
    taken = np.zeros(len(ids), dtype=bool)
    for name in np.unique(ids):
        taken[np.flatnonzero(ids == name)[:KEPT]] = True
    path = tmp_path_factory.mktemp("campaigns") / "day.parquet"
    pq.write_table(traffic.filter(pa.array(taken)), path)
    truth = {row["account_id"]: row["kind"] for row in simulated.truth.to_pylist()}
    return path, truth


@pytest.fixture(scope="module")
def run(day, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    run_job(day[0], out, CONFIG)
    return out


def table(out, name: str) -> pa.Table:
    return pq.read_table(out / f"{name}.parquet")


def test_a_split_harvest_is_one_campaign_in_every_table(run, day):
    _, truth = day
    split = {name for name, kind in truth.items() if kind == "split_harvest"}
    campaigns, members = table(run, "campaigns"), table(run, "members")
    assert campaigns.schema.equals(CAMPAIGNS)
    assert members.schema.equals(MEMBERS)
    holding = {row["campaign"] for row in members.to_pylist() if row["account_id"] in split}
    assert len(holding) == 1
    (name,) = holding
    mine = members.filter(pc.equal(members["campaign"], name)).to_pylist()
    ids = {row["account_id"] for row in mine}
    assert len(split & ids) >= 7  # of ten: few prompts among few accounts
    assert {truth[account_id] for account_id in ids} <= {"split_harvest", "harvest"}
    assert name == campaign_id(sorted(ids))
    assert sum(row["share"] for row in mine) == pytest.approx(1)
    (campaign,) = [row for row in campaigns.to_pylist() if row["campaign"] == name]
    assert campaign["accounts"] == len(ids) == len(mine)
    assert campaign["prompts"] == KEPT * len(ids)
    assert campaign["overlap"] > 0.6
    accounts = {row["account_id"]: row for row in table(run, "accounts").to_pylist()}
    flags = {row["account_id"]: row for row in table(run, "flags").to_pylist()}
    for account_id in ids:
        for row in (accounts[account_id], flags[account_id]):
            assert (row["campaign"], row["verdict"]) == (name, "watch")
            assert f"One of {len(ids)} accounts" in row["reasons"][0]
    assert table(run, "flags").schema.equals(FLAGS)
    found = read_manifest(run / "run.json").campaigns
    assert found is not None
    assert found.members == members.num_rows
    assert sum(found.verdicts.values()) == campaigns.num_rows <= found.linked <= found.proposed


def test_report_and_explain_tell_the_campaign(run, capsys):
    name = table(run, "campaigns")["campaign"][0].as_py()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f'id="{name}"' in page
    assert f"coverage-lab explain --campaign {name}" in page
    code, told, _ = call(capsys, "explain", "--campaign", name, "--run", run)
    assert code == 0
    for member in table(run, "members").to_pylist():
        assert (member["account_id"] in told) == (member["campaign"] == name)
    code, _, err = call(capsys, "explain", "--campaign", "campaign-0", "--run", run)
    assert (code, name in err) == (ConfigError.exit_code, True)
    assert call(capsys, "explain", "--run", run)[0] == ConfigError.exit_code
    assert call(capsys, "explain", "acct", "--campaign", name, "--run", run)[0] == ConfigError.exit_code


def test_cut_and_stops_do_not_change_a_byte(run, day, tmp_path):
    """Other buckets, and a run that is stopped before each step that campaigns touch."""
    config = CONFIG.model_copy(update={"job": CONFIG.job.model_copy(update={"buckets": 3})})
    for step in ("campaigns", "gather accounts", "sort flags", "gather members"):

        def stop(told: str, step: str = step) -> None:
            if told == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_job(day[0], tmp_path / "out", config, checkpoint=stop)
    run_job(day[0], tmp_path / "out", config)
    for name in ("campaigns", "members"):
        same = (tmp_path / "out" / f"{name}.parquet").read_bytes() == (run / f"{name}.parquet").read_bytes()
        assert same, name
    for name in ("accounts", "flags"):
        for column in ("account_id", "verdict", "campaign", "reasons", "q_value"):
            assert table(tmp_path / "out", name)[column].equals(table(run, name)[column]), (name, column)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "run.json",
        "report.html",
        *(f"{name}.parquet" for name in TABLES),
    }


def test_without_campaigns_verdicts_are_those_of_the_accounts_alone(run, day, tmp_path):
    config = CONFIG.model_copy(update={"campaigns": CampaignsConfig(enabled=False)})
    manifest = run_job(day[0], tmp_path / "out", config)
    assert manifest.campaigns is None
    assert table(tmp_path / "out", "campaigns").num_rows == table(tmp_path / "out", "members").num_rows == 0
    alone, marked = table(tmp_path / "out", "accounts"), table(run, "accounts")
    assert alone["campaign"].null_count == alone.num_rows
    ours = pc.is_null(marked["campaign"])
    for name in ("account_id", "verdict", "reasons", "score", "p_value"):
        assert alone[name].filter(ours).equals(marked[name].filter(ours)), name
    assert alone["score"].equals(marked["score"])


JUDGED = PooledJudgement(0.9, 0.004, {"harvesting": 0.8}, 0, 900, 800, (100, 2000), [])


def read_as(archetype, probability, harvesting=0.1):
    return {"chances": {archetype: probability, "harvesting": harvesting}}


@pytest.mark.parametrize(
    ("changed", "shared", "ratio", "verdict"),
    [
        ({}, 0.0, 1.0, "review"),
        ({"p_value": 0.03}, 0.0, 1.0, "watch"),
        ({"p_value": 0.2}, 0.0, 1.0, "clear"),
        (read_as("multi_tenant", 0.8), 0.0, 1.0, "inconclusive"),  # nobody can be told apart
        (read_as("multi_tenant", 0.3), 0.0, 1.0, "watch"),
        (read_as("multi_tenant", 0.8) | {"end_users": 3}, 0.0, 1.0, "watch"),
        ({"prompts": 40}, 0.0, 1.0, "inconclusive"),
        ({"texts": 3}, 0.0, 1.0, "inconclusive"),
        ({"prompts": 60}, 0.0, 1.0, "watch"),  # smaller than what was calibrated
        ({"texts": 3, "p_value": 0.2}, 0.0, 1.0, "clear"),
        (read_as("evaluation_run", 0.5, 0.2), 0.0, 1.0, "clear"),
        (read_as("evaluation_run", 0.5, 0.3), 0.0, 1.0, "watch"),  # not twice as probable as harvesting
        (read_as("evaluation_run", 0.36, 0.46), 0.0, 1.0, "watch"),  # harvesting is likelier still
        (read_as("evaluation_run", 0.34, 0.46), 0.0, 1.0, "review"),
        (
            {"chances": {"evaluation_run": 0.2, "red_team_research": 0.2, "harvesting": 0.5}},
            0.0,
            1.0,
            "watch",
        ),
        (read_as("data_processing", 0.4, 0.2), 0.0, 1.0, "clear"),
        (read_as("data_processing", 0.3, 0.2), 0.0, 1.0, "watch"),
        ({"end_users": 50}, 0.0, 1.0, "inconclusive"),
        ({}, 0.9, np.inf, "clear"),
        ({}, 0.9, 1.0, "review"),  # a bank that repeats itself is no list that each goes through
        ({}, 0.9, np.nan, "review"),
        ({"p_value": None}, 0.0, 1.0, "inconclusive"),
    ],
)
def test_verdict_of_a_linked_group(changed, shared, ratio, verdict):
    found, notes = group_verdict(
        replace(JUDGED, **changed), shared_texts=shared, text_ratio=ratio, config=DetectConfig()
    )
    assert found == verdict
    by_p_alone = "watch" if "p_value" in changed else "review"
    assert bool(notes) == (found != by_p_alone)


def test_a_group_is_judged_by_the_rules_of_an_account():
    """What makes an account inconclusive makes a group that, in the same words."""
    judged = replace(JUDGED, chances={"multi_tenant": 0.8})
    _, group = group_verdict(judged, shared_texts=0.0, text_ratio=1.0, config=DetectConfig())
    _, account = verdict_of(
        prompts=judged.prompts,
        end_users=0,
        p_value=judged.p_value,
        probable=("multi_tenant", 0.8),
        calibrated_prompts=judged.calibrated_prompts,
        config=DetectConfig(),
    )
    assert [note.removeprefix("Taken as one account: i") for note in group] == [account[0][1:]]


def test_a_class_on_one_sheet_holds_one_list():
    sheet = np.tile(np.arange(40), 6)
    assert meeting_ratio(np.repeat(np.arange(6), 40), sheet) == np.inf


def test_members_are_watched_at_least_and_others_stay_as_they_are():
    rows = pa.table(
        {
            "account_id": pa.array(["a", "b", "c", "d", "e"], pa.large_string()),
            "p_value": [0.5, 0.001, 0.3, 0.5, None],  # of "e" the texts give no ground for a verdict
            "verdict": ["clear", "review", "inconclusive", "clear", "inconclusive"],
            "reasons": [["x"], ["y"], [], ["z"], ["few"]],
            "campaign": pa.nulls(5, pa.string()),
        }
    )
    marked = mark_members(rows, {name: Membership("k", "told") for name in "abce"})
    assert marked["verdict"].to_pylist() == ["watch", "review", "watch", "clear", "inconclusive"]
    assert marked["reasons"].to_pylist() == [["told", "x"], ["told", "y"], ["told"], ["z"], ["told", "few"]]
    assert marked["campaign"].to_pylist() == ["k", "k", "k", None, "k"]
    assert mark_members(rows, {"elsewhere": Membership("k", "told")}) is rows
    assert memberships(CAMPAIGNS.empty_table(), MEMBERS.empty_table()) == {}


def test_sketches_come_back_to_the_bit():
    rng = np.random.default_rng(2)
    sketches = sketches_of(drawn_states(list(rng.standard_normal((3, DIM))), [5, 1, 9], rng=rng))
    again = sketches_from_table(sketches_to_table(sketches), dim=DIM)
    assert again.account_ids == sketches.account_ids
    for half in ("first", "second"):
        for name in ("prompts", "content", "openings"):
            assert np.array_equal(
                getattr(getattr(again, half), name), getattr(getattr(sketches, half), name)
            ), name
    assert len(sketches_from_table(sketches_to_table(sketches).slice(0, 0), dim=DIM)) == 0


def test_the_config_says_what_fits():
    with pytest.raises(ValueError, match="min_accounts"):
        CampaignsConfig(min_accounts=9, max_accounts=3)
    assert json.loads(RunConfig().model_dump_json())["campaigns"]["enabled"] is True
