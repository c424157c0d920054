"""Looking at growing accounts every day: false alarms over the whole way, and power."""

import numpy as np
import pytest

from coverage_lab.detect.fdr import adjusted_p
from coverage_lab.detect.trajectory import FEWEST, Trajectories, look, trajectory_p, unwatched

SIZES = np.array([50, 100, 250, 500, 1000, 2000, 5000])


def grown(rng, sizes, *, shift=0.0):
    """Scores of accounts at rising numbers of prompts (A, T): a level of its own and a mean over prompts.

    The mean of n prompts is simulated exactly, from normal sums over the steps between the sizes; what is
    usual depends on the size, as it does for coverage measures.
    """
    steps = np.diff(sizes, axis=1, prepend=0)
    sums = np.cumsum(rng.normal(size=sizes.shape) * np.sqrt(steps), axis=1)
    level = rng.normal(scale=0.7, size=(len(sizes), 1)) + shift
    return level + 6 * sums / sizes - 0.3 * np.log(sizes)


def days(rng, accounts, *, days=80):
    """Prompts at the end of each day (A, days): accounts of very different pace, all beyond the horizon."""
    pace = rng.uniform(65, 400, (accounts, 1))
    return np.cumsum(1 + rng.poisson(pace, (accounts, days)), axis=1)


def calibration(rng, accounts, sizes=SIZES):
    return Trajectories(sizes, grown(rng, np.tile(sizes, (accounts, 1))))


def up_to(trajectories, prompts):
    """A nearer horizon, which more accounts reach."""
    kept = int(np.searchsorted(trajectories.sizes, prompts, side="right"))
    return Trajectories(trajectories.sizes[:kept], trajectories.score[:, :kept])


def daily_p(score, prompts, trajectories):
    """p of every account on every day (A, days)."""
    watched, seen = unwatched(len(score)), []
    for day in range(score.shape[1]):
        watched = look(watched, score[:, day], prompts[:, day], calibration=trajectories)
        seen.append(trajectory_p(watched.highest, calibration=trajectories))
    return np.column_stack(seen)


def naive_p(score, prompts, trajectories):
    """What a day's conformal p-value alone would say, against the calibration at the nearest size."""
    nearest = np.abs(np.log(prompts)[..., None] - np.log(trajectories.sizes)).argmin(axis=-1)
    p = np.empty(score.shape)
    for step in range(len(trajectories.sizes)):
        column = np.sort(trajectories.score[:, step])
        at = nearest == step
        p[at] = (1 + len(column) - np.searchsorted(column, score[at])) / (len(column) + 1)
    return p


def binomial_error(level, *counts):
    return 4 * np.sqrt(level * (1 - level) * sum(1 / count for count in counts))


@pytest.fixture(scope="module")
def benign():
    rng = np.random.default_rng(3)
    trajectories = calibration(rng, 6000)
    prompts = days(rng, 5000)
    return trajectories, grown(rng, prompts), prompts


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_share_ever_flagged_stays_below_the_level(benign, level):
    trajectories, score, prompts = benign
    assert (prompts[:, -1] > SIZES[-1]).mean() > 0.95, "nearly all must walk the whole way"
    p = daily_p(score, prompts, trajectories)
    ever = (p <= level).any(axis=1).mean()
    error = binomial_error(level, len(score), len(trajectories.highest))
    assert ever <= level + error
    assert ever > level / 2, "so far below would be a loss of power without need"


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_the_daily_p_value_alone_is_seen_to_fail(benign, level):
    trajectories, score, prompts = benign
    ever = (naive_p(score, prompts, trajectories) <= level).any(axis=1).mean()
    assert ever > 2 * level


def test_a_horizon_that_moves_with_the_account_is_seen_to_fail(benign):
    """Each day against paths up to that day's size: valid on the day, not over the days."""
    trajectories, _, _ = benign
    rng = np.random.default_rng(5)
    sizes = np.tile(SIZES, (10_000, 1))
    score = grown(rng, sizes)
    moving = np.column_stack([daily_p(score, sizes, up_to(trajectories, size))[:, -1] for size in SIZES])
    level = 0.05
    error = binomial_error(level, len(score), len(trajectories.highest))
    assert ((moving <= level).mean(axis=0) <= level + error).all()
    assert (moving <= level).any(axis=1).mean() > level + error
    fixed = daily_p(score, sizes, trajectories)
    assert (fixed <= level).any(axis=1).mean() <= level + error


def test_power_against_one_look_at_the_same_size(benign):
    trajectories, _, _ = benign
    rng = np.random.default_rng(4)
    prompts = days(rng, 2000)
    score = grown(rng, prompts, shift=3.0)
    p = daily_p(score, prompts, trajectories)
    once = naive_p(score, prompts, trajectories)
    for size, kept in ((250, 0.7), (1000, 0.9), (5000, 0.95)):
        day = (prompts >= size).argmax(axis=1)
        rows = np.arange(len(prompts))
        assert (p[rows, day] <= 0.01).mean() > kept * (once[rows, day] <= 0.01).mean()
    assert (p[:, -1] <= 0.01).mean() > 0.85


def test_p_never_rises_and_looking_twice_changes_nothing(benign):
    trajectories, score, prompts = benign
    p = daily_p(score[:200], prompts[:200], trajectories)
    assert np.all(np.diff(p, axis=1)[~np.isnan(p[:, :-1])] <= 0)
    twice = daily_p(np.repeat(score[:200], 2, axis=1), np.repeat(prompts[:200], 2, axis=1), trajectories)
    assert np.array_equal(twice[:, 1::2], p, equal_nan=True)


def test_false_discovery_rate_of_all_that_was_ever_discovered():
    rng = np.random.default_rng(6)
    false, found = [], []
    for _ in range(40):
        trajectories = calibration(rng, 800)
        prompts = days(rng, 200, days=50)
        truth = np.arange(200) < 30
        score = np.where(truth[:, None], grown(rng, prompts, shift=4.0), grown(rng, prompts))
        p = daily_p(score, prompts, trajectories)
        ever = np.zeros(200, bool)
        for day in range(p.shape[1]):
            today = adjusted_p(np.where(np.isnan(p[:, day]), 1.0, p[:, day])) <= 0.1
            assert not (ever & ~today).any(), "with a fixed list of accounts a discovery stays one"
            ever |= today
        false.append((ever & ~truth).sum() / max(ever.sum(), 1))
        found.append(ever[truth].mean())
    assert np.mean(false) <= 0.1 + 4 * np.std(false) / np.sqrt(len(false))
    assert np.mean(found) > 0.8


def hand_made():
    """Twenty accounts, of which every fourth tells what is usual."""
    base = np.arange(20.0)
    return Trajectories(np.array([10, 100]), np.column_stack([base, 10 * base]))


def test_by_hand():
    trajectories = hand_made()
    # Every fourth: 0, 4, 8, 12, 16. Median 8; 95th percentile 12 + 0.8 * 4 = 15.2; both tenfold at 100.
    assert trajectories.standing(np.array([8.0, 15.2]), np.array([10, 10])) == pytest.approx([0, 1])
    assert trajectories.standing(np.array([80.0, 152.0]), np.array([100, 500])) == pytest.approx([0, 1])
    # Half way in ln n: median (8 + 80) / 2, spread (7.2 + 72) / 2.
    assert trajectories.standing(np.array([44 + 39.6]), np.array([32])) == pytest.approx([1], abs=0.02)
    # 15 others rank: all but 0, 4, 8, 12, 16. Of those 17, 18, 19 stand at least as high as 17.
    assert trajectories.smallest_p == 1 / 16
    watched = look(unwatched(2), np.array([17.0, 99.0]), np.array([10, 10]), calibration=trajectories)
    assert trajectory_p(watched.highest, calibration=trajectories).tolist() == [4 / 16, 1 / 16]


def test_a_look_counts_once_a_size():
    trajectories = hand_made()
    watched = unwatched(1)

    def after(score, prompts):
        nonlocal watched
        watched = look(watched, np.array([score]), np.array([prompts]), calibration=trajectories)
        return int(watched.looks[0]), float(watched.highest[0])

    assert np.isnan(after(99.0, 9)[1]), "below the first size nothing counts"
    assert np.isnan(trajectory_p(watched.highest, calibration=trajectories)[0])
    assert np.isnan(after(float("nan"), 12)[1]), "not judged: the look is made up for later"
    looks, first = after(8.0, 10)
    assert (looks, first) == (1, 0.0)
    assert after(99.0, 11) == (1, 0.0), "the same size again"
    looks, second = after(152.0, 100)
    assert looks == 2
    assert second == pytest.approx(1)
    assert after(9999.0, 10**6) == (2, second), "beyond the horizon"


def test_a_jump_over_sizes_is_one_look():
    trajectories = hand_made()
    watched = look(unwatched(1), np.array([152.0]), np.array([150]), calibration=trajectories)
    assert watched.looks[0] == 2


def test_unfinished_accounts_serve_nearer_horizons_only():
    rng = np.random.default_rng(8)
    score = grown(rng, np.tile(SIZES, (400, 1)))
    score[100:, 4:] = np.nan
    whole = Trajectories(SIZES, score)
    assert len(whole.highest) == 75
    assert len(up_to(whole, 999).highest) == 300
    assert up_to(whole, 999).sizes[-1] == 500
    assert np.array_equal(whole.highest, Trajectories(SIZES, score[:100]).highest)


def test_a_customer_with_several_accounts_counts_once_by_hand():
    base = np.arange(20.0)
    # The fifteen that rank are all but 0, 4, 8, 12, 16; of those 17, 18 and 19 are one customer's.
    customer = np.where(base >= 17, 17, base).astype(np.int64)
    trajectories = Trajectories(np.array([10, 100]), np.column_stack([base, 10 * base]), customer)
    assert trajectories.customers == 13
    assert trajectories.smallest_p == 1 / 14
    # As high as 15 stand that one account and the whole customer; as high as 17 the customer; as 18 two of
    # its three accounts; as 19 one of them.
    score = np.array([15.0, 17.0, 18.0, 19.0, 19.5])
    watched = look(unwatched(5), score, np.full(5, 10), calibration=trajectories)
    p = trajectory_p(watched.highest, calibration=trajectories)
    assert p == pytest.approx([3 / 14, 2 / 14, (1 + 2 / 3) / 14, (1 + 1 / 3) / 14, 1 / 14])


def test_copies_of_an_account_are_no_more_customers():
    rng = np.random.default_rng(9)
    score = grown(rng, np.tile(SIZES, (40, 1)))
    rows = np.repeat(np.arange(40), 4)  # every fourth tells what is usual: one copy of each
    copies = Trajectories(SIZES, score[rows], rows)
    once = Trajectories(SIZES, score[rows], np.arange(160))
    assert (copies.customers, once.customers) == (40, 120)
    assert copies.weight.sum() == pytest.approx(40)
    median, high = np.quantile(score, [0.5, 0.95], axis=0)
    theirs = ((score - median) / (high - median)).max(axis=1)
    asked = np.linspace(-1, 4, 30)
    p = trajectory_p(asked, calibration=copies)
    assert p == pytest.approx([(1 + (theirs >= x).sum()) / 41 for x in asked])


def test_counting_the_accounts_of_a_customer_is_seen_to_fail():
    """New customers are flagged by chance as often as said only where the calibration counts customers."""
    rng = np.random.default_rng(10)
    size, level = np.array([50]), 0.05
    customer = np.concatenate([np.repeat(np.arange(4), 100), np.arange(4, 120)])
    by_customer, by_account = [], []
    for _ in range(200):
        order = rng.permutation(len(customer))
        score = (rng.normal(size=120)[customer] + rng.normal(scale=0.2, size=len(customer)))[order, None]
        new = rng.normal(size=500) + rng.normal(scale=0.2, size=500)
        for found, theirs in ((by_customer, customer[order]), (by_account, None)):
            trajectories = Trajectories(size, score, theirs)
            watched = look(unwatched(500), new, np.full(500, 50), calibration=trajectories)
            found.append((trajectory_p(watched.highest, calibration=trajectories) <= level).mean())
    error = 4 * np.std(by_customer) / np.sqrt(len(by_customer))
    assert level / 2 < np.mean(by_customer) <= level + error
    assert np.mean(by_account) > 2 * level


LINE = np.arange(float(FEWEST))


@pytest.mark.parametrize(
    ("sizes", "score", "message"),
    [
        ([10, 100], np.ones((30, 3)), r"score must be \(accounts, sizes\), got \(30, 3\) for 2 sizes"),
        ([], np.ones((30, 0)), r"score must be \(accounts, sizes\)"),
        ([100, 10], np.column_stack([LINE, LINE]), "rising numbers of prompts"),
        ([0, 10], np.column_stack([LINE, LINE]), "rising numbers of prompts"),
        ([10, 100], np.column_stack([LINE * np.nan, LINE]), "NaN only beyond an account's size"),
        ([10], LINE[1:, None], "19 accounts reach the horizon of 10 prompts, at least 20 must"),
        ([10, 100], np.column_stack([LINE, LINE * 0]), "do not differ at 100 prompts"),
    ],
)
def test_bad_trajectories_are_named(sizes, score, message):
    with pytest.raises(ValueError, match=message):
        Trajectories(np.array(sizes, np.int64), score)


def test_accounts_that_stand_lowest_have_p_one_and_no_more():
    """Weights of a third and of a seventh add up to a little more than their customers."""
    rng = np.random.default_rng(8)
    for seed in range(20):
        shares = np.random.default_rng(seed).integers(0, 60, 200)
        trajectories = Trajectories(SIZES, grown(rng, np.tile(SIZES, (200, 1))), customer=shares)
        p = trajectory_p(np.array([-1e9, np.nan]), calibration=trajectories)
        assert 0.999 < p[0] <= 1
        assert adjusted_p(p)[0] <= 1
