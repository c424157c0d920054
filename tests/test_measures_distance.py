"""MMD and Mahalanobis against scikit-learn, SciPy, closed forms of Gaussians and all pairs by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, kstest, ortho_group
from sklearn.covariance import EmpiricalCovariance, ledoit_wolf
from sklearn.metrics.pairwise import rbf_kernel

from coverage_lab.measures import vector_rows as rows_of_accounts
from coverage_lab.measures.distance import (
    BANDWIDTHS,
    feature_sums,
    fourier_frequencies,
    fourier_mmd,
    mahalanobis,
    mmd,
    shrunk_covariance,
    whitened_sums,
)

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=6)


def unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    rows = rng.standard_normal((n, d)) + 0.5
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def brute_mmd(x: np.ndarray, y: np.ndarray, widths: tuple[float, ...]) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sum([rbf_kernel(a, b, gamma=1 / (2 * w**2)) for w in widths], axis=0)

    def others(a: np.ndarray) -> float:
        return float(kernel(a, a)[~np.eye(len(a), dtype=bool)].mean())

    return others(x) + others(y) - 2 * float(kernel(x, y).mean())


@given(LENGTHS, SEEDS, st.integers(2, 20), st.sampled_from([1, 3, 7, 1024]))
def test_mmd_is_that_of_all_pairs(lengths: list[int], seed: int, m: int, tile: int) -> None:
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *lengths])
    rows, reference = unit(rng, int(offsets[-1]), 4), unit(rng, m, 4)
    got = mmd(rows, offsets, reference, tile=tile)
    assert got.shape == (len(lengths),)
    for a, (start, stop) in enumerate(pairwise(offsets.tolist())):
        if stop - start < 2:
            assert np.isnan(got[a])
            continue
        n, bands = stop - start, len(BANDWIDTHS)
        assert got[a] == pytest.approx(brute_mmd(rows[start:stop], reference, BANDWIDTHS), abs=1e-10)
        assert got[a] == pytest.approx(mmd(rows[start:stop], [0, n], reference)[0], abs=1e-12)
        assert -bands / (n - 1) - bands / (m - 1) <= got[a] + 1e-12
        assert got[a] <= 2 * bands


def gaussian_mmd(shift: float, scale: float, width: float, d: int) -> float:
    """Return MMD² of N(0, s²I) and N(μ, s²I): E k = (σ²/(σ² + 2s²))^{d/2} exp(−|Δ|²/2(σ² + 2s²))."""
    wide = width**2 + 2 * scale**2
    return 2 * (width**2 / wide) ** (d / 2) * (1 - np.exp(-(shift**2) / (2 * wide)))


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_mmd_of_gaussians_is_unbiased_to_the_closed_form(shift: float) -> None:
    rng = np.random.default_rng(11)
    widths = (0.7, 1.5)
    truth = sum(gaussian_mmd(shift, 0.6, w, 3) for w in widths)
    exact, fourier = [], []
    for repeat in range(150):
        y = 0.6 * rng.standard_normal((40, 3))
        x = 0.6 * rng.standard_normal((30, 3)) + np.array([shift, 0, 0])
        exact.append(mmd(x, [0, 30], y, bandwidths=widths)[0])
        waves = fourier_frequencies(3, bandwidths=widths, count=20, seed=repeat)
        sums = feature_sums(x, [0, 30], waves), feature_sums(y, [0, 40], waves)
        fourier.append(fourier_mmd(sums[0], np.array([30]), sums[1][0], 40)[0])
    for values in (np.array(exact), np.array(fourier)):
        assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(values.size))
        assert values.std() / np.sqrt(values.size) < 0.02


def test_fourier_mmd_is_mmd_on_average_over_the_frequencies_and_ever_closer() -> None:
    rng = np.random.default_rng(12)
    x, y = unit(rng, 25, 8), unit(rng, 35, 8) * np.array([1, 1, 1, 1, -1, 1, 1, 1])
    truth = mmd(x, [0, 25], y)[0]
    assert truth > 0.05

    def estimates(count: int, seeds: int) -> np.ndarray:
        found = []
        for seed in range(seeds):
            waves = fourier_frequencies(8, count=count, seed=seed)
            sums = feature_sums(x, [0, 25], waves), feature_sums(y, [0, 35], waves)
            found.append(fourier_mmd(sums[0], np.array([25]), sums[1][0], 35)[0])
        return np.array(found)

    coarse, fine = estimates(8, 300), estimates(512, 20)
    assert coarse.mean() == pytest.approx(truth, abs=4 * coarse.std() / np.sqrt(coarse.size))
    assert fine.std() < coarse.std() / 4
    assert fine.mean() == pytest.approx(truth, rel=0.1)


def test_features_are_those_of_the_kernel() -> None:
    rng = np.random.default_rng(13)
    rows = unit(rng, 2, 5)
    waves = fourier_frequencies(5, bandwidths=(0.5, 1.0), count=4000, seed=3)
    one = feature_sums(rows, [0, 1, 2], waves)
    assert one.shape == (2, 2, 8000)
    assert np.allclose(np.linalg.norm(one, axis=2), 1)
    for band, width in enumerate((0.5, 1.0)):
        truth = rbf_kernel(rows, gamma=1 / (2 * width**2))[0, 1]
        assert one[0, band] @ one[1, band] == pytest.approx(truth, abs=4 / np.sqrt(2 * 4000))
    # By hand: cosines first, then sines.
    phases = rows[0] @ waves[1]
    assert np.allclose(one[0, 1], np.concatenate([np.cos(phases), np.sin(phases)]) / np.sqrt(4000))


def test_every_keyword_of_mmd_changes_something() -> None:
    rng = np.random.default_rng(14)
    x, y = unit(rng, 10, 3), unit(rng, 12, 3)
    base = mmd(x, [0, 10], y)[0]
    # The kernels add: two bandwidths give the sum of each alone.
    single = [mmd(x, [0, 10], y, bandwidths=[w])[0] for w in BANDWIDTHS]
    assert sum(single) == pytest.approx(base)
    assert len({round(value, 9) for value in single}) == 4
    waves = fourier_frequencies(3)
    assert waves.shape == (4, 3, 128)
    assert np.array_equal(waves, fourier_frequencies(3, seed=0))
    assert not np.array_equal(waves, fourier_frequencies(3, seed=1))
    assert fourier_frequencies(3, count=7).shape == (4, 3, 7)
    assert np.allclose(fourier_frequencies(3, bandwidths=[2.0]) * 2, fourier_frequencies(3, bandwidths=[1.0]))


def test_a_small_tile_holds_only_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from coverage_lab.measures import distance

    shapes = []
    kernel = distance._kernel

    def watched(rows: np.ndarray, columns: np.ndarray, widths: np.ndarray) -> np.ndarray:
        shapes.append((len(rows), len(columns)))
        return kernel(rows, columns, widths)

    monkeypatch.setattr(distance, "_kernel", watched)
    rng = np.random.default_rng(15)
    mmd(unit(rng, 30, 3), [0, 11, 30], unit(rng, 20, 3), tile=4)
    assert max(max(shape) for shape in shapes) == 4


@given(LENGTHS, SEEDS)
def test_sums_split_and_merge_and_equal_one_at_a_time(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *lengths])
    total = int(offsets[-1])
    rows, reference = unit(rng, total, 4), unit(rng, 30, 4)
    waves = fourier_frequencies(4, count=6)
    mean, covariance, _ = shrunk_covariance(reference)
    sums, (white, squares) = (
        feature_sums(rows, offsets, waves),
        whitened_sums(rows, offsets, mean, covariance),
    )
    ordinary = feature_sums(reference, [0, 30], waves)[0]
    scores = fourier_mmd(sums, np.diff(offsets), ordinary, 30)
    distances = mahalanobis(white, squares, np.diff(offsets))
    for a, (start, stop) in enumerate(pairwise(offsets.tolist())):
        own = rng.permutation(rows[start:stop])
        cut = int(rng.integers(0, stop - start + 1))
        parts = [own[:cut], own[cut:]]
        merged = sum(feature_sums(part, [0, len(part)], waves) for part in parts)
        assert np.allclose(merged[0], sums[a], rtol=0, atol=1e-12)
        pairs = [whitened_sums(part, [0, len(part)], mean, covariance) for part in parts]
        both = [sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)]
        assert np.allclose(both[0][0], white[a], rtol=0, atol=1e-9)
        n = np.array([stop - start])
        again = fourier_mmd(merged, n, ordinary, 30)
        assert np.allclose(again, scores[[a]], rtol=0, atol=1e-10, equal_nan=True)
        assert np.isnan(scores[a]) == (stop - start < 2)
        for name, value in mahalanobis(both[0], both[1], n).items():
            assert np.allclose(value, distances[name][[a]], rtol=1e-8, atol=1e-8, equal_nan=True)


@given(SEEDS)
def test_rotation_changes_no_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = unit(rng, 12, 4), unit(rng, 20, 4)
    turn = ortho_group.rvs(4, random_state=rng)
    assert mmd(x @ turn, [0, 12], y @ turn)[0] == pytest.approx(mmd(x, [0, 12], y)[0], abs=1e-10)
    found = []
    for account, ordinary in ((x, y), (x @ turn, y @ turn)):
        mean, covariance, _ = shrunk_covariance(ordinary)
        found.append(mahalanobis(*whitened_sums(account, [0, 12], mean, covariance), np.array([12])))
    for name, value in found[0].items():
        assert value == pytest.approx(found[1][name], rel=1e-8)
    # Turning the frequencies with the vectors leaves the features as they were.
    waves = fourier_frequencies(4, count=5)
    assert np.allclose(feature_sums(x @ turn, [0, 12], turn.T @ waves), feature_sums(x, [0, 12], waves))


@pytest.mark.parametrize(("n", "d"), [(2, 3), (10, 4), (63, 7), (40, 61), (300, 1)])
def test_covariance_is_that_of_scikit_learn(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    rows = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 3
    mean, covariance, shrinkage = shrunk_covariance(rows)
    expected, used = ledoit_wolf(rows)
    assert np.allclose(mean, rows.mean(axis=0))
    if d > 1:  # of one dimension any shrinkage is the same
        assert shrinkage == pytest.approx(used, rel=1e-9)
        assert 0 < shrinkage <= 1
    assert np.allclose(covariance, expected)
    plain, scale = (
        np.cov(rows.T, bias=True).reshape(d, d),
        np.trace(np.cov(rows.T, bias=True).reshape(d, d)) / d,
    )
    assert np.allclose(shrunk_covariance(rows, shrinkage=0)[1], plain)
    assert np.allclose(shrunk_covariance(rows, shrinkage=1)[1], scale * np.eye(d))
    assert shrunk_covariance(rows, shrinkage=0.25)[2] == 0.25


@given(SEEDS, st.integers(1, 9), st.integers(1, 5))
def test_mahalanobis_is_that_of_scikit_learn(seed: int, n: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    ordinary, rows = rng.standard_normal((30, d)), rng.standard_normal((n, d)) + 0.3
    model = EmpiricalCovariance().fit(ordinary)
    found = mahalanobis(*whitened_sums(rows, [0, n], model.location_, model.covariance_), np.array([n]))
    assert found["mahalanobis_mean"][0] == pytest.approx(model.mahalanobis(rows.mean(axis=0)[None])[0])
    assert found["mahalanobis_prompts"][0] == pytest.approx(model.mahalanobis(rows).mean())
    products = (rows - model.location_) @ np.linalg.inv(model.covariance_) @ (rows - model.location_).T
    off = products[~np.eye(n, dtype=bool)]
    if n == 1:
        assert np.isnan(found["mahalanobis_mean_unbiased"][0])
    else:
        assert found["mahalanobis_mean_unbiased"][0] == pytest.approx(off.mean(), rel=1e-6, abs=1e-9)
    assert found["mahalanobis_prompts"][0] >= found["mahalanobis_mean"][0] - 1e-12 >= -1e-12


def test_mahalanobis_of_ordinary_accounts_follows_chi_squared() -> None:
    rng = np.random.default_rng(17)
    n, d, accounts = 6, 5, 1500
    mixing = rng.standard_normal((d, d))
    rows = rng.standard_normal((n * accounts, d)) @ mixing.T + 2
    white = whitened_sums(rows, np.arange(0, n * accounts + 1, n), np.full(d, 2.0), mixing @ mixing.T)
    found = mahalanobis(*white, np.full(accounts, n))
    assert kstest(n * found["mahalanobis_mean"], chi2(d).cdf).pvalue > 1e-3
    unbiased = found["mahalanobis_mean_unbiased"]
    assert unbiased.mean() == pytest.approx(0, abs=4 * unbiased.std() / np.sqrt(accounts))
    assert found["mahalanobis_mean"].mean() == pytest.approx(d / n, rel=0.1)
    assert found["mahalanobis_prompts"].mean() == pytest.approx(d, rel=0.1)


def test_small_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(18)
    rows, offsets = unit(rng, 90, 4).astype(np.float16), [0, 40, 40, 43, 90]
    mean, covariance, _ = shrunk_covariance(rows)
    waves = fourier_frequencies(4, count=5)
    before = feature_sums(rows, offsets, waves), *whitened_sums(rows, offsets, mean, covariance), covariance
    monkeypatch.setattr(rows_of_accounts, "_BLOCK", 70)
    again = shrunk_covariance(rows)[1]
    after = feature_sums(rows, offsets, waves), *whitened_sums(rows, offsets, mean, covariance), again
    for one, other in zip(before, after, strict=True):
        assert np.allclose(one, other, rtol=1e-10, atol=1e-10)
        assert other.dtype == np.float64


def test_empty_batches() -> None:
    none, reference = np.empty((0, 3)), np.eye(3)
    waves = fourier_frequencies(3, count=2)
    ordinary = feature_sums(reference, [0, 3], waves)[0]
    for offsets in ([0], [0, 0, 0]):
        accounts = len(offsets) - 1
        n = np.zeros(accounts, dtype=np.int64)
        assert mmd(none, offsets, reference).shape == (accounts,)
        assert np.isnan(mmd(none, offsets, reference)).all()
        sums = feature_sums(none, offsets, waves)
        assert sums.shape == (accounts, 4, 4)
        assert np.isnan(fourier_mmd(sums, n, ordinary, 3)).all()
        white = whitened_sums(none, offsets, np.zeros(3), np.eye(3))
        assert white[0].shape == (accounts, 3)
        assert all(np.isnan(value).all() for value in mahalanobis(*white, n).values())


def test_mistakes_of_the_caller() -> None:
    rows, waves = np.eye(3), fourier_frequencies(3, count=2)
    sums = feature_sums(rows, [0, 3], waves)
    for message, call in [
        ("vectors: expected finite numbers", lambda: mmd(np.full((2, 3), np.nan), [0, 2], rows)),
        ("vectors: expected floats", lambda: feature_sums(np.eye(3, dtype=np.int64), [0, 3], waves)),
        ("offsets: expected to end", lambda: mmd(rows, [0, 2], rows)),
        ("reference: expected 2 rows or more of length 3", lambda: mmd(rows, [0, 3], rows[:1])),
        ("reference: expected 2 rows or more of length 3", lambda: mmd(rows, [0, 3], np.eye(4))),
        ("reference: expected finite", lambda: mmd(rows, [0, 3], np.full((2, 3), np.inf))),
        ("bandwidths: expected finite numbers above 0", lambda: mmd(rows, [0, 3], rows, bandwidths=[0.0])),
        ("bandwidths: expected finite numbers above 0", lambda: fourier_frequencies(3, bandwidths=[])),
        ("tile: expected 1 or more, got 0", lambda: mmd(rows, [0, 3], rows, tile=0)),
        ("d and count: expected 1 or more", lambda: fourier_frequencies(3, count=0)),
        ("frequencies: expected shape", lambda: feature_sums(np.eye(4), [0, 4], waves)),
        ("sums: expected shape", lambda: fourier_mmd(sums, np.array([3]), sums[0, :2], 3)),
        (
            "sums and reference_sum: expected finite",
            lambda: fourier_mmd(sums * np.nan, np.array([3]), sums[0], 3),
        ),
        ("reference_prompts: expected 2 or more", lambda: fourier_mmd(sums, np.array([3]), sums[0], 1)),
        ("prompts: expected integers of shape", lambda: fourier_mmd(sums, np.array([3, 1]), sums[0], 3)),
        ("prompts: expected 0 or more", lambda: mahalanobis(rows, np.ones(3), np.array([1, -1, 1]))),
        ("sums and squares: expected shapes", lambda: mahalanobis(rows, np.ones(2), np.ones(3, dtype=int))),
        (
            "sums and squares: expected finite",
            lambda: mahalanobis(rows, np.full(3, np.nan), np.ones(3, dtype=int)),
        ),
        ("vectors: expected 2 rows or more, got 1", lambda: shrunk_covariance(rows[:1])),
        ("shrinkage: expected 0 to 1", lambda: shrunk_covariance(rows, shrinkage=1.5)),
        ("mean: expected finite", lambda: whitened_sums(rows, [0, 3], np.zeros(2), rows)),
        ("covariance: expected finite", lambda: whitened_sums(rows, [0, 3], np.zeros(3), np.eye(2))),
        (
            "covariance: expected a positive",
            lambda: whitened_sums(rows, [0, 3], np.zeros(3), np.ones((3, 3))),
        ),
        ("covariance: expected a symmetric", lambda: whitened_sums(rows, [0, 3], np.zeros(3), np.tri(3))),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
