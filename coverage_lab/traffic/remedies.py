"""What to do about rows that can't be used."""

from __future__ import annotations

from collections.abc import Mapping

from coverage_lab.schema import QUARANTINE_REMEDIES


def commonest(reasons: Mapping[tuple[str, str], int], most: int = 2) -> str:
    """The commonest reasons of quarantine, with their counts and what to do about each.

    Parameters
    ----------
    reasons
        (reason, detail) to rows.
    """
    found = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
    return "; ".join(
        f"{count:,} {reason} ({detail}): {QUARANTINE_REMEDIES[reason]}" for (reason, detail), count in found
    )
