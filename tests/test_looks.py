"""An account judged day after day: what is kept, which p-value decides, and what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.traced import HashEncoder, a_judge, a_scorecard, tiny_atlas, traffic
from support.traced import said as word

import coverage_lab.jobs.run
from coverage_lab.accounts import AccountStates, merge, trace_prompts
from coverage_lab.config import DetectConfig, JobConfig, RunConfig, StateConfig
from coverage_lab.detect import Judge, Scorecard, judge_states
from coverage_lab.detect.scorecard import GrowthCalibration
from coverage_lab.detect.trajectory import Watched, trajectory_p, unwatched
from coverage_lab.jobs import StateDay, run_job
from coverage_lab.state.maintenance import forget_account, rollback_day
from coverage_lab.state.table import StateTable

#: As the harvests that the small scorecard was fitted on: subjects from all over, none twice.
HARVEST = "Generate a list of 5 facts about subject {}:\n1."
TASK = "Please fix this text number {}"
SIZES = (50, 100, 200)


def card_with_growth(*, accounts: int = 99) -> Scorecard:
    """Ordinary accounts whose scores are known: the k-th has k / 1,000 at each size."""
    rows = tuple((k / 1000,) * len(SIZES) for k in range(1, accounts + 1))
    return a_scorecard().model_copy(update={"growth": GrowthCalibration(sizes=SIZES, score=rows)})


def a_growing_judge(card: Scorecard | None = None) -> Judge:
    limits = DetectConfig(review_p=0.05, watch_p=0.2)
    return Judge(HashEncoder(), tiny_atlas(), card or card_with_growth(), limits, "tests")


def said(put: str, number: int) -> str:
    return word(10_007 + 613 * number) if put == HARVEST else word(number)


def day(name: str, put: str, numbers: range) -> AccountStates:
    rows = [(name, number, put.format(said(put, number)), None) for number in numbers]
    return trace_prompts(traffic(rows), HashEncoder(), tiny_atlas())


def test_the_highest_look_decides_whatever_comes_after() -> None:
    judge = a_growing_judge()
    first = day("a", HARVEST, range(80))
    one = judge_states(first, judge, watched=unwatched(1))
    # Ordinary work from then on: today's score falls, what has been seen stays.
    calm = AccountStates.empty(HashEncoder().dim)
    grown = merge([calm, first, day("a", TASK, range(1000, 1120))])
    two = judge_states(grown, judge, watched=one.watched)
    early, late = one.accounts.to_pylist()[0], two.accounts.to_pylist()[0]
    assert late["score"] < early["score"]
    assert late["p_today"] >= early["p_today"]
    assert one.watched is not None
    assert two.watched is not None
    # Each tells what it saw itself.
    assert two.watched.looks.tolist() == [3]
    assert two.watched.highest[0] < one.watched.highest[0]
    assert late["p_value"] <= early["p_value"]
    calibration = judge.scorecard.growth.trajectories()
    assert early["p_value"] == trajectory_p(one.watched.highest, calibration=calibration)[0]
    assert late["verdict"] == early["verdict"] == "review"
    assert any("counts every look at this account so far" in reason for reason in late["reasons"])


def test_p_by_hand() -> None:
    """Of 99 accounts every fourth tells what is usual, so 74 rank others: above all of them p is 1 / 75."""
    judge = a_growing_judge()
    row = judge_states(day("a", HARVEST, range(80)), judge, watched=unwatched(1)).accounts.to_pylist()[0]
    assert row["score"] > 0.099
    assert row["p_value"] == pytest.approx(1 / 75)


def test_without_state_nothing_changes() -> None:
    states = day("a", HARVEST, range(80))
    plain = judge_states(states, a_judge())
    with_growth = judge_states(states, replace(a_judge(), scorecard=card_with_growth()))
    assert plain.watched is None
    assert with_growth.watched is None
    assert plain.accounts["p_today"].null_count == 1
    assert with_growth.accounts["p_value"] == plain.accounts["p_value"]


def test_a_scorecard_without_growth_keeps_today_s_p_and_says_so_by_a_null() -> None:
    states = day("a", HARVEST, range(80))
    asked = judge_states(states, a_judge(), watched=unwatched(1))
    assert asked.watched is None
    assert asked.accounts.equals(judge_states(states, a_judge()).accounts)


def test_beyond_the_horizon_today_decides_again() -> None:
    judge = a_growing_judge()
    seen = Watched(np.array([3]), np.array([1e6]))
    row = judge_states(day("a", TASK, range(260)), judge, watched=seen).accounts.to_pylist()[0]
    assert row["prompts"] > SIZES[-1]
    assert row["p_value"] == row["p_today"]


def test_below_the_first_size_nothing_is_counted() -> None:
    judged = judge_states(day("a", HARVEST, range(20)), a_growing_judge(), watched=unwatched(1))
    assert judged.watched is not None
    assert judged.watched.looks.tolist() == [0]
    assert np.isnan(judged.watched.highest).all()
    row = judged.accounts.to_pylist()[0]
    assert row["p_value"] == row["p_today"]


DAYS = tuple(date(2026, 1, 10 + n) for n in range(8))


@pytest.fixture
def daily(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Count a day of one account: `daily(day number, put, prompts)` gives its row and the table's rows."""
    config = RunConfig.model_validate(
        {"encoder": {"name": "static"}, "job": {"buckets": 1, "threads": 1}, "detect": {"watch_p": 0.2}}
    )
    used = {"card": card_with_growth()}
    monkeypatch.setattr(
        coverage_lab.jobs.run,
        "load_judge",
        lambda config, **_: Judge(HashEncoder(), tiny_atlas(), used["card"], config.detect, config.digest()),
    )
    monkeypatch.setattr(coverage_lab.jobs.run, "write_report", lambda target, **_: target.write_text("page"))
    tries = iter(range(100))

    def count(
        day: int,
        put: str,
        numbers: range,
        *,
        card: Scorecard | None = None,
        recompute: bool = False,
        window: int = 30,
        folders: tuple[str, ...] = (),
    ):
        used["card"] = card or card_with_growth()
        place = tmp_path / f"try{next(tries)}"
        for at, name in enumerate(folders or ("acct",)):
            folder = place / "traffic" / (f"bucket={at}" if folders else "all")
            folder.mkdir(parents=True)
            begin = int(datetime.combine(DAYS[day], time(), UTC).timestamp())
            rows = [(name, begin + number, put.format(said(put, number)), None) for number in numbers]
            sent = traffic(rows).select(["account_id", "timestamp", "prompt"])
            pq.write_table(sent, folder / "traffic.parquet")
        settings = config.model_copy(update={"state": StateConfig(window_days=window)})
        if folders:
            settings = settings.model_copy(update={"job": JobConfig(threads=1)})
        wanted = StateDay(tmp_path / "state", DAYS[day], recompute=recompute)
        run_job(place / "traffic", place / "out", settings, state=wanted)
        found = pq.read_table(place / "out" / "accounts.parquet").to_pylist()
        return found if folders else found[0]

    count.state = tmp_path / "state"
    return count


def looks_of(state: Path) -> dict[date, tuple[object, ...]]:
    table = StateTable(str(state))
    found = {}
    for file in table.files():
        rows = pa.Table.from_batches(pq.ParquetFile(table.store.opened(file.path)).iter_batches())
        for row in rows.to_pylist():
            found[file.day] = (row["look_model"], row["look"], row["standing"])
    return found


def test_days_share_their_looks_through_the_table(daily) -> None:
    first = daily(0, HARVEST, range(80))
    second = daily(1, TASK, range(1000, 1110))
    card = card_with_growth()
    calibration = card.growth.trajectories()
    kept = looks_of(daily.state)
    assert [kept[day][:2] for day in DAYS[:2]] == [(card.id, 1), (card.id, 2)]
    assert second["score"] < first["score"]
    assert first["p_value"] == trajectory_p(np.array([kept[DAYS[0]][2]]), calibration=calibration)[0]
    assert second["p_value"] == first["p_value"] == pytest.approx(1 / 75)
    assert kept[DAYS[1]][2] < kept[DAYS[0]][2]


def test_another_scorecard_starts_anew_and_a_day_taken_out_takes_its_look(daily) -> None:
    daily(0, HARVEST, range(80))
    other = card_with_growth(accounts=95)
    anew = daily(1, TASK, range(1000, 1110), card=other)
    assert looks_of(daily.state)[DAYS[1]][:2] == (other.id, 2)
    calibration = other.growth.trajectories()
    alone = calibration.standing(np.array([anew["score"]]), np.array([anew["prompts"]]))[0]
    assert looks_of(daily.state)[DAYS[1]][2] == pytest.approx(alone)
    rollback_day(daily.state, DAYS[1])
    again = daily(1, TASK, range(1000, 1110))
    assert again["p_value"] == pytest.approx(1 / 75)


def test_counting_a_day_anew_takes_its_look_back(daily) -> None:
    """Day 1 was wrong: put right, nothing of what it was taken for is left in the days after it."""
    daily(0, HARVEST, range(80))
    daily(1, TASK, range(1000, 1110))
    wrong = looks_of(daily.state)[DAYS[0]][2]
    daily(0, TASK, range(2000, 2080), recompute=True)
    assert max(row[2] for row in looks_of(daily.state).values()) < wrong


def test_recompute_with_another_scorecard_replaces_the_looks(daily) -> None:
    daily(0, HARVEST, range(80))
    other = card_with_growth(accounts=95)
    daily(0, HARVEST, range(80), card=other, recompute=True)
    assert looks_of(daily.state)[DAYS[0]][0] == other.id
    version = StateTable(str(daily.state)).version
    daily(0, HARVEST, range(80), card=other, recompute=True)
    assert StateTable(str(daily.state)).version == version


def test_a_look_that_left_the_window_is_taken_anew(daily) -> None:
    """At a steady pace prompts in the window never pass another size; still nobody goes unseen for ever."""
    for day in range(4):
        daily(day, TASK, range(1000 * day, 1000 * day + 60), window=2)
    late = [daily(day, HARVEST, range(1000 * day, 1000 * day + 60), window=2) for day in (4, 5, 6)]
    assert late[-1]["p_value"] == pytest.approx(1 / 75)
    kept = looks_of(daily.state)
    assert [day for day in DAYS[4:7] if kept[day][1] is not None]


def test_input_that_somebody_else_bucketed_finds_its_days_again(daily) -> None:
    names = ("ann", "bob", "cho", "dan")
    for day in range(2):
        rows = daily(day, TASK, range(1000 * day, 1000 * day + 60), folders=names)
        assert [row["prompts"] for row in rows] == [60 * (day + 1)] * 4
    assert forget_account(daily.state, "ann")[0] == 2


def test_a_small_account_has_not_been_looked_at(daily) -> None:
    daily(0, HARVEST, range(20))
    assert looks_of(daily.state)[DAYS[0]] == (None, None, None)
    grown = daily(1, HARVEST, range(20, 80))
    assert grown["prompts"] == 80
    assert looks_of(daily.state)[DAYS[1]][1] == 1
