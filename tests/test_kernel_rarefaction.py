"""`rarefaction`: the CUDA file built by a C++ compiler, and NumPy, against whole numbers and SciPy."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from math import fsum
from pathlib import Path

import numpy as np
import pytest
from coverage_kernels import backends
from coverage_kernels import rarefaction as op
from coverage_kernels.rarefaction import gpu, rarefaction, reference, segmented
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from coverage_lab.measures import nulls

#: Absolute gap to exact over K, for n up to a few thousand.
TOLERANCE = 1e-13

SOURCE = Path(gpu.__file__).with_name("kernel.cu")
CXX = shutil.which("g++") or shutil.which("c++")
NVCC = shutil.which("nvcc")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory):
    """The formula of kernel.cu and its loop over grid points, without a GPU."""
    if CXX is None:
        pytest.skip("there is no C++ compiler on this machine")
    library = tmp_path_factory.mktemp("cu") / "kernel.so"
    flags = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-x", "c++"]
    subprocess.run([CXX, *flags, SOURCE, "-o", library], check=True)
    kernel = ctypes.CDLL(str(library)).rarefaction
    whole, real = np.ctypeslib.ndpointer(np.int64), np.ctypeslib.ndpointer(np.float64)
    kernel.argtypes = [*[whole] * 6, ctypes.c_longlong, real]
    kernel.restype = None

    def call(*arrays: np.ndarray) -> np.ndarray:
        expected = np.full(arrays[-1].size, np.nan)
        kernel(*arrays, arrays[-1].size, expected)
        return expected

    return call


def batch(accounts: int, largest: int, seed: int, *, distinct: int = 90) -> tuple[np.ndarray, ...]:
    """Arguments of the private functions: sizes 1 to `largest`, and grid points at both ends and between."""
    draw = np.random.default_rng(seed)
    sizes = [np.unique(draw.integers(1, largest + 1, draw.integers(1, distinct))) for _ in range(accounts)]
    size = np.concatenate(sizes)
    frequency = draw.integers(1, 9, size.size)
    offsets = np.cumsum([0, *map(len, sizes)])
    prompts = np.add.reduceat(size * frequency, offsets[:-1])
    grid = np.stack([np.ones_like(prompts), prompts, (prompts + 1) // 2, draw.integers(1, prompts + 1)])
    return size, frequency, offsets, prompts, np.repeat(np.arange(accounts), 4), grid.T.ravel().copy()


@pytest.mark.parametrize("largest", [1, 3, 60])
def test_both_formulas_agree_with_whole_numbers(built, largest: int) -> None:
    arrays = batch(15, largest, largest)
    want = reference.rarefaction(*arrays)
    cells = np.add.reduceat(arrays[1], arrays[2][:-1])[arrays[4]]
    for path in (built, segmented.rarefaction):
        assert np.abs((path(*arrays) - want) / cells).max() <= TOLERANCE


def test_more_entries_than_lanes_and_many_blocks(built, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = batch(4, 200, 4, distinct=300)
    assert np.diff(arrays[2]).max() > 64
    whole = segmented.rarefaction(*arrays)
    assert np.allclose(built(*arrays), whole, rtol=1e-12)
    monkeypatch.setattr(segmented, "PAIRS", 50)
    assert np.allclose(segmented.rarefaction(*arrays), whole, rtol=1e-14)


@pytest.mark.parametrize(("n", "r", "m"), [(10**9, 20_000, 60_000), (10**9, 3, 5 * 10**8), (10**7, 900, 900)])
def test_large_accounts(built, n: int, r: int, m: int) -> None:
    # Independent: ln of the product of min(r, m) factors, summed without loss. The rest are cells seen once.
    few, many = sorted((r, m))
    absent = np.exp(fsum(np.log1p(-many / (n - np.arange(few))).tolist()))
    want = 1 - absent + (n - r) * (m / n)
    one = np.array([1])
    arrays = np.array([1, r]), np.array([n - r, 1]), np.array([0, 2]), np.array([n]), one * 0, one * m
    log_absent = segmented.log_absence(np.array([n]), np.array([r]), np.array([m]))
    assert np.exp(log_absent[0]) == pytest.approx(absent, abs=1e-10)
    for path in (built, segmented.rarefaction):
        assert path(*arrays)[0] == pytest.approx(want, rel=1e-10)


def test_one_cell_is_the_hypergeometric_tail() -> None:
    n, r = 400, 37
    grid = np.arange(1, n + 1)
    got = rarefaction(np.array([1, r]), np.array([n - r, 1]), [0, 2], grid, [0, n])
    assert np.allclose(got - (n - r) * grid / n, hypergeom.sf(0, n, r, grid), atol=1e-10)


@given(st.lists(st.lists(st.integers(1, 12), max_size=12), max_size=5), st.integers(0, 9))
def test_it_is_the_measure(counts: list[list[int]], seed: int) -> None:
    flat = np.array([x for account in counts for x in account], dtype=np.int64)
    cut = np.cumsum([0, *map(len, counts)])
    sizes = [np.unique(np.array(account, dtype=np.int64), return_counts=True) for account in counts]
    size = np.concatenate([np.zeros(0, np.int64), *[s for s, _ in sizes]])
    frequency = np.concatenate([np.zeros(0, np.int64), *[f for _, f in sizes]])
    prompts = [sum(account) for account in counts]
    grid = np.array([m for n in prompts for m in {1, n, n // 2 + seed % 2} if 1 <= m <= n], dtype=np.int64)
    grid_cut = np.cumsum([0, *[len([m for m in {1, n, n // 2 + seed % 2} if 1 <= m <= n]) for n in prompts]])
    got = rarefaction(size, frequency, np.cumsum([0, *[len(s) for s, _ in sizes]]), grid, grid_cut)
    assert np.allclose(got, nulls.rarefaction(flat, cut, grid, grid_cut)[0], rtol=1e-12)


def test_ends_and_order() -> None:
    size, frequency = np.array([1, 4, 9]), np.array([5, 2, 1])
    curve = rarefaction(size, frequency, [0, 3], np.arange(1, 23), [0, 22])
    assert curve[0] == pytest.approx(1, abs=1e-14)
    assert curve[-1] == 8
    assert np.all(np.diff(curve) > 0)


def test_nothing() -> None:
    empty = np.zeros(0, dtype=np.int64)
    assert rarefaction(empty, empty, [0], empty, [0]).shape == (0,)
    assert rarefaction(empty, empty, [0, 0], empty, [0, 0]).shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": np.array([0, 2])}, "size: expected 1 or more, got 0"),
        ({"frequency": np.array([3, -1])}, "frequency: expected 1 or more, got -1"),
        ({"frequency": np.array([3])}, "frequency: expected 2 entries like size, got 1"),
        ({"size": np.array([1, 2**62])}, r"size: expected below 2\*\*53 prompts an account"),
        ({"grid": np.array([8])}, "grid: expected points from 1 to the segment's length"),
        ({"offsets": [0, 1]}, "offsets: expected to end at"),
        ({"backend": "cuda"}, "backend: expected 'auto', 'cpu' or 'cupy', got 'cuda'"),
    ],
)
def test_errors(change: dict[str, object], message: str) -> None:
    told = {
        "size": np.array([1, 2]),
        "frequency": np.array([3, 2]),
        "offsets": [0, 2],
        "grid": np.array([7]),
        "grid_offsets": [0, 1],
    } | change
    with pytest.raises(ValueError, match=message):
        rarefaction(**told)


def test_a_backend_asked_for_by_name_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_DRIVER_FILES", ())
    one = np.array([1])
    with pytest.raises(RuntimeError, match="'cupy' was asked for, but there is no NVIDIA driver"):
        rarefaction(one, one, [0, 1], one, [0, 1], backend="cupy")


def test_the_source_is_where_cupy_looks_for_it() -> None:
    assert gpu.source() == SOURCE.read_text(encoding="utf-8")
    assert 'extern "C" __global__ void rarefaction(' in gpu.source()
    assert op.__name__ == "coverage_kernels.rarefaction"


@pytest.mark.gpu
@pytest.mark.skipif(NVCC is None, reason="there is no nvcc on this machine")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_nvcc_compiles_it(tmp_path: Path, arch: str) -> None:
    ptx = tmp_path / "kernel.ptx"
    subprocess.run([NVCC, f"-arch={arch}", "--ptx", "-Werror", "all-warnings", "-o", ptx, SOURCE], check=True)
    assert ".entry rarefaction(" in ptx.read_text(encoding="utf-8")
