"""The numbers of every piece taken alone, made once and kept in a cache folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coverage_lab.encoders.packaged import (
    MAX_CHARACTERS,
    USE_MODEL_SHA256,
    USE_WEIGHTS_SHA256,
    PackagedUse,
    file_sha256,
)
from coverage_lab.encoders.static.head import EXACT, POSITIVE_LEVELS, SIGNED_LEVELS
from coverage_lab.encoders.static.network import Floats, Network
from coverage_lab.errors import ConfigError
from coverage_lab.progress import Progress, silent

_log = logging.getLogger(__name__)

#: What the whole numbers of the table and of its sums are in.
UNIT = 1 / 256
#: Pieces of a prompt that are read, its beginning and end not counted: so many that no prompt but a hostile
#: one has more in `MAX_CHARACTERS`, and so few that no sum of them exceeds what a float32 counts exactly.
MAX_PIECES = 4_094
_LARGEST = 127

#: Everything that the vectors follow from.
_RECIPE = {
    "model": USE_MODEL_SHA256,
    "weights": USE_WEIGHTS_SHA256,
    "text": f"first {MAX_CHARACTERS} characters, words apart, "
    f"first {MAX_PIECES} pieces, a beginning and an end",
    "table": f"each piece alone, int8 with a whole factor a row, unit {UNIT}",
    "head": f"whole numbers, {SIGNED_LEVELS} and {POSITIVE_LEVELS} levels",
}
RECIPE_ID = hashlib.sha256(json.dumps(_RECIPE, sort_keys=True).encode()).hexdigest()

_ROWS, _FACTORS, _MANIFEST = "rows.npy", "factors.npy", "manifest.json"
_STAGE = "build the static encoder"


@dataclass(frozen=True, eq=False)
class Table:
    """Piece `i` alone is ``rows[i] * factors[i] * UNIT``.

    Attributes
    ----------
    rows : (pieces, width) int8
    factors : (pieces,) uint8
    """

    rows: NDArray[np.int8]
    factors: NDArray[np.uint8]


def cache_folder() -> Path:
    """Return the folder that the table is kept in; it need not exist."""
    if own := os.environ.get("COVERAGE_LAB_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "coverage_lab"
    return Path.home() / ".cache" / "coverage_lab"


def cached_table(use: PackagedUse, *, threads: int, progress: Progress = silent) -> Table:
    """Return the table from the cache folder, building it first where it is not there.

    The cache is ``$COVERAGE_LAB_CACHE``, else ``$XDG_CACHE_HOME/coverage_lab``, else
    ``~/.cache/coverage_lab``. It is written to the side and renamed into place, so processes may race.
    A table whose files don't match their recorded SHA-256 is built again, with one warning in the log.

    Raises
    ------
    ConfigError
        The cache can't be written.
    """
    folder = cache_folder() / f"static-{RECIPE_ID[:16]}"
    if folder.exists():
        try:
            return _read(folder)
        except ConfigError as damage:
            _log.warning("static encoder: %s; building it again", damage)
            _remove(folder)
    _build_into(folder, use, threads=threads, progress=progress)
    return _read(folder)


def built_table(use: PackagedUse, *, threads: int, progress: Progress = silent) -> Table:
    """Take every piece of the vocabulary through the network alone; some 15 s of CPU."""
    network = Network(use.weights)
    rows = np.empty((network.pieces, network.width), dtype=np.int8)
    factors = np.empty(network.pieces, dtype=np.uint8)

    def take(ids: NDArray[np.int64], numbers: Floats) -> None:
        numbers /= UNIT
        factor = np.maximum(np.ceil(np.abs(numbers).max(axis=1) / _LARGEST), 1)
        factors[ids] = factor
        rows[ids] = np.rint(numbers / factor[:, None])

    progress(_STAGE, 0, network.pieces)
    network.each_block(threads, take, lambda done: progress(_STAGE, done, network.pieces))
    if int(factors.max()) * _LARGEST * (MAX_PIECES + 2) > EXACT:
        raise AssertionError("the largest possible sum of pieces is not exact in float32")
    return Table(rows, factors)


def _read(folder: Path) -> Table:
    try:
        recorded = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]
        for name in (_ROWS, _FACTORS):
            if file_sha256(folder / name) != recorded[name]:
                raise ConfigError(f"{folder / name} does not match its recorded sha256")
        # Mapped, so that the processes of a machine share the memory.
        rows = np.load(folder / _ROWS, mmap_mode="r", allow_pickle=False)
        return Table(rows, np.load(folder / _FACTORS, allow_pickle=False))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder} is damaged ({type(error).__name__})") from error


def _remove(folder: Path) -> None:
    """Move the folder away before emptying it, so that another process never reads half of one."""
    try:
        aside = tempfile.mkdtemp(prefix="damaged-", dir=folder.parent)
        folder.rename(Path(aside) / folder.name)
        shutil.rmtree(aside)
    except FileNotFoundError:
        return  # another process was faster
    except OSError as error:
        raise ConfigError(f"cache folder {folder}: can't be replaced ({error.strerror})") from error


def _build_into(folder: Path, use: PackagedUse, *, threads: int, progress: Progress) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="building-", dir=folder.parent))
    except OSError as error:
        raise ConfigError(
            f"cache folder {folder.parent}: can't be written ({error.strerror}); set COVERAGE_LAB_CACHE"
        ) from error
    try:
        table = built_table(use, threads=threads, progress=progress)
        np.save(work / _ROWS, table.rows, allow_pickle=False)
        np.save(work / _FACTORS, table.factors, allow_pickle=False)
        files = {name: file_sha256(work / name) for name in (_ROWS, _FACTORS)}
        manifest = {"recipe": _RECIPE, "numpy": np.__version__, "files": files}
        (work / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        try:
            work.rename(folder)
        except OSError as error:
            # Another process has put its own there; both then read that one.
            if not (folder / _MANIFEST).exists():
                raise ConfigError(f"cache folder {folder}: can't be written ({error.strerror})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
