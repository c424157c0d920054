"""Fitting, assigning, saving, loading and describing an atlas."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from coverage_lab.atlas import (
    PROBE,
    Atlas,
    check_encoder,
    default_atlas,
    fit_atlas,
    load_atlas,
    model,
    save_atlas,
    store,
)
from coverage_lab.atlas.fit import SMOOTHING, _account_weighted_share, _parents
from coverage_lab.atlas.threads import faiss_threads
from coverage_lab.config import EncoderConfig
from coverage_lab.encoders import load_encoder
from coverage_lab.errors import AtlasError, ConfigError, OutputError

DIM = 16
SIZES = (2, 4, 8)
FILES = (
    "atlas.json",
    "centroids.npy",
    "parents.npy",
    "masses_coarse.npy",
    "masses_middle.npy",
    "masses_fine.npy",
    "labels.json",
    "probe.npy",
)


class HashEncoder:
    """A direction per text, from its hash; `turn` moves all of them the same way."""

    name = "hash"
    device = "cpu"

    def __init__(self, dim: int = DIM, *, identity: str = "hash-1", turn: float = 0.0) -> None:
        self.dim = dim
        self.id = identity
        self._turn = turn

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [
            np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)).normal(
                size=self.dim
            )
            for text in texts
        ]
        vectors = np.array(rows).reshape(-1, self.dim)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[:, 0] += self._turn
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _traffic(rows: int = 400, dim: int = DIM) -> dict[str, Any]:
    """Eight planted directions; account sizes differ; two thirds of the rows are reference."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(8, dim))
    vectors = _unit(centres[rng.integers(0, 8, rows)] + 0.2 * rng.normal(size=(rows, dim)))
    accounts = np.sort(rng.integers(0, 20, rows) ** 2)
    return {"vectors": vectors, "accounts": accounts, "reference": rng.random(rows) < 0.67, "texts": None}


def _fit(**options: Any) -> Atlas:
    return fit_atlas(**{**_traffic(), "encoder": HashEncoder(), "sizes": SIZES, **options})


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return _fit(description="planted  directions")


@pytest.fixture
def folder(atlas: Atlas, tmp_path: Path) -> Path:
    save_atlas(atlas, tmp_path / "atlas")
    return tmp_path / "atlas"


def _by_hand(centroids: NDArray[np.float32]) -> Atlas:
    """An atlas with only what assigning needs; cells pair up from level to level."""
    fine = np.arange(len(centroids), dtype=np.int32)
    return Atlas(
        id="by hand",
        encoder_id="none",
        encoder_name="none",
        description="",
        centroids=centroids,
        parents=np.stack([fine // 4, fine // 2, fine]),
        masses=tuple(np.full(k, 1 / k) for k in (len(fine) // 4, len(fine) // 2, len(fine))),
        labels=(),
        probe=np.zeros((16, centroids.shape[1]), dtype=np.float32),
    )


def _assert_equal(left: Atlas, right: Atlas) -> None:
    for name in ("id", "encoder_id", "encoder_name", "description", "labels", "smoothing", "counts", "sizes"):
        assert getattr(left, name) == getattr(right, name), name
    for name in ("centroids", "parents", "probe"):
        a, b = getattr(left, name), getattr(right, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=name)
    for a, b in zip(left.masses, right.masses, strict=True):
        np.testing.assert_array_equal(a, b)


def test_fit_has_the_promised_shapes(atlas: Atlas) -> None:
    assert atlas.sizes == SIZES
    assert atlas.centroids.shape == (8, DIM)
    assert atlas.centroids.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(atlas.centroids.astype(np.float64), axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(atlas.probe, HashEncoder().encode(PROBE))
    assert tuple(len(level) for level in atlas.labels) == SIZES
    assert atlas.labels[1] == ("cell 0", "cell 1", "cell 2", "cell 3")
    traffic = _traffic()
    assert atlas.counts == {
        "prompts": 400,
        "accounts": len(set(traffic["accounts"].tolist())),
        "reference_prompts": int(traffic["reference"].sum()),
        "reference_accounts": len(set(traffic["accounts"][traffic["reference"]].tolist())),
    }


def test_levels_nest_strictly_and_no_cell_is_out_of_reach() -> None:
    atlas = _fit(sizes=(5, 12, 40))
    coarse, middle, fine = atlas.parents
    assert fine.tolist() == list(range(40))
    assert set(middle.tolist()) == set(range(12))
    assert set(coarse.tolist()) == set(range(5))
    for cell in range(12):
        assert len(set(coarse[middle == cell].tolist())) == 1
    cells = atlas.assign(_traffic()["vectors"])
    np.testing.assert_array_equal(cells, atlas.parents[:, cells[:, 2]].T)


def test_planted_directions_are_found() -> None:
    """Eight tight clusters and eight cells: each cluster must get a cell of its own."""
    centres = np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0][:8]
    noise = 0.02 * np.random.default_rng(1).normal(size=(800, DIM))
    planted = np.arange(800) % 8
    atlas = _fit(
        vectors=_unit(centres[planted] + noise),
        accounts=np.arange(800),
        reference=np.ones(800, dtype=bool),
        sizes=(1, 2, 8),
        iterations=50,
        seed=3,
    )
    cells = atlas.assign(_unit(centres))[:, 2]
    assert sorted(cells.tolist()) == list(range(8))
    assert np.einsum("ij,ij->i", atlas.centroids[cells], _unit(centres)).min() > 0.99


def test_a_parent_that_would_stay_empty_takes_the_farthest_spare_point() -> None:
    """k-means of three equal points and one other leaves cells empty, which the repair fills."""
    points = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    parent = _parents(points, np.ones(4, dtype=np.float32), 3, 5, 0)
    assert set(parent.tolist()) == {0, 1, 2}
    assert (parent == parent[3]).sum() == 1


def test_account_weighted_share_by_hand() -> None:
    """Account 7: 3/4 in cell 0, 1/4 in cell 1. Account 9: all in cell 2. Each account counts half."""
    share = _account_weighted_share(np.array([0, 0, 0, 1, 2], dtype=np.int32), np.array([7, 7, 7, 7, 9]), 4)
    np.testing.assert_allclose(share, [3 / 8, 1 / 8, 1 / 2, 0], rtol=1e-15)


def test_masses_are_account_weighted_over_the_reference_and_smoothed(atlas: Atlas) -> None:
    """Oracle: the definition, with dictionaries."""
    traffic = _traffic()
    cells = atlas.assign(traffic["vectors"])
    for level, size in enumerate(SIZES):
        per_account: dict[int, list[int]] = {}
        for account, cell, used in zip(
            traffic["accounts"].tolist(), cells[:, level].tolist(), traffic["reference"].tolist(), strict=True
        ):
            if used:
                per_account.setdefault(account, []).append(cell)
        expected = [
            0.95 * np.mean([own.count(cell) / len(own) for own in per_account.values()]) + 0.05 / size
            for cell in range(size)
        ]
        np.testing.assert_allclose(atlas.masses[level], expected, rtol=1e-12)
        assert atlas.masses[level].sum() == pytest.approx(1, abs=1e-12)
        assert atlas.masses[level].min() > 0
    assert SMOOTHING == atlas.smoothing == 0.05


@pytest.mark.parametrize(
    "options",
    [
        {"sizes": (2, 4, 9)},
        {"iterations": 1},
        {"seed": 1},
        {"description": "another"},
        {"encoder": HashEncoder(identity="hash-2")},
        {"reference": np.ones(400, dtype=bool)},
        {"accounts": np.arange(400)},
    ],
)
def test_every_option_changes_the_id(options: dict[str, Any], atlas: Atlas) -> None:
    assert (
        _fit(description=atlas.description, iterations=2).id
        != _fit(**{"description": atlas.description, "iterations": 2, **options}).id
    )


def test_the_same_fit_gives_the_same_atlas(atlas: Atlas) -> None:
    _assert_equal(_fit(description="planted  directions"), atlas)
    assert _fit(description=" planted\ndirections ").id == atlas.id


def test_half_precision_vectors_are_accepted(atlas: Atlas) -> None:
    half = _traffic()["vectors"].astype(np.float16)
    assert _fit(vectors=half).sizes == SIZES
    np.testing.assert_array_equal(atlas.assign(half), atlas.assign(half.astype(np.float32)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (2, 4)}, "sizes: expected 3 numbers"),
        ({"sizes": (4, 2, 8)}, "sizes: expected 3 numbers"),
        ({"sizes": (0, 2, 8)}, "sizes: expected 3 numbers"),
        ({"sizes": (2, 4, 401)}, "expected at least 401 distinct ones"),
        (
            {"vectors": _traffic()["vectors"][np.arange(400) % 7]},
            "expected at least 8 distinct ones .* got 7",
        ),
        ({"vectors": _traffic(dim=8)["vectors"]}, r"vectors: expected shape \(N, 16\)"),
        ({"vectors": 2 * _traffic()["vectors"]}, "expected unit rows"),
        ({"vectors": np.full((400, DIM), np.nan, dtype=np.float32)}, "expected unit rows"),
        ({"accounts": np.arange(3)}, "accounts and reference"),
        ({"reference": np.ones(400, dtype=np.int64)}, "accounts and reference"),
        ({"reference": np.zeros(400, dtype=bool)}, "at least one row of ordinary traffic"),
        ({"texts": ["one"]}, "texts: expected 400, got 1"),
    ],
)
def test_what_cannot_be_fitted_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        _fit(**options)


TOPICS = {
    "bread": "How long must {} bread dough rest before it is baked?",
    "harbour": "Which train goes from {} station to the harbour tonight?",
    "matrix": "Invert the matrix {} and explain each step of the algebra.",
    "violin": "Write a practice plan for a violin pupil in week {}.",
}


def test_labels_name_the_topics_of_a_real_encoder(tmp_path: Path) -> None:
    encoder = load_encoder(EncoderConfig(name="static"))
    texts = [text.format(number) for text in TOPICS.values() for number in range(30)]
    options: dict[str, Any] = {
        "vectors": encoder.encode(texts),
        "accounts": np.arange(len(texts)) % 6,
        "reference": np.ones(len(texts), dtype=bool),
        "texts": texts,
        "encoder": encoder,
        "sizes": (2, 4, 8),
    }
    fitted = fit_atlas(**options)
    save_atlas(fitted, tmp_path)
    loaded = load_atlas(tmp_path)
    _assert_equal(loaded, fitted)
    check_encoder(loaded, encoder)
    for topic, text in TOPICS.items():
        fine = loaded.assign(encoder.encode([text.format(99)]))[0, 2]
        assert topic in loaded.labels[2][fine]
    assert fit_atlas(**options, min_label_accounts=7).labels[0] == ("cell 0", "cell 1")


def test_progress_counts_the_steps() -> None:
    told: list[tuple[str, int, int | None]] = []
    _fit(progress=lambda stage, done, total: told.append((stage, done, total)))
    assert told == [("fit atlas", step, 5) for step in range(1, 6)]


@pytest.mark.parametrize("rows", [1, 19, 63, 997])
def test_assign_is_the_first_largest_product(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brute force on halves and wholes, whose products are exact, so that ties are true ties."""
    monkeypatch.setattr(model, "_BLOCK", 500)
    axes = np.eye(4)
    centroids = np.vstack([axes, axes[::-1], np.full((1, 4), 0.5), -axes[:2], axes[2:3]]).astype(np.float32)
    rng = np.random.default_rng(rows)
    vectors = rng.choice([-0.5, 0.5], size=(rows, 4)).astype(np.float32)
    vectors[::3] = np.eye(4, dtype=np.float32)[rng.integers(0, 4, len(vectors[::3]))]
    expected = np.argmax(vectors.astype(np.float64) @ centroids.astype(np.float64).T, axis=1)
    cells = _by_hand(centroids).assign(vectors)
    assert cells.dtype == np.int32
    assert cells.flags.c_contiguous
    np.testing.assert_array_equal(cells, np.stack([expected // 4, expected // 2, expected], axis=1))


def test_assign_agrees_with_brute_force_on_a_large_random_atlas() -> None:
    rng = np.random.default_rng(2)
    centroids, vectors = _unit(rng.normal(size=(1_024, 48))), _unit(rng.normal(size=(3_000, 48)))
    centroids[900] = centroids[17]
    vectors[::10] = centroids[17]
    products = vectors.astype(np.float64) @ centroids.astype(np.float64).T
    atlas = _by_hand(centroids)
    cells = atlas.assign(vectors)[:, 2]
    clear = np.diff(np.sort(products, axis=1)[:, -2:])[:, 0] > 1e-6
    clear[::10] = True
    np.testing.assert_array_equal(cells[clear], products.argmax(axis=1)[clear])
    assert set(cells[::10].tolist()) == {17}
    np.testing.assert_array_equal(atlas.assign(vectors, threads=1)[:, 2], cells)


@pytest.mark.parametrize(
    ("threads", "products", "inside"), [(3, 1, 3), (3, 2**30, 3), (None, 1, 1), (None, 2**30, 2)]
)
def test_faiss_gets_its_threads_for_the_block_only(threads: int | None, products: int, inside: int) -> None:
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(2)
        with faiss_threads(threads, products=products):
            assert faiss.omp_get_max_threads() == inside
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)


def test_assign_edges(atlas: Atlas) -> None:
    empty = atlas.assign(np.empty((0, DIM), dtype=np.float32))
    assert (empty.shape, empty.dtype) == ((0, 3), np.dtype(np.int32))
    with pytest.raises(AtlasError, match=r"expected shape \(n, 16\), got \(2, 3\)"):
        atlas.assign(np.zeros((2, 3), dtype=np.float32))
    vectors = _traffic()["vectors"][:4].copy()
    vectors[2] = np.nan
    with pytest.raises(AtlasError, match="row 2 is not finite"):
        atlas.assign(vectors)


def test_a_gpu_asked_for_by_name_must_be_there(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.faiss, "get_num_gpus", lambda: 0)
    with pytest.raises(ConfigError, match="device: 'cuda'"):
        atlas.assign(_traffic()["vectors"], device="cuda")


def test_an_atlas_in_use_travels_between_processes(atlas: Atlas) -> None:
    vectors = _traffic()["vectors"]
    cells = atlas.assign(vectors)
    there = pickle.loads(pickle.dumps(atlas))
    _assert_equal(there, atlas)
    np.testing.assert_array_equal(there.assign(vectors), cells)


@pytest.mark.parametrize("dim", [2, 3, 16, 64])
def test_loaded_equals_fitted(dim: int, tmp_path: Path) -> None:
    fitted = fit_atlas(**_traffic(dim=dim), encoder=HashEncoder(dim), sizes=(3, 9, 60), description="d\n e")
    save_atlas(fitted, tmp_path)
    loaded = load_atlas(tmp_path)
    _assert_equal(loaded, fitted)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    save_atlas(loaded, tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_folder_that_cannot_be_written_is_named(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        save_atlas(atlas, tmp_path / "file")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(AtlasError, match=f"{name} can't be read"):
        load_atlas(folder)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_changed_byte_is_found(name: str, folder: Path) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(AtlasError, match=f"{name} does not match its sha256"):
        load_atlas(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("encoder_id", "other", "id does not match"),
        ("encoder_name", "other", "id does not match"),
        ("description", "other", "id does not match"),
        ("smoothing", 0.04, "id does not match"),
        ("counts", {"prompts": 1}, "id does not match"),
        ("id", "0" * 64, "id does not match"),
        ("id", None, "lacks a text field"),
        ("smoothing", 2.0, r"smoothing is not in \(0, 1\)"),
        ("counts", [1], "counts are not whole numbers"),
        ("counts", {"prompts": "1"}, "counts are not whole numbers"),
        ("sizes", [2, 4, 9], "sizes differ"),
        ("format", 2, "expected format 1, got 2"),
        ("sha256", {"../../etc/passwd": "0"}, "lists other files"),
        ("sha256", None, "lists other files"),
    ],
)
def test_a_changed_head_is_found(key: str, value: Any, message: str, folder: Path) -> None:
    head = json.loads((folder / "atlas.json").read_text())
    (folder / "atlas.json").write_text(json.dumps({**head, key: value}))
    with pytest.raises(AtlasError, match=message):
        load_atlas(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 200_000, '{"format": 1}'])
def test_a_head_that_is_none_is_refused(text: str, folder: Path) -> None:
    (folder / "atlas.json").write_text(text)
    with pytest.raises(AtlasError):
        load_atlas(folder)


def _saved(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _hostile_pickle() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _claims_too_much() -> bytes:
    buffer = io.BytesIO()
    header = {"descr": "<f2", "fortran_order": False, "shape": (2**40, 2**10)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + b"\0" * 64


def _parents_saved(coarse: list[int], middle: list[int], fine: list[int] | None = None) -> bytes:
    return _saved(np.array([coarse, middle, fine or list(range(8))], dtype=np.int32))


MIDDLE = [0, 0, 1, 1, 2, 2, 3, 3]


def _labels_saved(coarse: Any) -> bytes:
    return json.dumps([coarse, ["m"] * 4, ["f"] * 8]).encode()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("centroids.npy", b"", "no plain array"),
        ("centroids.npy", b"PK\x03\x04", "no plain array"),
        ("centroids.npy", _hostile_pickle(), "no plain array"),
        ("centroids.npy", _claims_too_much(), "no plain array"),
        ("centroids.npy", _saved(np.ones((8, DIM))), "expected 2-d <f2"),
        ("centroids.npy", _saved(np.ones(8, dtype=np.float16)), "expected 2-d <f2"),
        ("centroids.npy", _saved(np.ones((0, DIM), dtype=np.float16)), "expected 2-d <f2"),
        ("centroids.npy", _saved(np.full((8, DIM), np.inf, dtype=np.float16)), "not finite"),
        ("centroids.npy", _saved(np.zeros((8, DIM), dtype=np.float16)), "zero centroid"),
        ("centroids.npy", _saved(np.ones((9, DIM), dtype=np.float16)), "differ in number"),
        ("parents.npy", _saved(np.zeros((2, 8), dtype=np.int32)), "another shape"),
        ("parents.npy", _parents_saved([0, 0, 0, 0, 1, 1, 1, 1], MIDDLE, [1, 0, *range(2, 8)]), "fine cells"),
        ("parents.npy", _parents_saved([0, 0, 0, 0, 1, 1, 1, 9], MIDDLE), "cells differ"),
        ("parents.npy", _parents_saved([0, 0, 0, 0, -1, 1, 1, 1], MIDDLE), "cells differ"),
        ("parents.npy", _parents_saved([0] * 8, MIDDLE), "cells differ"),
        ("parents.npy", _parents_saved([0, 1, 0, 0, 1, 1, 1, 1], MIDDLE), "two parents"),
        ("masses_fine.npy", _saved(np.full(8, 0.2)), "no distribution"),
        ("masses_fine.npy", _saved(np.array([1.0, 0, 0, 0, 0, 0, 0, 0])), "no distribution"),
        ("masses_coarse.npy", _saved(np.array([1.5, -0.5])), "no distribution"),
        ("masses_coarse.npy", _saved(np.full(3, 1 / 3)), "expected a label per cell"),
        ("probe.npy", _saved(np.ones((15, DIM), dtype=np.float32)), "another shape"),
        ("labels.json", b"\xff", "not valid JSON"),
        ("labels.json", b"[" * 200_000, "not valid JSON"),
        ("labels.json", b'{"0": []}', "expected a label per cell"),
        ("labels.json", b"[1, 2, 3]", "expected a label per cell"),
        ("labels.json", _labels_saved(["one"]), "expected a label per cell"),
        ("labels.json", _labels_saved(["one", 2]), "printable"),
        ("labels.json", _labels_saved(["one", ""]), "printable"),
        ("labels.json", _labels_saved(["one", "x" * 201]), "printable"),
        ("labels.json", _labels_saved(["one", "\x1b[31mred"]), "printable"),
        ("labels.json", _labels_saved(["one", "two\nlines"]), "printable"),
        ("labels.json", _labels_saved(["one", "other words"]), "id does not match"),
    ],
)
def test_hostile_contents_with_matching_hashes_are_refused(
    name: str, data: bytes, message: str, folder: Path
) -> None:
    (folder / name).write_bytes(data)
    head = json.loads((folder / "atlas.json").read_text())
    head["sha256"][name] = hashlib.sha256(data).hexdigest()
    (folder / "atlas.json").write_text(json.dumps(head))
    with pytest.raises(AtlasError, match=message):
        load_atlas(folder)


def test_an_encoder_of_another_id_is_refused(atlas: Atlas) -> None:
    with pytest.raises(AtlasError, match=r"built with encoder 'hash' \(hash-1\), got 'hash' \(hash-2\)"):
        check_encoder(atlas, HashEncoder(identity="hash-2"))


def test_an_encoder_that_drifted_is_refused(atlas: Atlas) -> None:
    check_encoder(atlas, HashEncoder())
    check_encoder(atlas, HashEncoder(turn=0.005))
    with pytest.raises(AtlasError, match="gives other vectors here"):
        check_encoder(atlas, HashEncoder(turn=0.1))
    with pytest.raises(AtlasError, match="expected 16 dimensions, got 8"):
        check_encoder(atlas, HashEncoder(8))
    broken = replace(atlas, probe=np.full_like(atlas.probe, np.nan))
    with pytest.raises(AtlasError, match="gives other vectors here"):
        check_encoder(broken, HashEncoder())


def test_default_atlases(tmp_path: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AtlasError, match=r"no atlas comes with the package for encoder '\.\./secret'"):
        default_atlas("../secret")
    monkeypatch.setattr(store.resources, "files", lambda package: tmp_path)
    with pytest.raises(AtlasError, match="default atlas of encoder 'static' is missing"):
        default_atlas("static")
    save_atlas(atlas, tmp_path / "data" / "static")
    _assert_equal(default_atlas("static"), atlas)
