"""Folders that are tables of a lakehouse: which of their files are live."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

from coverage_lab.errors import MissingExtraError, TrafficError
from coverage_lab.files.stand_in import stand_in
from coverage_lab.untrusted.text import first_line, shown


def delta_files(folder: Path) -> list[Path]:
    """Live files of a Delta Lake table: what its log still holds, so that deleted rows stay deleted."""
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError as error:
        raise MissingExtraError(
            "deltalake", "state", f"input folder {shown(folder)}: a Delta table"
        ) from error
    try:
        table = DeltaTable(str(stand_in(folder)))
        features = set(table.protocol().reader_features or ())
        # Not its addresses of the files: those are spelt in two ways, and follow links.
        paths = [unquote(path) for path in pa.table(table.get_add_actions())["path"].to_pylist()]
    except (DeltaError, OSError) as error:
        raise TrafficError(
            f"input folder {shown(folder)}: can't be read as a Delta table ({first_line(error)})"
        ) from error
    unread = features & {"deletionVectors", "columnMapping"}
    if unread:
        raise TrafficError(
            f"input folder {shown(folder)}: is a Delta table with {' and '.join(sorted(unread))}, which "
            "can't be read by its files; rewrite it without, or export it to Parquet"
        )
    away = next((path for path in paths if "://" in path or Path(path).is_absolute()), None)
    if away is not None:
        raise TrafficError(
            f"input folder {shown(folder)}: is a Delta table with files elsewhere ({shown(away, 80)}), "
            "such as a shallow clone; give the folder that they are in, or export it to Parquet"
        )
    return [folder / path for path in paths]


def refuse_iceberg(folder: Path, inside: Sequence[str]) -> None:
    """Refuse a folder that is an Iceberg table, given the names of the folders in it.

    Raises
    ------
    TrafficError
        It is one.
    """
    if "metadata" in inside and next((folder / "metadata").glob("*.metadata.json"), None) is not None:
        raise TrafficError(
            f"input folder {shown(folder)}: is an Iceberg table, whose files are not all live; export it to "
            "Parquet first, for instance with DuckDB's iceberg_scan"
        )
