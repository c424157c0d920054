"""A day of traffic from a folder of corpora: `simulate --corpora`."""

import datetime
import itertools
from collections import Counter, defaultdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import call
from support.written_corpora import collection, corpus, write_corpora

from coverage_lab.errors import ConfigError, TrafficError
from coverage_lab.evaluate.replayed_day import DAY_MIX, day_of_corpora

DATE = datetime.date(2026, 1, 15)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_corpora(tmp_path_factory.mktemp("day") / "corpora", collection())


@pytest.fixture(scope="module")
def day(folder):
    return day_of_corpora(folder, accounts=60, seed=3, date=DATE)


def told(kind, rung):
    if rung.startswith("split"):
        return "split_harvest"
    return "mixed_harvest" if rung.startswith("mixed") else kind


def test_every_kind_is_there_in_its_share(day):
    kinds = Counter(day.truth["kind"].to_pylist())
    assert set(kinds) == {told(*kind) for kind in DAY_MIX}
    assert 55 <= kinds.total() <= 70
    assert kinds["task"] == round(60 * DAY_MIX["task", ""])
    assert kinds["harvest"] == 2 * round(60 * DAY_MIX["harvest", "shuffled"])


def test_a_split_harvest_is_one_group_of_five(day):
    groups = Counter(row["group"] for row in day.truth.to_pylist() if row["kind"] == "split_harvest")
    assert set(groups.values()) == {5}
    assert all(row["group"] is None for row in day.truth.to_pylist() if row["kind"] != "split_harvest")


def test_prompts_come_from_the_corpora_that_the_truth_names(day):
    texts = {one.name: set(one.prompts) for one in collection()}
    sent = defaultdict(list)
    for account, prompt in zip(*(day.traffic[c].to_pylist() for c in ("account_id", "prompt")), strict=True):
        sent[account].append(prompt)
    assert set(sent) == set(day.truth["account_id"].to_pylist())
    for row in day.truth.to_pylist():
        own = set.union(*(texts[name] for name in row["corpora"]))
        if row["kind"] == "payload":
            assert all(any(text in prompt for text in own) for prompt in sent[row["account_id"]])
        else:
            assert set(sent[row["account_id"]]) <= own
        assert len(sent[row["account_id"]]) >= 50


def test_times_are_sorted_and_within_the_day(day):
    times = day.traffic["timestamp"].to_pylist()
    assert times == sorted(times)
    assert {time.date() for time in times} == {DATE}
    assert day.traffic.schema.field("timestamp").type == pa.timestamp("us", "UTC")


def test_only_resellers_name_end_users(day):
    kind = dict(zip(*(day.truth[c].to_pylist() for c in ("account_id", "kind")), strict=True))
    pairs = zip(*(day.traffic[c].to_pylist() for c in ("account_id", "end_user")), strict=True)
    assert {kind[account] for account, user in pairs if user is not None} == {"multi_tenant"}


def test_names_do_not_tell_who_is_who(day):
    kinds = day.truth["kind"].to_pylist()
    assert day.truth["account_id"].to_pylist() == sorted(day.truth["account_id"].to_pylist())
    changes = sum(one != other for one, other in itertools.pairwise(kinds))
    assert changes > len(kinds) / 3, "in runs of one kind there would be ten"


def test_seeds_decide(folder, day):
    same = day_of_corpora(folder, accounts=60, seed=3, date=DATE)
    assert same.traffic.equals(day.traffic)
    assert same.truth.equals(day.truth)
    assert not day_of_corpora(folder, accounts=60, seed=4, date=DATE).traffic.equals(day.traffic)


@pytest.mark.parametrize(
    ("made", "kinds"),
    [
        ([("C", 60)], {"red_team"}),
        ([("E", 3)], {"multi_tenant"}),
        ([("A", 120)], {"harvest"}),
        ([("A", 120), ("D", 80)], {"harvest", "mixed_harvest", "task", "payload"}),
        ([("A", 260), ("B", 60)], {"harvest", "split_harvest", "evaluation_run"}),
    ],
)
def test_small_collections_leave_kinds_out(tmp_path, made, kinds):
    write_corpora(tmp_path, [corpus(kind, "x", prompts) for kind, prompts in made])
    assert set(day_of_corpora(tmp_path, accounts=20, seed=0, date=DATE).truth["kind"].to_pylist()) == kinds


def test_errors_are_plain(folder, tmp_path):
    with pytest.raises(ConfigError, match="seed: expected 0 or more, got -1"):
        day_of_corpora(folder, accounts=20, seed=-1, date=DATE)
    with pytest.raises(TrafficError, match="no file named"):
        day_of_corpora(tmp_path, accounts=20, seed=0, date=DATE)


def test_the_command_writes_traffic_and_truth(folder, tmp_path, capsys):
    code, out, err = call(capsys, "simulate", tmp_path / "day", "--accounts", 20, "--corpora", folder)
    assert (code, err) == (0, "")
    assert "prompts: " in out
    assert pq.read_schema(tmp_path / "day" / "truth.parquet").names == [
        "account_id",
        "kind",
        "group",
        "corpora",
    ]
    code, out, err = call(capsys, "simulate", tmp_path / "day", "--corpora", tmp_path / "none")
    assert code == 3
    assert err.count("\n") == 1
