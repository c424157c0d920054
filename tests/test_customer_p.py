"""p-values that count customers: against a plain loop, and on customers like none of the calibration's."""

from __future__ import annotations

import numpy as np
import pytest

from coverage_lab.detect.conformal import conformal_p, customer_p


def by_hand(score, prompts, known_score, known_prompts, customer, neighbours):
    """The definition, one account and one customer at a time."""
    found = []
    for s, n in zip(score, prompts, strict=True):
        shares = []
        for c in np.unique(customer):
            mine = customer == c
            far = np.abs(np.log(known_prompts[mine]) - np.log(n))
            near = known_score[mine][far <= far.min() + 1e-12]
            shares.append((far.min(), c, np.mean(near >= s)))
        chosen = sorted(shares, key=lambda one: (one[0], one[1]))[:neighbours]
        found.append((1 + sum(share for _, _, share in chosen)) / (neighbours + 1))
    return np.array(found)


@pytest.mark.parametrize("neighbours", [1, 4, 9])
def test_it_is_the_definition(neighbours):
    rng = np.random.default_rng(0)
    customer = np.sort(rng.integers(9, size=80))
    customer[:9] = np.arange(9)
    customer = np.sort(customer)
    known_prompts = rng.choice([50, 100, 250, 1000], size=80)
    known_score = np.round(rng.random(80), 1)  # ties
    score, prompts = np.round(rng.random(40), 1), rng.integers(20, 3000, size=40)
    got = customer_p(score, prompts, known_score, known_prompts, customer, neighbours=neighbours)
    assert got == pytest.approx(by_hand(score, prompts, known_score, known_prompts, customer, neighbours))


def test_with_one_account_a_customer_it_counts_accounts():
    rng = np.random.default_rng(1)
    known = rng.random(60)
    score = rng.random(30)
    same = np.full(60, 100)
    got = customer_p(score, np.full(30, 100), known, same, np.arange(60), neighbours=60)
    others = conformal_p(
        score, np.full(30, 100), calibration_score=known, calibration_prompts=same, neighbours=60
    )
    assert got == pytest.approx(others)


def test_it_holds_for_new_customers_where_counting_accounts_does_not():
    rng = np.random.default_rng(2)
    below = {"customers": 0, "accounts": 0}
    rounds = 1500
    for _ in range(rounds):
        centre = rng.normal(size=40)
        known = (centre[:, None] + 0.2 * rng.normal(size=(40, 50))).ravel()
        customer = np.repeat(np.arange(40), 50)
        score = np.array([rng.normal() + 0.2 * rng.normal()])
        one, sizes = np.array([100]), np.full(2000, 100)
        below["customers"] += customer_p(score, one, known, sizes, customer, neighbours=40)[0] <= 0.03
        below["accounts"] += (
            conformal_p(score, one, calibration_score=known, calibration_prompts=sizes, neighbours=2000)[0]
            <= 0.03
        )
    # P(p ≤ 0.03) ≤ 0.03, four standard errors above; counting accounts breaks it.
    bound = 0.03 + 4 * np.sqrt(0.03 * 0.97 / rounds)
    assert below["customers"] / rounds <= bound
    assert below["accounts"] / rounds > 0.03


def test_the_smallest_p_hangs_on_customers_not_on_accounts():
    customer = np.repeat(np.arange(10), 100)
    got = customer_p(
        np.array([9.0]), np.array([100]), np.zeros(1000), np.full(1000, 100), customer, neighbours=10
    )
    assert got[0] == pytest.approx(1 / 11)


def test_neighbours_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"neighbours must be in 1\.\.2, got 3"):
        customer_p(np.zeros(1), np.ones(1), np.zeros(2), np.ones(2), np.arange(2), neighbours=3)
