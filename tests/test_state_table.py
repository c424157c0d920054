"""Account states as rows and files: nothing is lost, days merge, only what is asked for is read."""

import dataclasses
import os
import time
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.traced import HashEncoder, tiny_atlas, traffic

from coverage_lab.accounts import AccountStates, Members, merge, trace_prompts
from coverage_lab.accounts.table import states_from_table, states_to_table
from coverage_lab.errors import OutputError
from coverage_lab.schema import STATES
from coverage_lab.state.files import ROWS, Read, read_states, write_states
from coverage_lab.state.table import Binding, Change, StateFile, open_or_create
from coverage_lab.traffic import bucket_of

DIM = HashEncoder.dim
DAY = date(2026, 1, 15)

ROWS_OF_TRAFFIC = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "ü", "z", "😀"]),
        st.integers(-3, 5),
        st.sampled_from(["one", "two", "three?", "please list four", "five words of it"]),
        st.sampled_from([None, "u1", "u2"]),
    ),
    max_size=30,
)


def traced(rows):
    return trace_prompts(traffic(rows), HashEncoder(), tiny_atlas())


def same_bits(one: AccountStates, other: AccountStates) -> None:
    for field in dataclasses.fields(AccountStates):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, Members):
            np.testing.assert_array_equal(mine.account, theirs.account, err_msg=field.name)
            np.testing.assert_array_equal(mine.name, theirs.name, err_msg=field.name)
        elif isinstance(mine, tuple):
            assert mine == theirs
        else:
            assert mine.dtype == theirs.dtype, field.name
            assert mine.shape == theirs.shape, field.name
            assert mine.tobytes() == theirs.tobytes(), field.name


@given(rows=ROWS_OF_TRAFFIC)
def test_states_are_the_same_to_the_bit_after_a_file(rows, tmp_path_factory):
    states = traced(rows)
    table = states_to_table(states)
    assert table.schema.equals(STATES)
    same_bits(states_from_table(table, dim=DIM), states)
    path = tmp_path_factory.getbasetemp() / "states.parquet"
    write_states(table, path)
    same_bits(states_from_table(pq.read_table(path), dim=DIM), states)


def test_hashes_above_the_signed_range_and_odd_numbers_survive():
    states = traced([("a", 1, "x", "u"), ("a", 2, "y", None)])
    hard = dataclasses.replace(
        states,
        digests=np.array([2**64 - 1, 2**63], np.uint64),
        novelty=np.array([np.nan, -1e-45], np.float32),
        vector_sums=np.full((1, DIM), -0.0),
        end_users=Members(np.array([0]), np.array([2**64 - 2], np.uint64)),
    )
    hard.opening_sums[0, [0, 1023]] = 5e-324, -1e308
    same_bits(states_from_table(states_to_table(hard), dim=DIM), hard)


def test_rows_of_a_filtered_slice_are_read_right():
    states = traced([(name, i, f"text {i}", None) for i, name in enumerate("abcabcaab")])
    table = states_to_table(states)
    same_bits(states_from_table(table.slice(1, 1), dim=DIM), traced_only(states, 1))
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    same_bits(states_from_table(chunked, dim=DIM), states)


def traced_only(states: AccountStates, i: int) -> AccountStates:
    rows = [("abc"[i], t, f"text {t}", None) for t, name in enumerate("abcabcaab") if name == "abc"[i]]
    return traced(rows)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda t: t.take([1, 0]), "sorted"),
        (lambda t: t.take([0, 0]), "each once"),
        (lambda t: swapped(t, "digests"), "digests"),
        (lambda t: swapped(t, "vector_sums", dim=DIM + 1), "vector_sums"),
        (lambda t: swapped(t, "opening_columns", kind=pa.int16(), value=1024), "opening_columns"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(broken, words):
    table = states_to_table(traced([("a", 1, "x", None), ("b", 1, "y", None)]))
    with pytest.raises(ValueError, match=words):
        states_from_table(broken(table), dim=DIM)


def swapped(table, name, *, dim=7, kind=None, value=1):
    column = table.schema.get_field_index(name)
    kind = STATES.field(name).type
    return table.set_column(column, STATES.field(name), pa.array([[value] * dim] * table.num_rows, kind))


def put_day(table, states, day, folder, *, buckets=1, run="r"):
    """Commit a day's states, cut into buckets as a run cuts them."""
    rows = states_to_table(states)
    place = bucket_of(rows["account_id"], buckets)
    added = []
    for bucket in range(buckets):
        mine = rows.filter(pa.array(place == bucket))
        write_states(mine, folder / "part.parquet")
        added.append(
            table.put(folder / "part.parquet", day=day, run=run, bucket=(bucket, buckets), rows=mine.num_rows)
        )
    assert table.commit(lambda newest: Change(removed=[], added=added), told={"action": "day"})


def a_table(folder):
    return open_or_create(str(folder), Binding("e" * 64, "a" * 64))


@settings(max_examples=8)
@given(rows=ROWS_OF_TRAFFIC, seed=st.integers(0, 99))
def test_days_through_the_table_are_one_merge_in_memory(rows, seed, tmp_path_factory):
    """Cut at random into days, each day over another number of buckets, committed in any order."""
    folder = tmp_path_factory.mktemp("state")
    rng = np.random.default_rng(seed)
    of_day = rng.integers(0, 3, len(rows))
    days = [traced([row for row, at in zip(rows, of_day, strict=True) if at == day]) for day in range(3)]
    a_table(folder / "t")
    for day in rng.permutation(3).tolist():
        put_day(
            a_table(folder / "t"), days[day], date(2026, 1, 1 + day), folder, buckets=int(rng.integers(1, 4))
        )
    table = a_table(folder / "t")
    merged = merge([AccountStates.empty(DIM), *days])
    same_bits(read_states(table, table.files(), merged.account_ids, dim=DIM)[0], merged)


def many(names):
    return traced([(name, i, f"text {i}", None) for i, name in enumerate(names)])


def test_what_is_read_does_not_grow_with_accounts_that_are_not_asked_for(tmp_path):
    few, lots = [f"acct-{i:05d}" for i in range(200)], [f"acct-{i:05d}" for i in range(2_000)]
    asked = ["acct-00003", "acct-00100", "acct-00101", "acct-00199"]
    reads = []
    for name, names in (("few", few), ("lots", lots)):
        table = a_table(tmp_path / name)
        put_day(table, many(names), DAY, tmp_path)
        table = a_table(tmp_path / name)
        states, read = read_states(table, table.files(), asked, dim=DIM)
        assert list(states.account_ids) == asked
        reads.append(read)
    # Four accounts are in three ranges of 32: that is all, whatever lies around them.
    assert reads[0].row_groups == reads[1].row_groups == 3
    assert reads[0].rows <= 3 * ROWS
    assert reads[1].rows == 3 * ROWS
    assert reads[1].bytes < 0.15 * sum(file.size for file in a_table(tmp_path / "lots").files())


def test_files_of_buckets_that_no_account_is_in_are_not_opened(tmp_path):
    table = a_table(tmp_path / "t")
    put_day(table, many([f"acct-{i:03d}" for i in range(100)]), DAY, tmp_path, buckets=8)
    table = a_table(tmp_path / "t")
    assert len(table.files()) == 8
    states, read = read_states(table, table.files(), ["acct-042"], dim=DIM)
    assert states.account_ids == ("acct-042",)
    assert read.files == 1
    nobody, none = read_states(table, table.files(), [], dim=DIM)
    assert (nobody.account_ids, none) == ((), Read())
    assert read_states(table, table.files(), ["someone else"], dim=DIM)[0].account_ids == ()


def test_a_file_that_is_gone_is_one_clear_line(tmp_path):
    table = a_table(tmp_path / "t")
    put_day(table, many(["a"]), DAY, tmp_path)
    table = a_table(tmp_path / "t")
    (file,) = table.files()
    (tmp_path / "t" / file.path).unlink()
    with pytest.raises(OutputError, match="can't be used") as error:
        read_states(table, table.files(), ["a"], dim=DIM)
    assert "\n" not in str(error.value)


def test_no_account_id_is_in_the_log(tmp_path):
    table = a_table(tmp_path / "t")
    put_day(table, many(["secret-one", "secret-two"]), DAY, tmp_path)
    for entry in (tmp_path / "t" / "_delta_log").iterdir():
        assert b"secret" not in entry.read_bytes(), entry.name


def test_the_log_is_summed_up_often_and_its_old_part_deleted(tmp_path):
    a_table(tmp_path / "t")
    log = tmp_path / "t" / "_delta_log"
    for n in range(32):
        day = DAY + timedelta(days=n)
        file = StateFile(f"day={day}/run=r/bucket-00000-of-00001-{n:016x}.parquet", 9, 1, day, "r")
        a_table(tmp_path / "t").commit(
            lambda _, file=file: Change(removed=[], added=[file]), told={"action": "day"}
        )
        newest = a_table(tmp_path / "t").version
        summed_up = [int(entry.name.split(".")[0]) for entry in log.glob("*.checkpoint.parquet")]
        assert newest - max(summed_up, default=0) <= 10, "commits that opening reads one by one"
        if n == 20:  # five weeks go by
            for entry in log.iterdir():
                os.utime(entry, (time.time() - 35 * 86_400,) * 2)
    assert len(list(log.glob("*.json"))) < 20, "commits of before the last checkpoint but one are gone"
    assert len(a_table(tmp_path / "t").days()) == 32
