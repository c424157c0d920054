"""Two stages of judgement: who is escalated, and that no account's numbers are of two atlases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from benchmarks import cascade_accuracy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from support.manifests import a_manifest
from support.traced import HashEncoder, a_judge, a_scorecard, said, tiny_atlas, traffic

from coverage_lab.accounts import trace_prompts
from coverage_lab.atlas import Atlas, fit_atlas
from coverage_lab.config import EncoderConfig, RunConfig, ServiceConfig, TrafficConfig
from coverage_lab.detect import Judge, JudgedAccounts, judge_prompts, load
from coverage_lab.detect.cascade import accounts_to_escalate, replace_accounts
from coverage_lab.detect.judge import judge_states
from coverage_lab.encoders import resolve_name
from coverage_lab.errors import ConfigError
from coverage_lab.files.manifest import AtlasUsed, EncoderUsed, Escalated, SecondStage
from coverage_lab.jobs import run
from coverage_lab.jobs.ray import bucket_stage
from coverage_lab.jobs.recalibrate import recalibrate
from coverage_lab.schema import ACCOUNTS
from coverage_lab.service.scoring import Scoring

TABLES = ("accounts", "curves", "cells", "flags")


class OtherEncoder(HashEncoder):
    """The hash encoder, turned: another id, other cells, the same dimension."""

    name = "other"
    id = "f" * 64

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.roll(super().encode([f"other {text}" for text in texts]), 3, axis=1)


def other_atlas() -> Atlas:
    texts = [f"reference {i}" for i in range(1000)]
    return fit_atlas(
        OtherEncoder().encode(texts),
        np.arange(1000) % 50,
        np.ones(1000, dtype=bool),
        None,
        encoder=OtherEncoder(),
        sizes=(3, 8, 27),  # as many middle cells as the stand-in scorecard weighs
        iterations=3,
        description="tests: the second stage",
    )


@pytest.fixture(scope="module")
def second() -> Judge:
    atlas = other_atlas()
    card = a_scorecard().model_copy(update={"atlas_id": atlas.id, "encoder_id": OtherEncoder.id})
    return replace(a_judge(watch_p=0.95), encoder=OtherEncoder(), atlas=atlas, scorecard=card)


def two_stages(second: Judge, escalate_p: float) -> Judge:
    """Fresh encoders, so that a test sees who was asked for what."""
    return replace(
        a_judge(watch_p=0.95), second=replace(second, encoder=OtherEncoder()), escalate_p=escalate_p
    )


@pytest.fixture(scope="module")
def prompts() -> pa.Table:
    """Ten sweeps, ten tasks, and two accounts with too few prompts, all mixed."""
    rows = []
    for k in range(10):
        rows += [
            (f"sweep {k}", i, f"Generate a list of 5 facts about subject {said(1000 * k + i)}:\n1.", None)
            for i in range(90)
        ]
        rows += [
            (f"task {k}", i, f"Please fix this text number {said(1000 * k + i % 20)}", "u") for i in range(80)
        ]
    for k in range(2):
        rows += [
            (f"few {k}", i, f"Generate a list of facts about few {said(1000 * k + i)}", None)
            for i in range(20)
        ]
    order = np.random.default_rng(3).permutation(len(rows))
    begin = 1_760_000_000  # a day that a run accepts
    return traffic(
        [(name, begin + second, text, user) for name, second, text, user in (rows[i] for i in order)]
    )


def rows_of(judged: JudgedAccounts, table: str, account: str) -> list[dict[str, object]]:
    found: pa.Table = getattr(judged, table)
    return found.filter(pc.equal(found["account_id"], account)).to_pylist()


def accounts_table(p: Sequence[float | None], prompts: Sequence[int]) -> pa.Table:
    """The columns that escalation reads."""
    names = [f"{i:05d}" for i in range(len(p))]
    return pa.table(
        {
            "account_id": pa.array(names, pa.large_string()),
            "p_value": pa.array(p, pa.float64()),
            "prompts": pa.array(prompts, pa.int64()),
        }
    )


def test_escalated_are_the_low_and_the_unknown_with_enough_prompts() -> None:
    table = accounts_table([0.1, 0.10001, None, 0.01, None, 0.01], [50, 50, 50, 49, 49, 51])
    assert accounts_to_escalate(table, escalate_p=0.1, min_prompts=50).to_pylist() == [
        "00000",
        "00002",
        "00005",
    ]
    assert accounts_to_escalate(table, escalate_p=0.1, min_prompts=51).to_pylist() == ["00005"]
    assert accounts_to_escalate(table, escalate_p=0.2, min_prompts=49).to_pylist() == [
        f"0000{i}" for i in range(6)
    ]
    assert accounts_to_escalate(table.slice(0, 0), escalate_p=0.1, min_prompts=1).to_pylist() == []


ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", "ä", "中", "😀", "A"]), st.integers(0, 9)), max_size=30)


@given(first=ROWS, second=ROWS, chosen=st.sets(st.sampled_from(["a", "ä", "😀", "A"])))
@settings(max_examples=150, deadline=None)
def test_superseded_never_mixes_an_account(
    first: list[tuple[str, int]], second: list[tuple[str, int]], chosen: set[str]
) -> None:
    """Oracle: Python's own sort, account by account."""

    def table(rows: list[tuple[str, int]]) -> pa.Table:
        names, values = [name for name, _ in rows], [value for _, value in rows]
        return pa.table({"account_id": pa.array(names, pa.large_string()), "x": pa.array(values, pa.int64())})

    theirs = [row for row in second if row[0] in chosen]
    found = replace_accounts(table(first), table(theirs), pa.array(sorted(chosen), pa.large_string()))
    expected = sorted([row for row in first if row[0] not in chosen] + theirs, key=lambda row: row[0])
    assert list(zip(found["account_id"].to_pylist(), found["x"].to_pylist(), strict=True)) == expected


@pytest.mark.parametrize("dependence", [1.0, 0.6, 0.0, -0.6, -1.0])
@pytest.mark.parametrize("escalate_p", [0.015, 0.05, 0.5])
def test_what_an_innocent_account_reports_is_a_p_value(dependence: float, escalate_p: float) -> None:
    """P(p ≤ α) ≤ α for every α, however the stages depend on one another; within 4 standard errors."""
    rng = np.random.default_rng(int(100 * escalate_p))
    size = 40_000
    one, noise = rng.normal(size=(2, size))
    other = dependence * one + np.sqrt(1 - dependence**2) * noise
    first = accounts_table(norm.cdf(one).tolist(), [100] * size)
    second = accounts_table(norm.cdf(other).tolist(), [100] * size)
    ids = accounts_to_escalate(first, escalate_p=escalate_p, min_prompts=1)
    theirs = second.filter(pc.is_in(second["account_id"], value_set=ids))
    p = replace_accounts(first, theirs, ids)["p_value"].to_numpy()
    assert len(p) == size
    for alpha in (0.002, 0.01, 0.015, 0.02, 0.05, 0.1, 0.3, 0.5, 0.6, 0.9):
        assert (p <= alpha).mean() <= alpha + 4 * np.sqrt(alpha * (1 - alpha) / size)


def test_each_account_is_one_stage_s_in_every_table(second: Judge, prompts: pa.Table) -> None:
    judge = two_stages(second, 0.2)
    alone = judge_prompts(prompts, replace(judge, second=None))
    again = judge_prompts(prompts, second)
    found = judge_prompts(prompts, judge)
    p = dict(
        zip(alone.accounts["account_id"].to_pylist(), alone.accounts["p_value"].to_pylist(), strict=True)
    )
    raised = {name for name, value in p.items() if value <= 0.2 and not name.startswith("few")}
    assert 3 <= len(raised) <= 19
    assert found.accounts.schema == ACCOUNTS
    assert found.accounts["account_id"].to_pylist() == alone.accounts["account_id"].to_pylist()
    for table in TABLES:
        assert getattr(found, table).schema == getattr(alone, table).schema
        for name in p:
            source = again if name in raised else alone
            assert rows_of(found, table, name) == rows_of(source, table, name), (table, name)
    by_atlas = {
        row["account_id"]: row["atlas_id"]
        for row in found.accounts.select(["account_id", "atlas_id"]).to_pylist()
    }
    assert by_atlas == {name: second.atlas.id if name in raised else tiny_atlas().id for name in p}
    traced = {(row["account_id"], row["atlas_id"], row["encoder_id"]) for row in found.flags.to_pylist()}
    assert {name in raised for name, _, _ in traced} == {True, False}
    for name, atlas_id, encoder_id in traced:
        expected = (second.atlas.id, OtherEncoder.id) if name in raised else (tiny_atlas().id, HashEncoder.id)
        assert (atlas_id, encoder_id) == expected


def test_only_escalated_prompts_reach_the_second_encoder(second: Judge, prompts: pa.Table) -> None:
    judge = two_stages(second, 0.2)
    found = judge_prompts(prompts, judge)
    theirs = found.accounts.filter(pc.equal(found.accounts["atlas_id"], second.atlas.id))["account_id"]
    wanted = set(prompts.filter(pc.is_in(prompts["account_id"], value_set=theirs))["prompt"].to_pylist())
    assert judge.second is not None
    asked = [text.removeprefix("other ") for call in judge.second.encoder.calls for text in call]
    # Prompts, and what they are parted into: contents and instructions.
    theirs_whole = [text for text in asked if text in wanted]
    assert set(theirs_whole) == wanted
    assert len(asked) == len(set(asked))
    others = set(prompts["prompt"].to_pylist()) - wanted
    assert not others & set(asked)
    assert len(wanted) < len(set(prompts["prompt"].to_pylist()))


@pytest.mark.parametrize("escalate_p", [1e-9, 1.0])
def test_the_ends_are_one_stage_alone(escalate_p: float, second: Judge, prompts: pa.Table) -> None:
    judge = two_stages(second, escalate_p)
    found = judge_prompts(prompts, judge)
    assert judge.second is not None
    if escalate_p < 1:
        assert judge.second.encoder.calls == []
        assert found.accounts == judge_prompts(prompts, replace(judge, second=None)).accounts
        return
    small = pc.less(found.accounts["prompts"], judge.config.min_prompts)
    assert set(found.accounts.filter(small)["atlas_id"].to_pylist()) == {tiny_atlas().id}
    many = pc.invert(small)
    assert found.accounts.filter(many) == judge_prompts(prompts, second).accounts.filter(many)


def test_no_account_and_no_prompt(second: Judge, prompts: pa.Table) -> None:
    found = judge_prompts(prompts.slice(0, 0), two_stages(second, 1.0))
    assert [getattr(found, table).num_rows for table in TABLES] == [0, 0, 0, 0]


def test_states_are_of_one_encoder(second: Judge, prompts: pa.Table) -> None:
    states = trace_prompts(prompts.slice(0, 100), HashEncoder(), tiny_atlas())
    with pytest.raises(ConfigError, match="a cascade judges prompts, not account states"):
        judge_states(states, two_stages(second, 0.2))


def test_ids_are_of_both_stages(second: Judge) -> None:
    judge = two_stages(second, 0.2)
    card = a_scorecard().id
    assert replace(judge, second=None).ids == (HashEncoder.id, tiny_atlas().id, card)
    assert second.scorecard is not None
    assert judge.ids == (
        *replace(judge, second=None).ids,
        OtherEncoder.id,
        second.atlas.id,
        second.scorecard.id,
    )
    unscored = replace(judge, second=None, scorecard=None)
    assert unscored.ids == (HashEncoder.id, tiny_atlas().id, None)
    assert (judge.device, [stage.encoder.name for stage in judge.stages]) == ("cpu", ["hash", "other"])


def test_a_worker_with_another_second_stage_refuses(second: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = two_stages(second, 0.2)
    monkeypatch.setattr(bucket_stage, "load_judge", lambda config, threads: judge)
    asked = RunConfig().model_dump_json()
    bucket_stage.BucketActor(asked, judge.ids, 1, []).ready()
    with pytest.raises(ConfigError, match="a Ray worker loaded"):
        bucket_stage.BucketActor(asked, replace(judge, second=None).ids, 1, []).ready()


def test_escalate_p_is_part_of_a_cascade_s_digest_only() -> None:
    def digest(name: str, p: float) -> str:
        return RunConfig.model_validate({"encoder": {"name": name}, "cascade": {"escalate_p": p}}).digest()

    assert digest("cascade", 0.1) != digest("cascade", 0.2)
    assert digest("static", 0.1) == digest("static", 0.2)


@pytest.mark.parametrize("p", [0.0, -0.1, 1.1])
def test_escalate_p_is_a_probability(p: float) -> None:
    with pytest.raises(ValueError, match="escalate_p"):
        RunConfig.model_validate({"cascade": {"escalate_p": p}})


@pytest.fixture
def parts(second: Judge, monkeypatch: pytest.MonkeyPatch) -> list[EncoderConfig]:
    """Stand-ins for what `load_judge` loads; returns the encoder configs that were asked for."""
    asked: list[EncoderConfig] = []

    def encoder(config: EncoderConfig, *, threads: int, progress: object) -> HashEncoder:
        asked.append(config)
        return HashEncoder() if config.name == "static" else OtherEncoder()

    monkeypatch.setattr(load, "load_encoder", encoder)
    monkeypatch.setattr(load, "default_atlas", {"hash": tiny_atlas(), "other": second.atlas}.__getitem__)
    cards = {"hash": a_scorecard(), "other": second.scorecard}
    monkeypatch.setattr(load, "default_scorecard", cards.__getitem__)
    return asked


CASCADE = {
    "encoder": {"name": "cascade", "precision": "bfloat16", "batch_size": 7},
    "cascade": {"escalate_p": 0.2},
    "detect": {"watch_p": 0.5},
    "job": {"threads": 1},
}


def test_a_cascade_loads_both_stages(parts: list[EncoderConfig], second: Judge) -> None:
    config = RunConfig.model_validate(CASCADE)
    judge = load.load_judge(config, threads=1)
    assert judge.second is not None
    assert (judge.atlas.id, judge.second.atlas.id) == (tiny_atlas().id, second.atlas.id)
    assert (judge.escalate_p, judge.config, judge.second.config) == (0.2, config.detect, config.detect)
    assert judge.config_id == judge.second.config_id == config.digest()
    # What the config asks of the encoder is asked of the transformer.
    assert parts == [
        EncoderConfig(name="static"),
        EncoderConfig.model_validate({**CASCADE["encoder"], "name": "minilm"}),
    ]
    assert load.load_judge(RunConfig(encoder=EncoderConfig(name="static")), threads=1).second is None


def test_scorecards_and_atlases_of_both_stages_can_be_given(
    parts: list[EncoderConfig], second: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert second.scorecard is not None
    (tmp_path / "other.json").write_text(second.scorecard.model_dump_json())
    mine = a_scorecard().model_copy(update={"card": {"made_from": "mine"}})
    (tmp_path / "mine.json").write_text(mine.model_dump_json())

    def judge(**sections: dict[str, object]) -> Judge:
        merged = {
            key: CASCADE.get(key, {}) | sections.get(key, {}) for key in CASCADE.keys() | sections.keys()
        }
        config = load.resolve_config(RunConfig.model_validate(merged))
        monkeypatch.chdir("/")
        try:
            return load.load_judge(config, threads=1)
        finally:
            monkeypatch.chdir(tmp_path)

    assert judge(cascade={"scorecard": "mine.json"}).scorecard == mine
    with pytest.raises(ConfigError, match=r"^cascade\.scorecard .*other\.json: made for atlas"):
        judge(cascade={"scorecard": "other.json"})
    with pytest.raises(ConfigError, match=r"^detect\.scorecard .*mine\.json: made for atlas"):
        judge(detect={"scorecard": "mine.json"})
    atlases = {Path("/one"): tiny_atlas(), Path("/two"): second.atlas}
    monkeypatch.setattr(load, "load_atlas", atlases.__getitem__)
    with pytest.raises(ConfigError, match=r"^cascade\.scorecard: a cascade escalates by p-value"):
        judge(cascade={"atlas": "/one"})
    with pytest.raises(ConfigError, match=r"^detect\.scorecard: a cascade escalates by p-value"):
        judge(atlas={"path": "/two"})
    given = judge(cascade={"atlas": "/one", "scorecard": "mine.json"})
    assert (given.atlas.id, given.scorecard) == (tiny_atlas().id, mine)


def test_where_one_encoder_is_asked_for_a_cascade_is_refused(second: Judge, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'cascade' is two encoders"):
        resolve_name(EncoderConfig(name="cascade"))
    encoder = EncoderUsed(name="minilm", id="e", device="cpu", precision="float32")
    cascade = SecondStage(
        escalate_p=0.2,
        escalated=Escalated(accounts=1, prompts=60),
        encoder=encoder,
        atlas=AtlasUsed(id="a", sizes=(4, 8, 32), description="tests"),
        model=None,
    )
    (tmp_path / "run.json").write_text(a_manifest(cascade=cascade).to_json())
    (tmp_path / "accounts.parquet").touch()
    with pytest.raises(ConfigError, match="a cascade's scores are of two scorecards"):
        recalibrate(tmp_path, tmp_path / "out.json")


def test_the_service_judges_in_two_stages(second: Judge, prompts: pa.Table) -> None:
    judge = two_stages(second, 0.2)
    asked = [
        {
            "account_id": name,
            "prompts": [
                {key: row[key] for key in ("prompt", "end_user")}
                | {"timestamp": row["timestamp"].isoformat()}
                for row in prompts.filter(pc.equal(prompts["account_id"], name)).to_pylist()
            ],
        }
        for name in pc.unique(prompts["account_id"]).to_pylist()
    ]
    scoring = Scoring(
        judge, TrafficConfig(as_of=datetime(2026, 1, 1, tzinfo=UTC)), ServiceConfig(), threads=1
    )
    answer = json.loads(scoring.answer(json.dumps({"accounts": asked}).encode()))
    expected = judge_prompts(prompts, judge).accounts.sort_by("account_id").to_pylist()
    found = sorted(answer["accounts"], key=lambda account: account["account_id"])
    for name in ("account_id", "p_value", "score", "verdict", "atlas_id", "reasons"):
        assert [one[name] for one in found] == [one[name] for one in expected], name
    assert {one["atlas_id"] for one in found} == {judge.atlas.id, second.atlas.id}
    stage = {
        "encoder": "other",
        "encoder_id": OtherEncoder.id,
        "atlas_id": second.atlas.id,
        "model_id": second.scorecard.id,
        "escalate_p": 0.2,
    }
    assert answer["second"] == scoring.health().model_dump()["second"] == stage
    assert answer["atlas_id"] == judge.atlas.id


@pytest.mark.slow
def test_a_run_with_two_stages(
    parts: list[EncoderConfig], second: Judge, prompts: pa.Table, tmp_path: Path
) -> None:
    source = tmp_path / "day.parquet"
    pq.write_table(prompts.select(["account_id", "timestamp", "prompt", "end_user"]), source)
    config = RunConfig.model_validate(CASCADE)
    manifest = run.run_job(source, tmp_path / "out", config)
    accounts = pq.read_table(tmp_path / "out" / "accounts.parquet")
    theirs = accounts.filter(pc.equal(accounts["atlas_id"], second.atlas.id))
    cascade = manifest.cascade
    assert cascade is not None
    assert 3 <= theirs.num_rows <= 19
    assert cascade.escalated.model_dump() == {
        "accounts": theirs.num_rows,
        "prompts": pc.sum(theirs["prompts"]).as_py(),
    }
    assert (cascade.escalate_p, cascade.atlas.id) == (0.2, second.atlas.id)
    expected = {"name": "other", "id": OtherEncoder.id, "device": "cpu", "precision": "float32"}
    assert cascade.encoder.model_dump() == expected
    assert manifest.atlas == AtlasUsed(id=tiny_atlas().id, sizes=(4, 8, 32), description="tests")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Second stage" in page
    assert f"{theirs.num_rows} accounts with p at most 0.2" in page
    assert second.atlas.id in page
    # One bucket or five, the tables are the same: accounts are judged alone.
    five = RunConfig.model_validate(CASCADE | {"job": {"threads": 1, "buckets": 5}})
    run.run_job(source, tmp_path / "five", five)
    assert pq.read_table(tmp_path / "five" / "accounts.parquet") == accounts
    flags = [pq.read_table(tmp_path / name / "flags.parquet").drop(["config_id"]) for name in ("out", "five")]
    assert flags[0] == flags[1]


def test_another_second_stage_is_another_run(
    parts: list[EncoderConfig], second: Judge, prompts: pa.Table, tmp_path: Path
) -> None:
    source = tmp_path / "day.parquet"
    pq.write_table(prompts.select(["account_id", "timestamp", "prompt"]).slice(0, 5), source)
    found = run.find_sources(source)
    judge, config = two_stages(second, 0.2), RunConfig()
    keys = {run._run_key(found, config, one) for one in (judge, replace(judge, second=None))}
    assert len(keys) == 2


def test_the_page_compares_an_account_with_its_own_stage_s(second: Judge, prompts: pa.Table) -> None:
    from coverage_lab.report.run_page import _percentiles

    accounts = judge_prompts(prompts, two_stages(second, 0.2)).accounts
    rows = accounts.to_pylist()
    found = _percentiles(rows, rows, accounts)
    assert set(found) == {tiny_atlas().id, second.atlas.id}
    compared = 0
    for row in rows:
        peers = [other["score"] for other in rows if other["atlas_id"] == row["atlas_id"]]
        peers.remove(row["score"])
        if peers:
            below = sum(score < row["score"] for score in peers) + peers.count(row["score"]) / 2
            assert found[row["atlas_id"]].of("score", row["score"]) == pytest.approx(100 * below / len(peers))
            compared += 1
    assert compared > 2


@pytest.mark.slow
def test_the_two_that_ship() -> None:
    """Static and MiniLM themselves: what is escalated is what a run with MiniLM alone says."""
    rows = [
        (f"acct {k}", i, f"Write a poem of {i} lines about the number {k}.", None)
        for k in range(3)
        for i in range(52)
    ]
    rows += [("few", i, "hello", None) for i in range(3)]
    config = RunConfig.model_validate(
        {"encoder": {"name": "cascade", "device": "cpu"}, "cascade": {"escalate_p": 1.0}}
    )
    judge = load.load_judge(config, threads=1)
    found = judge_prompts(traffic(rows), judge)
    assert judge.second is not None
    assert (judge.encoder.name, judge.second.encoder.name) == ("static", "minilm")
    alone = judge_prompts(traffic(rows[:-3]), judge.second)
    assert found.accounts.slice(0, 3) == alone.accounts
    first = judge_prompts(traffic(rows[-3:]), replace(judge, second=None))
    assert found.accounts.slice(3) == first.accounts


@pytest.mark.slow
def test_the_benchmark_of_what_a_cascade_loses(tmp_path: Path) -> None:
    """Oracle: with a blind second stage, the first stage's order stays but for a shuffled top."""
    rng = np.random.default_rng(4)
    innocent, harvests = 400, 60
    size = innocent + harvests
    guilty = np.arange(size) >= innocent
    for name, shift in (("static", 6.0), ("minilm", 0.0)):
        folder = tmp_path / name
        folder.mkdir()
        per_size = {
            "kind": np.where(guilty, "harvest", "task").tolist(),
            "rung": np.where(guilty, "in_order", "").tolist(),
            "corpora": [[f"corpus {i % 7}"] for i in range(size)],
            "fold": [0] * size,
            "trajectory": list(range(size)),
        }
        table = {key: values * 2 for key, values in per_size.items()}
        table["prompts"] = [250] * size + [1_000] * size
        table["coverage_lab"] = np.tile(rng.normal(size=size) + shift * guilty, 2).tolist()
        pq.write_table(pa.table(table), folder / "accounts.parquet")
    cascade_accuracy.benchmark(tmp_path / "static", tmp_path / "minilm", out=tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {row["prompts_an_account"] for row in rows} == {250, 1_000}
    row = next(row for row in rows if row["escalate_p"] == 0.05)
    assert row["escalated_innocent"] == 0.05
    assert row["auroc_static"] > 0.999
    assert abs(row["auroc_minilm"] - 0.5) < 0.1
    # All harvests and 5% of the innocent are escalated, and half of those lie over a harvest.
    assert row["auroc"] == pytest.approx(0.975, abs=0.01)
    assert row["speedup"] == pytest.approx(1 / (0.05 + 203 / 15_600), abs=0.1)
    assert not row["target_met"]
