"""Calibration on a user's own traffic: false alarms and power with known truth, and where it must fail."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from coverage_lab.detect.calibrate import FEWEST, calibrate_labelled, calibrate_unlabelled

BENIGN_TAILS = {
    "normal": lambda rng, n: rng.normal(scale=1.2, size=n),
    "logistic": lambda rng, n: rng.logistic(scale=0.8, size=n),
    "student": lambda rng, n: rng.standard_t(4, size=n),
}


def sizes(rng, count):
    return np.exp(rng.uniform(np.log(50), np.log(5000), count)).astype(np.int64)


def usual(prompts):
    """Log-odds rise, and spread, with the number of prompts: comparable within one size only."""
    position = np.log(prompts / 50) / np.log(100)
    return -5 + 2 * position, 1 + 0.5 * position


def benign(rng, count, tail="logistic"):
    prompts = sizes(rng, count)
    centre, scale = usual(prompts)
    return centre + scale * BENIGN_TAILS[tail](rng, count), prompts


def harvests(rng, count, above=7.0):
    prompts = sizes(rng, count)
    centre, scale = usual(prompts)
    return centre + scale * rng.normal(above, 1.5, count), prompts


def traffic(rng, contamination, *, accounts=4000, tail="logistic"):
    count = round(contamination * accounts)
    parts = [benign(rng, accounts - count, tail), harvests(rng, count)]
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def averaged(contamination, calibrate, *, tail="logistic", draws=4):
    """Share of p <= 0.01 and p <= 0.05 among new benign accounts and among new harvests: (2, 2)."""
    rng = np.random.default_rng(21)
    each = []
    for _ in range(draws):
        found = calibrate(*traffic(rng, contamination, tail=tail))
        p = [found.p_value(*accounts) for accounts in (benign(rng, 3000, tail), harvests(rng, 600))]
        each.append([[(values <= level).mean() for values in p] for level in (0.01, 0.05)])
    return np.mean(each, axis=0)


def all_benign(score, prompts):
    return calibrate_unlabelled(score, prompts, contamination=0)


def trimmed(score, prompts):
    """What else one might do: leave the top 5% of each size out and pretend nothing happened."""
    p = all_benign(score, prompts).p_value(score, prompts)
    return calibrate_unlabelled(score[p > 0.05], prompts[p > 0.05], contamination=0)


@pytest.mark.parametrize("contamination", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("tail", sorted(BENIGN_TAILS))
def test_false_alarms_and_power(tail, contamination):
    strict, loose = averaged(contamination, calibrate_unlabelled, tail=tail)
    for (false, power), level, least in ((strict, 0.01, 0.8), (loose, 0.05, 0.95)):
        # Four standard errors of 4 x 3000 accounts against 4 calibrations of 4000.
        assert false <= level + 4 * np.sqrt(level * (1 - level) * (1 / 12_000 + 1 / 16_000))
        assert power > least


def test_taking_all_as_benign_is_seen_to_lose_its_power():
    clean, harvested = averaged(0.0, all_benign)[0], averaged(0.05, all_benign)[0]
    assert abs(clean[0] - 0.01) < 0.004
    assert clean[1] > 0.9
    assert harvested[0] < 0.005
    assert harvested[1] < 0.3, "with more harvests inside than alpha it must go blind"


def test_leaving_the_top_out_is_seen_to_raise_false_alarms():
    assert averaged(0.0, trimmed)[0, 0] > 0.04
    assert averaged(0.02, trimmed)[0, 0] > 0.02


def test_a_benign_minority_that_scores_like_harvests_needs_labels():
    """The limit that the docstring states: 3% evaluation runs without labels, and with them."""
    rng = np.random.default_rng(5)

    def with_minority(count):
        score, prompts = benign(rng, count)
        runs, run_prompts = harvests(rng, round(0.03 * count))
        return np.concatenate([score, runs]), np.concatenate([prompts, run_prompts])

    score, prompts = with_minority(4000)
    new, new_prompts = with_minority(4000)
    unlabelled = calibrate_unlabelled(score, prompts).p_value(new, new_prompts)
    labels = np.full(len(score), "benign")
    labelled = calibrate_labelled(score, prompts, labels).benign.p_value(new, new_prompts)
    assert (unlabelled <= 0.01).mean() > 0.02
    assert (labelled <= 0.01).mean() < 0.016


def test_a_heavy_benign_tail_is_seen_to_raise_false_alarms(monkeypatch):
    """The other limit that the docstring states."""
    monkeypatch.setitem(BENIGN_TAILS, "heavy", lambda rng, n: rng.standard_t(2, n))
    assert averaged(0.0, calibrate_unlabelled, tail="heavy")[0, 0] > 0.015
    assert averaged(0.0, all_benign, tail="heavy")[0, 0] < 0.013


def test_an_exponential_tail_is_put_back_by_hand():
    # The quantiles of an exponential: what lies above the 95% quantile is known without seeing it.
    score = -np.log(1 - (np.arange(1000) + 0.5) / 1000)
    hidden = score.copy()
    hidden[950:] = 99.0
    found = calibrate_unlabelled(hidden, np.full(1000, 300), neighbours=1000)
    assert found.left_out <= 3
    assert found.score[:950] == pytest.approx(score[:950])
    expected = score[950:]
    # The order of the accounts of one size is theirs; the scores rise with it here.
    assert np.sort(found.score)[950:] == pytest.approx(expected[: len(found.score) - 950], rel=0.1)


def test_as_many_as_do_not_belong_are_left_out():
    rng = np.random.default_rng(3)
    out = {share: calibrate_unlabelled(*traffic(rng, share)).left_out / 4000 for share in (0.0, 0.05)}
    assert out[0.0] < 0.012
    assert 0.03 < out[0.05] <= 0.05


@given(st.floats(0.1, 10), st.floats(-20, 20))
def test_moving_and_stretching_the_score_changes_no_p(stretch, move):
    rng = np.random.default_rng(4)
    score, prompts = traffic(rng, 0.02, accounts=300)
    new, new_prompts = benign(rng, 50)
    found = calibrate_unlabelled(score, prompts, neighbours=100)
    moved = calibrate_unlabelled(stretch * score + move, prompts, neighbours=100)
    assert moved.score == pytest.approx(stretch * found.score + move, rel=1e-6, abs=1e-6)
    # Scores of different origin don't tie, so rounding can't move a rank.
    assert np.array_equal(moved.p_value(stretch * new + move, new_prompts), found.p_value(new, new_prompts))


def test_nothing_guarded_against_changes_nothing():
    rng = np.random.default_rng(4)
    score, prompts = traffic(rng, 0.05, accounts=400)
    found = calibrate_unlabelled(score, prompts, contamination=0)
    assert sorted(zip(found.prompts, found.score, strict=True)) == sorted(zip(prompts, score, strict=True))
    assert np.all(np.diff(found.prompts) >= 0)
    assert (found.left_out, found.extrapolated_below) == (0, 0.0)


def test_every_option_counts_and_the_limits_are_stated():
    rng = np.random.default_rng(4)
    score, prompts = traffic(rng, 0.05, accounts=1000)
    default = calibrate_unlabelled(score, prompts)
    assert default.smallest_p == 1 / 501
    assert default.extrapolated_below == 0.05
    assert np.all(np.diff(default.prompts) >= 0)
    assert len(default.score) == 1000 - default.left_out
    few = calibrate_unlabelled(score, prompts, neighbours=200)
    assert few.smallest_p == 1 / 201
    assert len(few.score) != len(default.score) or not np.array_equal(few.score, default.score)
    assert not np.array_equal(calibrate_unlabelled(score, prompts, contamination=0.1).score, default.score)
    everybody = calibrate_unlabelled(score, prompts, neighbours=10_000)
    assert everybody.neighbours == len(everybody.score)


def test_input_order_and_accounts_without_score_do_not_matter():
    rng = np.random.default_rng(4)
    score, prompts = traffic(rng, 0.05, accounts=500)
    _, first = np.unique(prompts, return_index=True)
    score, prompts = score[first], prompts[first]
    order = rng.permutation(len(score) + 9)
    found = calibrate_unlabelled(score, prompts, neighbours=100)
    shuffled = calibrate_unlabelled(
        np.concatenate([score, np.full(9, np.nan)])[order],
        np.concatenate([prompts, np.full(9, 77)])[order],
        neighbours=100,
    )
    assert np.array_equal(found.score, shuffled.score)
    assert np.array_equal(found.prompts, shuffled.prompts)


def test_scores_that_hardly_differ():
    found = calibrate_unlabelled(np.repeat([0.0, 1.0], [80, 40]), np.full(120, 60))
    assert set(found.score.tolist()) == {0.0, 1.0}
    assert np.isfinite(found.score).all()


def test_smallest_traffic_and_largest_contamination():
    score = np.random.default_rng(1).normal(size=FEWEST)
    found = calibrate_unlabelled(score, np.full(FEWEST, 60), contamination=0.2, neighbours=1)
    assert np.isfinite(found.score).all()
    assert found.smallest_p == 0.5


def test_labelled_uses_the_benign_and_ignores_the_rest():
    rng = np.random.default_rng(6)
    score, prompts = benign(rng, 300)
    bad, bad_prompts = harvests(rng, 50)
    label = np.array(["benign"] * 300 + ["harvest"] * 30 + ["unknown"] * 20)
    scores = np.concatenate([score, bad])
    scores[:3] = np.nan
    found = calibrate_labelled(scores, np.concatenate([prompts, bad_prompts]), label, neighbours=250)
    assert sorted(found.benign.score) == sorted(score[3:])
    assert np.all(np.diff(found.benign.prompts) >= 0)
    assert found.benign.smallest_p == 1 / 251
    assert found.auroc > 0.98


def test_auroc_against_scikit_learn_where_all_are_neighbours():
    rng = np.random.default_rng(7)
    score = rng.integers(0, 8, 300) / 4.0
    truth = rng.random(300) < 0.3
    score[truth] += 0.5
    label = np.where(truth, "harvest", "benign")
    found = calibrate_labelled(score, np.full(300, 100), label, neighbours=10_000)
    assert found.auroc == pytest.approx(roc_auc_score(truth, score))


def test_auroc_compares_within_a_size():
    # Small harvests score below large benign accounts, but above all of their own size.
    score = np.array([0.0] * 10 + [5.0] * 10 + [1.0])
    prompts = np.array([50] * 10 + [5000] * 10 + [50])
    label = np.array(["benign"] * 20 + ["harvest"])
    assert calibrate_labelled(score, prompts, label, neighbours=10).auroc == 1.0
    assert calibrate_labelled(score, prompts, label, neighbours=20).auroc == 0.5


def test_no_harvest_no_auroc():
    found = calibrate_labelled(np.zeros(3), np.full(3, 60), np.array(["benign", "benign", "unknown"]))
    assert np.isnan(found.auroc)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, n: calibrate_unlabelled(s, n, contamination=0.3), r"contamination must be in 0\.\.0\.2"),
        (lambda s, n: calibrate_unlabelled(s, n, neighbours=0), "neighbours must be at least 1, got 0"),
        (lambda s, n: calibrate_unlabelled(s[1:], n[1:]), "99 scored accounts, at least 100"),
        (lambda s, n: calibrate_labelled(s, n, np.full(100, "good")), "label must be one of .*, got 'good'"),
        (
            lambda s, n: calibrate_labelled(s, n, np.full(100, "harvest")),
            "no scored account is labelled benign",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.arange(100.0), np.full(100, 60))
