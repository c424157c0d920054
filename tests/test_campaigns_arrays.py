"""The mathematics of campaigns against enumeration, simulation and plain loops."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import multinomial
from support.drawn_states import DIM, drawn_states

from coverage_lab.accounts import AccountStates, merge
from coverage_lab.accounts.state import in_first_half, sum_widths
from coverage_lab.campaigns import link, propose
from coverage_lab.campaigns.closed_testing import members_at_least
from coverage_lab.campaigns.collisions import (
    expected_union,
    meeting_ratio,
    meetings,
    meetings_within_topics,
)
from coverage_lab.campaigns.link import LinkTest
from coverage_lab.campaigns.overlap import (
    centre_of,
    mean_overlap,
    means_of,
    overlap_with_members,
)
from coverage_lab.campaigns.pool import pooled, thinned
from coverage_lab.campaigns.propose import propose_groups
from coverage_lab.campaigns.sketch import Sketches, join, sketches_of

RNG = np.random.default_rng(11)


def prompts_of(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Member and cell of each prompt of a table of counts."""
    member, cell = np.nonzero(counts)
    times = counts[member, cell]
    return np.repeat(member, times), np.repeat(cell, times)


def compositions(total: int, cells: int) -> list[tuple[int, ...]]:
    return [c for c in itertools.product(range(total + 1), repeat=cells) if sum(c) == total]


@pytest.mark.parametrize("sizes", [(2, 3), (1, 2, 3), (2, 2, 1, 1)])
def test_meetings_have_the_mean_and_variance_of_all_outcomes(sizes):
    shares = np.array([0.5, 0.3, 0.2])
    mean = square = 0.0
    for outcome in itertools.product(*(compositions(n, 3) for n in sizes)):
        chance = float(np.prod([multinomial.pmf(x, sum(x), shares) for x in outcome]))
        met = sum(int(np.dot(x, y)) for x, y in itertools.combinations(outcome, 2))
        mean += chance * met
        square += chance * met**2
    counts = np.array([next(iter(compositions(n, 3))) for n in sizes])
    told = meetings(*prompts_of(counts), shares)
    assert told.expected == pytest.approx(mean, rel=1e-12)
    assert told.variance == pytest.approx(square - mean**2, rel=1e-9)
    assert told.found == sum(int(x @ y) for x, y in itertools.combinations(counts, 2))


def test_meetings_within_topics_are_those_of_each_topic_alone():
    shares = np.array([0.1, 0.3, 0.2, 0.4])
    topic = np.array([0, 0, 1, 1])
    counts = np.array([[3, 1, 0, 2], [0, 2, 5, 1], [1, 1, 1, 1]])
    one = meetings(*prompts_of(counts[:, :2]), np.array([0.25, 0.75]))
    other = meetings(*prompts_of(counts[:, 2:]), np.array([1 / 3, 2 / 3]))
    told = meetings_within_topics(*prompts_of(counts), shares, topic)
    assert told.found == one.found + other.found
    assert told.expected == pytest.approx(one.expected + other.expected)
    assert told.variance == pytest.approx(one.variance + other.variance)


def test_two_customers_of_one_trade_meet_by_the_trade_and_not_within_it():
    shares = np.full(40, 1 / 40)
    topic = np.repeat(np.arange(4), 10)
    counts = np.zeros((2, 40), np.int64)
    counts[:, :10] = RNG.multinomial(300, np.full(10, 0.1), size=2)
    prompts = prompts_of(counts)
    assert meetings(*prompts, shares).z > 20
    assert abs(meetings_within_topics(*prompts, shares, topic).z) < 4


def test_a_partitioned_bank_never_meets_and_a_shared_list_always_does():
    shares = np.full(50, 1 / 50)
    dealt = np.zeros((2, 50), np.int64)
    dealt[0, :25] = dealt[1, 25:] = 4
    assert meetings(*prompts_of(dealt), shares).z < -3
    sheet = np.ones((10, 50), np.int64)
    assert meeting_ratio(*prompts_of(sheet)) == np.inf
    assert np.isnan(meeting_ratio(*prompts_of(np.eye(3, dtype=np.int64))))
    sheet[:, 0] = 2
    assert meeting_ratio(*prompts_of(sheet)) > 10
    bank = RNG.multinomial(2000, np.full(50, 1 / 50), size=4)
    assert meeting_ratio(*prompts_of(bank)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("wrong", "named"), [([0.5, 0.6], "shares"), ([1.5, -0.5], "shares"), ([1.0], "cell: expected 0 to 0")]
)
def test_meetings_refuse_what_are_no_shares(wrong, named):
    with pytest.raises(ValueError, match=named):
        meetings(np.array([0, 1]), np.array([0, 1]), np.array(wrong))


def test_union_of_cells_is_what_draws_reach():
    shares = np.array([0.5, 0.25, 0.2, 0.05, 0.0])
    prompts = np.array([2, 3, 1])
    exact = sum(1 - (1 - Fraction(p)) ** 6 for p in shares)
    assert expected_union(prompts, shares) == pytest.approx(float(exact), rel=1e-12)
    drawn = (RNG.multinomial(6, shares, size=20_000) > 0).sum(axis=1)
    assert expected_union(prompts, shares) == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 141)
    assert expected_union(np.array([3]), np.array([1.0])) == 1
    assert expected_union(np.array([0]), np.array([1.0])) == 0


def closed_bound(p: tuple[float, ...], alpha: float) -> int:
    """Least number of false hypotheses that closed testing with Simes leaves possible, by all subsets."""

    def rejected(subset: tuple[int, ...]) -> bool:
        ordered = sorted(p[i] for i in subset)
        return any(len(subset) * value <= (j + 1) * alpha for j, value in enumerate(ordered))

    m = len(p)
    subsets = [s for k in range(1, m + 1) for s in itertools.combinations(range(m), k)]
    simes = {s: rejected(s) for s in subsets}
    standing = [
        len(s) for s in subsets if not all(simes[t] for t in subsets if set(s) <= set(t))
    ]  # true nulls may be all of these
    return m - max(standing, default=0)


def test_bound_on_members_is_that_of_closed_testing():
    for _ in range(150):
        m = int(RNG.integers(1, 7))
        p = tuple(RNG.choice([0.001, 0.01, 0.02, 0.03, 0.2, 0.6, 1.0], m).tolist())
        assert members_at_least(np.array(p), alpha=0.05) == closed_bound(p, 0.05), p
    assert members_at_least(np.array([]), alpha=0.05) == 0
    with pytest.raises(ValueError, match="alpha"):
        members_at_least(np.array([0.1]), alpha=1.0)


def test_overlap_is_free_of_the_luck_of_few_prompts():
    """Two accounts of eight prompts from one source overlap by 1 on average; plain cosines fall short."""
    directions = RNG.standard_normal((2, DIM))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    told, plain = [], []
    for _ in range(400):
        rows = [d + RNG.standard_normal((8, DIM)) / np.sqrt(DIM) for d in directions[[0, 0, 1]]]
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in rows]
        sums = np.array([x.sum(axis=0) for x in unit])
        means = means_of(sums, np.full(3, 8), np.zeros(DIM))
        product = means.centred[0].astype(float) @ means.centred[1].astype(float)
        told.append([product, *means.square[:2]])
        plain.append(product / np.linalg.norm(means.centred[0]) / np.linalg.norm(means.centred[1]))
    product, one, other = np.mean(told, axis=0)
    assert product == pytest.approx(one, rel=0.05)
    assert product == pytest.approx(other, rel=0.05)
    assert np.mean(plain) < 0.93


def test_square_is_the_mean_product_of_different_prompts():
    rows = RNG.standard_normal((7, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    centre = RNG.standard_normal(DIM) / 10
    pairs = [(rows[i] - centre) @ (rows[j] - centre) for i in range(7) for j in range(7) if i != j]
    means = means_of(rows.sum(axis=0)[None], np.array([7]), centre)
    assert means.square[0] == pytest.approx(max(np.mean(pairs), 0), abs=1e-12)
    assert means_of(rows[:1], np.array([1]), centre).square[0] == 0
    assert means_of(np.zeros((1, DIM)), np.array([0]), centre).square[0] == 0


def test_mean_overlaps_are_those_of_all_pairs():
    sums = RNG.standard_normal((6, DIM)) + 2
    counts = np.full(6, 9)
    means = means_of(sums, counts, centre_of(sums, counts))
    scaled = means.scaled()
    group = np.array([1, 3, 4])
    products = scaled.astype(float) @ scaled.astype(float).T
    pairs = [products[i, j] for i, j in itertools.combinations(group, 2)]
    assert mean_overlap([scaled], group) == pytest.approx(np.mean(pairs), rel=1e-6)
    with_members = overlap_with_members([scaled, scaled], group)
    assert with_members[0] == pytest.approx(products[0, group].mean(), rel=1e-5)
    assert with_members[3] == pytest.approx(products[3, [1, 4]].mean(), rel=1e-5)
    assert mean_overlap([scaled], group[:1]) == 0


def unrelated(accounts: int, rng: np.random.Generator) -> list[np.ndarray]:
    found = rng.standard_normal((accounts, DIM))
    return list(found / np.linalg.norm(found, axis=1, keepdims=True))


def test_halves_are_apart_and_sketches_do_not_depend_on_the_cut():
    rng = np.random.default_rng(3)
    states = drawn_states(unrelated(5, rng), [30, 40, 25, 60, 33], rng=rng)
    whole = sketches_of(states)
    assert (whole.prompts == states.prompts).all()
    both = whole.first.content + whole.second.content
    assert both == pytest.approx(states.content_sums, abs=1e-5)
    half = in_first_half(states.digests)
    assert whole.first.prompts.tolist() == [
        int(half[a:b].sum()) for a, b in itertools.pairwise(states.offsets.tolist())
    ]
    again = join([sketches_of(part_of(states, [1, 4])), sketches_of(part_of(states, [0, 2, 3]))])
    assert again.account_ids == whole.account_ids
    for name in ("prompts", "content", "openings"):
        assert (getattr(again.first, name) == getattr(whole.first, name)).all()
        assert (getattr(again.second, name) == getattr(whole.second, name)).all()


def part_of(states, rows):
    """States of some of the accounts, made by hand."""
    places = np.concatenate([np.arange(states.offsets[i], states.offsets[i + 1]) for i in rows])
    sums = {name: getattr(states, name)[rows] for name in sum_widths(states.dim)}
    return replace(
        states,
        account_ids=tuple(states.account_ids[i] for i in rows),
        offsets=np.concatenate([[0], np.cumsum(states.prompts[rows])]),
        timestamps=states.timestamps[places],
        digests=states.digests[places],
        cells=states.cells[places],
        novelty=states.novelty[places],
        **sums,
    )


def test_shares_of_one_source_are_found_among_strangers():
    rng = np.random.default_rng(5)
    directions = unrelated(40, rng)
    planted = [3, 8, 15, 22, 31, 39]
    for i in planted:
        directions[i] = directions[3]
    sketches = sketches_of(drawn_states(directions, [80] * 40, rng=rng))
    among = sketches.comparable()
    groups = propose_groups(sketches.first, among, least=3, most=100)
    assert planted in [group.tolist() for group in groups]
    link = LinkTest(sketches.second, among).test(np.array(planted))
    assert link.p_value == 1 / 1000
    assert link.overlap == pytest.approx(1, abs=0.1)
    assert link.accounts_at_least == 6
    assert planted not in [g.tolist() for g in propose_groups(sketches.first, among, least=7, most=100)]
    again = propose_groups(sketches.first, among, least=3, most=100)
    assert [group.tolist() for group in again] == [group.tolist() for group in groups]


def shares(planted: list[list[int]], accounts: int, rng: np.random.Generator, *, own: float) -> Sketches:
    """Sketches of strangers, and of sources whose accounts each keep to ground of their own too."""
    directions = unrelated(accounts, rng)
    for group in planted:
        source = unrelated(1, rng)[0]
        for i in group:
            mixed = source + own * directions[i]
            directions[i] = mixed / np.linalg.norm(mixed)
    return sketches_of(drawn_states(directions, [80] * accounts, rng=rng))


def test_shares_that_are_less_alike_than_copies_are_found_by_standing_apart():
    """Dealt by topic, or half ordinary: two shares overlap by 0.5 on average, where strangers do by 0."""
    rng = np.random.default_rng(16)
    planted = [[0, 7, 11, 20, 34, 47], [3, 8, 15, 22, 31, 39, 41, 58]]
    sketches = shares(planted, 60, rng, own=1.0)
    groups = propose_groups(sketches.first, sketches.comparable(), least=4, most=60)
    for group in planted:
        found = max(groups, key=lambda g: len(set(group) & set(g.tolist())))
        assert len(set(group) & set(found.tolist())) >= len(group) - 2
        assert len(set(found.tolist()) - set(group)) <= 1


def test_separation_is_that_of_all_pairs():
    rng = np.random.default_rng(16)
    points = np.array(unrelated(30, rng))
    points[:6] = (points[:6] + 2 * points[0]) / np.linalg.norm(points[:6] + 2 * points[0], axis=1)[:, None]
    alike = points @ points.T
    for group in ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4], [7, 9, 20]):
        rest = [i for i in range(30) if i not in group]
        within = np.mean([alike[i, j] for i, j in itertools.permutations(group, 2)])
        nearest = sorted((float(np.mean(alike[i, group])) for i in rest), reverse=True)
        outside = max(0, np.mean(nearest[: int(np.ceil(len(group) / 4))]))
        expected = (within - outside) / (1 - outside)
        sums = np.array([sum(alike[i, j] for j in group if j != i) for i in range(30)])
        assert propose._separation(sums, np.array(group)) == pytest.approx(expected)
    everybody = alike.sum(axis=1) - 1
    whole = np.mean([alike[i, j] for i, j in itertools.permutations(range(30), 2)])
    assert propose._separation(everybody, np.arange(30)) == pytest.approx(whole)


def test_many_accounts_are_compared_in_blocks_that_keep_groups_whole(monkeypatch):
    rng = np.random.default_rng(17)
    planted = [[10 * k + i for i in range(8)] for k in range(6)]
    sketches = shares(planted, 300, rng, own=0.2)
    among = sketches.comparable()
    whole = [g.tolist() for g in propose_groups(sketches.first, among, least=4, most=100)]
    monkeypatch.setattr(propose, "BLOCK", 60)
    blocks = propose._blocks(propose._points(sketches.first.at(among)))
    assert max(len(block) for block, _ in blocks) <= 60
    assert sorted(np.concatenate([block for block, _ in blocks]).tolist()) == list(range(300))
    for block, around in blocks:
        assert not set(block.tolist()) & set(around.tolist())
    parted = [g.tolist() for g in propose_groups(sketches.first, among, least=4, most=100)]
    for group in planted:
        for groups in (whole, parted):
            assert any(set(group) <= set(g) and len(g) <= len(group) + 2 for g in groups)


def test_link_p_of_random_groups_is_no_smaller_than_chance():
    rng = np.random.default_rng(6)
    sketches = sketches_of(drawn_states(unrelated(60, rng), [40] * 60, rng=rng))
    among = sketches.comparable()
    test = LinkTest(sketches.second, among)
    p = [test.test(np.sort(rng.choice(among, 5, replace=False))).p_value for _ in range(300)]
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 300)


def test_members_are_compared_with_a_sample_of_many_outside(monkeypatch):
    rng = np.random.default_rng(18)
    sketches = shares([[2, 9, 30, 44, 51]], 60, rng, own=0.3)
    among, group = sketches.comparable(), np.array([2, 9, 30, 44, 51])
    whole = LinkTest(sketches.second, among).test(group)
    monkeypatch.setattr(link, "MOST_OUTSIDE", 20)
    sampled = LinkTest(sketches.second, among).test(group)
    assert sampled.member_p.min() >= 1 / 21 > whole.member_p.min() == 1 / (len(among) - 4)
    assert sampled.member_overlap == pytest.approx(whole.member_overlap)
    assert (sampled.overlap, sampled.p_value) == (whole.overlap, whole.p_value)


@pytest.mark.parametrize("kind", ["one prompt", "one text"])
def test_link_p_is_no_smaller_among_accounts_that_can_be_in_no_group(kind):
    """Such accounts overlap with nobody: beside them any other group would look linked."""
    rng = np.random.default_rng(12)
    many, tiny = 60, 540
    times = 1 if kind == "one prompt" else 30
    digests = [rng.integers(0, 2**63, 40).astype(np.uint64) for _ in range(many)]
    digests += [np.full(times, text) for text in rng.integers(0, 2**63, tiny).astype(np.uint64)]
    states = drawn_states(unrelated(many + tiny, rng), [40] * many + [times] * tiny, rng=rng, digests=digests)
    sketches = sketches_of(states)
    among = sketches.comparable()
    assert 50 < len(among) <= many
    assert among.max() < many
    test = LinkTest(sketches.second, among)
    p = np.array([test.test(np.sort(rng.choice(among, 5, replace=False))).p_value for _ in range(200)])
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) <= level + 3 * np.sqrt(level * (1 - level) / 200)
    with pytest.raises(ValueError, match=rf"group: .*\[{many}\]"):
        test.test(np.array([among[0], many]))


def test_a_group_of_all_accounts_is_as_alike_as_itself_in_any_order():
    rng = np.random.default_rng(13)
    sketches = sketches_of(drawn_states(unrelated(20, rng), [50] * 20, rng=rng))
    assert LinkTest(sketches.second, np.arange(20)).test(np.arange(20)).p_value == 1


def test_shown_overlaps_lie_between_minus_one_and_one():
    """Two prompts an account leave its length to luck."""
    rng = np.random.default_rng(14)
    first = unrelated(1, rng)[0]
    directions = [first] * 6 + [-first] * 6
    sketches = sketches_of(drawn_states(directions, [4] * 12, rng=rng))
    among = np.flatnonzero(sketches.second.prompts > 1)
    test = LinkTest(sketches.second, among)
    links = [test.test(np.array(group)) for group in itertools.combinations(among.tolist(), 2)]
    told = np.array([[link.overlap, *link.by_kind.values(), *link.member_overlap] for link in links])
    assert np.abs(told).max() == 1


def test_the_half_that_proposes_has_no_part_in_the_test():
    """Groups of accounts that are alike by luck in the first half alone are not linked."""
    rng = np.random.default_rng(7)
    directions = unrelated(60, rng)
    states = drawn_states(directions, [60] * 60, rng=rng)
    alike = drawn_states([directions[0]] * 60, [60] * 60, rng=rng)
    first = replace(sketches_of(states), first=sketches_of(alike).first).first
    sketches = sketches_of(states)
    groups = propose_groups(first, sketches.comparable(), least=3, most=60)
    assert groups
    test = LinkTest(sketches.second, sketches.comparable())
    assert np.median([test.test(group).p_value for group in groups]) > 0.05


def test_a_pool_is_the_account_that_had_sent_all_of_it():
    rng = np.random.default_rng(8)
    states = drawn_states(unrelated(3, rng), [20, 30, 10], rng=rng)
    pool = pooled(states, name="together")
    renamed = [part_of(states, [i]) for i in range(3)]
    one = merge([replace(part, account_ids=("together",)) for part in renamed])
    for name in ("timestamps", "digests", "cells", "novelty"):
        np.testing.assert_array_equal(getattr(pool, name), getattr(one, name))
    for name in sum_widths(states.dim):
        assert getattr(pool, name) == pytest.approx(getattr(one, name), rel=1e-12)
    with pytest.raises(ValueError, match="states"):
        pooled(AccountStates.empty(DIM), name="none")


def test_a_thinned_pool_keeps_texts_whole_and_means_as_they_were():
    rng = np.random.default_rng(9)
    hashed = np.repeat(rng.integers(0, 2**63, 50).astype(np.uint64), 4)
    states = drawn_states(unrelated(1, rng), [200], rng=rng, digests=[hashed])
    thin = thinned(pooled(states, name="one"), most=90)
    assert thin.prompts[0] == 88
    _, times = np.unique(thin.digests, return_counts=True)
    assert set(times.tolist()) == {4}
    assert thin.content_sums / 88 == pytest.approx(states.content_sums / 200, rel=1e-12)
    assert thinned(states, most=200) is states


def test_one_text_alone_that_is_too_often_is_cut():
    rng = np.random.default_rng(10)
    states = drawn_states(unrelated(1, rng), [9], rng=rng, digests=[np.full(9, 4, np.uint64)])
    assert thinned(states, most=5).prompts[0] == 5
