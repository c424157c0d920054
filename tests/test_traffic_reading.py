"""Streaming files of every format: the same content gives the same tables, in bounded memory."""

from __future__ import annotations

import csv
import gzip
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import ConfigError, TrafficError
from coverage_lab.schema import QUARANTINE, TRAFFIC
from coverage_lab.traffic import TrafficBatch, check_sources, delimited, find_sources, read_traffic, reading

AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONFIG = TrafficConfig()


def read(path: Path | str, config: TrafficConfig = CONFIG) -> list[TrafficBatch]:
    return list(read_traffic(find_sources(path), config, as_of=AS_OF))


def all_good(batches: list[TrafficBatch]) -> pa.Table:
    return pa.concat_tables([TRAFFIC.empty_table(), *(batch.good for batch in batches)]).combine_chunks()


def all_bad(batches: list[TrafficBatch]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pa.concat_tables(
        [QUARANTINE.empty_table(), *(batch.quarantined for batch in batches)]
    ).to_pylist()
    return rows


def some_rows(count: int) -> list[dict[str, object]]:
    """Rows with every column, out of time order, some null where they may be, every seventh one bad."""
    pick = random.Random(4)
    rows: list[dict[str, object]] = []
    for at in range(count):
        rows.append(
            {
                "account_id": f"acct-{pick.randrange(5)}",
                "timestamp": NOON - timedelta(minutes=pick.randrange(10_000), microseconds=at),
                "prompt": f"question {at} about gärten 🌱",
                "request_id": f"r{at}" if at % 3 else None,
                "session": None if at % 2 else f"s{at}",
                "end_user": f"u{at % 4}",
                "tokens_in": at if at % 5 else None,
                "tokens_out": 2 * at,
                "network_hash": "n",
                "payment_hash": "p",
                "system_prompt_hash": None,
                "model": "a column that nobody asked for",
            }
        )
    for at in range(3, count, 7):
        rows[at][pick.choice(["account_id", "timestamp", "prompt"])] = None
    return rows


def json_lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row, default=datetime.isoformat) + "\n" for row in rows).encode()


def write(path: Path, rows: list[dict[str, object]], *, chunk: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    match path.suffix:
        case ".parquet":
            pq.write_table(table, path, row_group_size=chunk)
        case ".arrow":
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=chunk)
        case ".ipc":
            with pa.ipc.new_stream(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=chunk)
        case ".feather":
            pa.feather.write_feather(table, path, compression="zstd", chunksize=chunk)
        case ".gz":
            path.write_bytes(gzip.compress(json_lines(rows)))
        case _:
            path.write_bytes(json_lines(rows))
    return path


FORMATS = ["parquet", "arrow", "ipc", "feather", "jsonl", "jsonl.gz"]


@pytest.mark.parametrize("batch_rows", [1, 7, 16_384])
def test_every_format_gives_the_same_tables(tmp_path: Path, batch_rows: int) -> None:
    rows = some_rows(60)
    good = [row for row in rows if None not in (row["account_id"], row["timestamp"], row["prompt"])]
    config = TrafficConfig(batch_rows=batch_rows)
    for kind in FORMATS:
        path = write(tmp_path / f"a.{kind}", rows)
        check_sources(find_sources(path), config)
        batches = read(path, config)
        assert max(batch.rows_in for batch in batches) <= batch_rows
        assert sum(batch.rows_in for batch in batches) == 60
        table = all_good(batches)
        assert table.schema.equals(TRAFFIC)
        expected = [
            {**{name: row.get(name) for name in TRAFFIC.names}, "source": 0, "row": rows.index(row)}
            for row in good
        ]
        assert table.to_pylist() == expected, kind
        bad = all_bad(batches)
        assert [row["row"] for row in bad] == list(range(3, 60, 7)), kind
        for row in bad:
            column = str(row["reason"]).removeprefix("missing_").replace("account", "account_id")
            assert rows[int(str(row["row"]))][column] is None
            assert row["account_id"] == rows[int(str(row["row"]))]["account_id"]
            assert row["source"] == f"a.{kind}"


def test_several_files_count_on_and_rows_start_again(tmp_path: Path) -> None:
    for name in ("b.parquet", "a.jsonl", "c.arrow"):
        write(tmp_path / name, some_rows(3))
    table = all_good(read(tmp_path))
    assert table.column("source").to_pylist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert table.column("row").to_pylist() == [0, 1, 2] * 3


def test_files_without_rows_give_no_batches(tmp_path: Path) -> None:
    empty = pa.Table.from_pylist(some_rows(2)).schema.empty_table()
    pq.write_table(empty, tmp_path / "a.parquet")
    pa.feather.write_feather(empty, tmp_path / "b.arrow")
    (tmp_path / "c.jsonl").write_text("\n \n")
    assert read(tmp_path) == []


def test_folder_names_as_columns(tmp_path: Path) -> None:
    rows = [{"prompt": "one"}, {"prompt": "two", "account_id": None}]
    for kind in FORMATS:
        folder = tmp_path / kind / "day=2026-03-01" / "account_id=a%20b" / "tokens_in=12" / "session=5"
        write(folder / "end_user=__HIVE_DEFAULT_PARTITION__" / f"x.{kind}", rows[:1])
        config = TrafficConfig(columns={"timestamp": "day"}, timezone="UTC")
        check_sources(find_sources(tmp_path / kind), config)
        (row,) = all_good(read(tmp_path / kind, config)).to_pylist()
        assert row["account_id"] == "a b"
        assert row["timestamp"] == datetime(2026, 3, 1, tzinfo=UTC)
        assert (row["tokens_in"], row["session"], row["end_user"]) == (12, "5", None)


def test_own_column_goes_before_a_folder_name(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": "one", "timestamp": NOON, "account_id": "own"}]
    for kind in FORMATS:
        path = write(tmp_path / "account_id=folder" / f"x.{kind}", rows)
        assert all_good(read(path)).column("account_id").to_pylist() == ["own"]


def test_folder_name_that_is_no_count_is_dropped_and_counted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": "one", "timestamp": NOON, "account_id": "own"}]
    for kind in FORMATS:
        path = write(tmp_path / "tokens_in=many" / f"x.{kind}", rows)
        (batch,) = read(path)
        assert batch.good["tokens_in"].to_pylist() == [None]
        assert batch.dropped == {"tokens_in": 1}


def test_odd_column_names(tmp_path: Path) -> None:
    names = {"prompt": "a.b", "account_id": "naïve\nname", "timestamp": "", "session": "naïve\nname"}
    table = pa.table(
        {
            "a": [{"b": "not this one"}],
            "a.b": ["this one"],
            "naïve\nname": ["x"],
            "": [NOON],
            "a.b.c": [1],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    pa.feather.write_feather(table, tmp_path / "b.arrow")
    write(tmp_path / "c.jsonl", table.to_pylist())
    config = TrafficConfig(columns=names)
    check_sources(find_sources(tmp_path), config)
    for row in all_good(read(tmp_path, config)).to_pylist():
        assert (row["prompt"], row["account_id"], row["session"]) == ("this one", "x", "x")
        assert row["timestamp"] == NOON
    assert all_bad(read(tmp_path, config)) == []


def test_int96_timestamps_of_old_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "account_id": ["a", "a"],
            "prompt": ["b", "b"],
            "timestamp": [NOON, datetime(2400, 1, 1, tzinfo=UTC)],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    batches = read(tmp_path, TrafficConfig(timezone="UTC"))
    assert all_good(batches).column("timestamp").to_pylist() == [NOON]
    assert [row["reason"] for row in all_bad(batches)] == ["timestamp_in_future"]


def test_invalid_utf8_in_parquet(tmp_path: Path) -> None:
    prompts = [b"good", b"\xff\xfe", b"caf\xc3", b"fine \xf0\x9f\x8c\xb1", b"\xed\xa0\x80"]
    texts = pa.array(prompts).view(pa.string())  # as a careless writer would leave them
    table = pa.table({"account_id": ["a"] * 5, "timestamp": [NOON] * 5, "prompt": texts})
    for dictionary in (True, False):
        pq.write_table(table, tmp_path / "a.parquet", use_dictionary=dictionary)
        batches = read(tmp_path)
        assert all_good(batches).column("prompt").to_pylist() == ["good", "fine 🌱", "\ufffd"]
        assert sum(batch.repaired for batch in batches) == 1
        assert [(row["row"], row["reason"]) for row in all_bad(batches)] == [
            (1, "invalid_utf8"),
            (2, "invalid_utf8"),
        ]


def line(**changes: object) -> bytes:
    row = {"account_id": "a", "timestamp": "2026-03-01T12:00:00Z", "prompt": "p", **changes}
    return json.dumps(row).encode()


BAD_LINES = [
    (b"not json", "unparsable_row"),
    (b"{", "unparsable_row"),
    (b"[1]", "unparsable_row"),
    (b"null", "unparsable_row"),
    (b'"text"', "unparsable_row"),
    (line()[:-1] + b', "x": ' + b"9" * 5_000 + b"}", "unparsable_row"),
    (line() + line(), "unparsable_row"),
    (b"[" * 200_000, "unparsable_row"),
    (line().replace(b'"p"', b'"\xff"'), "invalid_utf8"),
    (line(prompt=None), "missing_prompt"),
    (line(prompt=5), "wrong_type"),
    (line(prompt="x" * 2**20), "prompt_too_long"),
    (line(timestamp=1_772), "unparsable_timestamp"),
    (line(timestamp=[1]), "wrong_type"),
    (line(timestamp="2026-03-01T12:00:00"), "timestamp_without_zone"),
    (line(account_id=""), "missing_account"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_LINES, ids=lambda value: repr(value)[:40])
def test_bad_line_between_good_ones(tmp_path: Path, bad: bytes, reason: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([line(), bad, line()]))
    batches = read(tmp_path)
    assert all_good(batches).column("row").to_pylist() == [0, 2]
    assert [(row["row"], row["reason"]) for row in all_bad(batches)] == [(1, reason)]


def test_byte_order_mark_line_ends_and_blank_lines(tmp_path: Path) -> None:
    text = (
        b"\xef\xbb\xbf" + line(prompt="1") + b"\r\n\n  \r\n" + line(prompt="2") + b"\n\n" + line(prompt="3")
    )
    (tmp_path / "a.jsonl").write_bytes(text)
    table = all_good(read(tmp_path))
    assert table.column("prompt").to_pylist() == ["1", "2", "3"]
    assert table.column("row").to_pylist() == [0, 3, 5]


def test_same_key_twice_takes_the_last(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(line()[:-1] + b', "prompt": "last"}')
    assert all_good(read(tmp_path)).column("prompt").to_pylist() == ["last"]


def test_lawful_prompt_is_not_refused_for_how_it_is_spelt(tmp_path: Path) -> None:
    config = TrafficConfig(max_prompt_bytes=1_000)
    spelt = (
        b'{"account_id": "a", "timestamp": "2026-03-01T12:00:00Z", "prompt": "' + b"\\u0007" * 1_000 + b'"}'
    )
    (tmp_path / "a.jsonl").write_bytes(spelt)
    assert all_good(read(tmp_path, config)).column("prompt").to_pylist() == ["\a" * 1_000]


@pytest.mark.parametrize("extra", [-1, 0, 1, 2, 3, 70_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_line_around_the_limit(tmp_path: Path, extra: int, end: bytes) -> None:
    config = TrafficConfig(max_prompt_bytes=10)
    limit = reading.line_limit(config)
    padded = line()[:-1] + b', "x": "'
    padded += b"x" * (limit + extra - len(padded) - 2) + b'"}'
    assert len(padded) == limit + extra
    (tmp_path / "a.jsonl").write_bytes(padded + end + (line() if end else b""))
    batches = read(tmp_path, config)
    expected = [] if extra <= 0 else [(0, "prompt_too_long")]
    assert [(row["row"], row["reason"]) for row in all_bad(batches)] == expected
    rows = ([0] if extra <= 0 else []) + ([1] if end else [])
    assert all_good(batches).column("row").to_pylist() == rows


def test_huge_line_is_never_held_whole(tmp_path: Path) -> None:
    size = 2**26
    with gzip.open(tmp_path / "a.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(line() + b'\n{"prompt": "')
        for _ in range(size >> 20):
            file.write(b"x" * 2**20)
        file.write(b'"}\n' + line())
    tracemalloc.start()
    batches = read(tmp_path, TrafficConfig(max_prompt_bytes=100_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(row["row"], row["reason"]) for row in all_bad(batches)] == [(1, "prompt_too_long")]
    assert all_good(batches).column("row").to_pylist() == [0, 2]
    assert peak < size / 8


#: Arrow frees buffers into the pool they came from, so a pool must outlive its test.
_pools: list[pa.MemoryPool] = []


@pytest.fixture
def count_memory() -> Iterator[Callable[[], pa.MemoryPool]]:
    """Call it to count the most bytes that Arrow holds from then on."""
    before = pa.default_memory_pool()

    def start() -> pa.MemoryPool:
        _pools.append(pa.proxy_memory_pool(before))
        pa.set_memory_pool(_pools[-1])
        return _pools[-1]

    yield start
    pa.set_memory_pool(before)


def many_rows(count: int) -> pa.Table:
    pick = random.Random(0)
    prompts = [f"{pick.getrandbits(1_600):x}" for _ in range(count)]
    return pa.table({"account_id": ["a"] * count, "timestamp": [NOON] * count, "prompt": prompts})


@pytest.mark.parametrize("group", [500, 60_000], ids=["many row groups", "one huge row group"])
def test_parquet_is_streamed(tmp_path: Path, count_memory: Callable[[], pa.MemoryPool], group: int) -> None:
    pq.write_table(many_rows(60_000), tmp_path / "a.parquet", row_group_size=group)
    pool = count_memory()
    rows = 0
    for batch in read_traffic(find_sources(tmp_path), TrafficConfig(batch_rows=1_000), as_of=AS_OF):
        assert 0 < batch.rows_in <= 1_000
        rows += batch.rows_in
    assert rows == 60_000
    size = (tmp_path / "a.parquet").stat().st_size
    assert size > 20 * 2**20
    assert pool.max_memory() < size / 2


def test_arrow_and_json_are_streamed(tmp_path: Path) -> None:
    table = many_rows(20_000)
    pa.feather.write_feather(table, tmp_path / "a.arrow", compression="uncompressed", chunksize=20_000)
    write(tmp_path / "b.jsonl", table.to_pylist())
    sizes = [
        batch.rows_in
        for batch in read_traffic(find_sources(tmp_path), TrafficConfig(batch_rows=3_000), as_of=AS_OF)
    ]
    assert sizes[:7] == [3_000] * 6 + [2_000]
    assert sum(sizes[7:]) == 20_000
    assert max(sizes[7:]) <= 3_000


def test_long_prompts_make_short_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_BYTES", 100_000)
    rows = [{"account_id": "a", "timestamp": NOON, "prompt": f"{at:05d}" + "x" * 39_995} for at in range(9)]
    rows[4]["prompt"] = "y" * 300_000
    for kind in FORMATS:
        batches = read(write(tmp_path / f"a.{kind}", rows, chunk=100))
        assert all(batch.rows_in <= 3 for batch in batches), kind
        assert len(batches) >= 4, kind
        assert all_good(batches).column("row").to_pylist() == list(range(9))


def test_one_long_prompt_repeated_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count_memory: Callable[[], pa.MemoryPool]
) -> None:
    """2,000 times the same 200 kB take 400 MB as plain text, and less than 1 MB in the file."""
    count, size = 2_000, 200_000
    prompts = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["z" * size]))
    table = pa.table({"account_id": ["a"] * count, "timestamp": [NOON] * count, "prompt": prompts})
    pq.write_table(table, tmp_path / "a.parquet", store_schema=False)
    pa.feather.write_feather(table, tmp_path / "b.arrow")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2**20
    monkeypatch.setattr(reading, "BATCH_BYTES", 4 * 2**20)
    pool = count_memory()
    rows = sum(batch.good.num_rows for batch in read_traffic(find_sources(tmp_path), CONFIG, as_of=AS_OF))
    assert rows == 2 * count
    # Parquet: 128 prompts at once (26 MB) and copies while they are decoded and checked.
    assert pool.max_memory() < 120 * 2**20


def test_dictionaries_that_differ_between_row_groups(tmp_path: Path) -> None:
    """As pandas writes a category column."""
    texts = [f"question {at % 40}" for at in range(1_000)]
    groups = [pa.array(texts[at : at + 100]).dictionary_encode() for at in range(0, 1_000, 100)]
    assert not groups[0].dictionary.equals(groups[1].dictionary)
    prompts = pa.chunked_array(groups)
    table = pa.table({"account_id": ["a"] * 1_000, "timestamp": [NOON] * 1_000, "prompt": prompts})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    with pa.ipc.new_stream(tmp_path / "b.ipc", table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "b.ipc"):
        assert all_good(read(tmp_path / name)).column("prompt").to_pylist() == texts


def test_missing_column_without_check(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"account_id": "a", "timestamp": NOON}]
    for kind in ("parquet", "arrow", "ipc"):
        with pytest.raises(TrafficError, match="no column for prompt"):
            read(write(tmp_path / f"a.{kind}", rows))
    (row,) = all_bad(read(write(tmp_path / "b.jsonl", rows)))
    assert row["reason"] == "missing_prompt"
    with pytest.raises(ConfigError, match="unknown column"):
        read(tmp_path / "b.jsonl", TrafficConfig(columns={"x": "y"}))


def test_truncated_gzip(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl.gz", some_rows(5_000))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TrafficError, match="can't be read as jsonl"):
        read(path)


def test_damaged_parquet_page(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(many_rows(1_000), path)
    whole = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(2)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    whole[start : start + 64] = b"\xff" * 64
    path.write_bytes(whole)
    check_sources(find_sources(path), CONFIG)
    with pytest.raises(TrafficError, match="can't be read as parquet") as error:
        read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["arrow", "ipc"])
def test_offsets_that_point_outside_the_file(tmp_path: Path, kind: str) -> None:
    rows: list[dict[str, object]] = [
        {"account_id": "a", "timestamp": NOON, "prompt": "p" * length} for length in (77, 1_001)
    ]
    path = write(tmp_path / f"a.{kind}", rows)
    offsets = b"".join(offset.to_bytes(4, "little") for offset in (0, 77, 1_078))
    hostile = offsets[:-4] + (2**31 - 1).to_bytes(4, "little")
    whole = path.read_bytes()
    assert whole.count(offsets) == 1
    path.write_bytes(whole.replace(offsets, hostile))
    with pytest.raises(TrafficError, match="can't be read as arrow"):
        read(path)


def test_prompts_stay_out_of_messages_and_tables(tmp_path: Path) -> None:
    secret = "zebra-quartz-umbrella"
    bad = [
        line(prompt=[secret]),
        line(timestamp=secret),
        secret.encode(),
        line(prompt=secret * 50_000),
        line(prompt=secret).replace(b"zebra", b"\xff"),
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(bad))
    rows = all_bad(read(tmp_path))
    assert len(rows) == len(bad)
    assert "quartz" not in str(rows)


@pytest.mark.parametrize(
    "odd", [line()[:-1] + b', "x": NaN}', line()[:-1] + b', "x": -Infinity}', line(session={"a": 1})]
)
def test_value_that_no_score_uses_costs_no_row(tmp_path: Path, odd: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([line(), odd, line()]))
    assert all_good(read(tmp_path)).column("row").to_pylist() == [0, 1, 2]


def test_half_a_surrogate_pair_is_repaired_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(line(prompt="whole") + b"\n" + line(prompt="half \ud83d"))
    (batch,) = read(tmp_path)
    assert batch.good["prompt"].to_pylist() == ["whole", "half \ufffd"]
    assert batch.repaired == 1


def test_csv_row_with_too_many_columns_that_is_not_utf8_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = b'a,2026-03-01T12:00:00Z,"n\xc3\xa9e \xf0\x9f\x8c\xb1"\n'
    (tmp_path / "a.csv").write_bytes(
        b"account_id,timestamp,prompt\n"
        + good
        + b"a,b,\xc3,\xff\n"
        + good
        + b"a,2026-03-01T12:00:00Z,\xff\xfe\n"
    )
    batches = read(tmp_path)
    assert all_good(batches)["prompt"].to_pylist() == ["née 🌱"] * 2
    assert sorted(str(row["reason"]) for row in all_bad(batches)) == ["invalid_utf8", "unparsable_row"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("in_messages", [False, True])
def test_csv_rows_after_one_that_cannot_be_parted_keep_their_places(
    in_messages: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_SMALLEST_BLOCK", 2_000)
    monkeypatch.setattr(reading, "line_limit", lambda config: 2_000)
    bad = [0, *range(3, 190, 7), 197, 198]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["account_id", "timestamp", "prompt"])
        for at in range(200):
            prompt = json.dumps([{"role": "user", "content": f"row {at}"}]) if in_messages else f"row {at}"
            good = [f"account {at}", "2026-03-01T12:00:00Z", prompt]
            rows.writerow(["too", "few"] if at in bad else good)
    sources = list(check_sources(find_sources(tmp_path), CONFIG).sources)
    assert [source.shape for source in sources] == ["messages" if in_messages else "table"]
    batches = list(read_traffic(sources, CONFIG.model_copy(update={"batch_rows": 30}), as_of=AS_OF))
    found = all_good(batches)
    places = found["row"].to_pylist()
    assert found["prompt"].to_pylist() == [f"row {at}" for at in places]
    assert places == [at for at in range(200) if at not in bad]
    assert sorted(int(str(row["row"])) for row in all_bad(batches)) == bad


def test_csv_text_may_hold_any_sign_of_unicode(tmp_path: Path) -> None:
    """U+FFFF is UTF-8 like any other sign, in a cell and in a column's name."""
    prompts = ["a\uffff", "\uffffx", "\uffffm\uffff\uffff", "\ufffe", "née \U0010ffff"]
    rows = "".join(f"a,2026-03-01T12:00:00Z,{prompt}\n" for prompt in prompts).encode()
    (tmp_path / "a.csv").write_bytes(
        "account_id,timestamp,text\uffff\n".encode() + rows + b"a,2026-03-01T12:00:00Z,\xff\n"
    )
    batches = read(tmp_path, TrafficConfig(columns={"prompt": "text\uffff"}))
    assert all_good(batches)["prompt"].to_pylist() == prompts
    assert [row["reason"] for row in all_bad(batches)] == ["invalid_utf8"]
