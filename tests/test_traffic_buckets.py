"""Buckets: the same account always in the same one, files whole or absent, repeated requests set aside."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_lab.errors import ConfigError, OutputError, TrafficError
from coverage_lab.schema import QUARANTINE, TRAFFIC
from coverage_lab.traffic import BucketWriter, bucket_of, bucket_path, buckets, read_bucket

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def rows_table(rows: Sequence[dict[str, object]]) -> pa.Table:
    filled = [
        {**dict.fromkeys(TRAFFIC.names), "timestamp": NOON, "prompt": "p", "source": 0, "row": at, **row}
        for at, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(filled, TRAFFIC)


def some_traffic(count: int, seed: int = 0) -> pa.Table:
    pick = random.Random(seed)
    return rows_table(
        [
            {
                "account_id": f"acct-{pick.randrange(40)}",
                "timestamp": NOON - timedelta(seconds=pick.randrange(60)),
                "prompt": f"prompt {pick.random()}",
                "request_id": pick.choice([None, f"r{pick.randrange(100)}"]),
                "tokens_in": pick.choice([None, 5]),
                "source": pick.randrange(2),
            }
            for _ in range(count)
        ]
    )


def test_bucket_is_blake2b_of_the_id() -> None:
    ids = ["a", "b", "ü", "", "a", "\0"]
    expected = [int(hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), 16) % 7 for text in ids]
    for kind in (pa.string(), pa.large_string()):
        assert bucket_of(pa.array(ids, kind), 7).tolist() == expected
    assert bucket_of(pa.chunked_array([ids[:2], ids[2:], []]), 7).tolist() == expected
    assert bucket_of(pa.array(ids).dictionary_encode(), 7).tolist() == expected
    # Golden: hashlib.blake2b(id, digest_size=8), big-endian, modulo 512, by hand in a shell.
    assert bucket_of(pa.array(["acct-1", "acct-2"]), 512).tolist() == [344, 419]
    assert bucket_of(pa.array([], pa.string()), 7).tolist() == []
    assert bucket_of(pa.chunked_array([], pa.string()), 7).tolist() == []


def test_buckets_are_even() -> None:
    counts = [0] * 16
    for bucket in bucket_of(pa.array([f"acct-{at}" for at in range(16_000)]), 16):
        counts[bucket] += 1
    # 1,000 each with a standard deviation of 31: six of them are never left.
    assert min(counts) > 814
    assert max(counts) < 1_186


def test_bucket_of_refuses() -> None:
    with pytest.raises(ConfigError, match="expected 1 or more, got 0"):
        bucket_of(pa.array(["a"]), 0)
    with pytest.raises(TrafficError, match="no nulls"):
        bucket_of(pa.array(["a", None]), 3)


def write(folder: Path, tables: Iterable[pa.Table], count: int) -> None:
    with BucketWriter(folder, count) as writer:
        for table in tables:
            writer.write(table)


@pytest.mark.parametrize("held", [1, 2**25])
def test_every_row_is_in_the_bucket_of_its_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(buckets, "_HELD_BYTES", held)
    traffic = some_traffic(500)
    write(tmp_path, [traffic.slice(0, 200), traffic.slice(200, 0), traffic.slice(200)], 7)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"bucket-{at:05d}.arrow" for at in range(7)]
    seen: list[int] = []
    for bucket in range(7):
        good, quarantined = read_bucket(bucket_path(tmp_path, bucket), ["x", "y"])
        assert set(bucket_of(good.column("account_id"), 7)) <= {bucket}
        seen += good.column("row").to_pylist() + quarantined.column("row").to_pylist()
    assert sorted(seen) == list(range(500))


def test_bucket_without_rows(tmp_path: Path) -> None:
    write(tmp_path, [], 2)
    good, quarantined = read_bucket(bucket_path(tmp_path, 1), [])
    assert good.equals(TRAFFIC.empty_table())
    assert quarantined.equals(QUARANTINE.empty_table())


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_same_input_same_bytes_even_where_nulls_hide_garbage(tmp_path: Path) -> None:
    clean = some_traffic(300)
    column = clean.column("tokens_in").combine_chunks()
    garbage = column.fill_null(123_456_789).buffers()[1]
    dirty_column = pa.Array.from_buffers(pa.int64(), len(column), [column.buffers()[0], garbage])
    assert dirty_column.equals(column)
    at = TRAFFIC.get_field_index("tokens_in")
    dirty = clean.set_column(at, TRAFFIC.field(at), dirty_column)
    write(tmp_path / "1", [clean], 5)
    write(tmp_path / "2", [clean], 5)
    write(tmp_path / "3", [dirty], 5)
    assert files(tmp_path / "1") == files(tmp_path / "2") == files(tmp_path / "3")
    write(tmp_path / "4", [some_traffic(300, seed=1)], 5)
    assert files(tmp_path / "4") != files(tmp_path / "1")


def test_rows_of_a_bucket_stay_in_the_order_of_writing(tmp_path: Path) -> None:
    write(tmp_path, [some_traffic(20_000)], 2)
    for bucket in range(2):
        with pa.memory_map(str(bucket_path(tmp_path, bucket))) as mapped:
            rows = pa.ipc.open_file(mapped).read_all().column("row").to_pylist()
        assert len(rows) > 5_000
        assert rows == sorted(rows)


def test_files_are_on_the_disk_before_they_have_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[int] = []
    sync = os.fsync

    def watched(handle: int) -> None:
        named.append(len(list(tmp_path.glob("bucket-*"))))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write(tmp_path, [some_traffic(10)], 3)
    assert named == [0, 0, 0, 3]  # each file while none is named, then the folder


def test_leftovers_of_a_killed_run_are_written_over(tmp_path: Path) -> None:
    killed = f"""
import os, sys
from pathlib import Path
sys.path[:0] = {sys.path!r}
import pyarrow as pa
from coverage_lab.schema import TRAFFIC
from coverage_lab.traffic import BucketWriter
with BucketWriter(Path({str(tmp_path)!r}), 3) as writer:
    writer.write(TRAFFIC.empty_table())
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == 9
    assert not list(tmp_path.glob("bucket-*"))
    assert len(files(tmp_path)) == 3
    write(tmp_path, [some_traffic(50)], 3)
    write(tmp_path / "other", [some_traffic(50)], 3)
    (tmp_path / "other").rename(tmp_path.parent / "other")
    assert files(tmp_path) == files(tmp_path.parent / "other")


def test_exception_leaves_nothing(tmp_path: Path) -> None:
    def tables() -> Iterator[pa.Table]:
        yield some_traffic(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, tables(), 4)
    assert list(tmp_path.iterdir()) == []


def test_other_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected columns"), BucketWriter(tmp_path, 4) as writer:
        writer.write(pa.table({"a": [1]}))
    with pytest.raises(ConfigError, match="expected 1 or more"):
        BucketWriter(tmp_path, 0)


@pytest.mark.parametrize("held", [1, 2**25], ids=["while writing", "on exit"])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """The kernel's own ENOSPC: one bucket's temporary file leads to /dev/full."""
    monkeypatch.setattr(buckets, "_HELD_BYTES", held)
    (tmp_path / ".bucket-00001.arrow.partial").symlink_to("/dev/full")
    big = rows_table([{"account_id": f"a{at}", "prompt": "p" * 1_000} for at in range(1_000)])
    with pytest.raises(OutputError, match="the disk is full") as error:
        write(tmp_path, [big], 3)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't be written"), BucketWriter(tmp_path / "file", 2):
        pass


LIMITED = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
import resource
from coverage_lab.traffic import BucketWriter
resource.setrlimit(resource.RLIMIT_NOFILE, (60, {hard}))
with BucketWriter(Path({folder!r}), 200):
    pass
"""


@pytest.mark.parametrize("hard", [60, 1000])
def test_more_buckets_than_open_files(tmp_path: Path, hard: int) -> None:
    """The limit is raised as far as the system lets it; where it does not, that is one clear error."""
    pytest.importorskip("resource", reason="limits on open files are Unix's")
    code = LIMITED.format(paths=sys.path, hard=hard, folder=str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    if hard == 60:
        assert "OutputError" in ended.stderr
        assert "Too many open files" in ended.stderr
        assert list(tmp_path.iterdir()) == []
    else:
        assert ended.returncode == 0, ended.stderr
        assert len(list(tmp_path.iterdir())) == 200


def read_one(folder: Path, table: pa.Table, names: Sequence[str] = ("x", "y")) -> tuple[pa.Table, pa.Table]:
    write(folder, [table], 1)
    return read_bucket(bucket_path(folder, 0), names)


def test_order_and_repeated_requests(tmp_path: Path) -> None:
    later = NOON + timedelta(seconds=1)
    table = rows_table(
        [
            {"account_id": "b", "request_id": "r", "row": 0},
            {"account_id": "a", "request_id": "r", "timestamp": later, "row": 1},
            {"account_id": "a", "request_id": "r", "source": 1, "row": 0},
            {"account_id": "a", "request_id": None, "row": 9},
            {"account_id": "a", "request_id": None, "row": 8},
            {"account_id": "a", "request_id": "q", "row": 7},
            {"account_id": "a", "request_id": "q", "row": 10},
        ]
    )
    good, quarantined = read_one(tmp_path, table)
    kept = [(row["account_id"], row["request_id"], row["source"], row["row"]) for row in good.to_pylist()]
    assert kept == [
        ("a", "q", 0, 7),
        ("a", None, 0, 8),
        ("a", None, 0, 9),
        ("a", "r", 1, 0),
        ("b", "r", 0, 0),
    ]
    detail = "request_id repeats that of an earlier row of the account"
    common = {"account_id": "a", "reason": "duplicate_request", "detail": detail}
    assert quarantined.to_pylist() == [
        {"source": "x", "row": 10, **common},
        {"source": "x", "row": 1, **common},
    ]
    assert good.schema.equals(TRAFFIC)
    assert quarantined.schema.equals(QUARANTINE)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 80))
def test_reading_agrees_with_brute_force_in_any_order_of_writing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    traffic = some_traffic(count, seed)
    rows = sorted(traffic.to_pylist(), key=lambda r: (r["account_id"], r["timestamp"], r["source"], r["row"]))
    seen: set[tuple[str, str]] = set()
    kept, repeated = [], []
    for row in rows:
        key = (row["account_id"], row["request_id"])
        (repeated if row["request_id"] is not None and key in seen else kept).append(row)
        seen.add(key)
    order = list(range(count))
    random.Random(seed).shuffle(order)
    good, quarantined = read_one(tmp_path_factory.mktemp("bucket"), traffic.take(pa.array(order, pa.int64())))
    assert good.to_pylist() == kept
    assert [(r["source"], r["row"]) for r in quarantined.to_pylist()] == [
        ("xy"[r["source"]], r["row"]) for r in repeated
    ]


@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_damaged_bucket(tmp_path: Path, keep: float) -> None:
    write(tmp_path, [some_traffic(50)], 1)
    path = bucket_path(tmp_path, 0)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(OutputError, match="can't be read") as error:
        read_bucket(path, ["x", "y"])
    assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(OutputError, match="can't be read"):
        read_bucket(path, ["x", "y"])


def test_bucket_of_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(path, pa.schema([("a", pa.int8())])):
        pass
    with pytest.raises(OutputError, match="expected columns"):
        read_bucket(path, [])
