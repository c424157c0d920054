"""What a judgement says beside the score: shares, q-values, the score without the top cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.stats import false_discovery_control
from support.traced import HashEncoder, a_judge, a_scorecard, said, tiny_atlas, traffic

from coverage_lab.accounts import cells_table, measure, trace_prompts
from coverage_lab.config import DetectConfig
from coverage_lab.detect import Judge, judge_prompts
from coverage_lab.detect.counterfactual import Without, without_top_cells
from coverage_lab.detect.features import FEATURES, SHAPE, Features, features_of
from coverage_lab.detect.judge import with_q_values
from coverage_lab.detect.mixture import HarvestedShare, harvested_share
from coverage_lab.detect.reasons import without_sentence
from coverage_lab.detect.scorecard import Feature, Mixture, Scorecard, direction
from coverage_lab.schema import ACCOUNTS

HARVEST = "Generate a list of 5 facts about subject {}:\n1."
TASK = "Please fix this text number {}"

Row = tuple[str, int, str, str | None]


def account(name: str, texts: list[str], users: int = 0) -> list[Row]:
    return [(name, i, text, f"u{i % users}" if users else None) for i, text in enumerate(texts)]


def sweep(name: str, count: int = 150, users: int = 0) -> list[Row]:
    return account(name, [HARVEST.format(said(1000 * len(name) + i)) for i in range(count)], users)


def task(name: str, count: int = 150) -> list[Row]:
    return account(name, [TASK.format(said(1000 * len(name) + i % 40)) for i in range(count)])


def judged(rows: list[Row], judge: Judge | None = None) -> dict[str, dict[str, object]]:
    table = judge_prompts(traffic(rows), judge or a_judge(review_p=0.05, watch_p=0.1)).accounts
    return {row["account_id"]: row for row in table.to_pylist()}


def with_card(card: Scorecard | None, **limits: float) -> Judge:
    return Judge(HashEncoder(), tiny_atlas(), card, DetectConfig(**limits), "tests")


def features_and_points(rows: list[Row]) -> tuple[Features, np.ndarray]:
    states = trace_prompts(traffic(rows), HashEncoder(), tiny_atlas())
    features = features_of(states, measure(states, tiny_atlas()).values, middle_cells=tiny_atlas().sizes[1])
    return features, a_scorecard().points(features)


def test_harvested_share_is_that_of_the_linear_points() -> None:
    rows = sweep("sweep") + task("task")
    answers = judged(rows)
    features, _ = features_and_points(rows)
    card, mixture = a_scorecard(), a_scorecard().mixture
    # The evidence that is a mean over prompts, each kind on the scale of the largest size.
    linear = sum(
        card.parts[name].weight
        / card.parts[name].spread[-1]
        * (features.vectors[name].astype(np.float64) @ np.array(card.linear[name].weight))
        for name in ("prompts", "instruction")
    )
    expected = harvested_share(
        linear,
        features.prompts,
        benign=np.array(mixture.benign),
        harvest=np.array(mixture.harvest),
        prompt_sd=0.0,
    )
    for i, name in enumerate(("sweep", "task")):
        told, low, high = (answers[name][f"harvested_share{end}"] for end in ("", "_low", "_high"))
        assert (low, high) == pytest.approx((expected.low[i], expected.high[i]), abs=1e-9)
        narrow = high - low <= 0.5
        assert told == (pytest.approx(expected.estimate[i], abs=1e-9) if narrow else None)
    assert answers["sweep"]["harvested_share_low"] > 0.5 > answers["task"]["harvested_share_low"]


def test_a_share_is_told_where_its_interval_is_narrow() -> None:
    share = HarvestedShare(np.array([0.1, 0.4, 0.9]), np.array([0.0, 0.2, 0.39]), np.array([0.5, 0.71, 1.0]))
    np.testing.assert_array_equal(share.told, [0.1, np.nan, np.nan])


def test_half_a_harvest_has_a_share_in_between() -> None:
    half = account(
        "half", [HARVEST.format(said(i)) if i % 2 else TASK.format(said(i % 80)) for i in range(1200)]
    )
    answers = judged(half + sweep("sweep") + task("task"))
    lows, highs = (
        [answers[name][f"harvested_share_{end}"] for name in ("task", "half", "sweep")]
        for end in ("low", "high")
    )
    assert lows == sorted(lows)
    assert highs == sorted(highs)
    assert lows[0] < lows[2]
    # Five points of room: the stand-in scorecard knows six harvests, and its interval is that of six.
    low, high = answers["half"]["harvested_share_low"], answers["half"]["harvested_share_high"]
    assert low - 0.05 <= 0.5 <= high + 0.05


def test_prompt_sd_widens_the_interval_of_few_prompts() -> None:
    card = a_scorecard()
    lucky = card.model_copy(update={"mixture": card.mixture.model_copy(update={"prompt_sd": 40.0})})
    rows = account(
        "half", [HARVEST.format(said(i)) if i % 2 else TASK.format(said(i % 40)) for i in range(60)]
    )
    plain, wide = (judged(rows, with_card(c))["half"] for c in (card, lucky))
    assert wide["harvested_share_low"] < plain["harvested_share_low"]
    assert wide["harvested_share_high"] > plain["harvested_share_high"]


@pytest.mark.parametrize(
    "mixture",
    [Mixture(benign=(), harvest=()), Mixture(benign=(0.0, 1.0), harvest=(0.0, 1.0))],
    ids=["empty", "alike"],
)
def test_a_scorecard_that_can_not_tell_shares_gives_none(mixture: Mixture) -> None:
    assert not mixture.tells
    card = a_scorecard().model_copy(update={"mixture": mixture})
    answer = judged(sweep("sweep"), with_card(card))["sweep"]
    assert answer["score"] is not None
    assert (
        answer["harvested_share"] is answer["harvested_share_low"] is answer["harvested_share_high"] is None
    )


def test_without_a_scorecard_there_is_none_of_it() -> None:
    answer = judged(sweep("sweep"), with_card(None))["sweep"]
    for name in ("harvested_share", "q_value", "score_without_top_cells", "archetype_probability"):
        assert answer[name] is None
    assert answer["archetype"] == "unknown"


def accounts_with(p: list[float | None], prompts: list[int]) -> pa.Table:
    columns = {field.name: pa.nulls(len(p), field.type) for field in ACCOUNTS}
    columns |= {"p_value": pa.array(p, pa.float64()), "prompts": pa.array(prompts, pa.int64())}
    columns["account_id"] = pa.array([f"a{i}" for i in range(len(p))], pa.large_string())
    return pa.table(columns, schema=pa.schema([field.with_nullable(True) for field in ACCOUNTS]))


def test_q_values_are_those_of_scipy_over_the_judged_accounts() -> None:
    rng = np.random.default_rng(4)
    p = (rng.integers(1, 200, 60) / 200).tolist()
    prompts = rng.integers(10, 300, 60).tolist()
    p[5] = None
    q = with_q_values(accounts_with(p, prompts), DetectConfig())["q_value"].to_pylist()
    rows = [i for i in range(60) if p[i] is not None and prompts[i] >= 50]
    assert [i for i in range(60) if q[i] is not None] == rows
    assert np.allclose([q[i] for i in rows], false_discovery_control([p[i] for i in rows]))


def test_q_values_do_not_depend_on_the_order_and_follow_min_prompts() -> None:
    table = accounts_with([0.01, 0.01, 0.5, 0.02, None], [60, 60, 60, 45, 60])
    q = with_q_values(table, DetectConfig())["q_value"].to_pylist()
    assert q == [pytest.approx(0.015), pytest.approx(0.015), 0.5, None, None]
    backwards = with_q_values(table.take([4, 3, 2, 1, 0]), DetectConfig())["q_value"].to_pylist()
    assert backwards == q[::-1]
    assert with_q_values(table, DetectConfig(min_prompts=40))["q_value"][3].as_py() is not None
    empty = with_q_values(ACCOUNTS.empty_table(), DetectConfig())
    assert empty.schema == ACCOUNTS


def mostly_one_cell(count: int = 200, outside: int = 80) -> list[Row]:
    """A sweep of which `count` prompts, each another, fall in one fine cell and `outside` anywhere."""
    # Words, not numbers: what is constant is the same in any part of them, and so is each prompt's cell.
    letters = np.random.default_rng(8).integers(97, 123, (20_000, 8), dtype=np.uint8)
    texts = [HARVEST.format(word.tobytes().decode()) for word in letters]
    states = trace_prompts(traffic(account("all", texts)), HashEncoder(), tiny_atlas())
    order = {
        int(second): int(cell) for second, cell in zip(states.timestamps, states.cells[:, 2], strict=True)
    }
    cells = np.array([order[i * 1_000_000] for i in range(len(texts))])
    favourite = np.bincount(cells).argmax()
    inside = np.flatnonzero(cells == favourite)[:count]
    rest = np.flatnonzero(cells != favourite)[:outside]
    return account("narrow", [texts[i] for i in np.sort(np.concatenate([inside, rest]))])


def by_hand(rows: list[Row], card: Scorecard) -> tuple[float, int, list[str]]:
    """Score without the top three fine cells, by tracing the remaining prompts as an account of their own."""
    atlas = tiny_atlas()
    states = trace_prompts(traffic(rows), HashEncoder(), atlas)
    (name,) = states.account_ids
    count = np.bincount(states.cells[:, 2], minlength=len(atlas.masses[2]))
    surplus = count / len(rows) - atlas.masses[2]
    top = np.lexsort((np.arange(len(surplus)), -surplus))[:3]
    kept = ~np.isin(states.cells[:, 2], top)
    seconds = states.timestamps // 1_000_000
    texts = {second: text for _, second, text, _ in rows}
    rest = [(name, int(s), texts[int(s)], None) for s in seconds[kept]]
    features, _ = features_and_points(rows)
    left = trace_prompts(traffic(rest), HashEncoder(), atlas)
    again = features_of(left, measure(left, atlas).values, middle_cells=atlas.sizes[1])
    named = again.named
    # Novelty stays what it was in the whole account, so those measures are taken from there.
    novelty = np.sort(states.novelty[kept])
    novelty = novelty[~np.isnan(novelty)]
    at = {feature: j for j, feature in enumerate(FEATURES)}
    named[0, at["novelty_mean"]] = novelty.astype(np.float64).mean()
    named[0, at["novelty_p10"]] = np.quantile(novelty.astype(np.float64), 0.1)
    named[0, at["novelty_median"]] = np.quantile(novelty.astype(np.float64), 0.5)
    named[0, at["novelty_low_share"]] = (novelty < 0.1).mean()
    named[0, at["mean_cosine"]] = features.named[0, at["mean_cosine"]]
    shape = 0.0
    for j in range(len(SHAPE)):
        feature = card.features[j]
        if feature.name == "novelty_hole":
            continue
        z = feature.standardised(named[:, j], np.array([len(rest)]))[0]
        step = int(np.searchsorted(feature.edges, z, side="right"))
        shape += feature.benign_points if np.isnan(z) else feature.points[step]
    topics = card.linear["topics"]
    moved = {
        "shape": shape,
        "topics": topics.offset + float(again.vectors["topics"][0].astype(np.float64) @ topics.weight),
    }
    values = card.values(features)[1]
    odds, share = card.intercept, min(1.0, float(np.linalg.norm(features.vectors["instruction"][0])))
    for name, part in card.parts.items():
        value, size = (moved[name], len(rest)) if name in moved else (values[name][0], len(rows))
        middle, spread, wrapped_middle, wrapped_spread = (
            np.interp(np.log(size), np.log(part.sizes), x)
            for x in (part.middle, part.spread, part.wrapped_middle, part.wrapped_spread)
        )
        middle = (1 - share) * middle + share * wrapped_middle
        spread = spread ** (1 - share) * wrapped_spread**share
        odds += card.slope * part.weight * min(max((value - middle) / spread, -2.5), 2.5)
    return odds, len(rest), [atlas.names[2][cell] or f"#{cell}" for cell in top]


def sharp_card() -> Scorecard:
    """A scorecard with fine steps for novelty; `novelty_hole` has no short formula, so it has no points."""

    def sharpened(feature: Feature) -> Feature:
        if feature.name == "novelty_hole":
            return feature.model_copy(update={"points": (0.0,) * len(feature.points), "benign_points": 0.0})
        if not feature.name.startswith("novelty"):
            return feature
        edges = tuple(np.linspace(-8, 8, 4000).tolist())
        return feature.model_copy(update={"edges": edges, "points": (*edges, 8.1)})

    card = a_scorecard()
    # A scale so wide that nothing is clipped, and another at each size.
    wide = {"sizes": (50, 1000), "middle": (-3.0, 4.0), "spread": (30.0, 60.0)}
    wide |= {"wrapped_middle": (0.0, 0.0), "wrapped_spread": (1.0, 1.0)}
    parts = {**card.parts, "shape": card.parts["shape"].model_copy(update=wide)}
    features = tuple(sharpened(feature) for feature in card.features)
    return card.model_copy(update={"features": features, "parts": parts})


def test_score_without_the_top_cells_is_that_of_the_other_prompts() -> None:
    rows, card = mostly_one_cell(), sharp_card()
    answer = judged(rows, with_card(card, watch_p=0.5, review_p=0.05))["narrow"]
    odds, left, labels = by_hand(rows, card)
    assert answer["score_without_top_cells"] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-12)
    assert 50 <= left < 80
    sentence = answer["reasons"][-1]
    assert f"({'; '.join(labels)})" in sentence
    assert f"{1 - left / 280:.0%} of its prompts" in sentence
    assert f"{answer['score_without_top_cells']:.3f} instead of {answer['score']:.3f}" in sentence


def test_only_shape_moves_and_the_states_stay_as_they_were() -> None:
    rows, card = mostly_one_cell(), a_scorecard()
    states = trace_prompts(traffic(rows + task("task")), HashEncoder(), tiny_atlas())
    before = states.cells.copy()
    features = features_of(states, measure(states, tiny_atlas()).values, middle_cells=tiny_atlas().sizes[1])
    kept = features.named.copy(), {name: x.copy() for name, x in features.vectors.items()}
    asked = {
        "states": states,
        "cells": cells_table(states, tiny_atlas()),
        "atlas": tiny_atlas(),
        "features": features,
        "min_prompts": 50,
    }

    def flattened(feature: Feature) -> Feature:
        if feature.name == "mean_cosine":  # stays, and is to be the same among accounts of any size
            return feature.model_copy(update={"by_size": (feature.by_size[0], 0.0, 0.0)})
        no_points = {"points": (0.0,) * len(feature.points), "benign_points": 0.0}
        return feature.model_copy(update=no_points) if feature.name in SHAPE else feature

    one_size = {"sizes": (100,), "middle": (0.1,), "spread": (0.7,)}
    one_size |= {"wrapped_middle": (0.0,), "wrapped_spread": (1.0,)}
    parts = {
        **card.parts,
        "shape": card.parts["shape"].model_copy(update=one_size),
        "topics": card.parts["topics"].model_copy(update={"weight": 0.0}),
    }
    flat = card.model_copy(update={"features": tuple(map(flattened, card.features)), "parts": parts})
    (found,) = without_top_cells(rows=[0], scorecard=flat, **asked)
    expected = flat.score(flat.points(features))[0]
    assert found.score == pytest.approx(expected, rel=1e-12), "where no measure has points nothing can change"
    both = without_top_cells(rows=[0, 1], scorecard=card, **asked)
    alone = [without_top_cells(rows=[row], scorecard=card, **asked)[0] for row in (0, 1)]
    assert both == alone
    assert without_top_cells(rows=[], scorecard=card, **asked) == []
    assert np.array_equal(features.named, kept[0], equal_nan=True)
    assert all(np.array_equal(features.vectors[name], x) for name, x in kept[1].items())
    assert np.array_equal(states.cells, before)


def test_too_little_left_gives_no_score_and_says_so() -> None:
    answer = judged(mostly_one_cell(outside=30), a_judge(review_p=0.5, watch_p=0.9))["narrow"]
    assert answer["score_without_top_cells"] is None
    assert "too few are left to score" in answer["reasons"][-1]


def test_an_account_with_one_cell_only() -> None:
    rows = mostly_one_cell(count=90, outside=0)
    answer = judged(rows, with_card(a_scorecard(), watch_p=0.999))["narrow"]
    assert answer["distinct_fine"] == 1
    assert answer["score_without_top_cells"] is None
    assert answer["p_value"] <= 0.999
    assert "All but 0 of its 90 prompts lie in its top narrow topic (" in answer["reasons"][-1]


def test_only_raised_scores_are_asked_again() -> None:
    answers = judged(sweep("sweep", 300) + task("task"), a_judge(review_p=0.05, watch_p=0.1))
    assert answers["sweep"]["p_value"] <= 0.1 < answers["task"]["p_value"]
    assert answers["sweep"]["score_without_top_cells"] is not None
    assert answers["task"]["score_without_top_cells"] is None
    # Nothing changes that anybody would notice: then it is no reason.
    assert answers["sweep"]["score_without_top_cells"] == pytest.approx(answers["sweep"]["score"], abs=5e-4)
    assert not any("instead of" in reason for reason in answers["sweep"]["reasons"])
    assert not any("top narrow topic" in reason for reason in answers["task"]["reasons"])


def test_sentence_of_the_counterfactual() -> None:
    some = Without(labels=("sums; taxes", "#7"), left=150, score=0.25)
    assert without_sentence(some, 200, 0.9, least=0.1) == (
        "Without its 2 top narrow topics (sums; taxes; #7), which hold 25% of its prompts, the score would "
        "be 0.250 instead of 0.900"
    )
    assert without_sentence(some, 200, 0.27, least=0.09) is not None
    assert without_sentence(some, 200, 0.27, least=0.12) is None, "it hardly moves"
    most = replace(some, score=0.9985)
    assert without_sentence(most, 200, 0.9995, least=0.1) is None, "nobody would call that another score"
    none = Without(labels=("sums",), left=3, score=None)
    assert without_sentence(none, 1200, 0.9, least=0.1) == (
        "All but 3 of its 1,200 prompts lie in its top narrow topic (sums): too few are left to score"
    )


def test_flags_carry_the_evidence_of_their_accounts() -> None:
    found = judge_prompts(traffic(sweep("sweep", 300) + task("task")), a_judge(review_p=0.05, watch_p=0.1))
    (flag,) = found.flags.to_pylist()
    (row,) = found.accounts.filter(pc.equal(found.accounts["account_id"], "sweep")).to_pylist()
    assert found.states is not None
    trace = found.states.cells[: row["prompts"], -1].tolist()  # "sweep" comes before "task"
    way = [(visit["cell"], visit["prompt"], visit["prompts"]) for visit in flag["first_visits"]]
    assert way == [(cell, trace.index(cell) + 1, trace.count(cell)) for cell in dict.fromkeys(trace)]
    assert len(way) == row["distinct_fine"]
    shared = set(found.flags.column_names) & set(ACCOUNTS.names)
    assert {"archetype_probability", "harvested_share_high", "score_without_top_cells", "q_value"} <= shared
    assert {name: flag[name] for name in shared} == {name: row[name] for name in shared}


def test_the_probability_is_that_of_the_archetype_shown() -> None:
    rows = sweep("sweep", 300) + task("task") + sweep("reseller", 200, users=25) + sweep("tiny", 20)
    answers = judged(rows, a_judge(review_p=0.05, watch_p=0.1))
    features, _ = features_and_points(rows)
    card = a_scorecard()
    assert card.archetypes.vectors == ("direction of prompts", "topics", "spread", "openings")
    vectors = [direction(features.vectors["prompts"]), features.vectors["topics"], features.vectors["spread"]]
    vectors.append(np.sqrt(np.maximum(features.vectors["openings"].astype(np.float64), 0)))
    chances = card.archetypes.probabilities(card.standardised(features), *vectors)
    for name in ("sweep", "task"):
        row = chances[sorted(answers).index(name)]
        expected = row[card.archetypes.names.index(answers[name]["archetype"])]
        assert answers[name]["archetype_probability"] == pytest.approx(expected, rel=1e-12)
    assert answers["sweep"]["archetype"] == "harvesting"
    assert answers["reseller"]["archetype"] == "multi_tenant", "its end users say so"
    assert answers["reseller"]["archetype_probability"] is None
    assert answers["tiny"]["archetype"] == "unknown"
    assert answers["tiny"]["archetype_probability"] is None


def test_a_review_that_reads_as_another_archetype_shows_the_chance_of_harvesting() -> None:
    card = a_scorecard()
    turned = [-1e3 if name == "harvesting" else 0.0 for name in card.archetypes.names]
    archetypes = card.archetypes.model_copy(update={"intercept": tuple(turned)})
    judge = with_card(card.model_copy(update={"archetypes": archetypes}), review_p=0.05, watch_p=0.1)
    answer = judged(sweep("sweep", 300), judge)["sweep"]
    assert answer["verdict"] == "review"
    assert answer["archetype"] == "harvesting"
    assert answer["archetype_probability"] < 0.01
    assert "archetype alone would read as" in answer["reasons"][0]


def many_users_card() -> Scorecard:
    """A scorecard whose archetype model says multi-tenant of every account."""
    card = a_scorecard()
    raised = [1e3 if name == "multi_tenant" else 0.0 for name in card.archetypes.names]
    archetypes = card.archetypes.model_copy(update={"intercept": tuple(raised)})
    return card.model_copy(update={"archetypes": archetypes})


def test_a_reseller_without_end_user_ids_is_inconclusive_and_still_flagged() -> None:
    judge = with_card(many_users_card(), review_p=0.05, watch_p=0.1)
    rows = sweep("nameless", 300) + sweep("named", 300, users=3) + task("task")
    found = judge_prompts(traffic(rows), judge)
    answers = {row["account_id"]: row for row in found.accounts.to_pylist()}
    assert answers["nameless"]["verdict"] == "inconclusive"
    assert answers["nameless"]["archetype"] == "multi_tenant"
    assert answers["nameless"]["archetype_probability"] > 0.99
    assert "ask for end-user ids" in answers["nameless"]["reasons"][0]
    assert answers["named"]["verdict"] == "review"
    assert answers["task"]["verdict"] == "clear"
    assert found.flags["account_id"].to_pylist() == ["named", "nameless"]
