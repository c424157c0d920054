"""What `analyze` takes as traffic: each spelling of the rows gives the same rows, all else is refused."""

from __future__ import annotations

import io
import uuid
from collections import OrderedDict, UserDict
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest
from support.traced import said

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import TrafficError
from coverage_lab.jobs.analysis import _as_input
from coverage_lab.traffic import check_sources, find_sources, read_traffic

AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
ROWS = [
    {"account_id": f"a{at % 2}", "timestamp": datetime(2026, 3, 1, 12, at, tzinfo=UTC), "prompt": said(at)}
    for at in range(4)
]
FRAME = pd.DataFrame(ROWS)
TABLE = pa.Table.from_pylist(ROWS)


class Stream:
    """Something else with the interface."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


def rows_of(traffic: object, folder: Path) -> list[dict[str, Any]]:
    sources = check_sources(find_sources(_as_input(traffic, folder)), TrafficConfig()).sources
    batches = list(read_traffic(sources, TrafficConfig(), as_of=AS_OF))
    assert not any(batch.quarantined.num_rows for batch in batches)
    return [row for batch in batches for row in batch.good.to_pylist()]


SAME: dict[str, Callable[[], object]] = {
    "index": lambda: FRAME.set_index("account_id"),
    "two indexes": lambda: FRAME.set_index(["account_id", "timestamp"]),
    "categories": lambda: FRAME.astype({"account_id": "category"}),
    "nullable": lambda: FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "another zone": lambda: FRAME.assign(timestamp=FRAME.timestamp.dt.tz_convert("Asia/Kathmandu")),
    "times of Python": lambda: FRAME.assign(timestamp=pd.Series(list(FRAME.timestamp), dtype=object)),
    "messages": lambda: FRAME.assign(prompt=[[{"role": "user", "content": text}] for text in FRAME.prompt]),
    "Polars, lazy": lambda: pl.DataFrame(ROWS).lazy(),
    "Polars, Enum": lambda: pl.DataFrame(ROWS).with_columns(pl.col("account_id").cast(pl.Enum(["a0", "a1"]))),
    "DuckDB": lambda: duckdb.connect().from_arrow(TABLE),
    "batch": lambda: TABLE.to_batches()[0],
    "batches": lambda: TABLE.to_batches(max_chunksize=1),
    "reader": TABLE.to_reader,
    "dataset": lambda: pa.dataset.dataset(TABLE),
    "scanner": lambda: pa.dataset.dataset(TABLE).scanner(),
    "capsule": Stream,
    "columns": TABLE.to_pydict,
    "generator": lambda: (row for row in ROWS),
    "ordered": lambda: [OrderedDict(row) for row in ROWS],
    "other mappings": lambda: [UserDict(row) for row in ROWS],
    "bytes": lambda: [{**row, "prompt": row["prompt"].encode()} for row in ROWS],
}


@pytest.mark.parametrize("name", SAME)
def test_every_spelling_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    found = rows_of(SAME[name](), tmp_path)
    assert [{key: row[key] for key in ROWS[0]} for row in found] == ROWS


@pytest.mark.parametrize("value", [2**70, uuid.UUID(int=7), Decimal(10**20)], ids=str)
def test_ids_of_python(value: object, tmp_path: Path) -> None:
    if value == 2**70:
        with pytest.raises(AssertionError):  # more than 64 bits is no id, and the row says so
            rows_of([{**ROWS[0], "account_id": value}], tmp_path)
    else:
        assert rows_of([{**ROWS[0], "account_id": value}], tmp_path)[0]["account_id"] == str(value)


def test_half_a_surrogate_pair_is_mended(tmp_path: Path) -> None:
    assert rows_of([{**ROWS[0], "prompt": "said \ud83d"}], tmp_path)[0]["prompt"] == "said �"


@pytest.mark.parametrize(
    ("traffic", "words"),
    [
        (FRAME.assign(account_id=pd.Series(["a", 1, "a", 1], dtype=object)), "column account_id"),
        (pd.concat([FRAME, FRAME[["prompt"]]], axis=1), "of one name"),
        (FRAME.assign(more=pd.arrays.SparseArray([0, 1, 0, 1])), "column more"),
        (FRAME.prompt, "this Series"),
        (pl.Series(["a"]), "this Series"),
        (pa.chunked_array([["a"]]), "this ChunkedArray"),
        (ROWS[0], "this dict"),
        (b"{}", "give the file's path"),
        (io.StringIO("{}"), "give the file's path"),
        ([{("a", 1): 2}], "text as keys"),
        (np.array([1, 2]), "expected paths only or mappings only"),
        (None, "got NoneType"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_is_no_traffic_is_refused_without_its_values(
    traffic: object, words: str, tmp_path: Path
) -> None:
    with pytest.raises(TrafficError) as error:
        _as_input(traffic, tmp_path)
    assert words in str(error.value)
    assert said(0) not in str(error.value)
