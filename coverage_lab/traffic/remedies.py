"""What to do about rows that can't be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: By reason of `coverage_lab.schema.QUARANTINE_REASONS`.
REMEDIES: Final = {
    "missing_account": "map account_id in traffic.columns, or give traffic.constants",
    "missing_timestamp": "map timestamp in traffic.columns, or give traffic.constants",
    "missing_prompt": "map prompt in traffic.columns, or name the log's traffic.format",
    "empty_prompt": "have the log store prompts, map prompt in traffic.columns, or name its traffic.format",
    "prompt_too_long": "raise traffic.max_prompt_bytes",
    "invalid_utf8": "convert the file to UTF-8, for instance with iconv",
    "wrong_type": "map the column or a place in it in traffic.columns, or name the log's traffic.format",
    "unparsable_timestamp": "map timestamp in traffic.columns, or give traffic.timestamp_unit",
    "timestamp_without_zone": 'set traffic.timezone, for instance to "UTC"',
    "timestamp_out_of_range": "give traffic.timestamp_unit, or map timestamp in traffic.columns",
    "timestamp_in_future": "check the sender's clock, traffic.timezone and traffic.timestamp_unit",
    "unparsable_row": "expected JSON objects; name the log's traffic.format, or convert the file",
    "duplicate_request": "map request_id in traffic.columns to an id that every request has of its own",
}


def commonest(reasons: Mapping[tuple[str, str], int], most: int = 2) -> str:
    """The commonest reasons of quarantine, with their counts and what to do about each.

    Parameters
    ----------
    reasons
        (reason, detail) to rows.
    """
    found = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
    return "; ".join(
        f"{count:,} {reason} ({detail}): {REMEDIES[reason]}" for (reason, detail), count in found
    )
