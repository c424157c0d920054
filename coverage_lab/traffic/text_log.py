"""Requests in vLLM's text log as records; all other lines of it are no rows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, Any, Final

from coverage_lab.traffic.json_values import Unreadable, lines
from coverage_lab.traffic.problems import UNPARSABLE_ROW, not_utf8

#: `INFO 01-15 00:01:00 [logger.py:39] Received request ID: prompt: 'TEXT', params: …` (vLLM 0.6 to 0.11).
_REQUEST: Final = re.compile(
    r"(?:(?P<year>\d{4})-)?(?P<day>\d{2}-\d{2}) (?P<time>\d{2}:\d{2}:\d{2}).*?"
    r"Received request (?P<id>[^:\s]+): prompt: (?P<prompt>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|None)"
)


def is_request_log(head: bytes) -> bool:
    """Whether text begins like vLLM's log with requests in it."""
    return _REQUEST.search(head.decode("utf-8", "replace")) is not None


def requests(stream: IO[bytes], limit: int, as_of: datetime | None) -> Iterator[tuple[int, Any]]:
    """Records of the lines that tell a request, with the line's number.

    The log has no year: it is taken as the last one in which the line is not in the future.
    """
    now = as_of or datetime.now(UTC)
    for row, line in enumerate(lines(stream, limit)):
        if line is None or b"Received request" not in line:
            continue
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            yield row, Unreadable(*not_utf8("line"))
            continue
        found = _REQUEST.search(text)
        if found is None:
            yield row, Unreadable(*UNPARSABLE_ROW)
            continue
        try:
            prompt = ast.literal_eval(found["prompt"])
        except (SyntaxError, ValueError):  # an escape that Python does not write, a NUL
            yield row, Unreadable(*UNPARSABLE_ROW)
            continue
        yield row, {"vllm_request": found["id"], "time": _moment(found, now), "prompt": prompt}


def _moment(found: re.Match[str], now: datetime) -> str:
    if found["year"]:
        return f"{found['year']}-{found['day']} {found['time']}"
    year = now.year
    if f"{found['day']} {found['time']}" > now.strftime("%m-%d 23:59:59"):
        year -= 1
    return f"{year}-{found['day']} {found['time']}"
