"""CSV and TSV as record batches of text, a bounded block at a time."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from coverage_lab.traffic.content import open_content
from coverage_lab.traffic.opening import head_of
from coverage_lab.traffic.sources import Source

_SEPARATORS: Final = ",;\t|"
#: A row lies within a block, so that of the first rows must hold a long one.
_SMALLEST_BLOCK: Final = 2**20

#: While Arrow parts the rows, `_NOT_UTF8` stands for bytes that are not UTF-8 and `_MARK_ITSELF` for the sign
#: that both start with, which a text may hold too. So each sign is followed by what it stands for.
_MARK: Final = "\uffff"
_NOT_UTF8: Final = _MARK + "x"
_MARK_ITSELF: Final = _MARK + "m"
_AGAIN: Final = b"\xff"
_NAMED: Final = re.compile(rb"\"?sep=([,;\t|])\"?\r?\n")
_RAW_BYTES: Final = re.compile("[\udc80-\udcff]+")


class _Marked(io.RawIOBase):
    """A stream whose bytes that are not UTF-8 are `_NOT_UTF8`, and every `_MARK` is `_MARK_ITSELF`.

    Arrow tells of a row with too many columns only where the row is UTF-8, and forgets it otherwise.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read about so many bytes; none at the end only."""
        while True:
            chunk = self._stream.read(size)
            if chunk.isascii() and chunk and not self._decoder.getstate()[0]:
                return chunk
            text = self._decoder.decode(chunk, final=not chunk)
            if text or not chunk:
                return _RAW_BYTES.sub(_NOT_UTF8, text.replace(_MARK, _MARK_ITSELF)).encode()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def _named_separator(source: Source) -> str | None:
    """Separator that a first line `sep=;` names, as Excel takes it."""
    found = _NAMED.match(head_of(source))
    return found.group(1).decode() if found is not None else None


def _parsing(source: Source, bad_rows: list[int], named: str | None) -> pa.csv.ParseOptions:
    heading = head_of(source).partition(b"\n")[0].decode("utf-8", "replace")
    separator = named or max(_SEPARATORS, key=heading.count)
    before = 3 if named else 2  # numbers count from 1, the heading included

    def left_aside(row: pa.csv.InvalidRow) -> str:
        bad_rows.append(max((row.number or before) - before, 0))
        return "skip"

    return pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=left_aside)


def _open(
    source: Source, conversion: pa.csv.ConvertOptions, block: int, bad_rows: list[int]
) -> pa.csv.CSVStreamingReader:
    named = _named_separator(source)
    return pa.csv.open_csv(
        _Marked(open_content(source.path)),
        read_options=pa.csv.ReadOptions(
            use_threads=False, block_size=block, skip_rows=int(named is not None)
        ),
        parse_options=_parsing(source, bad_rows, named),
        convert_options=conversion,
    )


def _unmarked(column: pa.Array) -> pa.Array:
    """Bytes of a column as the file has them, but for those that are not UTF-8."""
    raw = column.cast(pa.binary())
    if not pc.any(pc.match_substring(raw, _MARK.encode())).as_py():
        return raw
    raw = pc.replace_substring(raw, _NOT_UTF8.encode(), _AGAIN)
    return pc.replace_substring(raw, _MARK_ITSELF.encode(), _MARK.encode())


def _names(reader: pa.csv.CSVStreamingReader) -> list[str]:
    """Names of the first line without the spaces around them; what is not UTF-8 stays marked, so that names
    that differ do so still.
    """
    return [name.replace(_MARK_ITSELF, _MARK).strip() for name in reader.schema.names]


def csv_schema(source: Source) -> pa.Schema:
    """Schema with the names of the first line, all text."""
    text = pa.csv.ConvertOptions(check_utf8=False)
    with _open(source, text, _SMALLEST_BLOCK, []) as reader:
        return pa.schema([(name, pa.string()) for name in _names(reader)])


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
    with _open(source, pa.csv.ConvertOptions(check_utf8=False), _SMALLEST_BLOCK, []) as reader:
        names = dict(zip(_names(reader), reader.schema.names, strict=True))
    conversion = pa.csv.ConvertOptions(
        check_utf8=False,
        column_types=dict.fromkeys(names.values(), pa.string()),
        include_columns=[names[name] for name in wanted] if wanted is not None else None,
    )
    with _open(source, conversion, max(limit, _SMALLEST_BLOCK), bad_rows) as reader:
        shown = _names(reader)
        for batch in reader:
            yield pa.RecordBatch.from_arrays([_unmarked(column) for column in batch.columns], names=shown)
