"""Score, p-value, verdict, archetype, reasons."""

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced import HashEncoder, a_judge, tiny_atlas, traffic

from coverage_lab.config import DetectConfig
from coverage_lab.detect import default_scorecard, judge_prompts, load_scorecard
from coverage_lab.detect.conformal import conformal_p
from coverage_lab.detect.features import FEATURES, feature_matrix
from coverage_lab.detect.reasons import reasons
from coverage_lab.detect.verdict import archetype_of, verdict_of
from coverage_lab.errors import ConfigError
from coverage_lab.schema import ACCOUNTS, ARCHETYPES, FLAGS, MEASURE_COLUMNS, VERDICTS


def brute_force_p(score, prompts, calibration, neighbours):
    """By definition: sort all calibration accounts by distance in ln(prompts), count."""
    nearest = sorted(calibration, key=lambda c: abs(np.log(c[0]) - np.log(prompts)))[:neighbours]
    return (1 + sum(s >= score for _, s in nearest)) / (neighbours + 1)


@given(
    calibration=st.lists(
        st.tuples(st.integers(50, 5000), st.floats(0, 1)), min_size=3, max_size=40, unique_by=lambda c: c[0]
    ),
    prompts=st.integers(1, 10_000),
    score=st.floats(0, 1),
    share=st.floats(0.1, 1),
)
def test_conformal_p_against_brute_force(calibration, prompts, score, share):
    calibration = sorted(calibration)
    neighbours = max(1, int(share * len(calibration)))
    logs = [abs(np.log(n) - np.log(prompts)) for n, _ in calibration]
    if len({round(d, 9) for d in logs}) < len(logs):
        return  # two calibration accounts equally far: either set of neighbours is right
    p = conformal_p(
        np.array([score]),
        np.array([prompts]),
        calibration_score=np.array([s for _, s in calibration]),
        calibration_prompts=np.array([n for n, _ in calibration]),
        neighbours=neighbours,
    )
    assert p[0] == pytest.approx(brute_force_p(score, prompts, calibration, neighbours))


def test_conformal_p_is_uniform_for_exchangeable_accounts():
    rng = np.random.default_rng(5)
    calibration = rng.random(999)
    p = conformal_p(
        rng.random(4000),
        np.full(4000, 300),
        calibration_score=calibration,
        calibration_prompts=np.full(999, 300),
        neighbours=999,
    )
    for level in (0.01, 0.05, 0.5):
        # Five binomial standard errors, of both samples.
        slack = 5 * np.sqrt(level * (1 - level) * (1 / 4000 + 1 / 999))
        assert abs((p <= level).mean() - level) < slack


def test_conformal_p_names_the_argument():
    with pytest.raises(ValueError, match=r"neighbours must be in 1\.\.3, got 4"):
        conformal_p(
            np.array([0.5]),
            np.array([9]),
            calibration_score=np.zeros(3),
            calibration_prompts=np.array([1, 2, 3]),
            neighbours=4,
        )


CONFIG = DetectConfig()


def decide(prompts, end_users, p_value, config=CONFIG):
    return verdict_of(
        prompts=prompts,
        end_users=end_users,
        p_value=p_value,
        calibrated_prompts=(60, 3000),
        config=config,
    )


@pytest.mark.parametrize(
    ("prompts", "end_users", "p_value", "verdict"),
    [
        (49, 0, 0.001, "inconclusive"),
        (50, 0, 0.001, "review"),
        (50, 0, 0.010, "review"),
        (50, 0, 0.011, "watch"),
        (50, 0, 0.051, "clear"),
        (500, 20, 0.001, "inconclusive"),
        (500, 19, 0.001, "review"),
        (500, 200, 0.9, "clear"),
        (500, 0, None, "inconclusive"),
    ],
)
def test_verdicts_at_their_edges(prompts, end_users, p_value, verdict):
    found, notes = decide(prompts, end_users, p_value)
    assert found == verdict
    assert bool(notes) == (verdict == "inconclusive")


@pytest.mark.parametrize(("prompts", "verdict"), [(4500, "review"), (4501, "watch"), (100_000, "watch")])
def test_size_outside_the_calibration_is_never_for_review(prompts, verdict):
    found, notes = decide(prompts, 0, 0.001)
    assert found == verdict
    assert bool(notes) == (verdict == "watch")
    assert decide(prompts, 0, 0.5) == ("clear", [])


@pytest.mark.parametrize(
    ("option", "value"),
    [("min_prompts", 400), ("review_p", 0.0005), ("watch_p", 0.001), ("multi_tenant_end_users", 5)],
)
def test_every_verdict_option_changes_something(option, value):
    cases = [(300, 10, 0.001), (300, 10, 0.03)]
    limits = {"review_p": 0.001} if option == "watch_p" else {}
    changed = DetectConfig(**{option: value, **limits})
    before = [decide(*case) for case in cases]
    after = [decide(*case, changed) for case in cases]
    assert before != after


@pytest.mark.parametrize(
    ("verdict", "prompts", "end_users", "ratio", "archetype"),
    [
        ("review", 300, 0, 1.0, "harvesting"),
        ("clear", 300, 0, 100.0, "task_use"),
        ("clear", 300, 0, 2.0, "mixed_product"),
        ("inconclusive", 300, 50, 2.0, "multi_tenant"),
        ("inconclusive", 10, 0, 2.0, "unknown"),
    ],
)
def test_archetypes(verdict, prompts, end_users, ratio, archetype):
    found = archetype_of(
        verdict=verdict, prompts=prompts, end_users=end_users, middle_collision_ratio=ratio, config=CONFIG
    )
    assert found == archetype
    assert found in ARCHETYPES


@pytest.fixture(params=["static", "minilm"])
def shipped(request):
    return default_scorecard(request.param)


def test_score_is_the_formula_of_its_docstring(shipped):
    rng = np.random.default_rng(1)
    terms = [(f.mean, f.sd, f.weight) for f in shipped.features]
    terms += list(zip(shipped.style.mean, shipped.style.sd, shipped.style.weight, strict=True))
    x = np.array([[mean + sd * rng.normal(0, 2) for mean, sd, _ in terms] for _ in range(20)])
    x[3, 4] = np.nan
    for row, score in zip(x, shipped.score(shipped.points(x)), strict=True):
        odds = shipped.intercept
        for (mean, sd, weight), value in zip(terms, row, strict=True):
            if not np.isnan(value):
                odds += weight * max(-3, min(3, (value - mean) / sd))
        assert score == pytest.approx(1 / (1 + np.exp(-odds)))


def benign_median(card):
    """Features of an account that is the benign median in everything, style aside, which is the mean."""
    return np.array([[*(f.benign_median for f in card.features), *card.style.mean]])


def test_shipped_scorecard_says_what_it_was_made_from(shipped):
    assert shipped.card["auroc"] > 0.6
    assert {"made_from", "protocol", "cannot"} <= set(shipped.card)
    assert shipped.smallest_p <= 0.01, "a review verdict must be reachable"
    score = shipped.score(shipped.points(benign_median(shipped)))
    assert shipped.p_value(score, np.array([350]))[0] > 0.2


def test_reasons_name_the_largest_points_and_both_sides(shipped):
    features = benign_median(shipped)
    points = np.zeros((1, len(FEATURES) + 1))
    points[0, 2], points[0, 7], points[0, 1] = 1.5, 0.7, -0.4
    (sentences,) = reasons(shipped, features, points)
    assert [("+1.5" in s, "+0.7" in s, "-0.4 points away" in s) for s in sentences] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert reasons(shipped, features, np.zeros_like(points)) == [[]]


def test_every_feature_has_words(shipped):
    for j in range(len(FEATURES) + 1):
        points = np.zeros((1, len(FEATURES) + 1))
        points[0, j] = 1.0
        (sentence,) = reasons(shipped, benign_median(shipped), points)[0]
        assert "benign accounts: median" in sentence
        assert "nan" not in sentence


def test_features_follow_measures():
    measures = {name: np.array([0.5, np.nan]) for name in MEASURE_COLUMNS}
    matrix = feature_matrix(measures, np.array([10, 0]), np.array([[5.0, 0.0], [0.0, 0.0]]))
    assert matrix.shape == (2, len(FEATURES) + 2)
    assert matrix[0, -2:].tolist() == [0.5, 0.0]
    assert matrix[0, FEATURES.index("log_prompts")] == pytest.approx(np.log(10))
    assert matrix[0, FEATURES.index("collision_ratio_fine")] == pytest.approx(np.log1p(0.5))


def test_scorecard_refuses_what_is_not_one(tmp_path, shipped):
    with pytest.raises(ConfigError, match="can't be read"):
        load_scorecard(tmp_path / "missing.json")
    (tmp_path / "bad.json").write_text('{"atlas_id": 3}')
    with pytest.raises(ConfigError, match=r"bad\.json"):
        load_scorecard(tmp_path / "bad.json")
    other = shipped.model_dump()
    other["features"] = other["features"][::-1]
    import json

    (tmp_path / "order.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match="features"):
        load_scorecard(tmp_path / "order.json")


ROWS = [("big", i, f"text {i}", None) for i in range(80)] + [("small", i, f"t {i}", None) for i in range(5)]


def test_judged_tables_have_their_schemas_and_agree():
    judged = judge_prompts(traffic(ROWS), a_judge(review_p=0.5, watch_p=0.9))
    assert judged.accounts.schema == ACCOUNTS
    assert judged.flags.schema == FLAGS
    by_id = {row["account_id"]: row for row in judged.accounts.to_pylist()}
    assert set(by_id) == {"big", "small"}
    assert by_id["small"]["verdict"] == "inconclusive"
    assert "Too few prompts" in by_id["small"]["reasons"][0]
    assert set(judged.accounts["verdict"].to_pylist()) <= set(VERDICTS)
    for row in judged.flags.to_pylist():
        source = by_id[row["account_id"]]
        assert row["score"] == source["score"]
        assert source["p_value"] <= 0.9
        assert source["prompts"] >= 50


def test_an_account_is_judged_alone_as_among_others():
    judge = a_judge()
    together = judge_prompts(traffic(ROWS), judge)
    for name in ("big", "small"):
        alone = judge_prompts(traffic([row for row in ROWS if row[0] == name]), judge)
        mine = together.accounts.filter(pc.equal(together.accounts["account_id"], name))
        assert alone.accounts.equals(mine)


def test_without_a_scorecard_there_is_no_score_and_it_says_why():
    judged = judge_prompts(traffic(ROWS), a_judge(scorecard=False))
    assert judged.accounts["score"].null_count == 2
    assert judged.accounts["p_value"].null_count == 2
    assert judged.flags.num_rows == 0
    big = judged.accounts.to_pylist()[0]
    assert big["verdict"] == "inconclusive"
    assert "calibration" in big["reasons"][0]
    assert big["distinct_fine"] > 0


def test_no_prompt_text_in_any_table():
    rows = [("a", i, f"SECRET{i} words", "person@example.org") for i in range(60)]
    judged = judge_prompts(traffic(rows), a_judge(review_p=0.5, watch_p=0.9))
    for table in (judged.accounts, judged.curves, judged.cells, judged.flags):
        assert "SECRET" not in str(table.to_pydict())
        assert "example.org" not in str(table.to_pydict())


def test_nothing_at_all():
    judged = judge_prompts(traffic([]), a_judge())
    assert judged.accounts.schema == ACCOUNTS
    assert judged.accounts.num_rows == judged.flags.num_rows == 0


def test_stand_ins_belong_together():
    assert tiny_atlas().encoder_id == HashEncoder.id
