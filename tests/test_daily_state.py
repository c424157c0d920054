"""Runs day after day: each day counted once, judged over the window, taken out, forgotten, killed."""

import json
import os
import shutil
import sys
import tempfile
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import daily_state
from support.commands import call, write
from support.daily_state import (
    CONFIG,
    FIRST,
    SEEN,
    SETTINGS,
    all_at_once,
    binding,
    contents,
    count,
    count_all,
    count_and_die,
    day_number,
    every_byte,
    outputs,
    stand_in,
    together,
    traffic_of,
)
from support.killed import KILLED, end_of
from support.traced import HashEncoder, tiny_atlas

from coverage_lab.accounts import merge, trace_prompts
from coverage_lab.config import RunConfig
from coverage_lab.detect import judge_states
from coverage_lab.detect.judge import with_q_values
from coverage_lab.errors import ConfigError, MissingExtraError, OutputError, TrafficError
from coverage_lab.jobs import StateDay, analyze, run_job
from coverage_lab.schema import STATE_PARTITIONS, STATES, STATES_VERSION, TRAFFIC
from coverage_lab.state.maintenance import (
    forget_account,
    migrate_state,
    retain_days,
    rollback_day,
    show_state,
)
from coverage_lab.state.store import StateStore
from coverage_lab.state.table import Binding, StateTable, open_or_create, state_url
from coverage_lab.traffic import find_sources

judge, days, undisturbed = daily_state.judge, daily_state.days, daily_state.undisturbed


@pytest.fixture
def after(undisturbed, tmp_path):
    """Give a copy of the state after so many days."""
    return lambda n: shutil.copytree(undisturbed[0].parent / f"after-{n}", tmp_path / "state")


def versions(state) -> int:
    return StateTable(str(state)).version


def as_traffic(table: pa.Table) -> pa.Table:
    size = table.num_rows
    columns = {field.name: pa.nulls(size, field.type) for field in TRAFFIC}
    columns |= {name: table[name].cast(TRAFFIC.field(name).type) for name in table.column_names}
    columns |= {"source": pa.array([0] * size, pa.int32()), "row": pa.array(range(size), pa.int64())}
    return pa.table(columns, schema=TRAFFIC)


@pytest.mark.parametrize(("window", "merged_days"), [(30, (0, 1, 2, 3)), (2, (2, 3)), (1, (3,))])
def test_a_day_is_judged_by_the_merge_of_its_window(window, merged_days, tmp_path, days):
    config = RunConfig.model_validate(SETTINGS | {"state": {"window_days": window}})
    _, outs = count_all(days, tmp_path, config)
    parts = []
    for n in merged_days:
        rows = pq.read_table(days[n])
        seen_last = pa.array([name in SEEN[3] for name in rows["account_id"].to_pylist()])
        parts.append(trace_prompts(as_traffic(rows.filter(seen_last)), HashEncoder(), tiny_atlas()))
    judge = stand_in(config)
    expected = judge_states(merge(parts), judge)
    accounts = pq.read_table(outs[3] / "accounts.parquet")
    wanted = with_q_values(expected.accounts, judge.config)
    # Recounted from many accounts at once, where the last digit depends on how many: the run has two buckets.
    recounted = "score_without_top_cells"
    np.testing.assert_allclose(accounts[recounted].to_numpy(), wanted[recounted].to_numpy(), rtol=1e-12)
    assert accounts.drop_columns(recounted).equals(wanted.drop_columns(recounted))
    assert accounts["account_id"].to_pylist() == ["ann", "bob", "cho"]
    assert accounts["prompts"].to_pylist() == [
        14 * sum(name in SEEN[n] for n in merged_days) for name in SEEN[3]
    ]
    for name in ("curves", "cells"):
        written = pq.read_table(outs[3] / f"{name}.parquet")
        for account in SEEN[3]:
            one, other = (
                t.filter(pa.compute.equal(t["account_id"], account))
                for t in (written, getattr(expected, name))
            )
            assert one.equals(other), (name, account)


def test_flags_tell_the_window_and_a_run_without_state_does_not(days, tmp_path, undisturbed):
    _, outs = undisturbed
    plain = tmp_path / "plain"
    run_job(days[0], plain, CONFIG)
    manifest = json.loads((plain / "run.json").read_text())
    assert "state" not in manifest
    assert manifest["config_id"] == CONFIG.digest() != CONFIG.digest(state=True)
    other = RunConfig.model_validate(SETTINGS | {"state": {"window_days": 3}})
    assert other.digest() == CONFIG.digest()
    assert other.digest(state=True) != CONFIG.digest(state=True)
    flags = pq.read_table(outs[0] / "flags.parquet")
    assert set(flags["config_id"].to_pylist()) == {CONFIG.digest(state=True)}
    # The first day has nothing before it: but for the trace it is judged as without state.
    assert pq.read_table(outs[0] / "accounts.parquet").equals(pq.read_table(plain / "accounts.parquet"))


def test_manifest_counts_the_run_and_names_the_window(undisturbed):
    _, outs = undisturbed
    manifest = json.loads((outs[3] / "run.json").read_text())
    assert manifest["counts"]["rows_used"] == manifest["counts"]["rows_in"] == 14 * 3
    told = manifest["state"]
    assert told["day"] == "2026-01-13"
    assert told["window"] == {"first": "2025-12-15", "days": 30}
    assert [file["name"] for file in told["files"]] == ["day-3.parquet"]
    # Bob is in three days before, ann in two, cho in one.
    assert told["read"]["files"] >= 3


def test_the_same_again_changes_nothing(days, tmp_path):
    state, outs = count_all(days[:2], tmp_path)
    before, rows = versions(state), contents(state)
    count(days[1], outs[1], state, 1)
    assert versions(state) == before, "a finished run"
    count(days[1], tmp_path / "elsewhere", state, 1)
    assert versions(state) == before, "the same day from another folder"
    assert outputs(tmp_path / "elsewhere") == outputs(outs[1])
    moved = write(pq.read_table(days[1]), tmp_path / "moved.parquet")
    count(moved, tmp_path / "renamed", state, 1, recompute=True)
    assert versions(state) == before, "the same bytes under another name, even to be computed again"
    assert contents(state) == rows


def test_another_run_of_the_same_day_needs_recompute(days, tmp_path, after):
    state = after(1)
    with pytest.raises(OutputError, match=r"2026-01-10 has been counted by another run.*--recompute"):
        count(days[1], tmp_path / "other", state, 0)
    assert not (tmp_path / "other").exists(), "refused before any work"


def test_recompute_with_a_late_file_is_as_if_it_had_been_there(days, tmp_path, after):
    late = write(traffic_of(day_number(1), ("bob", "eve"), seed=5), tmp_path / "late.parquet")
    both = tmp_path / "both"
    both.mkdir()
    for file in (days[1], late):
        (both / file.name).write_bytes(file.read_bytes())
    state = after(3)
    before = versions(state)
    count(both, tmp_path / "again", state, 1, recompute=True)
    assert versions(state) == before + 1, "one commit"
    count(days[3], tmp_path / "last", state, 3)
    fresh = tmp_path / "fresh"
    for n, input in enumerate([days[0], both, days[2], days[3]]):
        count(input, tmp_path / f"fresh-{n}", fresh, n)
    assert contents(state) == contents(fresh)
    assert outputs(tmp_path / "last") == outputs(tmp_path / "fresh-3")
    assert outputs(tmp_path / "again") == outputs(tmp_path / "fresh-1"), "later days are not looked at"
    # The day's old file list is gone with it.
    assert len(list((state / "_days").iterdir())) == 4


def test_rollback_is_as_if_the_day_had_never_been_counted(days, tmp_path, after, undisturbed):
    state, outs = after(3), [shutil.copytree(out, tmp_path / out.name) for out in undisturbed[1]]
    assert rollback_day(state, day_number(1)) == 3
    count(days[3], tmp_path / "last", state, 3)
    without = tmp_path / "without"
    for n in (0, 2, 3):
        count(days[n], tmp_path / f"without-{n}", without, n)
    assert contents(state) == contents(without)
    assert outputs(tmp_path / "last") == outputs(tmp_path / "without-3")
    with pytest.raises(OutputError, match="not in the state"):
        count(days[1], outs[1], state, 1)  # the old folder does not count it again in silence
    count(days[1], tmp_path / "back", state, 1)
    assert contents(state).keys() == {day_number(n).isoformat() for n in range(4)}
    with pytest.raises(ConfigError, match="--day 2020-01-01: not in the state"):
        rollback_day(state, date(2020, 1, 1))


def where_is(folder: Path, name: str) -> list[str]:
    """Files that hold a name as it stands, or in a column."""
    found = [path for path, text in every_byte(folder).items() if name.encode() in text]
    for file in folder.rglob("*.parquet"):
        table = pq.read_table(file, partitioning=None)
        if "account_id" in table.column_names and name in table["account_id"].to_pylist():
            found.append(str(file.relative_to(folder)))
    return found


def test_a_forgotten_account_is_nowhere_in_the_folder(tmp_path):
    state = tmp_path / "state"
    for n, accounts in enumerate([("ann", "secret-id"), ("secret-id",), ("ann", "bob")]):
        named = write(traffic_of(day_number(n), accounts), tmp_path / f"from-secret-id-{n}.parquet")
        count(named, tmp_path / f"out-{n}", state, n)
    orphan = state / "day=2026-01-10" / "run=killed" / "bucket-00000-of-00001-0123456789abcdef.parquet"
    orphan.parent.mkdir()
    orphan.write_bytes(next(state.glob("day=2026-01-11/*/*.parquet")).read_bytes())
    assert len(where_is(state, "secret-id")) > 3
    rows = contents(state)
    assert forget_account(state, "secret-id")[0] == 2
    assert where_is(state, "secret-id") == []
    expected = {day: [row for row in of if row["account_id"] != "secret-id"] for day, of in rows.items()}
    assert contents(state) == expected
    days_left = StateTable(str(state)).days()
    assert list(days_left) == [day_number(n) for n in range(3)], "a day without accounts is still a day"
    # The day may still be counted again, and the account that comes back begins anew.
    before = versions(state)
    assert forget_account(state, "secret-id")[0] == 0
    assert contents(state) == expected
    assert versions(state) - before <= 2, "at most what a vacuum notes"
    back = write(traffic_of(day_number(3), ("secret-id",)), tmp_path / "back.parquet")
    count(back, tmp_path / "back", state, 3)
    assert pq.read_table(tmp_path / "back" / "accounts.parquet")["prompts"].to_pylist() == [14]


def test_retain_deletes_old_days_and_their_bytes(after):
    state = after(4)
    rows = contents(state)
    assert retain_days(state, 2) == [day_number(0), day_number(1)]
    left = {day_number(n).isoformat() for n in (2, 3)}
    assert contents(state) == {day: of for day, of in rows.items() if day in left}
    on_disk = {file.parent.parent.name for file in state.rglob("bucket-*.parquet")}
    assert on_disk == {f"day={day}" for day in left}
    assert len(list((state / "_days").iterdir())) == 2
    assert where_is(state, "dan") == [], "who came on a deleted day only is gone"
    assert retain_days(state, 2) == []
    with pytest.raises(ConfigError, match="--days: expected 1 or more, got 0"):
        retain_days(state, 0)


def test_a_file_that_another_day_counted_is_refused_by_content(days, tmp_path, after):
    state = after(1)
    again = tmp_path / "again"
    again.mkdir()
    (again / "new-name.parquet").write_bytes(days[0].read_bytes())
    (again / "new.parquet").write_bytes(days[1].read_bytes())
    rows = contents(state)
    with pytest.raises(
        TrafficError, match=r"new-name.parquet: its content was counted on 2026-01-10 as day-0"
    ):
        count(again, tmp_path / "out", state, 1)
    assert contents(state) == rows
    count(again, tmp_path / "out", state, 1, allow_repeated_files=True)
    accounts = pq.read_table(tmp_path / "out" / "accounts.parquet")
    assert dict(zip(*accounts.select(["account_id", "prompts"]).to_pydict().values(), strict=True)) == {
        "ann": 42,
        "bob": 42,
        "dan": 14,
    }


def test_a_file_twice_in_one_input_is_read_once_and_named(days, tmp_path, capsys):
    twice = tmp_path / "twice"
    twice.mkdir()
    for name in ("a.parquet", "b.parquet"):
        (twice / name).write_bytes(days[0].read_bytes())
    manifest = count(twice, tmp_path / "out", tmp_path / "state", 0)
    assert manifest.state.repeated_files == {"b.parquet": "a.parquet"}
    count(days[0], tmp_path / "once", tmp_path / "state-once", 0)
    assert contents(tmp_path / "state") == contents(tmp_path / "state-once")
    assert versions(tmp_path / "state") == 1
    count(days[0], tmp_path / "then once", tmp_path / "state", 0)
    assert versions(tmp_path / "state") == 1, "with or without the repeat it is the same run"
    count(twice, tmp_path / "both", tmp_path / "state-both", 0, allow_repeated_files=True)
    assert pq.read_table(tmp_path / "both" / "accounts.parquet")["prompts"].to_pylist() == [28, 28]


def test_an_empty_day_is_refused_and_not_counted(tmp_path):
    empty = write(traffic_of(FIRST, ())[:0], tmp_path / "empty.parquet")
    with pytest.raises(TrafficError, match="no row to judge"):
        count(empty, tmp_path / "out", tmp_path / "state", 0)
    count(write(traffic_of(FIRST), tmp_path / "full.parquet"), tmp_path / "o", tmp_path / "state", 0)
    assert [row["account_id"] for row in contents(tmp_path / "state")[FIRST.isoformat()]] == [
        "ann",
        "bob",
        "cho",
    ]


#: In a file the third day's first file of states is half there; before the report the day is counted.
POINTS = ("in a bucket", "in a file", "commit table", "clean up state", "report")


@pytest.fixture(scope="module")
def killed(days, undisturbed, tmp_path_factory):
    """The third day's run killed at every point, each in a folder of its own."""
    here = tmp_path_factory.mktemp("killed")
    for point in POINTS:
        shutil.copytree(undisturbed[0].parent / "after-2", here / point / "state")
        ended = end_of(
            count_and_die, daily_state.CARD, point, days[2], here / point / "out-2", here / point / "state", 2
        )
        assert ended == KILLED, point
    return here


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_started_again_counts_the_day_once(point, killed, days, undisturbed):
    state, out = killed / point / "state", killed / point / "out-2"
    assert not (out / "run.json").exists()
    committed = point in ("clean up state", "report")
    assert (day_number(2) in StateTable(str(state)).days()) == committed
    for _ in range(2):
        count(days[2], out, state, 2)
        # The table's making and three days: four versions, however often it is started.
        assert versions(state) == 3
    theirs = {day: rows for day, rows in contents(undisturbed[0]).items() if day <= "2026-01-12"}
    assert contents(state) == theirs
    assert outputs(out) == outputs(undisturbed[1][2])
    # And the next day is the same too.
    count(days[3], killed / point / "out-3", state, 3)
    assert outputs(killed / point / "out-3") == outputs(undisturbed[1][3])


def test_steps_of_counting_a_day_are_told(days, tmp_path):
    told = []
    count(days[0], tmp_path / "out", tmp_path / "state", 0, checkpoint=told.append)
    assert told[-5:] == ["commit", "commit table", "clean up state", "report", "finish"]
    count(days[0], tmp_path / "out", tmp_path / "state", 0, checkpoint=told.append)
    assert told[-5:] == ["commit", "commit table", "clean up state", "report", "finish"], "nothing again"
    assert told.count("read") == 1


def test_two_days_at_once_both_land(days, tmp_path, undisturbed):
    state, wait = tmp_path / "state", all_at_once(3)
    calls = [lambda n=n: count(days[n], tmp_path / f"out-{n}", state, n, checkpoint=wait) for n in range(3)]
    assert together(*calls) == [None] * 3
    theirs = {day: rows for day, rows in contents(undisturbed[0]).items() if day <= "2026-01-12"}
    assert contents(state) == theirs


def test_the_same_day_at_once_one_wins_and_the_other_is_told(days, tmp_path):
    state, wait = tmp_path / "state", all_at_once(2)
    calls = [
        lambda n=n: count(days[n], tmp_path / f"out-{n}", state, 0, checkpoint=wait, allow_other_days=True)
        for n in range(2)
    ]
    raised = together(*calls)
    assert [type(error) for error in raised if error is not None] == [OutputError], raised
    (lost,) = [n for n in range(2) if raised[n] is not None]
    assert "has been counted by another run" in str(raised[lost])
    assert [row["account_id"] for row in contents(state)[FIRST.isoformat()]] == list(SEEN[1 - lost])
    assert versions(state) == 1


def test_the_very_same_run_at_once_counts_once(days, tmp_path):
    state, wait = tmp_path / "state", all_at_once(2)
    calls = [lambda n=n: count(days[0], tmp_path / f"out-{n}", state, 0, checkpoint=wait) for n in range(2)]
    assert together(*calls) == [None, None]
    assert versions(state) == 1
    assert len(contents(state)[FIRST.isoformat()]) == 2


@pytest.mark.slow
def test_cost_of_a_day_is_flat_beyond_the_window_and_in_accounts_not_seen(tmp_path):
    config = RunConfig.model_validate(SETTINGS | {"state": {"window_days": 3}})
    reads, crowded = [], []
    for n in range(8):
        file = write(traffic_of(day_number(n), ("ann", "bob"), prompts=5), tmp_path / f"{n}.parquet")
        reads.append(count(file, tmp_path / f"out-{n}", tmp_path / "state", n, config).state.read)
    assert reads[0].rows == 0
    assert reads[1].rows == 2
    assert {read.rows for read in reads[2:]} == {4}
    # Compressed sizes differ by some bytes from day to day; they do not grow.
    sizes = [read.bytes for read in reads[2:]]
    assert max(sizes) < 1.1 * min(sizes)
    crowd = tuple(f"crowd-{i:04d}" for i in range(300))
    for n in range(3):
        who = ("ann", "bob", *crowd) if n < 2 else ("ann", "bob")
        file = write(traffic_of(day_number(n), who, prompts=2), tmp_path / f"c{n}.parquet")
        crowded.append(count(file, tmp_path / f"c-{n}", tmp_path / "crowded", n, config).state.read)
    # Two accounts in two days: four row groups at most, of 32 rows at most.
    assert crowded[2].row_groups <= 4
    assert crowded[2].rows <= 4 * 32
    assert crowded[1].rows == 302, "where all are seen, all are read"


def test_another_encoder_or_atlas_is_refused(tmp_path):
    open_or_create(str(tmp_path / "t"), Binding("e" * 64, "a" * 64))
    with pytest.raises(OutputError, match="made with encoder id eeeeeeeeeeee, this run's is ffff"):
        open_or_create(str(tmp_path / "t"), Binding("f" * 64, "a" * 64))
    with pytest.raises(OutputError, match="made with atlas id aaaaaaaaaaaa, this run's is bbbb"):
        open_or_create(str(tmp_path / "t"), Binding("e" * 64, "b" * 64))


def test_of_two_that_make_the_table_at_once_one_binds_it(tmp_path):
    bound = [Binding(name * 64, "a" * 64) for name in "efgh"]
    raised = together(*[lambda one=one: open_or_create(str(tmp_path / "t"), one) for one in bound])
    (kept,) = [n for n in range(4) if raised[n] is None]
    assert {type(error) for error in raised} == {type(None), OutputError}
    table = StateTable(str(tmp_path / "t"))
    assert (table.version, table.binding) == (0, bound[kept])


def test_a_newer_schema_is_refused_by_all(tmp_path, days, after):
    state = after(1)
    StateTable(str(state)).set_schema_version(STATES_VERSION + 1)
    for refused in (
        lambda: count(days[1], tmp_path / "o", state, 1),
        lambda: migrate_state(state),
        lambda: forget_account(state, "ann"),
    ):
        with pytest.raises(
            OutputError, match="schema version 6, this version of coverage_lab knows 5; update"
        ):
            refused()


@pytest.mark.parametrize("version", range(1, STATES_VERSION))
def test_an_older_table_is_refused_in_one_line_and_left_as_it_is(version, tmp_path, days, after, capsys):
    state = after(2)
    StateTable(str(state)).set_schema_version(version)
    before = every_byte(state)
    for refused in (
        lambda: count(days[2], tmp_path / "o", state, 2),
        lambda: migrate_state(state),
        lambda: forget_account(state, "ann"),
    ):
        told = f"schema version {version}, expected {STATES_VERSION}; .*start a new table"
        with pytest.raises(OutputError, match=told):
            refused()
    code, out, err = call(capsys, "state", "migrate", state)
    assert (code, out) == (5, "")
    assert err.count("\n") == 1
    assert "its prompts are gone: start a new table at another place" in err
    assert every_byte(state) == before


def test_a_table_of_today_needs_no_migration(after):
    state = after(2)
    before = versions(state)
    assert migrate_state(state) == STATES_VERSION
    assert versions(state) == before


def a_folder_with_a_file(state):
    state.mkdir()
    (state / "notes.txt").write_text("mine")


def a_file(state):
    state.write_text("mine")


def another_delta_table(state):
    from deltalake import write_deltalake

    write_deltalake(str(state), pa.table({"x": [1]}))


def a_broken_log(state):
    open_or_create(str(state), binding())
    (state / "_delta_log" / f"{1:020d}.json").write_text('{"add": {"pa')


def an_empty_log(state):
    (state / "_delta_log").mkdir(parents=True)
    (state / "_delta_log" / f"{0:020d}.json").write_text("")


def other_columns(state):
    from deltalake import DeltaTable

    properties = {
        "coverage_lab.schema_version": str(STATES_VERSION),
        "coverage_lab.encoder_id": binding().encoder_id,
        "coverage_lab.atlas_id": binding().atlas_id,
    }
    schema = pa.schema([*STATE_PARTITIONS, *[field for field in STATES if field.name != "novelty"]])
    DeltaTable.create(
        str(state),
        schema,
        partition_by=["day", "run"],
        configuration=properties,
        raise_if_key_not_exists=False,
    )


@pytest.mark.parametrize(
    ("hostile", "words"),
    [
        (a_folder_with_a_file, "holds files but no state table"),
        (a_file, "is a file, expected a folder"),
        (another_delta_table, "not one of account states"),
        (a_broken_log, "can't be used"),
        (an_empty_log, "can't be used|no state table"),
        (other_columns, "column 'novelty' is not as expected"),
    ],
)
def test_what_is_not_a_state_table_is_refused_and_left_alone(hostile, words, tmp_path, days):
    state = tmp_path / "state"
    hostile(state)
    before = every_byte(tmp_path)
    for refused in (
        lambda: count(days[0], tmp_path / "out", state, 0),
        lambda: forget_account(state, "ann"),
        lambda: retain_days(state, 1),
    ):
        with pytest.raises(OutputError) as error:
            refused()
        assert "\n" not in str(error.value)
    with pytest.raises(OutputError, match=words):
        count(days[0], tmp_path / "out", state, 0)
    assert every_byte(tmp_path) == before


def test_a_day_without_its_record_is_not_guessed(days, tmp_path, after):
    state = after(1)
    for record in (state / "_days").iterdir():
        record.unlink()
    count_anyway = partial(count, days[0], tmp_path / "o", state, 1, allow_other_days=True)
    for refused in (count_anyway, lambda: show_state(state)):
        with pytest.raises(OutputError, match=r"gone or damaged.*rollback"):
            refused()
    rollback_day(state, FIRST)
    count_anyway()


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ("No space left on device", "the disk is full; free some space"),
        ("first line\nsecond line", r"can't be used \(first line\)"),
    ],
)
def test_a_disk_that_fails_while_files_are_put_counts_nothing(
    raised, words, days, tmp_path, after, monkeypatch
):
    state = after(1)
    with monkeypatch.context() as patch:

        def fails(*_):
            raise OSError(raised)

        patch.setattr(StateStore, "put", fails)
        with pytest.raises(OutputError, match=words):
            count(days[1], tmp_path / "out", state, 1)
    assert list(StateTable(str(state)).days()) == [FIRST]
    count(days[1], tmp_path / "out", state, 1)
    assert list(StateTable(str(state)).days()) == [FIRST, day_number(1)]


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/x", "https://store/x?sig=secret", "", os.fsdecode(b"\xff")]
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(url):
    with pytest.raises(ConfigError, match="--state") as error:
        state_url(url)
    assert "secret" not in str(error.value)


def test_addresses_and_folders_are_settled(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert state_url("state") == str(tmp_path / "state")
    assert state_url(f"file://{tmp_path}/st%20ate") == str(tmp_path / "st ate")
    assert state_url("s3://bucket/state") == "s3://bucket/state"
    assert state_url("abfss://container@account.dfs/state") == "abfss://container@account.dfs/state"


@pytest.mark.parametrize("name", ["a%20b%2Fc", "a\\b[c]|^", "a\tb\nc", "a#b?c;'\" ü"])
def test_a_folder_of_any_name_holds_the_state(name, days, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    state = tmp_path / "states" / name
    for n in range(2):
        count(days[n], tmp_path / f"out-{n}", state, n)
    assert forget_account(state, "ann")[0] == 2
    assert [shown.day for shown in show_state(state)[1]] == [day_number(0), day_number(1)]
    assert rollback_day(state, day_number(1)) == 2
    assert [folder.name for folder in state.parent.iterdir()] == [name], "no other folder is written to"
    assert retain_days(state, 1) == []
    kept = {file.parts[-3] for file in state.rglob("*.parquet")}
    assert kept == {"day=2026-01-10"}, "bytes of what was taken out are gone"
    assert not where_is(state, "ann")
    assert not [file for file in tmp_path.glob("temporary/*/*") if not file.is_symlink()]


def test_without_deltalake_the_extra_is_named(monkeypatch, days, tmp_path):
    monkeypatch.setitem(sys.modules, "deltalake", None)
    for refused in (lambda: count(days[0], tmp_path / "o", tmp_path / "s", 0), lambda: show_state(tmp_path)):
        with pytest.raises(MissingExtraError, match=r"coverage-lab\[state\]"):
            refused()


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[encoder]\nname = "static"\n[job]\nbuckets = 2\nthreads = 1\n')
    return path


def test_commands_in_a_row(days, tmp_path, capsys, toml):
    state = tmp_path / "state"
    for n in range(2):
        code, out, err = call(
            capsys,
            "run",
            days[n],
            tmp_path / f"o{n}",
            "--config",
            toml,
            "--state",
            state,
            "--day",
            day_number(n),
        )
        assert code == 0, err
        rows = 14 * len(SEEN[n])
        assert f"1 file. Of all {rows} rows {rows} can be used" in " ".join(out.split()), (
            "told before the work"
        )
        assert f"to {day_number(n)}" in out
    code, out, _ = call(capsys, "state", "show", state)
    assert code == 0
    assert "2026-01-10" in out
    assert "2026-01-11" in out
    assert "28" in out, "prompts of the first day"
    code, out, err = call(capsys, "state", "rollback", state, "--day", "2026-01-11")
    assert (code, out) == (2, "")
    assert "--yes: expected where nobody can be asked" in err
    assert len(StateTable(str(state)).days()) == 2
    assert call(capsys, "state", "rollback", state, "--day", "2026-01-11", "--yes")[0] == 0
    assert list(StateTable(str(state)).days()) == [FIRST]
    code, out, _ = call(capsys, "state", "forget", state, "ann", "--yes")
    assert (code, "ann" in out) == (0, False)
    assert "1 days" in out
    assert call(capsys, "state", "retain", state, "--days", "5", "--yes")[0] == 0
    code, out, _ = call(capsys, "state", "migrate", state)
    assert (code, "nothing to do" in out) == (0, True)
    code, _, err = call(capsys, "state", "show", tmp_path / "nothing")
    assert code == 5
    assert "no state table there" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--state", "s"), "--state and --day"),
        (("--day", "2026-01-10"), "--state and --day"),
        (("--recompute",), "expected --state"),
        (("--allow-repeated-files",), "expected --state"),
    ],
)
def test_options_that_need_each_other(options, words, days, tmp_path, capsys):
    code, _, err = call(capsys, "run", days[0], tmp_path / "o", *options)
    assert code == 2
    assert words in err
    assert not (tmp_path / "o").exists()


def test_analyze_takes_a_day(days, tmp_path):
    result = analyze(pq.read_table(days[0]), config=CONFIG, state=StateDay(tmp_path / "state", FIRST))
    assert result.accounts["prompts"].to_pylist() == [14, 14]
    assert list(StateTable(str(tmp_path / "state")).days()) == [FIRST]
    assert find_sources(days[0])
