"""Places in files from which on rows can't be used: a log that goes on in another shape."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from coverage_lab.files.table_rows import batches
from coverage_lab.schema import QUARANTINE_REMEDIES

#: Rows one after the other that no chance puts into quarantine for the same reason.
_LEAST: Final = 50


def shape_changes(quarantine: Path) -> dict[str, str]:
    """Tell, by file, of its longest run of neighbouring rows that are unusable for one reason.

    Parameters
    ----------
    quarantine
        The table, by source and row.

    Returns
    -------
    dict
        One sentence a file; none for files without such a run, or in which it begins with the first row.
    """
    longest: dict[str, tuple[int, int, str]] = {}
    source, reason, first, last = "", "", 0, -2

    def ended() -> None:
        rows = last - first + 1
        if first > 0 and rows >= _LEAST and rows > longest.get(source, (0, 0, ""))[1]:
            longest[source] = (first, rows, reason)

    for batch in batches(quarantine, ["source", "row", "reason"]):
        columns = (batch[name].to_pylist() for name in ("source", "row", "reason"))
        for its_source, row, why in zip(*columns, strict=True):
            if (its_source, why, row) != (source, reason, last + 1):
                ended()
                source, reason, first = its_source, why, row
            last = row
    ended()
    return {
        name: f"from row {first:,} on {rows:,} neighbouring rows are in quarantine as {why}, as where a log "
        f"changes its shape; {QUARANTINE_REMEDIES[why]}"
        for name, (first, rows, why) in longest.items()
    }
