"""Blocks of lines through Arrow's parser: whatever the bytes, the rows are those of the lines one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coverage_lab.config import TrafficConfig
from coverage_lab.schema import QUARANTINE, TRAFFIC
from coverage_lab.traffic import Source, TrafficBatch, flat_lines, json_values, read_traffic, reading
from coverage_lab.traffic.shares import Piece
from coverage_lab.traffic.timestamps import Clock

AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
LONGEST = 600

TEXTS = st.sampled_from(
    [
        "how do I prune a tree?",
        "",
        " ",
        "null",
        "{}",
        "née 🌱",
        "a\tb\n",
        "\0",
        "Inf",
        ": Inf",
        "\ud800",
        "\u2003",
        "x" * 700,
    ]
)
TIMES = st.sampled_from(
    ["2026-03-01T12:00:00Z", "2026-03-01 12:00:00.5+02:00", "never", 1_772_366_400, 1.5, "", None, True]
)
IDS = st.sampled_from(["acct-1", "", "ü", 7, 2**63, 7.0, 1.5, None, True, ["a"], "y" * 1_100])
COUNTS = st.sampled_from([0, 5, -1, 2.0, 2**64, "12", "x", "", None, False])
OTHERS = st.sampled_from(
    [None, 1.5, [1, {"prompt": "no"}], {"account_id": 3}, "}\n{", float("nan"), float("-inf"), 10**30]
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "account_id": IDS,
        "timestamp": TIMES,
        "prompt": TEXTS | COUNTS,
        "request_id": IDS,
        "tokens_in": COUNTS,
        "model": OTHERS,
        "more": OTHERS,
    },
)
PLAIN = st.fixed_dictionaries(
    {
        "account_id": st.sampled_from(["a", "b", None]),
        "timestamp": st.just("2026-03-01T12:00:00Z"),
        "prompt": st.sampled_from(["how do I prune a tree?", "née 🌱", ""]),
        "tokens_in": st.integers(-1, 9),
    }
)
ODD = st.sampled_from(
    [
        b"",
        b" ",
        b"{",
        b"}",
        b"[]",
        b"[{}]",
        b"null",
        b'{"a":1}{"a":2}',
        b'{"a":',
        b"1}",
        b"{},",
        b"\x1e{}",
        b"\0",
        b'\xef\xbb\xbf{"account_id":"b"}',
        b'{"prompt":"\xff"}',
        b'{"more":"\xed\xa0\x80"}',
        b'{"more":Inf}',
        b'{"more":[ -Infinity]}',
        b'{"more":-NaN}',
        b'{"prompt":"a","prompt":"b"}',
        b'{"prom\\u0070t":"spelt"}',
        b'{"more":"\\udc00"}',
        b'{"more":01}',
        b'{"more":1e999}',
        b"{'a':1}",
        b'{"more":"\x01"}',
        b'{"a":1} ',
        b'{"more":' + b"[" * 1_500 + b"]" * 1_500 + b"}",
        b'{"more":"' + b"[" * 580 + b'"}',
        b'{"prompt":"' + b"z" * LONGEST + b'"}',
    ]
)


WIDE = (2**21, 2**16)


def line_of(rows: Any, *, ascii_only: bool) -> bytes:
    return json.dumps(rows, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


LINES = st.lists(
    st.one_of(
        st.builds(line_of, PLAIN, ascii_only=st.booleans()),
        st.builds(line_of, PLAIN, ascii_only=st.booleans()),
        st.builds(line_of, ROWS, ascii_only=st.booleans()),
        ODD,
    ),
    max_size=12,
)


def told(batches: list[TrafficBatch]) -> tuple[Any, ...]:
    good = pa.concat_tables([TRAFFIC.empty_table(), *(batch.good for batch in batches)])
    bad = pa.concat_tables([QUARANTINE.empty_table(), *(batch.quarantined for batch in batches)])
    dropped: dict[str, int] = {}
    for batch in batches:
        for name, count in batch.dropped.items():
            dropped[name] = dropped.get(name, 0) + count
    return (
        good.to_pylist(),
        bad.to_pylist(),
        dropped,
        sum(batch.repaired for batch in batches),
        sum(batch.rows_in for batch in batches),
    )


def by_readline(path: Path, limit: int) -> Iterator[bytes | None]:
    """Lines without their ends, read one at a time; None for one that is longer than `limit`."""
    with path.open("rb") as opened:
        for line in opened:
            bare = line.rstrip(b"\r\n")
            most = limit + 2 if line.endswith(b"\n") else limit
            yield bare if len(bare) <= limit and len(line) <= most else None


@settings(deadline=None)
@given(
    lines=LINES,
    end=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    sizes=st.sampled_from([(64, 16), (300, 100), (2_000, 300), WIDE]),
    constants=st.sampled_from([{}, {"account_id": "given"}, {"tokens_in": "4", "session": "s"}]),
    seed=st.none() | st.tuples(st.integers(0, 2_000), st.integers(0, 255)),
)
@example(lines=[b'{"more":Inf}'], end=b"\n", last=True, sizes=WIDE, constants={}, seed=None)
@example(lines=[b'{"more":"\xff"}'], end=b"\n", last=True, sizes=WIDE, constants={}, seed=None)
@example(lines=[b'{"a":1}{"a":2}'], end=b"\n", last=True, sizes=WIDE, constants={}, seed=None)
@example(
    lines=[b'{"a":1}{"a":2}', b'{"a":', b"1}"], end=b"\n", last=True, sizes=WIDE, constants={}, seed=None
)
@example(
    lines=[b'{"account_id":"a"}' + b"\r" * LONGEST], end=b"\n", last=True, sizes=WIDE, constants={}, seed=None
)
@example(lines=[b'{"session":null}'], end=b"\n", last=True, sizes=WIDE, constants={"session": "s"}, seed=None)
def test_blocks_give_the_rows_of_lines(
    lines: list[bytes],
    end: bytes,
    last: bool,
    sizes: tuple[int, int],
    constants: dict[str, str],
    seed: tuple[int, int] | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    text = end.join(lines) + end * last
    if seed is not None and text:  # one byte is another
        at = seed[0] % len(text)
        text = text[:at] + bytes([seed[1]]) + text[at + 1 :]
    path = tmp_path_factory.getbasetemp() / "flat.jsonl"
    path.write_bytes(b'{"account_id":"first"}\n' + text)
    config = TrafficConfig(constants=constants, max_prompt_bytes=500)
    piece = Piece(0, Source(path, path.name, "jsonl"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "_BLOCK_BYTES", sizes[0])
        patch.setattr(flat_lines, "_PART_BYTES", sizes[1])
        patch.setattr(reading, "line_limit", lambda config: LONGEST)
        got = told(list(read_traffic([piece.source], config, as_of=AS_OF)))
        clock = Clock.of(config, AS_OF)
        rows = json_values.line_values(by_readline(path, LONGEST), LONGEST)
        one_by_one = reading._collected(reading._collector(piece, config, clock), rows, config)
        assert got == told(list(one_by_one))


@pytest.mark.parametrize(
    ("line", "is_read"),
    [
        (b"x" * 20 + b"\n", True),
        (b"x" * 20 + b"\r\n", True),
        (b"x" * 19 + b"\r\r\n", True),
        (b"\xef\xbb\xbf" + b"x" * 20 + b"\r\n", True),
        (b"x" * 20, True),
        (b"x" * 20 + b"\r\r\n", False),
        (b"x" * 18 + b"\r" * 30 + b"\n", False),
        (b"x" * 21 + b"\n", False),
        (b"x" * 21, False),
        (b"\xef\xbb\xbf" + b"x" * 21 + b"\n", False),
    ],
)
@pytest.mark.parametrize("after", [b"", b"y\n"])
def test_a_line_is_too_long_for_blocks_where_it_is_for_lines(
    line: bytes, is_read: bool, after: bytes
) -> None:
    if after and not line.endswith(b"\n"):
        line += b"\n"
    one_by_one = list(json_values.lines(BytesIO(line + after), 20))
    assert [found is not None for found in one_by_one] == [is_read, *([True] if after else [])]
    in_blocks = list(json_values.blocks(BytesIO(line + after), 20))
    assert (in_blocks[0][1] is not None) == is_read


@pytest.mark.parametrize("odd", [b"", b'{"account_id":"a","timestamp":1.5,"prompt":"x"}', b"{"])
def test_one_odd_line_costs_its_part_of_a_block_only(
    odd: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = b'{"account_id":"a","timestamp":"2026-03-01T12:00:00Z","prompt":"how do I prune a tree?"}'
    lines = [line] * 9_000
    lines[4_000] = odd
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    slow = []
    add = reading.RecordCollector.add
    monkeypatch.setattr(
        reading.RecordCollector, "add", lambda self, row, value: (slow.append(row), add(self, row, value))
    )
    batches = list(read_traffic([Source(path, path.name, "jsonl")], TrafficConfig(), as_of=AS_OF))
    assert sum(batch.good.num_rows for batch in batches) == 8_999
    assert 4_000 - 800 < min(slow) <= 4_000 <= max(slow) + 1 < 4_000 + 800
