"""CSV and TSV as record batches of text, a bounded block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.csv

from coverage_lab.traffic.opening import head_of, open_content
from coverage_lab.traffic.sources import Source

_SEPARATORS: Final = ",;\t|"
#: A row lies within a block, so that of the first rows must hold a long one.
_SMALLEST_BLOCK: Final = 2**20


def _parsing(source: Source, bad_rows: list[int]) -> pa.csv.ParseOptions:
    heading = head_of(source).partition(b"\n")[0].decode("utf-8", "replace")
    separator = max(_SEPARATORS, key=heading.count)

    def left_aside(row: pa.csv.InvalidRow) -> str:
        bad_rows.append(max((row.number or 2) - 2, 0))  # numbers count from 1, the heading included
        return "skip"

    return pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=left_aside)


def _open(
    source: Source, conversion: pa.csv.ConvertOptions, block: int, bad_rows: list[int]
) -> pa.csv.CSVStreamingReader:
    return pa.csv.open_csv(
        open_content(source.path),
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=block),
        parse_options=_parsing(source, bad_rows),
        convert_options=conversion,
    )


def csv_schema(source: Source) -> pa.Schema:
    """Schema with the names of the first line, all text."""
    text = pa.csv.ConvertOptions(check_utf8=False)
    with _open(source, text, _SMALLEST_BLOCK, []) as reader:
        return pa.schema([(name, pa.string()) for name in reader.schema.names])


def csv_batches(
    source: Source, wanted: Sequence[str] | None, limit: int, bad_rows: list[int]
) -> Iterator[pa.RecordBatch]:
    """Batches of the `wanted` columns (all when None), whose text is not checked to be UTF-8.

    Parameters
    ----------
    limit
        Bytes of the longest row that can be read.
    bad_rows
        Gets the places of rows with another number of columns than the first line.
    """
    names = csv_schema(source).names
    conversion = pa.csv.ConvertOptions(
        check_utf8=False,
        column_types={name: pa.string() for name in names},
        include_columns=list(wanted) if wanted is not None else None,
    )
    with _open(source, conversion, max(limit, _SMALLEST_BLOCK), bad_rows) as reader:
        yield from reader
