"""Flat rows of JSON lines through Arrow's parser, a block of lines at a time.

Arrow reads a block several times faster than rows can be taken one by one, but it is laxer in places. So
a block is read here only where the answer is certain to be that of the rows one by one: each line is one
object, and every value that is asked for has one plain type. All other blocks are given back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json
from numpy.typing import NDArray

from coverage_lab.traffic.columns import COLUMNS, COUNTS, is_text

#: Bytes of the lines that are tried again where one among a block's is odd.
_PART_BYTES: Final = 2**16
#: Brackets in a line up to which no value can be nested too deeply for the other parser.
_FEW_BRACKETS: Final = 1_000
#: Digits up to which both parsers take a number.
_FEW_DIGITS: Final = 4_000


def parts(block: bytes) -> Iterator[bytes]:
    """Cut a block into smaller ones of whole lines."""
    start = 0
    while start < len(block):
        end = block.find(b"\n", start + _PART_BYTES) + 1 or len(block)
        yield block[start:end]
        start = end


class FlatLines:
    """Reads blocks of flat rows.

    Parameters
    ----------
    keys
        Our column names -> the keys of the rows.
    constants
        Our columns that rows without a value of their own have from elsewhere.
    """

    def __init__(self, keys: Mapping[str, str], constants: Mapping[str, object]) -> None:
        self._keys = keys
        self._types: dict[str, pa.DataType] = {
            theirs: pa.int64() if ours in COUNTS else pa.string() for ours, theirs in keys.items()
        }
        self._prompt = keys["prompt"]
        # A missing key can't be told from null, so keys that have constants must not be there at all.
        self._absent = {ours: keys[ours] for ours in constants}

    def read(self, block: bytes) -> dict[str, pa.Array] | None:
        """Columns of a block by our names; None where its rows have to be looked at one by one."""
        lines = self._lines(block)
        if lines is None or not self._learn(block[: block.find(b"\n") + 1] or block):
            return None
        asked = {name: kind for name, kind in self._types.items() if name not in self._absent.values()}
        try:
            table = pa.json.read_json(
                pa.BufferReader(block),
                read_options=pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
                parse_options=pa.json.ParseOptions(
                    explicit_schema=pa.schema(list(asked.items())), unexpected_field_behavior="ignore"
                ),
            )
        except pa.ArrowException:
            return None
        if table.num_rows != lines:
            return None
        columns = {name: _whole(table.column(name)) for name in asked}
        return {ours: columns[theirs] for ours, theirs in self._keys.items() if theirs in columns}

    def _lines(self, block: bytes) -> int | None:
        """Lines of a block in which each can only be one object for both parsers; None of others."""
        signs = np.frombuffer(block, np.uint8)
        objects = _objects(signs)
        if objects is None or any(_stands_bare(block, signs, word) for word in (b"NaN", b"Inf")):
            return None
        if self._absent and (b"\\u" in block or any(key.encode() in block for key in self._absent.values())):
            return None
        lines, longest = objects
        if longest > _FEW_BRACKETS and any(
            line.count(b"{") + line.count(b"[") > _FEW_BRACKETS
            for line in (block.split(b"\n") if block.count(b"{") + block.count(b"[") > _FEW_BRACKETS else ())
        ):
            return None
        if longest > _FEW_DIGITS and _longest_number(signs) > _FEW_DIGITS:
            return None
        try:
            pa.array([block], pa.large_binary()).cast(pa.large_string())
        except pa.ArrowInvalid:  # not UTF-8
            return None
        return lines

    def _learn(self, line: bytes) -> bool:
        """Take the columns' types from a line; False where one is none that is read here."""
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            return False
        for name in self._types:
            value = record.get(name)
            if value is None:
                continue
            if type(value) is str:
                self._types[name] = pa.string()
            elif type(value) is int and name != self._prompt:
                self._types[name] = pa.int64()
            else:
                return False
        return True


def flat_lines(keys: Mapping[str, str], constants: Mapping[str, object]) -> FlatLines | None:
    """Return a reader of blocks for these keys; None where one of them can be a path."""
    if not all(key.isidentifier() for key in keys.values()):
        return None
    return FlatLines({ours: keys[ours] for ours in COLUMNS}, constants)


def _objects(signs: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Lines of text in which every line's end lies between `}` and `{`, and bytes of the longest; else None.

    Between these two no value can go on, nor can a text hold a line's end, so that no object spans lines.
    """
    ends = np.flatnonzero(signs == 0x0A)
    if signs[0] != 0x7B:
        return None
    if ends.size and ends[-1] == len(signs) - 1:
        ends = ends[:-1]
    if ends.size:
        before = signs[ends - 1]
        before = np.where(before == 0x0D, signs[ends - 2], before)
        if (before != 0x7D).any() or (signs[ends + 1] != 0x7B).any():
            return None
    return ends.size + 1, int(np.diff(ends, prepend=-1, append=len(signs)).max())


def _longest_number(signs: NDArray[np.uint8]) -> int:
    others = np.flatnonzero((signs < 0x30) | (signs > 0x39))
    return int(np.diff(others, prepend=-1, append=len(signs)).max()) - 1


def _stands_bare(block: bytes, signs: NDArray[np.uint8], word: bytes) -> bool:
    """Whether a word may stand where a value does: only one of the parsers takes `Inf` for a number."""
    found = np.flatnonzero(signs[: -len(word)] == word[0])
    for at, sign in enumerate(word):
        found = found[signs[found + at] == sign]
    places = (block[max(0, at - 32) : at].rstrip(b" \t-")[-1:] for at in found.tolist())
    return any(before in (b":", b",", b"[", b"") for before in places)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return array.cast(pa.large_string()) if is_text(array.type) else array
