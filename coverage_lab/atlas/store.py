"""An atlas as a folder: plain arrays and JSON, every file hashed, nothing that can run code."""

from __future__ import annotations

import hashlib
import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_lab.atlas.layout import load_layout, save_layout
from coverage_lab.atlas.model import FORMAT, Atlas, content_id, unit_centroids
from coverage_lab.atlas.names import load_names, save_names
from coverage_lab.atlas.probe import PROBE
from coverage_lab.errors import AtlasError, OutputError
from coverage_lab.schema import LEVELS

_HEAD = "atlas.json"
_CENTROIDS, _PARENTS, _LABELS, _PROBE = "centroids.npy", "parents.npy", "labels.json", "probe.npy"
_MASSES = tuple(f"masses_{level}.npy" for level in LEVELS)
_FILES = (_CENTROIDS, _PARENTS, *_MASSES, _LABELS, _PROBE)

_MAX_LABEL = 200


def save_atlas(atlas: Atlas, folder: Path) -> None:
    """Write `atlas` to `folder`, which is made where missing; `atlas.json` comes after the id's files.

    Raises
    ------
    OutputError
        The folder can't be written.
    """
    contents = {
        _CENTROIDS: _npy(atlas.centroids.astype(np.float16) if atlas.stored is None else atlas.stored),
        _PARENTS: _npy(atlas.parents),
        **{name: _npy(mass) for name, mass in zip(_MASSES, atlas.masses, strict=True)},
        _LABELS: json.dumps(atlas.labels, ensure_ascii=False, indent=0).encode(),
        _PROBE: _npy(atlas.probe),
    }
    head = {
        "format": FORMAT,
        "id": atlas.id,
        "encoder_id": atlas.encoder_id,
        "encoder_name": atlas.encoder_name,
        "sizes": atlas.sizes,
        "smoothing": atlas.smoothing,
        "description": atlas.description,
        "counts": dict(atlas.counts),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        (folder / _HEAD).write_text(json.dumps(head, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"atlas folder {folder}: can't be written ({error.strerror})") from error
    if atlas.layout is not None:
        save_layout(atlas, folder)
    if atlas.own_names is not None:
        save_names(atlas, folder)


def load_atlas(folder: Path) -> Atlas:
    """Read an atlas from `folder`, checking every hash, shape and value.

    Raises
    ------
    AtlasError
        Something is missing, damaged, of another format, or not what an atlas may hold.
    """
    head = _json(folder, _read(folder, _HEAD))
    _require(isinstance(head, dict), folder, "atlas.json is not an object")
    _require(
        head.get("format") == FORMAT, folder, f"expected format {FORMAT}, got {head.get('format')!r:.40}"
    )
    hashes = head.get("sha256")
    _require(isinstance(hashes, dict) and set(hashes) == set(_FILES), folder, "atlas.json lists other files")
    data = {name: _read(folder, name) for name in _FILES}
    for name, raw in data.items():
        _require(hashlib.sha256(raw).hexdigest() == hashes[name], folder, f"{name} does not match its sha256")

    stored = _array(folder, _CENTROIDS, data, "<f2", 2)
    parents = _array(folder, _PARENTS, data, "<i4", 2)
    masses = tuple(_array(folder, name, data, "<f8", 1) for name in _MASSES)
    probe = _array(folder, _PROBE, data, "<f4", 2)
    sizes = tuple(len(mass) for mass in masses)
    labels = _labels(folder, _json(folder, data[_LABELS]), sizes)
    _require(head.get("sizes") == list(sizes), folder, "sizes differ from the masses'")
    _require(len(stored) == sizes[-1], folder, "centroids and masses differ in number")
    _require(bool(np.all(np.linalg.norm(stored.astype(np.float64), axis=1) > 0.5)), folder, "a zero centroid")
    _require(probe.shape == (len(PROBE), stored.shape[1]), folder, "probe.npy has another shape")
    _check_parents(folder, parents, sizes)
    for name, mass in zip(_MASSES, masses, strict=True):
        _require(bool(mass.min() > 0) and abs(mass.sum() - 1) < 1e-9, folder, f"{name} is no distribution")

    texts = {name: head.get(name) for name in ("id", "encoder_id", "encoder_name", "description")}
    _require(all(isinstance(text, str) for text in texts.values()), folder, "atlas.json lacks a text field")
    smoothing = head.get("smoothing")
    _require(isinstance(smoothing, float) and 0 < smoothing < 1, folder, "smoothing is not in (0, 1)")
    counts = head.get("counts")
    _require(
        isinstance(counts, dict) and all(type(value) is int for value in counts.values()),
        folder,
        "counts are not whole numbers",
    )
    identity = content_id(
        encoder_id=texts["encoder_id"],
        encoder_name=texts["encoder_name"],
        description=texts["description"],
        stored=stored,
        parents=parents,
        masses=masses,
        labels=labels,
        probe=probe,
        smoothing=smoothing,
        counts=counts,
    )
    _require(identity == texts["id"], folder, "the id does not match the contents")
    return Atlas(
        id=identity,
        encoder_id=texts["encoder_id"],
        encoder_name=texts["encoder_name"],
        description=texts["description"],
        centroids=unit_centroids(stored),
        parents=parents,
        masses=masses,
        labels=labels,
        probe=probe,
        smoothing=smoothing,
        counts=counts,
        layout=load_layout(folder, atlas_id=identity, cells=sizes[-1]),
        own_names=load_names(folder, atlas_id=identity, parents=parents),
        stored=stored,
    )


def default_atlas(encoder_name: str) -> Atlas:
    """Load the atlas that comes with the package for ``static`` or ``minilm``.

    Raises
    ------
    AtlasError
        There is none for this encoder, or its data is missing or damaged.
    """
    if encoder_name not in ("static", "minilm"):
        raise AtlasError(f"no atlas comes with the package for encoder '{encoder_name}': set atlas.path")
    data = resources.files("coverage_lab.atlas") / "data" / encoder_name
    if not data.is_dir():
        raise AtlasError(
            f"the default atlas of encoder '{encoder_name}' is missing from this installation: set atlas.path"
        )
    with resources.as_file(data) as folder:
        return load_atlas(folder)


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array.astype(array.dtype.newbyteorder("<")), allow_pickle=False)
    return buffer.getvalue()


def _require(condition: bool, folder: Path, problem: str) -> None:
    if not condition:
        raise AtlasError(f"atlas {folder}: {problem}")


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise AtlasError(f"atlas {folder}: {name} can't be read ({error.strerror})") from error


def _json(folder: Path, raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise AtlasError(f"atlas {folder}: not valid JSON ({type(error).__name__})") from error


def _array(folder: Path, name: str, data: dict[str, bytes], kind: str, dims: int) -> Any:
    try:
        array = np.lib.format.read_array(io.BytesIO(data[name]), allow_pickle=False)
    except (ValueError, MemoryError) as error:
        raise AtlasError(f"atlas {folder}: {name} is no plain array ({type(error).__name__})") from error
    fits = array.dtype == np.dtype(kind) and array.ndim == dims
    _require(fits and array.size > 0, folder, f"{name}: expected {dims}-d {kind}")
    _require(bool(np.isfinite(array).all()), folder, f"{name} has values that are not finite")
    return array.astype(np.dtype(kind).newbyteorder("="))


def _labels(folder: Path, raw: Any, sizes: tuple[int, ...]) -> tuple[tuple[str, ...], ...]:
    shaped = isinstance(raw, list) and all(isinstance(level, list) for level in raw)
    _require(shaped and tuple(map(len, raw)) == sizes, folder, "labels.json: expected a label per cell")
    for label in (label for level in raw for label in level):
        plain = isinstance(label, str) and 0 < len(label) <= _MAX_LABEL
        _require(
            plain and label.isprintable(),
            folder,
            f"labels.json: a label is not 1 to {_MAX_LABEL} printable characters",
        )
    return tuple(tuple(level) for level in raw)


def _check_parents(folder: Path, parents: NDArray[np.int32], sizes: tuple[int, ...]) -> None:
    """Every fine cell is its own parent at the fine level, no cell is empty, and none has two parents."""
    _require(parents.shape == (len(sizes), sizes[-1]), folder, "parents.npy has another shape")
    _require(np.array_equal(parents[-1], np.arange(sizes[-1])), folder, "parents.npy: fine cells differ")
    for row, size in zip(parents, sizes, strict=True):
        _require(np.array_equal(np.unique(row), np.arange(size)), folder, "parents.npy: cells differ")
    for upper, lower, size in zip(parents[:-1], parents[1:], sizes[1:], strict=True):
        pairs = np.unique(np.stack([lower, upper]), axis=1)
        _require(pairs.shape[1] == size, folder, "parents.npy: a cell has two parents")
