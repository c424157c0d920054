"""Values of JSON text, whatever lies between them: line ends, commas, marks of RFC 7464, a wrapper.

Parsers are orjson and, for what it refuses but others write (NaN, half surrogate pairs), the standard
library's; a document that wraps its rows is streamed by ijson.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

import ijson
import orjson

from coverage_lab.traffic.content import BYTE_ORDER_MARK
from coverage_lab.traffic.problems import UNPARSABLE_ROW, not_utf8

#: Keys under which downloads and APIs put their rows.
WRAPPERS: Final = frozenset(
    {
        "data",
        "rows",
        "records",
        "Records",
        "items",
        "results",
        "logs",
        "requests",
        "traces",
        "entries",
        "value",
        "values",
        "generations",
        "events",
        "hits",
        "result",
    }
)
_BETWEEN: Final = " \t\r\n\v\f\x85\u2028\u2029,[]\x1e\ufeff\0"
_CHUNK: Final = 2**20
#: Bytes of lines that are read at once.
_BLOCK_BYTES: Final = 2**21
_SURROGATE_BYTES: Final = range(0xDC80, 0xDD00)


@dataclass(frozen=True)
class Unreadable:
    """A piece of text that gives no row."""

    reason: str
    detail: str


def parse_value(text: bytes) -> Any:
    """Parse JSON text; NaN and infinities are floats, half surrogate pairs and control signs stay in texts.

    Raises
    ------
    UnicodeDecodeError
        Not UTF-8.
    ValueError, RecursionError
        Not JSON, or nested too deeply to be a row.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text.decode("utf-8"), strict=False)


def values(stream: IO[bytes], head: bytes, limit: int) -> Iterator[tuple[int, Any]]:
    """Values of a stream with their places: the line from 0 where each has one, else the number.

    Parameters
    ----------
    head
        The stream's first bytes, by which the way they are laid out is recognised.
    limit
        Bytes of the longest value that is looked at; longer ones are never held whole.

    Yields
    ------
    (int, value or Unreadable)
    """
    layout = layout_of(head)
    if layout == "lines":
        return line_values(lines(stream, limit), limit)
    if layout == "values":
        return _one_after_the_other(stream, limit)
    return _wrapped(stream, layout)


def layout_of(head: bytes) -> str:
    """`lines`, `values`, or the key of the list that wraps the rows."""
    text = head.lstrip(b" \t\r\n\x1e")
    if not text.startswith(b"{"):
        return "values" if text.startswith(b"[") else "lines"
    line, newline, rest = text.partition(b"\n")
    line = line.rstrip().rstrip(b",")
    try:
        value = parse_value(line)
    except UnicodeDecodeError:
        return "lines"
    except (ValueError, RecursionError):
        wrapper = _wrapper(text)
        if wrapper:
            return wrapper
        return "values" if _goes_on(line, cut=not newline and len(head) >= 2**16) else "lines"
    if not rest.strip() and isinstance(value, dict):
        return _wrapper(text) or "lines"
    return "lines"


def _goes_on(line: bytes, *, cut: bool) -> bool:
    """Whether a line is the beginning of a value, or holds more than one."""
    try:
        json.JSONDecoder().raw_decode(line.decode("utf-8", "replace"))
    except json.JSONDecodeError as error:
        return not cut and error.pos >= len(error.doc) - 1
    except RecursionError:
        return False
    return True


def _wrapper(text: bytes) -> str | None:
    key, last = None, None
    try:
        for prefix, event, value in ijson.parse(io.BytesIO(text)):
            if prefix == "" and event == "map_key":
                key = value
            elif prefix == "" and event == "end_map":
                return None
            elif key in WRAPPERS and prefix == key and event == "start_array":
                last = key
            elif last is not None and prefix == f"{last}.item":
                return str(last) if event == "start_map" else None
    except (ijson.JSONError, UnicodeDecodeError, ValueError):
        return None
    return None


def blocks(stream: IO[bytes], limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Whole lines with the place of the first; None for a line of more than `limit` bytes, never held whole.

    Yields
    ------
    (int, bytes or None)
        About two mebibytes, or `limit` where that is less.
    """
    place, size = 0, min(_BLOCK_BYTES, limit)
    start = stream.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
    while start or (start := stream.read(1)):
        block = start + stream.read(size - len(start))
        start = b""
        end = b"" if block.endswith(b"\n") else stream.readline(limit + 2)
        cut = block.rfind(b"\n") + 1
        last = block[cut:] + end
        if is_within(last, limit):
            yield place, block + end
            place += block.count(b"\n") + end.count(b"\n")
            continue
        if cut:
            yield place, block[:cut]
            place += block.count(b"\n")
        yield place, None
        place += 1
        while end and not end.endswith(b"\n"):
            end = stream.readline(2**16)


def lines(stream: IO[bytes], limit: int) -> Iterator[bytes | None]:
    """Lines without their ends; None for one of more than `limit` bytes, which is never held whole.

    An end may have two bytes, and a mark before the first line is no part of it.
    """
    for _, block in blocks(stream, limit):
        if block is None:
            yield None
        else:
            yield from lines_of(block)


def lines_of(block: bytes) -> list[bytes]:
    """Lines of a block without their ends."""
    found = block.split(b"\n")
    if not found[-1]:
        found.pop()
    return [line.rstrip(b"\r") for line in found] if b"\r" in block else found


def is_within(line: bytes, limit: int) -> bool:
    """Whether a line, with its end if it has one, has no more than `limit` bytes beside an end of two."""
    most = limit + 2 if line.endswith(b"\n") else limit
    return len(line) <= most and len(line.rstrip(b"\r\n")) <= limit


def line_values(lines: Iterable[bytes | None], limit: int, first_row: int = 0) -> Iterator[tuple[int, Any]]:
    """Values of lines with their places; blank lines have none, and None is a line beyond the limit."""
    loads = orjson.loads
    for row, line in enumerate(lines, first_row):
        if line is None:
            yield row, Unreadable("prompt_too_long", f"line has more than {limit} bytes")
            continue
        try:
            yield row, loads(line)
        except orjson.JSONDecodeError:
            if line.strip(b" \t\r\n\x1e\0,"):
                yield row, _parsed_line(line)


def _parsed_line(line: bytes) -> Any:
    """A line that orjson refuses: with a mark before it, a comma behind it, or another dialect of JSON."""
    try:
        return parse_value(line.lstrip(b" \t\x1e\0").rstrip(b" \t\r,"))
    except UnicodeDecodeError:
        return Unreadable(*not_utf8("line"))
    except (ValueError, RecursionError):
        return Unreadable(*UNPARSABLE_ROW)


def _one_after_the_other(stream: IO[bytes], limit: int) -> Iterator[tuple[int, Any]]:
    """Values with white space, commas, brackets or RFC 7464's marks between; a bad one costs its line.

    Bytes that are no UTF-8 are carried through as Python's escapes, so that they spoil only their value.
    """
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    scan = json.JSONDecoder().raw_decode
    text, at, row, ended = "", 0, 0, False
    while True:
        while at < len(text) and text[at] in _BETWEEN:
            at += 1
        if at < len(text):
            try:
                value, at = scan(text, at)
            except (json.JSONDecodeError, RecursionError) as error:
                whole = ended or len(text) - at > limit or not _is_cut(error, len(text))
                if whole:
                    long = len(text) - at > limit
                    reason = "prompt_too_long", f"value has more than {limit} bytes"
                    yield row, Unreadable(*(reason if long else UNPARSABLE_ROW))
                    row += 1
                    at = _next_line(text, at)
                    continue
            else:
                yield row, Unreadable(*not_utf8("value")) if _has_raw_bytes(value) else value
                row += 1
                if len(text) - at > _CHUNK // 4 or ended:
                    continue
        elif ended:
            return
        chunk = stream.read(max(_CHUNK, len(text) - at))
        ended = not chunk
        text, at = text[at:] + decode(chunk, final=ended), 0


def _next_line(text: str, at: int) -> int:
    found = text.find("\n", at)
    return found + 1 if found >= 0 else len(text)


def _is_cut(error: Exception, length: int) -> bool:
    """Whether a value may be whole once more text is there."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.pos >= length - 8 or error.msg.startswith("Unterminated string")


def _has_raw_bytes(value: object) -> bool:
    if isinstance(value, str):
        return not value.isascii() and any(ord(sign) in _SURROGATE_BYTES for sign in value)
    if isinstance(value, dict):
        return any(_has_raw_bytes(key) or _has_raw_bytes(inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(map(_has_raw_bytes, value))
    return False


def _wrapped(stream: IO[bytes], key: str) -> Iterator[tuple[int, Any]]:
    row = -1
    try:
        for row, value in enumerate(ijson.items(_without_mark(stream), f"{key}.item", use_float=True)):
            yield row, value
    except (ijson.JSONError, UnicodeDecodeError, ValueError):
        yield row + 1, Unreadable(*UNPARSABLE_ROW)


def _without_mark(stream: IO[bytes]) -> IO[bytes]:
    if stream.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
        stream.seek(0)
    return stream
