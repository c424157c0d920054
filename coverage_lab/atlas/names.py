"""Names of cells that people can read, in a file of their own beside the atlas.

The keyword labels are part of the atlas' id and say what words its own prompts have. A name says what a
cell is about in plain words; nothing is computed from it, so it can be bettered without a new atlas.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coverage_lab.errors import AtlasError, OutputError

if TYPE_CHECKING:
    from coverage_lab.atlas.model import Atlas

FORMAT = 1
_FILE = "names.json"
_MAX_NAME = 100
#: Between the name of a broad topic and what tells a narrower one in it apart.
BETWEEN = " · "

OwnNames = tuple[tuple[str, ...], ...]


def nested(own: Sequence[Sequence[str]], parents: NDArray[np.int32]) -> OwnNames:
    """Put before each own name the one of its coarse cell: ``movies · horror, zombies``.

    Parameters
    ----------
    own : per level, a name for each cell
        Coarsest first.
    parents : int32 (levels, K)
        Cell of each fine cell at each level.

    Returns
    -------
    tuple of tuples of str
        Per level, the whole name of each cell; the coarse ones as they are.
    """
    coarse = tuple(own[0])
    levels = [coarse]
    for level in range(1, len(own)):
        first = np.unique(parents[level], return_index=True)[1]
        above = parents[0][first]
        levels.append(
            tuple(f"{coarse[cell]}{BETWEEN}{name}" for cell, name in zip(above, own[level], strict=True))
        )
    return tuple(levels)


def save_names(atlas: Atlas, folder: Path) -> None:
    """Write the atlas' own names beside the atlas.

    Raises
    ------
    AtlasError
        The atlas has none.
    OutputError
        The folder can't be written.
    """
    if atlas.own_names is None:
        raise AtlasError(f"atlas {atlas.id[:12]}: expected one with names, got one without")
    head = {
        "format": FORMAT,
        "atlas_id": atlas.id,
        "sha256": _hash(atlas.own_names),
        "names": atlas.own_names,
    }
    try:
        (folder / _FILE).write_text(json.dumps(head, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"atlas folder {folder}: can't be written ({error.strerror})") from error


def load_names(folder: Path, *, atlas_id: str, parents: NDArray[np.int32]) -> OwnNames | None:
    """Read the names that lie beside an atlas; None where there are none.

    Raises
    ------
    AtlasError
        They are damaged, of another atlas, or two cells of a level have the same whole name.
    """
    path = folder / _FILE
    if not path.exists():
        return None
    try:
        head: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise AtlasError(f"atlas {folder}: {_FILE} can't be read ({type(error).__name__})") from error
    own: Any = head.get("names") if isinstance(head, dict) else None
    sizes = [len(np.unique(row)) for row in parents]
    shaped = isinstance(own, list) and all(isinstance(level, list) for level in own)
    if not shaped or [len(level) for level in own] != sizes:
        raise AtlasError(f"atlas {folder}: {_FILE}: expected a name for each of {sizes} cells")
    if not all(_plain(name) for level in own for name in level):
        raise AtlasError(f"atlas {folder}: {_FILE}: a name is not 1 to {_MAX_NAME} printable characters")
    expected = {"format": FORMAT, "atlas_id": atlas_id, "sha256": _hash(own), "names": own}
    if head != expected:
        raise AtlasError(
            f"atlas {folder}: expected names of this very atlas, got damaged ones or another's; remove "
            f"{_FILE} to see the keyword labels"
        )
    for whole in nested(own, parents):
        if len(set(whole)) != len(whole):
            raise AtlasError(f"atlas {folder}: {_FILE}: two cells have the same name")
    return tuple(tuple(level) for level in own)


def _plain(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= _MAX_NAME and name.isprintable()


def _hash(own: Sequence[Sequence[str]]) -> str:
    return hashlib.sha256(json.dumps(own, ensure_ascii=False).encode()).hexdigest()
