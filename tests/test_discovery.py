"""Discoveries among a day's accounts, and calibration sets too small for any."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from coverage_lab.detect.conformal import conformal_p
from coverage_lab.detect.fdr import adjusted_p, smallest_discovery

P_VALUES = st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.02, 0.5, 1.0]), min_size=1, max_size=40)

#: Benjamini and Hochberg 1995, section 3.2: 15 endpoints of a trial of thrombolysis.
REST = [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
PAPER = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, *REST])


@given(P_VALUES)
def test_adjusted_p_against_scipy(values):
    p = np.array(values)
    assert adjusted_p(p) == pytest.approx(false_discovery_control(p, method="bh"))


def test_published_example():
    # The paper's own conclusion: the four smallest at q = 0.05.
    assert (adjusted_p(PAPER) <= 0.05).tolist() == [True] * 4 + [False] * 11
    # By hand: the third's limit is 3/15 * 0.01 = 0.002, the fourth's 0.00267.
    assert (adjusted_p(PAPER) <= 0.01).sum() == 3


def step_up(values, q):
    """The procedure as the paper words it: the largest k with p_(k) <= qk/N, then all up to it."""
    ordered = sorted(values)
    passing = [k for k, p in enumerate(ordered, start=1) if p * (len(values) / k) <= q]
    limit = ordered[max(passing) - 1] if passing else -1.0
    return [p <= limit for p in values]


@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.2]))
def test_discoveries_are_those_of_the_step_up_procedure(values, q):
    assert (adjusted_p(np.array(values)) <= q).tolist() == step_up(values, q)


@given(P_VALUES, st.randoms(use_true_random=False))
def test_accounts_not_judged_do_not_count(values, random):
    with_gaps = [*values, *[float("nan")] * 7]
    random.shuffle(with_gaps)
    p = np.array(with_gaps)
    judged = ~np.isnan(p)
    adjusted = adjusted_p(p)
    assert np.array_equal(np.isnan(adjusted), ~judged)
    assert adjusted[judged].tolist() == adjusted_p(p[judged]).tolist()


def test_nothing_judged():
    assert adjusted_p(np.array([])).shape == (0,)
    assert np.isnan(adjusted_p(np.full(3, np.nan))).all()


# The examples are limits that rounding moves by one, down and up.
@example(124, 70, 0.01)
@example(108, 109, 0.01)
@given(st.integers(1, 300), st.integers(1, 400), st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.5]))
def test_smallest_discovery_is_where_the_procedure_turns(calibration, accounts, q):
    need = smallest_discovery(calibration, accounts, q=q)

    def found(count):
        p = np.ones(accounts)
        p[:count] = 1 / (calibration + 1)
        return (adjusted_p(p) <= q)[:count].any()

    if need > accounts:
        assert not found(accounts)
    else:
        assert found(need)
        assert need == 1 or not found(need - 1)


def test_smallest_discovery_by_hand():
    assert smallest_discovery(99, 1000, q=0.1) == 100  # 1000 / (0.1 * 100)
    assert smallest_discovery(9_999, 1000, q=0.1) == 1
    assert smallest_discovery(3, 50, q=0.1) > 50, "p is never below 1/4: nothing can be found"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smallest_discovery(10, 10, q=1.0), "q must be between 0 and 1, got 1.0"),
        (lambda: smallest_discovery(10, 10, q=0.0), "q must be between 0 and 1, got 0.0"),
        (lambda: adjusted_p(np.array([0.5, 1.5])), r"p must be in 0\.\.1"),
        (lambda: smallest_discovery(0, 10, q=0.1), "at least 1, got 0 and 10"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def days(rng, *, harvests, sizes, separation=4.0):
    """Days of 200 accounts against calibration sets of 400, drawn anew each day."""
    for _ in range(300):
        calibration = rng.normal(size=400)
        calibration_prompts = np.sort(rng.choice(sizes, 400))
        truth = np.arange(200) < harvests
        score = rng.normal(size=200) + separation * truth
        p = conformal_p(
            score,
            rng.choice(sizes, 200),
            calibration_score=calibration,
            calibration_prompts=calibration_prompts,
            neighbours=200,
        )
        yield p, truth


@pytest.mark.parametrize("sizes", [[300], [50, 100, 200, 400, 800, 1600]], ids=["one", "overlapping"])
def test_false_discovery_rate_with_a_shared_calibration_set(sizes):
    rng = np.random.default_rng(11)
    false, naive, found = [], [], []
    for p, truth in days(rng, harvests=20, sizes=sizes):
        discoveries = adjusted_p(p) <= 0.1
        false.append((discoveries & ~truth).sum() / max(discoveries.sum(), 1))
        naive.append(((p <= 0.1) & ~truth).sum() / max((p <= 0.1).sum(), 1))
        found.append(discoveries[truth].mean())
    error = 4 * np.std(false) / np.sqrt(len(false))
    assert np.mean(false) <= 0.1 + error
    assert np.mean(found) > 0.6
    assert np.mean(naive) > 0.3, "p <= 0.1 alone must be seen to fail, or the check above can't"
