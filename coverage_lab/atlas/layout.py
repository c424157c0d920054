"""Where each fine cell lies on the map that people look at: a tile of a grid each, cells alike side by side.

Nothing that is computed depends on it, so it is not part of the atlas' id: it lies beside the atlas in files
of its own, with the atlas' id and a hash.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_lab.atlas.model import Atlas
from coverage_lab.errors import AtlasError, MissingExtraError, OutputError

FORMAT = 1
_HEAD, _TILES = "layout.json", "layout.npy"

#: How much the centre of a cell's coarse and middle cell counts beside its own: topics stay together.
_COARSE, _MIDDLE = 1.0, 0.7
_PERPLEXITY = 30


def lay_out(atlas: Atlas, *, seed: int = 0) -> NDArray[np.int16]:
    """Lay the fine cells of an atlas out on a grid.

    A t-SNE (van der Maaten & Hinton 2008 [1]_, by openTSNE) of the centroids, each drawn towards the centres
    of its middle and coarse cells, gives a point a cell. The grid is then cut in halves again and again, and
    with it the points, by their median along the longer side, until each tile has its cell.

    Parameters
    ----------
    atlas
        With at least 4 fine cells.
    seed
        Of the t-SNE. The same atlas, seed and versions of the libraries give the same layout.

    Returns
    -------
    int16 (K, 2)
        Row and column of each fine cell, from 0, no two the same; as near to a square as K allows.

    Raises
    ------
    AtlasError
        The atlas has fewer than 4 fine cells.
    MissingExtraError
        openTSNE is not installed.

    References
    ----------
    .. [1] L. van der Maaten and G. Hinton, "Visualizing data using t-SNE", JMLR 9, 2008.
    """
    cells = len(atlas.centroids)
    if cells < 4:
        raise AtlasError(f"atlas: expected 4 fine cells or more to lay out, got {cells}")
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise MissingExtraError("openTSNE", "map", "laying an atlas out") from error
    drawn = atlas.centroids.astype(np.float64)
    drawn = drawn + _COARSE * _centres(drawn, atlas.parents[0]) + _MIDDLE * _centres(drawn, atlas.parents[1])
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    points = TSNE(
        perplexity=min(_PERPLEXITY, (cells - 1) / 3),
        initialization="pca",
        neighbors="exact",
        random_state=seed,
        n_jobs=1,
    ).fit(drawn)
    return on_grid(np.asarray(points, np.float64))


def on_grid(points: NDArray[np.float64]) -> NDArray[np.int16]:
    """Give each of n points a tile of its own on a grid of ⌈√n⌉ rows, neighbours near each other.

    Parameters
    ----------
    points : float64 (n, 2)
        x and y; y goes down.

    Returns
    -------
    int16 (n, 2)
        Row and column.
    """
    rows = int(np.ceil(np.sqrt(len(points))))
    columns = -(-len(points) // rows)
    tiles = np.empty((len(points), 2), np.int16)
    for mine, row, column in _halved(points, np.arange(len(points)), (0, rows), (0, columns)):
        tiles[mine] = row, column
    return tiles


def _halved(
    points: NDArray[np.float64], mine: NDArray[np.int64], rows: tuple[int, int], columns: tuple[int, int]
) -> Iterator[tuple[int, int, int]]:
    """Deal points to the tiles of a rectangle, half by half; ends of ranges are exclusive."""
    height, width = rows[1] - rows[0], columns[1] - columns[0]
    if not len(mine):
        return
    if height == width == 1:
        yield int(mine[0]), rows[0], columns[0]
        return
    across = width >= height
    start, stop = columns if across else rows
    middle = (start + stop) // 2
    first = (middle - start) * (height if across else width)
    rest = height * width - first
    # As many points as tiles on each side, in proportion.
    share = round(len(mine) * first / (first + rest))
    share = min(max(share, len(mine) - rest), first)
    order = mine[np.argsort(points[mine, 0 if across else 1], kind="stable")]
    halves = ((start, middle), order[:share]), ((middle, stop), order[share:])
    for span, part in halves:
        yield from _halved(points, part, rows if across else span, span if across else columns)


def _centres(rows: NDArray[np.float64], group: NDArray[np.int32]) -> NDArray[np.float64]:
    """Direction of each row's group."""
    sums = np.zeros((int(group.max()) + 1, rows.shape[1]))
    np.add.at(sums, group, rows)
    unit: NDArray[np.float64] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return unit[group]


def save_layout(atlas: Atlas, folder: Path) -> None:
    """Write the atlas' layout beside the atlas; the head comes last.

    Raises
    ------
    AtlasError
        The atlas has none.
    OutputError
        The folder can't be written.
    """
    if atlas.layout is None:
        raise AtlasError(f"atlas {atlas.id[:12]}: expected one with a layout, got one without; see lay_out")
    buffer = io.BytesIO()
    np.save(buffer, atlas.layout.astype("<i2"), allow_pickle=False)
    head = {
        "format": FORMAT,
        "atlas_id": atlas.id,
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }
    try:
        (folder / _TILES).write_bytes(buffer.getvalue())
        (folder / _HEAD).write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"atlas folder {folder}: can't be written ({error.strerror})") from error


def load_layout(folder: Path, *, atlas_id: str, cells: int) -> NDArray[np.int16] | None:
    """Read the layout that lies beside an atlas; None where there is none.

    Raises
    ------
    AtlasError
        It is damaged, or of another atlas.
    """
    if not (folder / _HEAD).exists():
        return None
    try:
        head: Any = json.loads((folder / _HEAD).read_bytes())
        raw = (folder / _TILES).read_bytes()
    except (OSError, ValueError, RecursionError) as error:
        raise AtlasError(f"atlas {folder}: its layout can't be read ({type(error).__name__})") from error
    expected = {"format": FORMAT, "atlas_id": atlas_id, "sha256": hashlib.sha256(raw).hexdigest()}
    if head != expected:
        raise AtlasError(
            f"atlas {folder}: expected a layout of this very atlas, got a damaged one or another's; remove "
            f"{_HEAD} and lay it out again"
        )
    try:
        tiles = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, MemoryError) as error:
        raise AtlasError(f"atlas {folder}: {_TILES} is no plain array ({type(error).__name__})") from error
    sound = tiles.dtype == np.dtype("<i2") and tiles.shape == (cells, 2) and tiles.min(initial=0) >= 0
    if not sound or len(np.unique(tiles, axis=0)) != cells:
        raise AtlasError(f"atlas {folder}: {_TILES}: expected a tile of its own for each of {cells} cells")
    return np.asarray(tiles, np.int16)
