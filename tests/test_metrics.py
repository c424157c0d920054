"""The benchmark's figures against scikit-learn, SciPy, brute force and examples counted by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from coverage_lab.detect.fitting import even_weights
from coverage_lab.errors import CoverageLabError
from coverage_lab.evaluate import metrics

SCORES = st.lists(st.integers(-4, 4), min_size=1, max_size=25).map(lambda v: np.array(v, dtype=np.float64))
WEIGHTS = st.lists(st.integers(1, 5), min_size=25, max_size=25).map(lambda v: np.array(v, dtype=np.float64))


@given(SCORES, SCORES, WEIGHTS, WEIGHTS)
def test_auroc_is_scikit_learns_with_weights_and_ties(positive, negative, u, v):
    u, v = u[: positive.size], v[: negative.size]
    expected = roc_auc_score(
        np.r_[np.ones(positive.size), np.zeros(negative.size)],
        np.r_[positive, negative],
        sample_weight=np.r_[u, v],
    )
    found = metrics.auroc(positive, negative, positive_weights=u, negative_weights=v)
    assert found == pytest.approx(expected, abs=1e-12)


@given(SCORES, SCORES)
def test_auroc_counts_pairs(positive, negative):
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    found = metrics.auroc(positive, negative)
    assert found == pytest.approx(wins / (positive.size * negative.size), abs=1e-12)
    assert 0 <= found <= 1
    assert metrics.auroc(negative, positive) == pytest.approx(1 - found, abs=1e-12)


@given(SCORES, SCORES, st.sampled_from([np.exp, np.arctan, lambda x: 3 * x - 7, lambda x: x**3]))
def test_auroc_and_tpr_follow_ranks_only(positive, negative, rising):
    assert metrics.auroc(rising(positive), rising(negative)) == metrics.auroc(positive, negative)
    share = metrics.flagged_share(positive, metrics.threshold_at(negative, fpr=0.25))
    moved = metrics.flagged_share(rising(positive), metrics.threshold_at(rising(negative), fpr=0.25))
    assert share == moved


def test_auroc_of_nothing_is_none():
    some, none = np.array([1.0, 2.0]), np.array([])
    assert metrics.auroc(none, some) is None
    assert metrics.auroc(some, none) is None
    assert metrics.auroc(some, some, positive_weights=np.zeros(2)) is None


def test_every_corpus_counts_the_same():
    # Corpus a has three accounts, b has one: 1/2 shared by three, 1/2 for one.
    weights = even_weights(np.array(["a", "b", "a", "a"]))
    np.testing.assert_allclose(weights, [1 / 6, 1 / 2, 1 / 6, 1 / 6])
    assert even_weights(np.array([], dtype=np.str_)).size == 0
    # a beats everything, b nothing: 1/2, however many accounts a has.
    positive = np.array([9.0, 0.0, 9.0, 9.0])
    assert metrics.auroc(positive, np.array([1.0, 2.0]), positive_weights=weights) == pytest.approx(0.5)
    assert metrics.auroc(positive, np.array([1.0, 2.0])) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("accounts", "fpr", "threshold"),
    [
        (100, 0.01, 98.0),  # scores 0..99: only 99 lies above
        (199, 0.01, 197.0),  # a second account over it would be more than 1%
        (200, 0.01, 197.0),
        (99, 0.01, None),
        (1000, 0.001, 998.0),
        (999, 0.001, None),
    ],
)
def test_threshold_by_hand(accounts, fpr, threshold):
    assert metrics.threshold_at(np.arange(accounts, dtype=np.float64), fpr=fpr) == threshold


def test_threshold_counts_whole_accounts_for_every_number_of_them():
    for accounts in range(100, 3000):
        found = metrics.threshold_at(np.arange(accounts, dtype=np.float64), fpr=0.01)
        assert found == accounts - 1 - accounts // 100, accounts
    # 0.29 · 100 is 28.999… in floating point, and 29 accounts may be over.
    assert metrics.threshold_at(np.arange(100.0), fpr=0.29) == 70.0


def test_accounts_that_tie_with_the_threshold_stay_clear():
    benign = np.full(500, 3.0)
    assert metrics.threshold_at(benign, fpr=0.01) == 3.0
    assert metrics.flagged_share(benign, 3.0) == 0.0
    # Six accounts tie at the top where five may be over: none of them is.
    benign[:6] = 4.0
    assert metrics.threshold_at(benign, fpr=0.01) == 4.0
    benign[5] = 3.0
    assert metrics.threshold_at(benign, fpr=0.01) == 3.0


@given(
    st.lists(st.integers(-6, 6), min_size=1, max_size=300).map(lambda v: np.array(v, dtype=np.float64)),
    st.sampled_from(["0.01", "0.05", "0.1", "0.3", "0.9"]),
)
def test_threshold_by_brute_force(benign, rate):
    found = metrics.threshold_at(benign, fpr=float(rate))
    allowed = math.floor(Fraction(rate) * benign.size)
    if allowed < 1:
        assert found is None
        return
    assert found == min(each for each in benign if int((benign > each).sum()) <= allowed)
    assert metrics.flagged_share(benign, found) <= float(rate) + 1e-12


@pytest.mark.parametrize("fpr", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_threshold_refuses_rates_that_are_none(fpr):
    with pytest.raises(CoverageLabError, match="fpr: expected a rate"):
        metrics.threshold_at(np.arange(10.0), fpr=fpr)


def test_flagged_share_by_hand():
    scores = np.array([1.0, 2.0, 3.0, 4.0])
    assert metrics.flagged_share(scores, 2.0) == 0.5
    assert metrics.flagged_share(scores, 2.0, weights=np.array([1.0, 1.0, 1.0, 5.0])) == 0.75
    assert metrics.flagged_share(scores, None) is None
    assert metrics.flagged_share(np.array([]), 2.0) is None


@given(SCORES, SCORES, WEIGHTS)
def test_roc_points_are_the_best_of_scikit_learns_curve(positive, benign, weights):
    weights = weights[: positive.size]
    rates = [0.04, 0.1, 0.35, 0.8]
    fpr, tpr, _ = roc_curve(
        np.r_[np.ones(positive.size), np.zeros(benign.size)],
        np.r_[positive, benign],
        sample_weight=np.r_[weights, np.ones(benign.size)],
        drop_intermediate=False,
    )
    found = metrics.roc_points(positive, benign, rates=rates, positive_weights=weights)
    usable = [rate for rate in rates if math.floor(Fraction(str(rate)) * benign.size) >= 1]
    assert [rate for rate, _ in found] == usable
    for rate, share in found:
        assert share == pytest.approx(tpr[fpr <= rate + 1e-9].max(), abs=1e-12)


def test_shares_by_group_by_hand():
    groups = np.array(["x", "y", "x", "x", "x"])
    over = np.array([True, False, False, False, False])
    corpus = np.array(["a", "a", "b", "b", "b"])
    plain = metrics.shares_by(groups, over)
    assert [(each.name, each.accounts, each.share) for each in plain] == [("x", 4, 0.25), ("y", 1, 0.0)]
    # In x, corpus a is found in all of its one account, b in none of three.
    even = metrics.shares_by(groups, over, corpus=corpus)
    assert [each.share for each in even] == pytest.approx([0.5, 0.0])
    assert metrics.shares_by(groups[:0], over[:0]) == []


def test_campaigns_by_hand():
    campaign = np.array([7, 7, 7, 7, 3, 3, 9])
    over = np.array([True, False, True, False, True, True, False])
    found = metrics.campaign_shares(campaign, over, fpr=0.01)
    assert found is not None
    assert (found.campaigns, found.accounts) == (3, 7)
    assert found.one == pytest.approx(2 / 3)
    assert found.half == pytest.approx(2 / 3)
    over[2] = False
    quarter = metrics.campaign_shares(campaign, over, fpr=0.01)
    assert quarter is not None
    assert quarter.one == pytest.approx(2 / 3)
    assert quarter.half == pytest.approx(1 / 3)
    chance = np.mean([stats.binom.sf(0, accounts, 0.01) for accounts in (4, 2, 1)])
    assert found.one_by_chance == pytest.approx(chance)
    assert metrics.campaign_shares(campaign[:0], over[:0], fpr=0.01) is None


def test_prompts_until_detection_by_hand():
    # 1: found at 100, and the miss at 250 afterwards changes nothing; 2: at 250; 3: never.
    trajectory = np.array([1, 1, 1, 2, 2, 2, 3])
    prompts = np.array([50, 100, 250, 250, 100, 50, 50])
    over = np.array([False, True, False, True, False, False, False])
    found = metrics.prompts_until_detection(trajectory, prompts, over)
    assert (found.trajectories, found.median) == (3, 250.0)
    assert found.never == pytest.approx(1 / 3)
    # The third does not reach 100 prompts, so it is not counted there.
    assert found.found_by == ((50, 3, 0.0), (100, 2, 0.5), (250, 2, 1.0))


def test_median_beyond_the_data_is_none():
    half = metrics.prompts_until_detection(np.array([1, 2]), np.array([50, 50]), np.array([True, False]))
    assert (half.median, half.never) == (None, 0.5)
    even = metrics.prompts_until_detection(np.array([1, 2]), np.array([50, 100]), np.array([True, True]))
    assert even.median == 75.0
    none = np.array([], dtype=np.int64)
    empty = metrics.prompts_until_detection(none, none, none.astype(np.bool_))
    assert (empty.trajectories, empty.median, empty.never, empty.found_by) == (0, None, None, ())


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([50, 100, 250]), st.booleans()), min_size=1, max_size=30
    )
)
def test_prompts_until_detection_by_brute_force(accounts):
    first = {number: math.inf for number, _, _ in accounts}
    for number, size, over in accounts:
        if over:
            first[number] = min(first[number], size)
    found = metrics.prompts_until_detection(*(np.array(column) for column in zip(*accounts, strict=True)))
    middle = sorted(first.values())
    median = (middle[(len(first) - 1) // 2] + middle[len(first) // 2]) / 2
    assert found.median == (None if math.isinf(median) else median)
    assert found.never == pytest.approx(sum(map(math.isinf, first.values())) / len(first))
    shares = [share for _, _, share in found.found_by]
    assert all(0 <= share <= 1 for share in shares)


def test_archetypes_by_hand():
    kind = np.array(["red_team", "red_team", "red_team", "evaluation_run", "task"])
    archetype = np.array(["red_team", "harvesting", "", "evaluation_run", ""])
    assert metrics.archetype_shares(kind, archetype) == {
        "evaluation_run": (1, {"evaluation_run": 1.0}),
        "red_team": (2, {"red_team": 0.5, "harvesting": 0.5}),
    }


def test_clusters_are_drawn_whole():
    cluster = np.array(["c", "a", "a", "b", "c", "c"])
    draws = metrics.cluster_draws(cluster, replicates=2000, rng=np.random.default_rng(5))
    assert draws.shape == (2000, 6)
    assert (draws[:, 1] == draws[:, 2]).all()
    assert (draws[:, 0] == draws[:, 4]).all()
    assert (draws[:, 0] + draws[:, 1] + draws[:, 3] == 3).all()
    # Each of three clusters is drawn once on average, and left out with chance (2/3)³.
    np.testing.assert_allclose(draws.mean(axis=0), 1.0, atol=0.1)
    np.testing.assert_allclose((draws == 0).mean(axis=0), (2 / 3) ** 3, atol=0.05)
    again = metrics.cluster_draws(cluster, replicates=2000, rng=np.random.default_rng(5))
    assert (draws == again).all()
    empty = metrics.cluster_draws(cluster[:0], replicates=3, rng=np.random.default_rng(5))
    assert empty.shape == (3, 0)


@given(SCORES, SCORES, st.integers(0, 2**32 - 1))
def test_replicates_equal_accounts_written_out_as_often_as_drawn(positive, benign, seed):
    rng = np.random.default_rng(seed)
    replicates, fpr = 6, 0.2
    u = rng.integers(0, 4, size=(replicates, positive.size)).astype(np.float64)
    v = rng.integers(0, 4, size=(replicates, benign.size)).astype(np.float64)
    u[:, 0] += 1
    v[:, -1] += 1
    aurocs = metrics.auroc_replicates(positive, benign, u, v)
    thresholds = metrics.threshold_replicates(benign, v, fpr=fpr)
    rates = metrics.tpr_replicates(positive, benign, u, v, fpr=fpr)
    for at in range(replicates):
        written = np.repeat(positive, u[at].astype(int))
        innocent = np.repeat(benign, v[at].astype(int))
        assert aurocs[at] == pytest.approx(metrics.auroc(written, innocent), abs=1e-12)
        allowed = math.floor(Fraction("0.2") * innocent.size)
        limit = min(each for each in innocent if int((innocent > each).sum()) <= allowed)
        assert thresholds[at] == limit
        assert rates[at] == pytest.approx((written > limit).mean(), abs=1e-12)


def test_percentile_interval_by_hand():
    assert metrics.percentile_interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
    assert metrics.percentile_interval(np.arange(101.0), level=0.5) == pytest.approx((25.0, 75.0))


def test_intervals_cover_the_truth_where_corpora_differ():
    """Scores = side + effect of the cluster + noise, all normal, so that AUROC is Φ(side / √(2(a² + 1)))."""
    effect, side, clusters, each = 1.0, 1.5, 40, 8
    truth = stats.norm.cdf(side / math.sqrt(2 * (effect**2 + 1)))
    names = np.repeat(np.arange(clusters), each).astype(np.str_)
    alone = np.arange(names.size).astype(np.str_)
    rng = np.random.default_rng(11)
    covered = {"clusters": 0, "accounts": 0}
    runs = 100
    for _ in range(runs):
        positive, benign = (
            shift + np.repeat(rng.normal(scale=effect, size=clusters), each) + rng.normal(size=names.size)
            for shift in (side, 0.0)
        )
        for unit, groups in (("clusters", names), ("accounts", alone)):
            u, v = (metrics.cluster_draws(groups, replicates=200, rng=rng) for _ in range(2))
            low, high = metrics.percentile_interval(metrics.auroc_replicates(positive, benign, u, v))
            covered[unit] += low <= truth <= high
    # Nominal 95% of 100; a binomial with that rate falls below 88 once in 500 times.
    assert covered["clusters"] >= 88
    # Resampling accounts as if they were independent is the mistake that clusters are there to avoid.
    assert covered["accounts"] <= 75
