"""The parts' tables put together: sorted over the whole run, with q-values, and little held for it."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.report_fixture import a_reason

from coverage_lab.campaigns.find import FoundCampaigns
from coverage_lab.config import DetectConfig
from coverage_lab.detect.judge import with_q_values
from coverage_lab.files.manifest import Escalated
from coverage_lab.files.output_folder import OutputFolder
from coverage_lab.jobs import external_sort as merging
from coverage_lab.jobs.combine import gather
from coverage_lab.jobs.run import _outcome
from coverage_lab.schema import ACCOUNTS, CELLS, CURVES, FLAGS, QUARANTINE
from coverage_lab.traffic.batch import Tallies

SCHEMAS = {"accounts": ACCOUNTS, "flags": FLAGS, "curves": CURVES, "cells": CELLS, "quarantine": QUARANTINE}


def made_up(schema: pa.Schema, ids: list[str], seed: int = 0) -> pa.Table:
    """One row an account, of values that differ from account to account; q-values null as in a part."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for field in schema:
        if field.name == "account_id":
            column = pa.array(ids, field.type)
        elif field.name == "q_value":
            column = pa.nulls(len(ids), field.type)
        elif field.name == "reasons":
            column = pa.array([[f"{name} reason"] * (len(name) % 3) for name in ids], field.type)
        elif field.name == "reason_details":
            column = pa.array([[a_reason(name)] * (len(name) % 3) for name in ids], field.type)
        elif field.name == "first_visits":
            visit = {"cell": 3, "prompt": 1, "prompts": 2}
            column = pa.array([[visit] * (len(name) % 3) or None for name in ids], field.type)
        elif field.name == "prompts":
            column = pa.array(rng.integers(1, 100, len(ids)))
        elif pa.types.is_floating(field.type):
            nothing = (rng.random(len(ids)) < 0.2) & field.nullable
            column = pa.array(rng.random(len(ids)).round(2), field.type, mask=nothing)
        elif pa.types.is_string(field.type):
            column = pa.array([f"{field.name} {len(name) % 4}" for name in ids], field.type)
        else:
            column = pa.array(rng.integers(0, 10**9, len(ids))).cast(field.type)
        columns[field.name] = column
    return pa.table(columns, schema=schema)


def write_parts(folder: Path, ids: list[list[str]]) -> list[Path]:
    """Parts with these accounts, every third of them flagged."""
    parts = []
    for number, mine in enumerate(ids):
        part = folder / f"bucket-{number:05d}"
        part.mkdir(parents=True)
        accounts = made_up(ACCOUNTS, sorted(mine), seed=number)
        flagged = sorted(mine)[::3]
        for name, schema in SCHEMAS.items():
            table = schema.empty_table()
            if name == "accounts":
                table = accounts
            elif name == "flags":
                table = made_up(FLAGS, flagged, seed=number)
            elif name in ("curves", "cells"):
                table = made_up(schema, sorted(mine))
            pq.write_table(table, part / f"{name}.parquet", compression="zstd")
        parts.append(part)
    return parts


def output(path: Path) -> OutputFolder:
    folder = OutputFolder(path, "key")
    pq.write_table(QUARANTINE.empty_table(), folder.work / "quarantine.parquet")
    return folder


def all_at_once(parts: list[Path], config: DetectConfig) -> dict[str, pa.Table]:
    """What `gather` gives, by holding everything."""

    def joined(name: str) -> pa.Table:
        files = [part / f"{name}.parquet" for part in parts]
        found = pa.concat_tables([pq.read_table(file, schema=SCHEMAS[name]) for file in files])
        return found.sort_by("account_id").combine_chunks()

    accounts, flags = with_q_values(joined("accounts"), config), joined("flags")
    q_of = dict(zip(accounts["account_id"].to_pylist(), accounts["q_value"].to_pylist(), strict=True))
    q = pa.array([q_of[name] for name in flags["account_id"].to_pylist()], pa.float64())
    column = FLAGS.get_field_index("q_value")
    return {"accounts": accounts, "flags": flags.set_column(column, FLAGS.field("q_value"), q)}


def check(parts: list[Path], path: Path, *, group: int) -> None:
    """Same bytes as one sort of all rows gives, and nothing left of how they were sorted."""
    config = DetectConfig()
    folder = output(path)
    gather(folder, parts, SimpleNamespace(config=config), FoundCampaigns.none())
    for name, table in all_at_once(parts, config).items():
        expected = path.parent / "expected.parquet"
        pq.write_table(table, expected, compression="zstd", row_group_size=group)
        assert (path / f"{name}.parquet").read_bytes() == expected.read_bytes(), name
    assert sorted(file.name for file in folder.work.iterdir()) == ["key.json", "lock", "quarantine.parquet"]
    folder.release()


def ids_of(count: int, parts: int, seed: int = 0) -> list[list[str]]:
    names = np.random.default_rng(seed).permutation([f"acct-é{number}" for number in range(count)])
    return [part.tolist() for part in np.array_split(names, parts)]


@pytest.mark.parametrize("group", [1, 7, 64, 8192])
@pytest.mark.parametrize("most", [1, 3, 256])
def test_the_same_bytes_as_one_sort_of_all_rows(group, most, tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "GROUP_ROWS", group)
    monkeypatch.setattr(merging, "MOST_SPANS", most)
    parts = write_parts(tmp_path / "parts", ids_of(61, 4))
    check(parts, tmp_path / "out", group=group)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=5), unique=True, max_size=25),
    st.data(),
)
def test_whatever_the_accounts_and_however_they_are_spread(tmp_path_factory, names, data):
    tmp_path = tmp_path_factory.mktemp("gather")
    names = [name for name in names if name.isprintable() or name.isascii()]
    number = [data.draw(st.integers(0, 3)) for _ in names]
    ids = [[name for name, at in zip(names, number, strict=True) if at == part] for part in range(4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "GROUP_ROWS", 3)
        patch.setattr(merging, "MOST_SPANS", 4)
        check(write_parts(tmp_path / "parts", ids), tmp_path / "out", group=3)


def test_parts_without_accounts_and_none_at_all(tmp_path):
    check(write_parts(tmp_path / "some", [[], ["b", "a"], []]), tmp_path / "out", group=8192)
    (tmp_path / "nothing").mkdir()
    parts = write_parts(tmp_path / "nothing" / "parts", [[], []])
    check(parts, tmp_path / "nothing" / "out", group=8192)
    assert pq.read_table(tmp_path / "nothing/out/accounts.parquet").equals(ACCOUNTS.empty_table())


def test_how_accounts_are_spread_changes_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "GROUP_ROWS", 5)
    accounts = made_up(ACCOUNTS, [f"a{number:03d}" for number in range(40)])
    found = set()
    for count in (1, 2, 5):
        parts = write_parts(tmp_path / f"parts-{count}", [[] for _ in range(count)])
        for number, part in enumerate(parts):
            pq.write_table(accounts.take(pa.array(range(number, 40, count))), part / "accounts.parquet")
        folder = output(tmp_path / f"out-{count}")
        gather(folder, parts, SimpleNamespace(config=DetectConfig()), FoundCampaigns.none())
        folder.release()
        found.add((tmp_path / f"out-{count}/accounts.parquet").read_bytes())
    assert len(found) == 1


def test_a_part_that_is_not_sorted_by_account_ends_up_sorted_too(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "GROUP_ROWS", 4)
    parts = write_parts(tmp_path / "parts", ids_of(30, 2))
    for part in parts:
        table = pq.read_table(part / "accounts.parquet")
        shuffled = table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows)))
        pq.write_table(shuffled, part / "accounts.parquet")
    check(parts, tmp_path / "out", group=4)


def test_what_a_killed_run_left_is_not_taken_in(tmp_path):
    parts = write_parts(tmp_path / "parts", [["a", "b"], ["c"]])
    (tmp_path / "out/.work/sorting").mkdir(parents=True)
    (tmp_path / "out/.work/sorting/span-00000.arrow").write_bytes(b"half a row")
    check(parts, tmp_path / "out", group=8192)


def test_q_values_are_null_where_nothing_was_judged(tmp_path):
    parts = write_parts(tmp_path / "parts", ids_of(40, 3))
    folder = output(tmp_path / "out")
    gather(folder, parts, SimpleNamespace(config=DetectConfig(min_prompts=50)), FoundCampaigns.none())
    folder.release()
    rows = pq.read_table(tmp_path / "out/accounts.parquet").to_pylist()
    judged = [row for row in rows if row["p_value"] is not None and row["prompts"] >= 50]
    assert 0 < len(judged) < len(rows)
    for row in rows:
        # Benjamini and Hochberg by definition, over those of all parts that were judged.
        expected = None
        if row in judged:
            p = [other["p_value"] for other in judged]
            expected = pytest.approx(
                min(min(len(p) * x / sum(y <= x for y in p) for x in p if x >= row["p_value"]), 1)
            )
        assert row["q_value"] == expected


def test_what_is_held_does_not_grow_with_the_accounts(tmp_path, monkeypatch):
    """Arrow's memory at its highest, of 2,000 accounts and of 16,000; all rows at once are far more."""
    monkeypatch.setattr(merging, "GROUP_ROWS", 512)
    monkeypatch.setattr(merging, "MOST_SPANS", 32)
    peaks, whole = [], []
    table = made_up(ACCOUNTS, [f"{number:05d}" for number in range(250)])
    for count in (8, 64):
        parts = write_parts(tmp_path / f"parts-{count}", [[] for _ in range(count)])
        for number, part in enumerate(parts):
            ids = pa.array([f"{place * count + number:05d}" for place in range(250)], pa.large_string())
            pq.write_table(table.set_column(0, ACCOUNTS.field(0), ids), part / "accounts.parquet")
        pool = pa.system_memory_pool()
        before = pa.default_memory_pool()
        peak = pa.proxy_memory_pool(pool)
        pa.set_memory_pool(peak)
        try:
            folder = output(tmp_path / f"out-{count}")
            gather(folder, parts, SimpleNamespace(config=DetectConfig()), FoundCampaigns.none())
            folder.release()
        finally:
            pa.set_memory_pool(before)
        peaks.append(peak.max_memory())
        whole.append(pq.read_table(tmp_path / f"out-{count}/accounts.parquet").nbytes)
    assert whole[1] > 7.9 * whole[0]
    assert peaks[1] < 1.25 * peaks[0] + 60 * 16_000
    assert peaks[1] < whole[1] / 2


def test_counts_of_a_run_are_those_of_its_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "GROUP_ROWS", 4)
    parts = write_parts(tmp_path / "parts", ids_of(21, 2))
    reasons = ["empty_prompt", "missing_prompt", "empty_prompt"]
    refused = made_up(QUARANTINE, ["x", "y", "z"]).set_column(3, QUARANTINE.field(3), pa.array(reasons))
    pq.write_table(refused, parts[0] / "quarantine.parquet")
    folder = output(tmp_path / "out")
    gather(folder, parts, SimpleNamespace(config=DetectConfig()), FoundCampaigns.none())
    folder.release()
    rows = pq.read_table(tmp_path / "out/accounts.parquet").to_pylist()
    atlas = rows[0]["atlas_id"]
    judge: Any = SimpleNamespace(
        second=SimpleNamespace(atlas=SimpleNamespace(id=atlas)), stages=[SimpleNamespace(scorecard=None)]
    )
    read: Any = SimpleNamespace(buckets=parts, as_of="then")
    prompts = sum(row["prompts"] for row in rows)
    outcome = _outcome(tmp_path / "out", Tallies(rows_in=prompts + 3), read, judge, own_prompts=None)
    assert outcome.counts.accounts == 21
    assert outcome.counts.rows_used == prompts
    assert outcome.counts.quarantine_reasons == {"empty_prompt": 2, "missing_prompt": 1}
    theirs = [row["prompts"] for row in rows if row["atlas_id"] == atlas]
    assert 0 < len(theirs) < 21
    assert outcome.escalated == Escalated(accounts=len(theirs), prompts=sum(theirs))
    assert pc.all(pc.is_valid(pq.read_table(tmp_path / "out/flags.parquet")["account_id"])).as_py()
    assert all(a["account_id"] < b["account_id"] for a, b in itertools.pairwise(rows))
