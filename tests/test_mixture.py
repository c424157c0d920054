"""The harvested share of an account's prompts: hand cases, coverage of the interval, honesty of its width."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverage_lab.detect.mixture import harvested_share

SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def shared(score, prompts=1000, *, benign, harvest, prompt_sd=0.0, **options):
    score = np.atleast_1d(np.asarray(score, dtype=float))
    return harvested_share(
        score,
        np.full(len(score), prompts),
        benign=np.asarray(benign, dtype=float),
        harvest=np.asarray(harvest, dtype=float),
        prompt_sd=prompt_sd,
        **options,
    )


def test_accounts_all_alike_leave_no_doubt():
    found = shared([-3, 0.5, 1.0, 1.75, 4.5, 9], benign=[0.5] * 30, harvest=[4.5] * 30)
    for values in found:
        assert values == pytest.approx([0, 0, 0.125, 0.3125, 1, 1])


def test_luck_alone_by_hand():
    # Only the luck of n prompts: 1.6449 * 8 / sqrt(64) = 1.6449 on a scale from 0 to 10.
    found = shared([5.0, 1.0, 9.0], 64, benign=[0] * 30, harvest=[10] * 30, prompt_sd=8.0)
    assert found.estimate == pytest.approx([0.5, 0.1, 0.9])
    assert found.low == pytest.approx([0.33551, 0, 0.73551], abs=1e-5)
    assert found.high == pytest.approx([0.66449, 0.26449, 1], abs=1e-5)


def test_spread_of_benign_accounts_by_hand():
    # 39 benign accounts -9.5, -9, ..., 0, 1, ..., 19; the harvest always 100. The second largest, 18,
    # leaves 5% of new ones above, the second smallest, -9, 5% below:
    # low solves (1 - a) * 18 + 100 a = 50, high (1 - a) * -9 + 100 a = 50.
    found = shared(50, benign=[*np.arange(-19, 1) / 2, *np.arange(1, 20)], harvest=[100] * 39)
    assert found.estimate[0] == pytest.approx(0.5)
    assert found.low[0] == pytest.approx(32 / 82, abs=0.002)
    assert found.high[0] == pytest.approx(59 / 109, abs=0.002)


def draws(rng, *, benign_size, harvest_size, share, accounts=40, prompts=400, prompt_sd=4.0, heavy=False):
    """Samples, and mixed accounts of the same populations with their luck."""

    def population(centre, scale, size):
        noise = rng.exponential(size=size) - 1 if heavy else rng.normal(size=size)
        return centre + scale * noise

    benign, harvest = population(-2, 0.8, benign_size), population(3, 1.5, harvest_size)
    mixed = (1 - share) * population(-2, 0.8, accounts) + share * population(3, 1.5, accounts)
    return benign, harvest, mixed + rng.normal(size=accounts) * prompt_sd / np.sqrt(prompts)


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "skewed"])
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("sizes", [(40, 20), (400, 60)], ids=["few", "many"])
def test_interval_covers_the_truth(share, sizes, heavy):
    rng = np.random.default_rng(17)
    covered, naive = [], []
    for _ in range(35):
        benign, harvest, score = draws(
            rng, benign_size=sizes[0], harvest_size=sizes[1], share=share, heavy=heavy
        )
        found = shared(score, 400, benign=benign, harvest=harvest, prompt_sd=4.0)
        covered.append(((found.low <= share) & (share <= found.high)).mean())
        start, end = np.median(benign), np.median(harvest)
        error = 1.6449 * 4.0 / 20 / (end - start)
        naive.append((np.abs((score - start) / (end - start) - share) <= error).mean())
    assert np.mean(covered) >= 0.9 - 4 * np.std(covered) / np.sqrt(len(covered))
    assert np.mean(naive) < 0.75, "an interval of the luck of n prompts alone must be seen to fail"


@given(
    st.lists(st.floats(-5, 2), min_size=1, max_size=30),
    st.lists(st.floats(2.5, 9), min_size=1, max_size=30),
    st.floats(0, 20),
    st.integers(1, 5000),
)
def test_rises_with_the_score_and_keeps_order(benign, harvest, prompt_sd, prompts):
    found = shared(np.linspace(-30, 40, 300), prompts, benign=benign, harvest=harvest, prompt_sd=prompt_sd)
    for values in found:
        assert np.all(np.diff(values) >= -1e-12)
        assert values.min() >= 0
        assert values.max() <= 1
    assert np.all(found.low <= found.estimate)
    assert np.all(found.estimate <= found.high)


def test_cannot_tell_where_benign_and_harvest_overlap():
    rng = np.random.default_rng(2)
    found = shared(0.1, benign=rng.normal(0, 1, 500), harvest=rng.normal(0.2, 1, 500))
    assert (found.low[0], found.high[0]) == (0, 1)


def test_narrower_with_more_prompts_and_with_less_confidence():
    rng = np.random.default_rng(2)
    samples = {"benign": rng.normal(-2, 0.3, 200), "harvest": rng.normal(3, 0.3, 200), "prompt_sd": 8.0}

    def width(prompts, **options):
        found = shared(0.5, prompts, **samples, **options)
        return found.high[0] - found.low[0]

    assert width(100) > 1.5 * width(5000)
    assert width(5000) < 0.3
    assert width(1000, confidence=0.99) > width(1000) > width(1000, confidence=0.5) > 0


def test_few_accounts_give_wider_intervals():
    grid = np.linspace(-1, 1, 400)
    many = shared(5, benign=grid, harvest=grid + 10)
    few = shared(5, benign=grid[::20], harvest=grid[::20] + 10)
    assert few.high[0] - few.low[0] > many.high[0] - many.low[0]


def test_one_account_at_a_time_is_the_same():
    rng = np.random.default_rng(9)
    samples = {"benign": rng.normal(-2, 1, 90), "harvest": rng.normal(3, 1, 700), "prompt_sd": 3.0}
    score, prompts = rng.normal(0, 2, 50), rng.integers(50, 5000, 50)
    together = harvested_share(score, prompts, **samples)
    for i in range(50):
        alone = harvested_share(score[i : i + 1], prompts[i : i + 1], **samples)
        assert [values[0] for values in alone] == [values[i] for values in together]


def test_accounts_without_a_score_or_prompts():
    found = harvested_share(
        np.array([np.nan, 0.5, 0.5]),
        np.array([100, 0, 100]),
        benign=np.zeros(3),
        harvest=np.ones(3),
        prompt_sd=1.0,
    )
    for values in found:
        assert np.isnan(values).tolist() == [True, True, False]
    assert all(values.shape == (0,) for values in shared([], benign=[0.0], harvest=[1.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benign": [], "harvest": [1]}, "benign must be a non-empty sample"),
        ({"benign": [0], "harvest": [np.nan]}, "harvest must be a non-empty sample of finite"),
        ({"benign": [2], "harvest": [1]}, r"median harvest \(1\) must score above the median benign \(2\)"),
        ({"benign": [0], "harvest": [1], "prompt_sd": -1.0}, "prompt_sd must be at least 0, got -1"),
        ({"benign": [0], "harvest": [1], "confidence": 1.0}, r"confidence must be between 0 and 1, got 1\.0"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        shared(0.5, **options)
