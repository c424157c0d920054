"""Why an account has its score: effects, ranges of ordinary accounts, openings in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from support.traced import a_judge, a_scorecard, said, traffic

from coverage_lab.accounts.opening_words import LEAST_PROMPTS, OpeningWords
from coverage_lab.accounts.prompt_features import OPENINGS, openings
from coverage_lab.detect import Judge, judge_prompts
from coverage_lab.detect.features import FEATURES, SPECS, VECTORS, Features
from coverage_lab.detect.mixture import HarvestedShare
from coverage_lab.detect.reasons import Reason, reasons
from coverage_lab.detect.scorecard import Linear, Part, Scorecard

PROMPTS = 350


def card_at(slope: float = 1.0, **standings: float) -> Scorecard:
    """A scorecard by which an account of zeros stands just so, kind by kind."""
    card = a_scorecard()
    linear = {
        name: Linear(
            weight=(0.0,) * len(term.weight),
            offset=standings.get(name, 0.0),
            benign_p05=0.0,
            benign_median=0.0,
            benign_p95=0.0,
        )
        for name, term in card.linear.items()
    }
    flat = tuple(
        feature.model_copy(update={"points": (0.0,) * len(feature.points), "benign_points": 0.0})
        for feature in card.features
    )
    scale = Part(
        weight=1.0,
        sizes=(100,),
        middle=(0.0,),
        spread=(1.0,),
        wrapped_middle=(0.0,),
        wrapped_spread=(1.0,),
    )
    return card.model_copy(
        update={
            "slope": slope,
            "linear": linear,
            "features": flat,
            "parts": dict.fromkeys(card.parts, scale),
        }
    )


def zeros(card: Scorecard) -> Features:
    return Features(
        named=np.zeros((1, len(FEATURES))),
        vectors={name: np.zeros((1, len(card.linear[name].weight)), np.float32) for name in VECTORS},
        prompts=np.array([PROMPTS]),
    )


def told(
    card: Scorecard,
    features: Features | None = None,
    *,
    share: tuple[float, float, float] = (np.nan, np.nan, np.nan),
    topics: Sequence[tuple[str, float]] = (),
    labels: Sequence[str] = (),
) -> list[Reason]:
    (found,) = reasons(
        card,
        zeros(card) if features is None else features,
        share=HarvestedShare(*(np.array([end]) for end in share)),
        account_ids=["a"],
        topics={"a": topics},
        topic_labels=labels,
    )
    return found


@pytest.mark.parametrize(
    ("standing", "effect"),
    [(7.0, "strong"), (1.25, "strong"), (1.24, "some"), (0.63, "some"), (0.62, "little"), (0.25, "little")],
)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("slope", [1.0, 0.5])
def test_effects_are_parts_of_the_most_that_a_kind_of_evidence_can_add(standing, effect, sign, slope):
    (reason,) = told(card_at(slope, prompts=sign * standing))
    assert (reason.evidence, reason.effect) == ("prompts", effect)
    assert reason.direction == ("towards" if sign > 0 else "away")
    assert reason.points == pytest.approx(sign * slope * min(standing, 2.5))
    assert reason.value == pytest.approx(sign * standing), "what is told is not clipped"
    start = f"{effect.capitalize()} sign {'of' if sign > 0 else 'against'} harvesting: "
    assert reason.sentence.startswith(start)
    assert f"[its value {sign * standing:+.1f}; ordinary: 0, two in three -0.6 to +0.6]" in reason.sentence


def test_what_moves_nothing_is_no_reason():
    assert told(card_at(prompts=0.24, topics=-0.24)) == []
    assert told(card_at(0.0, prompts=2.0)) == []


def test_reasons_name_both_sides_the_strongest_first():
    found = told(
        card_at(prompts=1.0, instruction=2.0, openings=0.5, content_openings=0.7, topics=1.5, spread=-0.4)
    )
    assert [reason.evidence for reason in found] == [
        "instruction",
        "topics",
        "prompts",
        "content_openings",
        "spread",
    ]
    away = told(card_at(prompts=-1.0, instruction=-2.0, openings=-0.5, topics=0.3))
    assert [reason.evidence for reason in away] == ["topics", "instruction", "prompts"]


@pytest.mark.parametrize("standing", [0.5, 1.0, -1.3])
def test_percentiles_are_those_of_a_normal_curve_with_that_median_and_95th_percentile(standing):
    ordinary = NormalDist(0, 1 / NormalDist().inv_cdf(0.95))
    (reason,) = told(card_at(spread=standing))
    assert reason.percentile == pytest.approx(100 * ordinary.cdf(standing))
    assert reason.ordinary_high == pytest.approx(ordinary.inv_cdf(5 / 6))
    exceeded = reason.percentile if standing > 0 else 100 - reason.percentile
    assert f"more so than about {exceeded:.0f} in 100 ordinary accounts of its size" in reason.sentence


def test_more_than_99_in_100_is_not_told_closer():
    (reason,) = told(card_at(spread=2.4))
    assert "more so than over 99 in 100 ordinary accounts" in reason.sentence


def with_measure(
    name: str, value: float, *, points: float, edges: Sequence[float]
) -> tuple[Scorecard, Features]:
    """A card whose shape and build move by one measure alone, and an account that has that value."""
    card, j = card_at(), FEATURES.index(name)
    features = list(card.features)
    features[j] = features[j].model_copy(
        update={
            "by_size": (0.1, 0.02, 0.0),
            "sd": 0.05,
            "edges": tuple(edges),
            "points": (0.0,) * len(edges) + (points,),
        }
    )
    account = zeros(card)
    account.named[0, j] = value
    return card.model_copy(update={"features": tuple(features)}), account


def test_a_measure_is_told_beside_ordinary_accounts_of_its_size():
    edges = (-1.0, -0.5, 0.0, 0.4, 0.8)
    card, account = with_measure("repeat_share", 0.5, points=1.0, edges=edges)
    (reason,) = told(card, account)
    middle = 0.1 + 0.02 * np.log(PROMPTS)
    (measure,) = reason.rests_on
    assert (reason.evidence, measure.name, measure.unit) == ("shape", "repeat_share", "percent")
    found = measure.ordinary_low, measure.ordinary_median, measure.ordinary_high
    assert found == pytest.approx((middle - 0.05, middle, middle + 0.04))
    assert "50% of its prompts repeat an earlier one to the letter" in reason.sentence
    assert (
        f"[ordinary: {middle:.0%}, two in three {middle - 0.05:.0%} to {middle + 0.04:.0%}]"
        in reason.sentence
    )
    # On the curve through the last two of the sixths.
    z, (low, high) = (0.5 - middle) / 0.05, (NormalDist().inv_cdf(k / 6) for k in (4, 5))
    expected = NormalDist().cdf(low + (z - 0.4) / 0.4 * (high - low))
    assert measure.percentile == pytest.approx(100 * expected)
    assert (reason.pushing, reason.carrying, measure.share) == (1, 1, 1.0)


@pytest.mark.parametrize(("value", "shown"), [(-0.02, 0.0), (1.02, 1.0), (0.7, 0.7)])
def test_a_value_that_noise_brought_out_of_its_bounds_is_told_at_them(value, shown):
    spec = SPECS[FEATURES.index("opening_repeat")]
    assert spec.bounds == (0.0, 1.0)
    edges = (-1.0, -0.5, 0.0, 0.4, 0.8)
    card, account = with_measure("opening_repeat", value, points=1.0, edges=edges)
    features = tuple(
        f.model_copy(update={"points": (1.0, 0.0, 0.0, 0.0, 0.0, 1.0)}) if f.name == spec.name else f
        for f in card.features
    )
    (reason,) = told(card.model_copy(update={"features": features}), account)
    assert [measure.value for measure in reason.rests_on] == [shown]


def test_a_measure_within_the_ordinary_range_is_not_named():
    card, account = with_measure("repeat_share", 0.245, points=1.0, edges=(-1.0, -0.5, 0.0, 0.2, 0.8))
    card = card.model_copy(
        update={
            "features": tuple(
                f.model_copy(update={"points": (0.0, 0.0, 0.0, 0.0, 1.0, 0.0)})
                if f.name == "repeat_share"
                else f
                for f in card.features
            )
        }
    )
    (reason,) = told(card, account)
    assert reason.rests_on == ()
    assert "1 measures" not in reason.sentence
    assert "no single measure stands out" in reason.sentence


def test_a_measure_of_which_ordinary_accounts_are_alike_has_no_range_and_is_not_named():
    card, account = with_measure("repeat_share", 0.9, points=1.0, edges=(0.0, 0.5))
    (reason,) = told(card, account)
    assert reason.rests_on == ()


def test_topics_are_named_with_their_share_of_prompts():
    card = card_at()
    width = len(card.linear["topics"].weight)
    weight = np.zeros(width)
    weight[:3] = (4.0, -4.0, 1.0)
    term = card.linear["topics"].model_copy(update={"weight": tuple(weight)})
    card = card.model_copy(update={"linear": {**card.linear, "topics": term}})
    account = zeros(card)
    account.vectors["topics"][0, :3] = np.sqrt((0.64, 0.32, 0.04))
    (reason,) = told(card, account, labels=["sums", "letters"])
    assert [(rest.name, rest.value) for rest in reason.rests_on] == [
        ("sums", pytest.approx(0.64)),
        ("#2", pytest.approx(0.04)),
    ]
    assert "“sums” (64% of its prompts) and “#2” (4.0% of its prompts)" in reason.sentence
    assert "letters" not in reason.sentence


def test_where_it_moves_and_how_many_prompts_read_so_are_told_once():
    topics = [("sums", 0.4), ("verses", 0.2)]
    first, second = told(card_at(prompts=2.0, openings=1.5), share=(0.6, 0.2, 0.9), topics=topics)
    where = "it stands out in the topics “sums” (40% of its prompts) and “verses” (20% of its prompts)"
    assert where in first.sentence
    assert "an estimated 60% of its prompts read so (90% interval 20% to 90%)" in first.sentence
    assert "sums" not in second.sentence
    assert "estimated" not in second.sentence


def test_where_it_moves_is_left_out_of_a_little_sign():
    (reason,) = told(card_at(prompts=0.4), share=(0.6, 0.2, 0.9), topics=[("sums", 0.4)])
    assert reason.effect == "little"
    assert "sums" not in reason.sentence
    assert "estimated" not in reason.sentence


def test_an_interval_from_nothing_to_all_is_not_told():
    (reason,) = told(card_at(prompts=2.0), share=(0.4, 0.0, 1.0))
    assert "estimated" not in reason.sentence
    (unknown,) = told(card_at(prompts=2.0))
    assert "nan" not in unknown.sentence


@pytest.mark.parametrize("name", [spec.name for spec in SPECS if not spec.told_with])
def test_every_measure_has_words(name):
    card, account = with_measure(name, 0.0, points=1.0, edges=(-3.0, -2.5, -2.0, -1.5, -1.2))
    j = FEATURES.index(name)
    account.named[0, j] = account.named[0, j] + 1e-9 if np.isfinite(account.named[0, j]) else 0.0
    for reason in told(card, account):
        assert "{" not in reason.sentence
        assert "nan" not in reason.sentence
        assert reason.evidence in ("shape", "build")


# What openings stand for.

FACTS = [f"Generate a list about {said(i)}" for i in range(40)]


def test_columns_are_resolved_to_the_phrases_that_were_hashed():
    rows = [("a", i, text, None) for i, text in enumerate(FACTS)] + [
        ("b", 0, "Something else entirely", None)
    ]
    words = OpeningWords(traffic(rows))
    single = HashingVectorizer(n_features=OPENINGS, ngram_range=(1, 1), token_pattern=r".+", dtype=np.float32)
    row = single.transform(["list about"])
    column, sign = int(row.indices[0]), float(row.data[0])
    found = words.named("a", [column], content=False)
    assert found == ({column: ("list about", 1.0)} if sign > 0 else {})
    everything = words.named("a", range(OPENINGS), content=False)
    phrases = {phrase for phrase, _ in everything.values()}
    assert phrases
    assert phrases <= {"generate", "list", "about", "generate list", "list about"}
    assert openings(FACTS).mean(axis=0).A1[list(everything)].min() > 0, "each adds to its column"
    assert words.named("b", range(OPENINGS), content=False) == {}, "one prompt is too few"
    assert words.named("nobody", range(OPENINGS), content=False) == {}


def test_a_phrase_of_few_prompts_is_never_told():
    rows = [("a", i, f"{said(i)} {said(i + 50)}", None) for i in range(20)]
    rows += [("a", 50 + i, f"dear Alexandra {said(i)}", None) for i in range(LEAST_PROMPTS - 1)]
    assert OpeningWords(traffic(rows)).named("a", range(OPENINGS), content=False) == {}
    rows.append(("a", 99, "dear Alexandra again", None))
    assert OpeningWords(traffic(rows)).named("a", range(OPENINGS), content=False) != {}


def test_content_openings_are_those_of_what_varies():
    wrapped = "You are the assistant of a bank and you answer politely and briefly: "
    rows = [("a", i, f"{wrapped}generate a list about {said(i)}", None) for i in range(40)]
    words = OpeningWords(traffic(rows))
    whole = {phrase for phrase, _ in words.named("a", range(OPENINGS), content=False).values()}
    assert any("assistant" in phrase for phrase in whole)
    content = {phrase for phrase, _ in words.named("a", range(OPENINGS), content=True).values()}
    assert not any("assistant" in phrase for phrase in content)


SWEEP = [("sweep", i, f"Generate a list of 5 facts about subject {said(i)}:\n1.", None) for i in range(150)]


def judged(judge: Judge) -> dict[str, object]:
    (row,) = judge_prompts(traffic(SWEEP), judge).accounts.to_pylist()
    return row


def test_openings_are_named_only_where_the_config_allows_text():
    judge = a_judge(review_p=0.05, watch_p=0.1)
    hidden, shown = judged(judge), judged(replace(judge, show_openings=True))
    assert "generate" not in str(hidden).lower()
    (mine,) = [one for one in shown["reason_details"] if one["evidence"] == "openings"]
    assert mine["rests_on"]
    assert all(rest["unit"] == "share_of_prompts" and rest["value"] == 1.0 for rest in mine["rests_on"])
    assert f"“{mine['rests_on'][0]['name']}” (100% of its prompts)" in mine["sentence"]
    assert mine["sentence"] in shown["reasons"]
    without = {name: value for name, value in hidden.items() if not name.startswith("reason")}
    assert without == {name: value for name, value in shown.items() if not name.startswith("reason")}


def test_openings_of_an_account_that_is_not_raised_are_never_named():
    judge = replace(a_judge(review_p=1e-9, watch_p=1e-9), show_openings=True)
    assert "generate" not in str(judged(judge)).lower()


def test_reasons_in_words_and_as_data_are_the_same():
    row = judged(a_judge(review_p=0.05, watch_p=0.1))
    sentences = [one["sentence"] for one in row["reason_details"]]
    assert sentences
    assert row["reasons"][: len(sentences)] == sentences
    points = [one["points"] for one in row["reason_details"] if one["direction"] == "towards"]
    assert points == sorted(points, reverse=True)


def test_instructions_are_counted_with_the_share_of_prompts_that_they_wrap():
    one = "You are the assistant of a bank and you answer politely and briefly: "
    other = "Translate what follows into plain English and keep every single name: "
    texts = [one + said(i) for i in range(30)] + [other + said(100 + i) for i in range(20)]
    texts += [f"{said(i)} {said(3 * i)} {said(7 * i + 1)}" for i in range(200, 250)]
    rows = [("wrapped", i, text, None) for i, text in enumerate(texts)]
    rows += [("plain", i, f"{said(i)} {said(3 * i)}", None) for i in range(60)]
    found = {row["account_id"]: row for row in judge_prompts(traffic(rows), a_judge()).accounts.to_pylist()}
    assert (found["wrapped"]["instructions"], found["wrapped"]["wrapped_share"]) == (2, 0.5)
    assert (found["plain"]["instructions"], found["plain"]["wrapped_share"]) == (0, 0.0)
