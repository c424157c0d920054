"""What an atlas is, its id, and how vectors get their cells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import faiss
import numpy as np
from numpy.typing import NDArray

from coverage_lab.atlas.names import nested
from coverage_lab.atlas.threads import faiss_threads
from coverage_lab.errors import AtlasError, ConfigError
from coverage_lab.schema import LEVELS

#: Version of the contents that the id is taken over and of the folder that holds them.
FORMAT = 1

_BLOCK = 65_536


@dataclass(frozen=True, eq=False)
class Atlas:
    """Nested cells of the capability surface, their mass in ordinary traffic, and their labels.

    Attributes
    ----------
    id
        Hex SHA-256 of the contents, see `content_id`.
    encoder_id, encoder_name
        The encoder that the vectors must come from.
    description
        What the atlas was built from, for people.
    centroids
        Unit rows of the fine cells, ``(K_fine, d)`` float32: `stored` scaled to unit norm.
    parents
        Cell of each fine cell at each level, ``(3, K_fine)`` int32, coarsest level first; the last row is
        ``arange(K_fine)``. A fine cell has one parent, so the levels nest strictly.
    masses
        Per level, share of ordinary traffic in each cell, float64; sums to 1, every entry > 0.
    labels
        Per level, keywords of each cell. Part of the id; people are shown `names`.
    probe
        The encoder's vectors of `PROBE`, ``(16, d)`` float32.
    smoothing
        Share of each level's mass that is spread evenly over its cells.
    counts
        Sizes of the data that it was fitted on.
    layout
        Tile of each fine cell on the map that people look at, ``(K_fine, 2)`` int16, row and column
        (`coverage_lab.atlas.lay_out`). No part of the id, since nothing is computed from it; None where the
        atlas has none.
    own_names
        Per level, what tells each cell apart in plain words (`coverage_lab.atlas.save_names`); see `names`.
        No part of the id; None where the atlas has none.
    stored
        The float16 centroids that the folder holds; `centroids` rounded when None. Rounding the unit rows
        again would not always give them back.
    """

    id: str
    encoder_id: str
    encoder_name: str
    description: str
    centroids: NDArray[np.float32]
    parents: NDArray[np.int32]
    masses: tuple[NDArray[np.float64], ...]
    labels: tuple[tuple[str, ...], ...]
    probe: NDArray[np.float32]
    smoothing: float = 0.05
    counts: Mapping[str, int] = field(default_factory=dict)
    layout: NDArray[np.int16] | None = None
    own_names: tuple[tuple[str, ...], ...] | None = None
    stored: NDArray[np.float16] | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of cells per level, coarsest first."""
        return tuple(len(mass) for mass in self.masses)

    @cached_property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """Per level, what people are shown for each cell: its nested name, or its keywords without one."""
        return self.labels if self.own_names is None else nested(self.own_names, self.parents)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.centroids.shape[1])

    def assign(
        self,
        vectors: NDArray[np.float32],
        *,
        threads: int | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> NDArray[np.int32]:
        """Return the cells of `vectors`, one column per level, coarsest first.

        The fine cell is that of the centroid with the largest inner product, the lowest id among equals;
        its parents give the other levels.

        Parameters
        ----------
        vectors
            Unit rows of this atlas' encoder, ``(n, d)``; float16 is accepted.
        threads
            CPU threads for this call; when None, all, or one where there is little to do.
        device
            ``cuda`` searches on the first GPU and needs a FAISS built for it.

        Returns
        -------
        cells : (n, 3) int32
            ``(0, 3)`` without vectors.

        Raises
        ------
        AtlasError
            The vectors have another length, or one of them is not finite.
        ConfigError
            ``device="cuda"`` without a GPU build of FAISS or without a GPU.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise AtlasError(f"vectors: expected shape (n, {self.dim}), got {vectors.shape}")
        index = self._index if device == "cpu" else _on_gpu(self._index)
        fine = np.empty(len(vectors), dtype=np.int64)
        with faiss_threads(threads, products=len(vectors) * len(self.centroids)):
            for start in range(0, len(vectors), _BLOCK):
                block = np.ascontiguousarray(vectors[start : start + _BLOCK], dtype=np.float32)
                fine[start : start + len(block)] = index.search(block, 1)[1][:, 0]
        if len(fine) and fine.min() < 0:
            raise AtlasError(f"vectors: row {int(np.argmin(fine))} is not finite")
        return self.levels_of(fine)

    def levels_of(self, fine: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the cells of fine cells ``(n,)`` at every level, ``(n, 3)`` int32, coarsest first."""
        return np.ascontiguousarray(self.parents[:, self._first_of_equals[fine]].T)

    @cached_property
    def _index(self) -> Any:
        index = faiss.IndexFlatIP(self.dim)
        index.add(np.ascontiguousarray(self.centroids))
        return index

    @cached_property
    def _first_of_equals(self) -> NDArray[np.int64]:
        """Lowest id among the cells with the same centroid.

        A matrix product may round the same dot product differently in another column, so FAISS alone does
        not always settle a tie of equal centroids for the lowest.
        """
        _, first, which = np.unique(self.centroids, axis=0, return_index=True, return_inverse=True)
        return np.asarray(first[np.ravel(which)], dtype=np.int64)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the search index: another process builds its own."""
        return {name: value for name, value in self.__dict__.items() if name in self.__dataclass_fields__}


def content_id(
    *,
    encoder_id: str,
    encoder_name: str,
    description: str,
    stored: NDArray[np.float16],
    parents: NDArray[np.int32],
    masses: tuple[NDArray[np.float64], ...],
    labels: tuple[tuple[str, ...], ...],
    probe: NDArray[np.float32],
    smoothing: float,
    counts: Mapping[str, int],
) -> str:
    """Return the hex SHA-256 over everything that an atlas holds, in one fixed order and byte order.

    White space in the description doesn't count.
    """
    head = {
        "format": FORMAT,
        "levels": LEVELS,
        "encoder_id": encoder_id,
        "encoder_name": encoder_name,
        "description": " ".join(description.split()),
        "labels": labels,
        "smoothing": smoothing,
        "counts": dict(counts),
    }
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    arrays: list[tuple[str, NDArray[Any]]] = [("<f2", stored), ("<i4", parents), ("<f4", probe)]
    arrays += [("<f8", mass) for mass in masses]
    for kind, array in arrays:
        digest.update(f"{kind}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()


def unit_centroids(stored: NDArray[np.float16]) -> NDArray[np.float32]:
    """Scale stored centroids to unit norm, x / ‖x‖, in float64 and round to float32."""
    wide = stored.astype(np.float64)
    unit: NDArray[np.float32] = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _on_gpu(index: Any) -> Any:
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        raise ConfigError("device: 'cuda' was asked for, but this FAISS finds no GPU")
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
