"""Score, p-value, verdict, archetype, reasons."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.traced import HashEncoder, a_judge, a_scorecard, labelled_accounts, said, tiny_atlas, traffic

from coverage_lab.accounts import measure, trace_prompts
from coverage_lab.config import DetectConfig
from coverage_lab.detect import default_scorecard, judge_prompts, load_scorecard
from coverage_lab.detect.conformal import conformal_p
from coverage_lab.detect.features import FEATURES, SHAPE, SPECS, VECTORS, Features, features_of
from coverage_lab.detect.fitting import GrowingAccounts, fit_scorecard
from coverage_lab.detect.scorecard import REST, GrowthCalibration, Scorecard
from coverage_lab.detect.verdict import archetype_of, verdict_of
from coverage_lab.errors import ConfigError
from coverage_lab.schema import ACCOUNTS, ARCHETYPES, FLAGS, VERDICTS


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


def decide(prompts, end_users, p_value, config=CONFIG, *, probable=("harvesting", 0.9)):
    return verdict_of(
        prompts=prompts,
        end_users=end_users,
        p_value=p_value,
        probable=None if p_value is None else probable,
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


@pytest.mark.parametrize("good_faith", ["evaluation_run", "red_team_research"])
def test_sweeps_in_good_faith_are_watched_at_most(good_faith):
    verdict, (note,) = decide(500, 0, 0.001, probable=(good_faith, 0.625))
    assert verdict == "watch"
    assert "probability 62%" in note
    assert decide(500, 0, 0.2, probable=(good_faith, 0.625)) == ("clear", [])


@pytest.mark.parametrize(
    ("prompts", "end_users", "p_value", "verdict"),
    [
        (500, 0, 0.05, "inconclusive"),
        (500, 0, 0.001, "inconclusive"),
        (100_000, 0, 0.001, "inconclusive"),
        (500, 0, 0.051, "clear"),
        (500, 1, 0.001, "review"),
        (500, 19, 0.03, "watch"),
    ],
)
def test_many_users_that_nobody_names_are_inconclusive(prompts, end_users, p_value, verdict):
    found, notes = decide(prompts, end_users, p_value, probable=("multi_tenant", 0.4))
    assert found == verdict
    asked = [note for note in notes if "ask for end-user ids" in note]
    assert len(asked) == (verdict == "inconclusive")
    assert all("many users behind one account, probability 40%" in note for note in asked)


def test_a_review_that_its_archetype_speaks_against_says_so():
    verdict, (note,) = decide(500, 0, 0.001, probable=("task_use", 0.8))
    assert verdict == "review"
    assert "task use, probability 80%" in note
    assert decide(500, 0, 0.03, probable=("task_use", 0.8)) == ("watch", [])


@pytest.mark.parametrize(
    ("verdict", "prompts", "end_users", "probable", "archetype"),
    [
        ("review", 300, 0, ("harvesting", 0.9), "harvesting"),
        ("review", 300, 0, ("task_use", 0.9), "harvesting"),
        ("watch", 300, 0, ("harvesting", 0.9), "harvesting"),
        ("watch", 300, 0, ("evaluation_run", 0.9), "evaluation_run"),
        ("clear", 300, 0, ("harvesting", 0.9), "unknown"),
        ("clear", 300, 0, ("personal_use", 0.9), "personal_use"),
        ("inconclusive", 300, 0, ("multi_tenant", 0.9), "multi_tenant"),
        ("inconclusive", 300, 50, ("harvesting", 0.9), "multi_tenant"),
        ("inconclusive", 10, 50, ("task_use", 0.9), "unknown"),
        ("inconclusive", 300, 50, None, "unknown"),
    ],
)
def test_archetypes(verdict, prompts, end_users, probable, archetype):
    found = archetype_of(
        verdict=verdict, prompts=prompts, end_users=end_users, probable=probable, config=CONFIG
    )
    assert found == archetype
    assert found in ARCHETYPES


@pytest.fixture(params=["static", "minilm"])
def shipped(request):
    return default_scorecard(request.param)


@pytest.fixture(params=["made up", "static", "minilm"])
def card(request):
    return a_scorecard() if request.param == "made up" else default_scorecard(request.param)


def some_features(card, accounts=20):
    rng = np.random.default_rng(1)
    named = np.array(
        [[f.benign_median + f.sd * x for f in card.features] for x in rng.normal(0, 2, accounts)]
    )
    named[3, 4] = np.nan
    vectors = {
        name: rng.normal(0, 0.05, (accounts, len(card.linear[name].weight))).astype(np.float32)
        for name in VECTORS
    }
    # Wrapped from not at all to wholly.
    vectors["instruction"] *= np.linspace(0, 1, accounts, dtype=np.float32)[:, None]
    return Features(named, vectors, rng.integers(1, 5000, accounts))


def test_score_is_the_formula_of_its_docstring(card):
    features = some_features(card)
    scores = card.score(card.points(features))
    clipped = 0
    for i, score in enumerate(scores):
        size, values = np.log(features.prompts[i]), {"shape": 0.0, "build": 0.0}
        for j, (term, value) in enumerate(zip(card.features, features.named[i], strict=True)):
            a, b, c = term.by_size
            z = (value - (a + b * size + c * size**2)) / term.sd
            step = (
                term.benign_points if np.isnan(value) else term.points[sum(edge <= z for edge in term.edges)]
            )
            values["shape" if j < len(SHAPE) else "build"] += step
        for name in VECTORS:
            x = [float(v) for v in features.vectors[name][i]]
            if name in ("openings", "content_openings"):
                x = [max(v, 0.0) ** 0.5 for v in x]
            linear = card.linear[name]
            values[name] = linear.offset + sum(w * v for w, v in zip(linear.weight, x, strict=True))
        odds = card.intercept
        share = min(sum(float(v) ** 2 for v in features.vectors["instruction"][i]) ** 0.5, 1.0)
        for name, part in card.parts.items():
            middle, spread, middle_1, spread_1 = (
                np.interp(size, np.log(part.sizes), y)
                for y in (part.middle, part.spread, part.wrapped_middle, part.wrapped_spread)
            )
            middle += share * (middle_1 - middle)
            spread = np.exp(np.log(spread) + share * (np.log(spread_1) - np.log(spread)))
            standing = (values[name] - middle) / spread
            clipped += abs(standing) > 2.5
            odds += card.slope * part.weight * min(max(standing, -2.5), 2.5)
        assert score == pytest.approx(1 / (1 + np.exp(-odds)))
    assert clipped, "none is far enough out to be clipped"


def test_points_sum_to_the_log_odds_also_where_a_part_is_clipped(card):
    features = some_features(card)
    points = card.points(features)
    assert points.shape == (20, REST + 1)
    odds = points.sum(axis=1) + card.intercept
    assert card.log_odds(features) == pytest.approx(odds)
    assert card.score(points) == pytest.approx(1 / (1 + np.exp(-odds)))
    most = card.slope * 2.5
    for name, part in card.parts.items():
        if name in VECTORS:
            column = points[:, len(FEATURES) + VECTORS.index(name)]
            assert (np.abs(column) <= most * part.weight + 1e-12).all()


def test_each_account_has_its_points_and_archetype_whoever_is_beside_it(card):
    features = some_features(card)
    points = card.points(features)
    for i in range(len(features)):
        mine = features.at(np.array([i]))
        assert np.array_equal(card.points(mine)[0], points[i])
        assert card.likeliest(mine)[0] == card.likeliest(features)[i]


def benign_median(card, prompts=350):
    """Features of an account that is the benign median in every named feature, with vectors of zeros."""
    return Features(
        named=np.array([[feature.benign_median for feature in card.features]]),
        vectors={name: np.zeros((1, len(card.linear[name].weight)), np.float32) for name in VECTORS},
        prompts=np.array([prompts]),
    )


def test_shipped_scorecard_says_what_it_was_made_from(shipped):
    assert {"made_from", "protocol", "cannot"} <= set(shipped.card)
    assert shipped.smallest_p <= 0.01, "a review verdict must be reachable"
    # Half of the ordinary customers score higher than an account of which every part is at the median.
    middle = np.zeros((1, REST + 1))
    assert shipped.p_value(shipped.score(middle), np.array([350]))[0] > 0.2
    assert shipped.mixture.tells, "shares of a mixture can't be told"
    assert shipped.calibration.customers >= 100
    assert shipped.growth is not None


def test_fitted_scorecard_tells_the_kinds_it_was_fitted_on_apart():
    labelled, card = labelled_accounts(seed=12), a_scorecard()
    score = card.score(card.points(labelled.features))
    assert score[labelled.harvest].min() > score[~labelled.harvest].max()
    assert card.calibrated_prompts[0] >= 50


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_feature_can_be_turned_back_into_what_the_tables_hold(spec):
    low, high = max(spec.bounds[0], -300.0), min(spec.bounds[1], 300.0)
    values = np.linspace(low, high, 41)
    assert np.allclose(spec.inverse(spec.transform(values)), values, atol=1e-9)
    told = SPECS[FEATURES.index(spec.told_with or spec.name)]
    assert told.told_with == ""
    assert told.words.count("{value}") == 1
    assert "{cells}" not in told.words


def test_a_spread_that_is_told_with_its_mean_is_a_function_of_it():
    rows = [("a", i, "Is it so?" if i % 4 else "It is so.", None) for i in range(60)]
    states = trace_prompts(traffic(rows), HashEncoder(), tiny_atlas())
    named = dict(
        zip(
            FEATURES,
            features_of(states, measure(states, tiny_atlas()).values, middle_cells=8).named[0],
            strict=True,
        )
    )
    for spec in SPECS:
        if spec.told_with:
            mean = named[spec.told_with]
            assert named[spec.name] == pytest.approx(np.sqrt(mean * (1 - mean)), abs=1e-6)
    assert named["question_mean"] == 0.75


def test_features_are_the_measures_and_means_of_the_account():
    rows = [("a", i, f"Could you list {i % 7} things?", None) for i in range(60)]
    states = trace_prompts(traffic(rows), HashEncoder(), tiny_atlas())
    measures = measure(states, tiny_atlas())
    features = features_of(states, measures.values, middle_cells=8)
    assert features.named.shape == (1, len(FEATURES))
    named = dict(zip(FEATURES, features.named[0], strict=True))
    assert named["repeat_share"] == pytest.approx(53 / 60)
    assert named["collision_ratio_fine"] == pytest.approx(np.log1p(measures["collision_ratio_fine"][0]))
    assert (named["question_mean"], named["question_sd"]) == (1.0, 0.0)
    assert named["opening_repeat"] > 0.9
    vectors = HashEncoder().encode([row[2] for row in rows])
    assert np.allclose(features.vectors["prompts"][0], vectors.mean(axis=0), atol=1e-6)
    # Nothing is constant in so few distinct prompts, so the content is the prompt.
    assert not features.vectors["instruction"].any()
    assert np.allclose(features.vectors["spread"][0], vectors.std(axis=0), atol=1e-5)
    middle = np.bincount(tiny_atlas().assign(vectors)[:, 1], minlength=8) / 60
    assert np.allclose(features.vectors["topics"][0], np.sqrt(middle), atol=1e-6)


def test_scorecard_refuses_what_is_not_one(tmp_path):
    with pytest.raises(ConfigError, match="can't be read"):
        load_scorecard(tmp_path / "missing.json")
    (tmp_path / "bad.json").write_text('{"atlas_id": 3}')
    with pytest.raises(ConfigError, match=r"bad\.json"):
        load_scorecard(tmp_path / "bad.json")
    sound = a_scorecard()
    reordered = sound.model_copy(update={"features": sound.features[::-1]})
    (tmp_path / "order.json").write_text(reordered.model_dump_json())
    with pytest.raises(ConfigError, match="features"):
        load_scorecard(tmp_path / "order.json")


def test_a_scorecard_comes_back_from_its_file_as_it_was(tmp_path):
    (tmp_path / "card.json").write_text(a_scorecard().model_dump_json())
    assert load_scorecard(tmp_path / "card.json") == a_scorecard()
    without = a_scorecard().model_dump()
    del without["mixture"]["prompt_sd"]
    assert Scorecard.model_validate(without).mixture.prompt_sd == 0.0


ROWS = [("big", i, f"text {said(i)}", None) for i in range(80)]
ROWS += [("small", i, f"t {said(i)}", None) for i in range(5)]


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


def test_growth_is_scored_by_weights_that_saw_no_corpus_of_the_account():
    labelled = labelled_accounts()
    one_size = replace(labelled.features, prompts=np.full(len(labelled.kind), 100))
    labelled = replace(labelled, features=one_size)
    ordinary = labelled.at(labelled.ordinary)
    grown = GrowingAccounts(ordinary, np.arange(len(ordinary.kind)))
    card = fit_scorecard(labelled, atlas_id="", encoder_id="", grown=grown)
    assert card.growth is not None
    assert card.growth.sizes == (100,)
    # The calibration's scores are held out; the same accounts at the same size must get the same.
    assert sorted(row[0] for row in card.growth.score) == sorted(card.calibration.score)
    assert card.calibration == fit_scorecard(labelled, atlas_id="", encoder_id="").calibration


def test_growth_lays_out_each_account_from_its_smallest_size():
    labelled = labelled_accounts()
    ordinary = labelled.at(labelled.ordinary)
    rows = np.repeat(np.arange(40), 2)
    features = replace(ordinary.features.at(rows), prompts=np.tile([50, 100], 40))
    grown = GrowingAccounts(replace(ordinary.at(rows), features=features), rows)
    shorter = GrowingAccounts(grown.accounts.at(np.arange(79)), rows[:79])
    card = fit_scorecard(labelled, atlas_id="", encoder_id="", grown=shorter)
    assert card.growth.sizes == (50, 100)
    assert [len(row) for row in card.growth.score] == [2] * 39 + [1]
    table = card.growth.trajectories().score
    assert np.isnan(table[-1, 1])
    assert not np.isnan(table[:-1]).any()
    assert Scorecard.model_validate_json(card.model_dump_json()) == card


@pytest.mark.parametrize("row", [(), (0.1, 0.2, 0.3)])
def test_a_growth_of_another_length_than_its_sizes_is_refused(row):
    with pytest.raises(ValueError, match="one to as many scores as there are sizes"):
        GrowthCalibration(sizes=(50, 100), score=(row,))
