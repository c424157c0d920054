"""Which files an input names, and which are refused before any work."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import ConfigError, TrafficError
from coverage_lab.traffic import (
    Source,
    check_sources,
    default_buckets,
    find_sources,
    read_traffic,
    without_repeats,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONFIG = TrafficConfig()


def some_table(**changes: object) -> pa.Table:
    columns = {"account_id": ["a"], "timestamp": [NOON], "prompt": ["how do I prune an apple tree?"]}
    return pa.table({**columns, **changes})


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}\n")
    return path


def names(input: str | Path) -> list[str]:
    return [source.name for source in find_sources(input)]


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


def refusal(path: Path, config: TrafficConfig = CONFIG) -> str:
    with pytest.raises((TrafficError, ConfigError)) as error:
        check_sources(find_sources(path), config)
    return one_line(error)


def test_folder_name_does_not_matter_where_the_file_has_the_column(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.arrow", "a.jsonl"):
        write(tmp_path / "timestamp=never" / name, some_table())
    check_sources(find_sources(tmp_path), CONFIG)


def test_single_file_of_every_suffix(tmp_path: Path) -> None:
    formats = {
        "a.parquet": "parquet",
        "a.PQ": "parquet",
        "a.snappy.parquet": "parquet",
        "a.jsonl": "jsonl",
        "a.ndjson": "jsonl",
        "a.json": "jsonl",
        "a.jsonl.gz": "jsonl",
        "a.ndjson.gz": "jsonl",
        "a.arrow": "arrow",
        "a.ipc": "arrow",
        "a.feather": "arrow",
    }
    for name, kind in formats.items():
        path = touch(tmp_path / name)
        assert find_sources(path) == [Source(path=path, name=name, format=kind, partitions=())]  # type: ignore[arg-type]


def test_folder_is_searched_in_full_and_sorted_and_marked_names_are_left_out(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "b/10.jsonl", "a.parquet", "c.arrow"):
        touch(tmp_path / name)
    for name in ("_SUCCESS", "_metadata", ".hidden.jsonl", "_temporary/x.jsonl", ".git/x.jsonl", "b/.x.crc"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["a.parquet", "b/10.jsonl", "b/2.jsonl", "c.arrow"]
    assert names(f"{tmp_path}/**") == ["a.parquet", "b/10.jsonl", "b/2.jsonl", "c.arrow"]


def test_hive_folders_give_keys(tmp_path: Path) -> None:
    touch(tmp_path / "day=2026-03-01" / "account_id=a%2Fb c" / "x.jsonl")
    touch(tmp_path / "_hour=3" / "y.jsonl")
    found = find_sources(tmp_path)
    assert [source.name for source in found] == [
        "_hour=3/y.jsonl",
        "day=2026-03-01/account_id=a%2Fb c/x.jsonl",
    ]
    assert found[0].partitions == (("_hour", "3"),)
    assert found[1].partitions == (("day", "2026-03-01"), ("account_id", "a/b c"))


def test_globs(tmp_path: Path) -> None:
    for name in ("d1/a.jsonl", "d1/b.parquet", "d2/a.jsonl", "d2/deep/c.jsonl", "d2/_part.jsonl"):
        touch(tmp_path / name)
    assert names(f"{tmp_path}/*/a.jsonl") == ["d1/a.jsonl", "d2/a.jsonl"]
    assert names(f"{tmp_path}/d*") == ["d1/a.jsonl", "d1/b.parquet", "d2/a.jsonl", "d2/deep/c.jsonl"]
    assert names(f"{tmp_path}/**/*.jsonl") == ["d1/a.jsonl", "d2/a.jsonl", "d2/deep/c.jsonl"]
    assert names(f"{tmp_path}/d2/_*.jsonl") == ["_part.jsonl"]


def test_existing_path_with_glob_characters_is_taken_as_it_is(tmp_path: Path) -> None:
    touch(tmp_path / "a.jsonl")
    touch(tmp_path / "[a].jsonl")
    assert names(tmp_path / "[a].jsonl") == ["[a].jsonl"]


def test_relative_glob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.jsonl")
    monkeypatch.chdir(tmp_path)
    assert names("*.jsonl") == names(".") == names("./*.jsonl") == ["a.jsonl"]


def test_linked_folder_is_searched_and_a_loop_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "a.jsonl")
    inside = tmp_path / "input"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "elsewhere")
    assert names(inside) == ["link/a.jsonl"]
    (inside / "loop").symlink_to(inside)
    with pytest.raises(TrafficError, match="twice through links"):
        find_sources(inside)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def note(path: Path) -> None:
    path.write_text("[note] ask the bakery about these\n")


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("notes.txt", note, "unknown suffix"),
        ("data.xlsx", note, "unknown suffix"),
        ("data.parquet.gz", note, "unknown suffix"),
        ("pipe.jsonl", make_fifo, "not a regular file .* save it to a file"),
        ("gone.jsonl", lambda path: path.symlink_to("nowhere"), "link to nothing"),
    ],
)
def test_unusable_file_is_refused_alone_and_in_a_folder(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    touch(tmp_path / "fine.jsonl")
    make(tmp_path / name)
    for input in (tmp_path / name, tmp_path):
        with pytest.raises(TrafficError, match=message) as error:
            find_sources(input)
        assert name in one_line(error)


def test_standard_input_is_refused_with_what_to_do() -> None:
    with pytest.raises(TrafficError, match="save it to a file"):
        find_sources("-")


@pytest.mark.parametrize("input", ["", "missing", "missing/*.parquet", "nul\0byte", "line\nbreak"])
def test_nothing_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, input: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrafficError, match=r"^input ") as error:
        find_sources(input)
    one_line(error)


def test_folder_without_traffic(tmp_path: Path) -> None:
    touch(tmp_path / "_SUCCESS")
    with pytest.raises(TrafficError, match="no traffic found"):
        find_sources(tmp_path)


def test_name_that_is_not_utf8_or_has_a_line_break(tmp_path: Path) -> None:
    for raw in (b"\xff.jsonl", b"a\nb.jsonl"):
        with open(os.path.join(os.fsencode(tmp_path), raw), "wb"):
            pass
    assert names(tmp_path) == ["\\xff.jsonl", "a\nb.jsonl"]
    assert "a\\nb.jsonl" in refusal(tmp_path / "a\nb.jsonl")


def test_default_buckets(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    expected = {1: 4, 64 * 2**20: 4, 64 * 2**20 + 1: 5, 2**33: 512, 2**40: 4096}
    for size, buckets in expected.items():
        with path.open("wb") as file:
            file.truncate(size)  # sparse: takes no space
        assert default_buckets(find_sources(path)) == buckets


def test_default_buckets_go_by_rows_where_a_small_file_holds_many(tmp_path: Path) -> None:
    for number, rows in enumerate((2**19, 2**17 + 1)):
        table = pa.table({"account_id": pa.array(["a"] * rows).dictionary_encode()})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 100_000
    # 2^19 + 2^17 + 1 rows at 2^17 a bucket.
    assert default_buckets(find_sources(tmp_path)) == 6
    (tmp_path / "1.parquet").write_bytes(b"PAR1")
    with pytest.raises(TrafficError, match=r"1.parquet: can't be read"):
        default_buckets(find_sources(tmp_path))


def write(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".arrow":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    elif path.suffix == ".ipc":
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    else:
        rows = (json.dumps(row, default=datetime.isoformat) for row in table.to_pylist())
        path.write_text("".join(f"{row}\n" for row in rows))
    return path


SUFFIXES = ["parquet", "arrow", "ipc", "jsonl"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_good_file_passes_and_so_does_one_without_rows(tmp_path: Path, suffix: str) -> None:
    check_sources(find_sources(write(tmp_path / f"a.{suffix}", some_table())), CONFIG)
    if suffix == "jsonl":
        (tmp_path / "b.jsonl").write_text("\n\n")
    else:
        write(tmp_path / f"b.{suffix}", some_table().schema.empty_table())
    check_sources(find_sources(tmp_path), CONFIG)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_column_says_what_there_is_and_how_to_map(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", some_table().rename_columns(["account_id", "timestamp", "text"]))
    message = refusal(path)
    assert "no column for prompt" in message
    assert "columns there: account_id, timestamp, text" in message
    assert "traffic.columns" in message
    check_sources(find_sources(path), TrafficConfig(columns={"prompt": "text"}))
    assert "traffic.columns maps prompt to 'txt'" in refusal(path, TrafficConfig(columns={"prompt": "txt"}))


def test_optional_column_that_is_mapped_by_name_has_to_be_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", some_table())
    assert "no column for session" in refusal(path, TrafficConfig(columns={"session": "sid"}))


def test_column_from_a_folder_name(tmp_path: Path) -> None:
    write(tmp_path / "account_id=7" / "a.parquet", some_table().drop_columns("account_id"))
    write(tmp_path / "account_id=8" / "b.jsonl", some_table().drop_columns("account_id"))
    check_sources(find_sources(tmp_path), CONFIG)


def test_folder_name_that_is_no_timestamp(tmp_path: Path) -> None:
    path = write(tmp_path / "date=2026-13-01" / "a.parquet", some_table().drop_columns("timestamp"))
    config = TrafficConfig(columns={"timestamp": "date"}, timezone="UTC")
    assert "not ISO 8601" in refusal(path, config)
    good = write(tmp_path / "date=2026-03-01" / "a.parquet", some_table().drop_columns("timestamp"))
    check_sources(find_sources(good), config)
    assert "no time zone" in refusal(good, TrafficConfig(columns={"timestamp": "date"}))


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "ipc"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": [1]}, r"column 'prompt' \(prompt\): expected text, got int64"),
        ({"prompt": [["a"]]}, "expected text, got list"),
        ({"prompt": pa.array([b"0123456789abcdef"], pa.binary(16))}, "expected text, got fixed_size_binary"),
        ({"timestamp": [True]}, "expected a timestamp, a date, text or a number, got bool"),
        ({"timestamp": [datetime(2026, 3, 1)]}, "no time zone; set traffic.timezone"),
        ({"timestamp": [NOON.date()]}, "no time zone; set traffic.timezone"),
        ({"account_id": [["a"]]}, "expected text or whole numbers, got list"),
        ({"account_id": [True]}, "expected text or whole numbers, got bool"),
    ],
)
def test_wrong_type_of_a_required_column(
    tmp_path: Path, suffix: str, change: dict[str, object], message: str
) -> None:
    with pytest.raises(TrafficError, match=message) as error:
        check_sources(find_sources(write(tmp_path / f"a.{suffix}", some_table(**change))), CONFIG)
    one_line(error)


def test_zoneless_column_passes_with_a_timezone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", some_table(timestamp=[datetime(2026, 3, 1)]))
    check_sources(find_sources(path), TrafficConfig(timezone="Asia/Tokyo"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "ipc"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.995])
def test_truncated_file(tmp_path: Path, suffix: str, keep: float) -> None:
    path = write(tmp_path / f"a.{suffix}", some_table(prompt=["one prompt " * 500]))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    assert "can't be read as" in refusal(path)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "jsonl.gz"])
def test_file_that_is_something_else(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"%PDF-1.7 this is no traffic at all\n" * 9)
    assert "can't be read as" in refusal(tmp_path)


def test_file_that_is_gone(tmp_path: Path) -> None:
    sources = find_sources(write(tmp_path / "a.parquet", some_table()))
    sources[0].path.unlink()
    with pytest.raises(TrafficError, match="can't be read"):
        check_sources(sources, CONFIG)


@pytest.mark.parametrize(
    "text",
    ['[{"account_id": 1}]', '[\n{"account_id": 1},\n{"account_id": 1}\n]', '{"data": [{"account_id": 1}]}'],
)
def test_json_array_is_looked_into(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert "columns there: account_id)" in refusal(tmp_path)


#: How files of other kinds begin, and what they are called.
OTHER_KINDS = {
    "a ZIP archive": b"PK\x03\x04\x14\0",
    "an old Excel workbook": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "compressed with Snappy": b"\xff\x06\0\0sNaPpY",
    "compressed with zlib": zlib.compress(b"{}"),
    "compressed twice": gzip.compress(gzip.compress(b"{}")),
    "a TAR archive": gzip.compress(b"a.jsonl".ljust(257, b"\0") + b"ustar\x0000"),
    "compressed as a whole": gzip.compress(b"PAR1\x15\x04"),
    "an Avro file": b"Obj\x01\x04",
    "an ORC file": b"ORC\n\x06",
    "a Feather file of version 1": b"FEA1\0\0\0\0",
    "an SQLite database": b"SQLite format 3\0",
    "a DuckDB database": b"\0" * 8 + b"DUCK",
    "a Python pickle": b"\x80\x05\x95",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
    "XML": b'<?xml version="1.0"?><rows/>',
    "a web page": b"\n<!doctype html><html>",
    "UTF-16": '{"account_id": "a"}'.encode("utf-16-le"),
    "UTF-32": "account_id,prompt".encode("utf-32-be"),
}


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.unheard"])
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_files_of_other_kinds_are_refused_by_name(tmp_path: Path, kind: str, name: str) -> None:
    data = OTHER_KINDS[kind]
    (tmp_path / name).write_bytes(data)
    # What is in a compressed file is of no interest where the file should be Parquet.
    expected = "can't be read as parquet" if name == "a.parquet" and data[:2] == b"\x1f\x8b" else f"is {kind}"
    assert expected in refusal(tmp_path)


@pytest.mark.parametrize("heading", ["SEQ,account_id,timestamp,prompt", "ORC,account_id,timestamp,prompt"])
def test_a_heading_is_not_taken_for_another_kind(tmp_path: Path, heading: str) -> None:
    (tmp_path / "a.csv").write_text(heading + "\n1,a,2026-03-01T12:00:00Z,said\n")
    assert check_sources(find_sources(tmp_path), CONFIG).sources[0].format == "csv"


@pytest.mark.parametrize(("place", "mark"), [(257, "ustar"), (8, "DUCK")])
def test_text_with_the_mark_of_another_kind_is_text(tmp_path: Path, place: int, mark: str) -> None:
    heading = "prompt,a,timestamp,account_id\n" if place > 8 else "prompt,_DUCK,timestamp,account_id\n"
    text = f"{heading}{'m'.rjust(place - len(heading), 'a')}{mark}d,,2026-03-01T11:00:00Z,a\n"
    assert text[place:].startswith(mark)
    (tmp_path / "a.csv").write_text(text)
    sources = check_sources(find_sources(tmp_path), CONFIG).sources
    assert sum(batch.good.num_rows for batch in read_traffic(sources, CONFIG, as_of=NOON)) == 1


def test_a_bracket_alone_makes_no_json(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("[id],account_id,timestamp,prompt\n1,a,2026-03-01T11:00:00Z,said\n")
    (tmp_path / "b.log").write_text("[2026-03-01 11:00] INFO started\n[2026-03-01 11:01] INFO stopped\n")
    (tmp_path / "c.log").write_text(
        "[2026-03-01 11:00] INFO started\n"
        "[x] INFO 03-01 11:00:01 [logger.py:39] Received request c-1: prompt: 'told', params: x.\n"
    )
    config = TrafficConfig(constants={"account_id": "server"}, timezone="UTC")
    checked = check_sources(find_sources(tmp_path), config)
    assert {source.name: source.format for source in checked.sources} == {"a.csv": "csv", "c.log": "log"}
    assert "is text in no format that is known" in checked.skipped["b.log"]
    batches = list(read_traffic(checked.sources, config, as_of=NOON))
    assert [text for batch in batches for text in batch.good["prompt"].to_pylist()] == ["said", "told"]
    assert sum(batch.quarantined.num_rows for batch in batches) == 0


@pytest.mark.parametrize("name", ["a.jsonl.br", "a.csv.br"])
def test_text_that_only_its_suffix_calls_brotli_is_read(tmp_path: Path, name: str) -> None:
    row = {"account_id": "a", "timestamp": "2026-03-01T11:00:00Z", "prompt": "über " * 1000}
    text = (
        json.dumps(row, ensure_ascii=False)
        if "json" in name
        else f"{','.join(row)}\n{','.join(row.values())}"
    )
    (tmp_path / name).write_text(text + "\n", encoding="utf-8")
    sources = check_sources(find_sources(tmp_path), CONFIG).sources
    assert sum(batch.good.num_rows for batch in read_traffic(sources, CONFIG, as_of=NOON)) == 1


@pytest.mark.parametrize(
    "name", ["a.jsonl.1", "a.log.2026-03-01", "a", "a.txt", "a.jsonl.lz4", "a.jsonl.br", "a.lzma"]
)
def test_rows_are_read_whatever_the_suffix(tmp_path: Path, name: str) -> None:
    text = b'{"account_id":"a","timestamp":"2026-03-01T12:00:00Z","prompt":"said"}\n' * 3
    packing = {"lz4": "lz4", "br": "brotli"}.get(name.rpartition(".")[2])
    if packing is not None:
        text = pa.compress(text, packing, asbytes=True)
    elif name.endswith("lzma"):
        text = lzma.compress(text, lzma.FORMAT_ALONE)
    (tmp_path / name).write_bytes(text)
    sources = check_sources(find_sources(tmp_path), CONFIG).sources
    assert sum(batch.good.num_rows for batch in read_traffic(sources, CONFIG, as_of=NOON)) == 3


def test_parquet_without_its_suffix(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", some_table()).rename(tmp_path / "part-00000")
    assert check_sources(find_sources(tmp_path), CONFIG).sources[0].format == "parquet"


@pytest.mark.parametrize(("first", "separator"), [("sep=;", ";"), ('"sep=,"', ","), ("sep=\t", "\t")])
def test_csv_that_names_its_separator(tmp_path: Path, first: str, separator: str) -> None:
    rows = [
        "account_id, timestamp, prompt",
        "a,2026-03-01T11:00:00Z,said",
        "a,b",
        "b,2026-03-01T11:00:00Z,told",
    ]
    (tmp_path / "a.csv").write_text("\r\n".join([first, *(row.replace(",", separator) for row in rows)]))
    sources = check_sources(find_sources(tmp_path), CONFIG).sources
    batches = list(read_traffic(sources, CONFIG, as_of=NOON))
    assert [place for batch in batches for place in batch.good["row"].to_pylist()] == [0, 2]
    assert [place for batch in batches for place in batch.quarantined["row"].to_pylist()] == [1]


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\v", "\r"])
def test_other_ends_of_lines(tmp_path: Path, end: str) -> None:
    row = '{"account_id":"a","timestamp":"2026-03-01T11:00:00Z","prompt":"said\t\0"}'
    (tmp_path / "a.jsonl").write_bytes((row.replace("\t\0", "") + end).encode() * 4)
    (tmp_path / "b.jsonl").write_bytes((row + "\n").encode() * 4)
    sources = check_sources(find_sources(tmp_path), CONFIG).sources
    assert sum(batch.good.num_rows for batch in read_traffic(sources, CONFIG, as_of=NOON)) == 8


def test_utf16_json(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"account_id": "a"}\n', encoding="utf-16")
    assert "is UTF-16" in refusal(tmp_path)


def test_gzip_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"user": "a"}\n'))
    assert "columns there: user" in refusal(tmp_path)


def test_one_bad_first_line_does_not_stop_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", some_table())
    for first in (b"not json\n", b"\xff\n", b"null\n", b"[1, 2]\n"):
        good = path.read_bytes().splitlines(keepends=True)[-1]
        path.write_bytes(first + good)
        check_sources(find_sources(path), CONFIG)


def test_column_that_is_there_twice(tmp_path: Path) -> None:
    table = pa.Table.from_arrays(
        [*some_table().columns, pa.array(["x"])], names=["account_id", "timestamp", "prompt", "prompt"]
    )
    assert "column 'prompt' is there 2 times" in refusal(write(tmp_path / "a.parquet", table))


def test_hostile_column_names_stay_on_one_line(tmp_path: Path) -> None:
    odd = {"drop\ntable\x1b[31m": ["x"], "y" * 5_000: ["x"], **{f"c{i}": ["x"] for i in range(500)}}
    message = refusal(write(tmp_path / "a.parquet", pa.table(odd)))
    assert "\\n" in message
    assert "\x1b" not in message
    assert "and 482 more" in message


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "ipc"])
def test_column_name_that_is_not_utf8(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", some_table(odd=["x"]))
    path.write_bytes(path.read_bytes().replace(b"odd", b"o\xffd"))
    assert "can't be read as" in refusal(path)


def test_names_in_traffic_columns_are_ours(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", some_table())
    with pytest.raises(ConfigError, match="unknown column 'promt'") as error:
        check_sources(find_sources(path), TrafficConfig(columns={"promt": "prompt"}))
    one_line(error)


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "../../etc/passwd", "UTC\0", "Europe", "/etc/localtime"]
)
def test_unknown_zone(tmp_path: Path, zone: str) -> None:
    path = write(tmp_path / "a.parquet", some_table())
    with pytest.raises(ConfigError, match=r"traffic\.timezone: expected an IANA zone") as error:
        check_sources(find_sources(path), TrafficConfig(timezone=zone))
    one_line(error)


def test_no_sources() -> None:
    with pytest.raises(TrafficError, match="at least one file"):
        check_sources([], CONFIG)


ODD_NAMES = [
    "a b",
    "a%20b",
    "50%",
    "a#b",
    "a?b",
    "ü",
    "a'b\"c",
    "a[b]",
    "a\\b",
    "a:b",
    "file:x",
    "a\tb",
    "日本",
]


def rows_of_input(given: str | Path) -> list[str]:
    sources = check_sources(find_sources(given), CONFIG).sources
    batches = read_traffic(sources, CONFIG, as_of=NOON)
    return sorted(account for batch in batches for account in batch.good["account_id"].to_pylist())


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_of_files_and_folders_are_nothing_but_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / f"in {name}"
    for suffix in SUFFIXES:
        write(folder / f"{name}.{suffix}", some_table())
    text = (folder / f"{name}.jsonl").read_bytes()
    for suffix, packed in (
        ("gz", gzip.compress(text)),
        ("bz2", bz2.compress(text)),
        ("xz", lzma.compress(text)),
    ):
        (folder / f"{name}.json.{suffix}").write_bytes(packed)
    (folder / f"{name}.json.zst").write_bytes(pa.compress(text, "zstd", asbytes=True))
    (folder / f"{name}.csv").write_text("account_id,timestamp,prompt\na,2026-02-01T00:00:00Z,Hi there\n")
    assert rows_of_input(folder) == ["a"] * 9
    assert rows_of_input(folder.as_uri()) == ["a"] * 9
    assert rows_of_input(folder / f"{name}.parquet") == ["a"]


@pytest.mark.parametrize("name", [*ODD_NAMES, "link"])
def test_delta_folder_of_any_name_is_read_by_its_log(tmp_path: Path, name: str) -> None:
    deltalake = pytest.importorskip("deltalake", reason="the extra state")
    place = tmp_path / "tables" / name
    plain = tmp_path / "plain"
    for account in ["a b", "ü/x", "50%", "a%20b", "a:b#?"]:
        rows = some_table(account_id=[account])
        deltalake.write_deltalake(str(plain), rows, mode="append", partition_by=["account_id"])
    deltalake.DeltaTable(str(plain)).delete("account_id = '50%'")
    place.parent.mkdir()
    if name == "link":
        place.symlink_to(plain, target_is_directory=True)
    else:
        plain.rename(place)
    assert rows_of_input(place) == sorted(["a b", "ü/x", "a%20b", "a:b#?"])
    assert rows_of_input(place.parent) == sorted(["a b", "ü/x", "a%20b", "a:b#?"])


def test_delta_folder_with_files_elsewhere_is_refused(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake", reason="the extra state")
    deltalake.write_deltalake(str(tmp_path / "t"), some_table())
    log = tmp_path / "t" / "_delta_log" / f"{0:020}.json"
    name = next((tmp_path / "t").glob("*.parquet")).name
    log.write_text(log.read_text().replace(name, f"{tmp_path.as_uri()}/{name}"))
    assert "files elsewhere" in refusal(tmp_path / "t")


def test_a_file_with_the_content_of_another_is_skipped_and_named(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", some_table())
    for name in ("b.parquet", "sub/c.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(first.read_bytes())
    write(tmp_path / "d.parquet", some_table(prompt=["how do I prune an apple bush?"]))
    checked = without_repeats(check_sources(find_sources(tmp_path), CONFIG), CONFIG)
    assert [source.name for source in checked.sources] == ["a.parquet", "d.parquet"]
    assert set(checked.skipped) == {"b.parquet", "sub/c.parquet"}
    assert "holds the same as a.parquet" in checked.skipped["b.parquet"]
    overlapping = check_sources(find_sources([tmp_path, tmp_path / "sub" / "c.parquet"]), CONFIG)
    assert len(without_repeats(overlapping, CONFIG).sources) == 2


def test_a_path_that_is_given_twice_is_read_once_and_named(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.parquet", some_table()) for name in ("a", "b")]
    checked = check_sources(find_sources([*paths, str(tmp_path / "*.parquet"), paths[0]]), CONFIG)
    assert [source.name for source in checked.sources] == ["a.parquet", "b.parquet"]
    assert checked.skipped == {
        "a.parquet": "is named 3 times in the input, and is read once",
        "b.parquet": "is named 2 times in the input, and is read once",
    }
    assert check_sources(find_sources(paths), CONFIG).skipped == {}


def test_the_same_content_for_two_accounts_is_read_twice(tmp_path: Path) -> None:
    for account in ("a", "b"):
        write(tmp_path / f"account_id={account}" / "x.parquet", some_table().drop_columns("account_id"))
    checked = check_sources(find_sources(tmp_path), CONFIG)
    assert without_repeats(checked, CONFIG) == checked
