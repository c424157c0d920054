"""How an account behaves beside what it asks: gaps, hours, sessions, tokens."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from support.traced import HashEncoder, a_judge, said, tiny_atlas, traffic

from coverage_lab.accounts import AccountStates, behaviour, merge, trace_prompts
from coverage_lab.accounts.table import states_from_table, states_to_table
from coverage_lab.detect import judge_prompts
from coverage_lab.measures import burstiness, hours_used
from coverage_lab.schema import BEHAVIOUR, BEHAVIOUR_COLUMNS

SECOND, HOUR = 1_000_000, 3_600_000_000
LONGEST = 40 * 24 * HOUR
ACCOUNTS = st.lists(st.lists(st.integers(0, LONGEST), max_size=12).map(sorted), max_size=6)


def ragged(accounts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    times = np.array([time for account in accounts for time in account], np.int64)
    return times, np.cumsum([0, *map(len, accounts)])


@given(accounts=ACCOUNTS)
def test_burstiness_by_definition(accounts: list[list[int]]) -> None:
    found = burstiness(*ragged(accounts))
    assert found.shape == (len(accounts),)
    for times, value in zip(accounts, found, strict=True):
        gaps = np.diff(times) / SECOND
        if len(times) < 3 or not gaps.any():
            assert np.isnan(value)
        else:
            expected = (gaps.std() - gaps.mean()) / (gaps.std() + gaps.mean())
            assert value == pytest.approx(expected, abs=1e-9)
            assert -1 <= value <= 1


@given(accounts=ACCOUNTS)
def test_hours_by_definition_and_accounts_do_not_mix(accounts: list[list[int]]) -> None:
    times, offsets = ragged(accounts)
    found = hours_used(times, offsets)
    for i, account in enumerate(accounts):
        if not account:
            assert np.isnan(found[i])
            continue
        counts = np.bincount([time // HOUR % 24 for time in account])
        assert found[i] == pytest.approx(np.exp(entropy(counts)))
        alone = np.array([0, len(account)])
        assert hours_used(np.array(account), alone)[0] == found[i]
        together = burstiness(times, offsets)[i]
        np.testing.assert_array_equal(burstiness(np.array(account), alone)[0], together)


def test_a_clock_random_moments_and_bursts() -> None:
    rng = np.random.default_rng(3)
    clock = np.arange(2000) * SECOND
    moments = np.sort(rng.integers(0, 2000 * SECOND, 2000))
    bursts = np.sort((rng.integers(0, 20, 2000) * HOUR + rng.integers(0, 60, 2000) * SECOND).astype(np.int64))
    steady, random, bursty = burstiness(np.concatenate([clock, moments, bursts]), np.arange(4) * 2000)
    assert steady == -1
    assert abs(random) < 0.05
    assert bursty > 0.5
    day = np.arange(24) * HOUR
    assert hours_used(np.concatenate([day, np.full(24, 5 * HOUR)]), [0, 24, 48]) == pytest.approx([24, 1])


def test_times_out_of_order_and_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="times: expected each account's prompts in time order"):
        burstiness(np.array([3, 2, 4]), [0, 3])
    burstiness(np.array([3, 4, 1, 2]), [0, 2, 4])
    for measure in (burstiness, hours_used):
        with pytest.raises(ValueError, match=r"times: expected integers of shape \(n,\), got float64"):
            measure(np.array([0.5]), [0, 1])
        assert measure(np.empty(0, np.int64), [0]).shape == (0,)


TOKENS = st.one_of(st.none(), st.integers(0, 5000))
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]), st.integers(0, 10**6), st.integers(0, 9), TOKENS, TOKENS,
        st.sampled_from([None, "s1", "s2", "s3"]),
    ),
    max_size=25,
)  # fmt: skip


def prompts_of(rows: list[tuple[str, int, int, int | None, int | None, str | None]]) -> pa.Table:
    table = traffic([(account, second, f"text {said(text)}", None) for account, second, text, *_ in rows])
    columns = {
        "tokens_in": pa.array([row[3] for row in rows], pa.int64()),
        "tokens_out": pa.array([row[4] for row in rows], pa.int64()),
        "session": pa.array([row[5] for row in rows], pa.large_string()),
    }
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table


def traced(rows: list[tuple[str, int, int, int | None, int | None, str | None]]) -> AccountStates:
    return trace_prompts(prompts_of(rows), HashEncoder(), tiny_atlas())


@given(rows=ROWS, cut=st.integers(0, 25), seed=st.integers(0, 9))
def test_any_split_gives_the_same_behaviour_to_the_bit(rows, cut, seed) -> None:
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    parts = [traced(shuffled[:cut]), traced(shuffled[cut:])]
    stored = [states_from_table(states_to_table(part), dim=HashEncoder.dim) for part in parts]
    whole, merged = behaviour(traced(rows)), behaviour(merge(stored[::-1]))
    assert tuple(whole) == BEHAVIOUR_COLUMNS
    for name in BEHAVIOUR_COLUMNS:
        np.testing.assert_array_equal(merged[name], whole[name], err_msg=name)


@given(rows=ROWS)
def test_tokens_are_those_of_prompts_of_which_both_are_known(rows) -> None:
    states = traced(rows)
    found = behaviour(states)
    for i, name in enumerate(states.account_ids):
        mine = [row for row in rows if row[0] == name]
        known = [row[3:5] for row in mine if row[3] is not None and row[4] is not None]
        total = sum(map(sum, known))
        expected = sum(out for _, out in known) / total if total else np.nan
        np.testing.assert_allclose(found["output_share"][i], expected)
        sessions = {row[5] for row in mine} - {None}
        expected = len(mine) / len(sessions) if sessions else np.nan
        np.testing.assert_allclose(found["prompts_per_session"][i], expected)
        assert np.isnan(found["prompts_per_end_user"][i])


def test_what_can_not_be_told_is_null_and_no_score_moves_by_behaviour() -> None:
    plain = [("a", i, f"text {said(i)}", None) for i in range(60)]
    slow = [("a", 1000 * i * i, f"text {said(i)}", f"u{i % 2}") for i in range(60)]
    one, other = (judge_prompts(traffic(rows), a_judge()).accounts.to_pylist()[0] for rows in (plain, slow))
    assert (one["prompts_per_session"], one["prompts_per_end_user"], one["output_share"]) == (
        None,
        None,
        None,
    )
    assert other["prompts_per_end_user"] == 30
    assert one["burstiness"] == -1 < other["burstiness"]
    assert one["hours_used"] == 1 < other["hours_used"]
    assert one["score"] == other["score"]
    assert set(BEHAVIOUR) <= set(one)
