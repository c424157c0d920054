"""A score fitted to own traffic: what is learnt, what is guarded against, what is kept and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from support.commands import call
from support.written_corpora import collection, write_corpora

from coverage_lab.config import EvaluateConfig, RunConfig
from coverage_lab.detect.features import FEATURES, VECTORS, Features
from coverage_lab.detect.fitting import TrainingAccounts, fit_scorecard
from coverage_lab.detect.fitting.adapt import adapt_scorecard, separations
from coverage_lab.detect.fitting.shipped import read_accounts, some_of_each, write_accounts
from coverage_lab.detect.load import load_judge, resolve_config
from coverage_lab.detect.scorecard import Scorecard
from coverage_lab.errors import ConfigError, TrafficError
from coverage_lab.jobs.adapt import adapt
from coverage_lab.jobs.own_features import features_of_state, features_of_traffic

Rng = np.random.Generator
WIDE = 4


def features_at(centre: NDArray[np.float64], rng: Rng) -> Features:
    """Accounts whose vectors lie about a centre each."""
    vectors = {name: (centre + rng.normal(size=centre.shape) * 0.05).astype(np.float32) for name in VECTORS}
    vectors["instruction"] = np.zeros(centre.shape, np.float32)
    named = rng.normal(size=(len(centre), len(FEATURES)))
    return Features(named, vectors, rng.choice([80, 100, 120], len(centre)))


def centres(size: int, rng: Rng, *, along: int | None = None, far: float = 0.5) -> NDArray[np.float64]:
    found = rng.normal(size=(size, WIDE)) * 0.2
    if along is not None:
        found[:, along] += far
    return found


def shipped(rng: Rng) -> TrainingAccounts:
    """Forty harvests along the first axis, eighty ordinary customers about 0, two accounts of each."""
    centre = np.concatenate([centres(40, rng, along=0), centres(80, rng)])
    row = np.repeat(np.arange(120), 2)
    harvest = row < 40
    name = np.array([f"family {at:03d}" for at in row])
    return TrainingAccounts(
        features=features_at(centre[row], rng),
        kind=np.where(harvest, "harvest", np.where(row % 2, "task", "product")),
        customer=name,
        cluster=name,
        fold=row % 4,
        language=np.full(len(row), "en"),
        pure=np.full(len(row), True),
    )


def own_traffic(rng: Rng, size: int) -> Features:
    """Own customers: far along the second axis, and somewhat along the one that harvests lie on."""
    centre = centres(size, rng, along=1, far=0.8)
    centre[:, 0] += 0.35
    return features_at(centre, rng)


def before(known: TrainingAccounts) -> Scorecard:
    return fit_scorecard(known, atlas_id="atlas", encoder_id="encoder")


def joined(first: Features, second: Features) -> Features:
    return Features(
        np.concatenate([first.named, second.named]),
        {name: np.concatenate([first.vectors[name], second.vectors[name]]) for name in VECTORS},
        np.concatenate([first.prompts, second.prompts]),
    )


@pytest.mark.parametrize("contaminated", [pytest.param(0, marks=pytest.mark.slow), 10])
def test_own_customers_are_learnt_with_a_few_harvests_among_them(contaminated: int) -> None:
    rng = np.random.default_rng(contaminated)
    known = shipped(rng)
    hidden = features_at(centres(contaminated, rng, along=0, far=1.0), rng)
    found = adapt_scorecard(
        joined(own_traffic(rng, 290), hidden), known, before(known), contamination=0.05, seed=3
    )
    first, second = separations(found, known)
    size = 290 + contaminated
    assert (found.own, found.left_out) == (size - -(-size // 20), -(-size // 20))
    assert first.auroc < 0.85, "own customers look like harvests to who does not know them"
    assert second.auroc > first.auroc + 0.1
    assert second.caught[1] > first.caught[1]
    card, fresh = found.scorecard, own_traffic(rng, 600)
    p = card.p_value(card.score(card.points(fresh)), fresh.prompts)
    assert (p <= 0.05).mean() < 0.09
    guilty = features_at(centres(200, rng, along=0, far=1.0), rng)
    assert (card.p_value(card.score(card.points(guilty)), guilty.prompts) <= 0.05).mean() > 0.5
    assert card.growth is None
    assert (card.atlas_id, card.encoder_id) == ("atlas", "encoder")


def test_labels_say_who_is_ordinary_and_who_harvests() -> None:
    rng = np.random.default_rng(5)
    known = shipped(rng)
    # Harvests of a kind that none of the shipped is: along the fourth axis.
    new = features_at(centres(40, rng, along=3, far=0.8), rng)
    own = joined(own_traffic(rng, 200), new)
    label = np.array(["benign"] * 150 + ["unknown"] * 50 + ["harvest"] * 40)
    found = adapt_scorecard(own, known, before(known), label=label)
    assert (found.own, found.left_out, found.labelled_harvests) == (150, 0, 40)
    assert len(found.calibration.score) == 150
    assert found.calibration.extrapolated_below == 0
    later = features_at(centres(200, rng, along=3, far=0.8), rng)
    with_labels = (
        found.scorecard.log_odds(later).mean() - found.scorecard.log_odds(own_traffic(rng, 200)).mean()
    )
    without = before(known)
    assert with_labels > without.log_odds(later).mean() - without.log_odds(own_traffic(rng, 200)).mean() + 1


def test_what_can_not_be_learnt_from_is_refused() -> None:
    rng = np.random.default_rng(1)
    known = shipped(rng)
    with pytest.raises(ConfigError, match="own accounts: 95 ordinary ones, at least 100"):
        adapt_scorecard(own_traffic(rng, 100), known, before(known))
    with pytest.raises(ConfigError, match="contamination: expected 0 to"):
        adapt_scorecard(own_traffic(rng, 200), known, before(known), contamination=0.3)
    with pytest.raises(ConfigError, match="label: expected one of"):
        adapt_scorecard(own_traffic(rng, 1), known, before(known), label=np.array(["guilty"]))


def test_shipped_accounts_come_back_as_they_were_to_a_step(tmp_path: Path) -> None:
    accounts = shipped(np.random.default_rng(2))
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    name = write_accounts(accounts, first)
    assert write_accounts(accounts, second) == name
    assert first.read_bytes() == second.read_bytes()
    back = read_accounts(first, sha256=name)
    for column in ("kind", "customer", "cluster", "fold", "language", "pure"):
        np.testing.assert_array_equal(getattr(back, column), getattr(accounts, column))
    for vector, x in accounts.features.vectors.items():
        step = np.abs(x).max(axis=0) / 127
        assert (np.abs(back.features.vectors[vector] - x) <= step * 0.51 + 1e-9).all(), vector
    np.testing.assert_allclose(back.features.named, accounts.features.named, rtol=1e-6)


def test_another_file_than_the_scorecard_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    name = write_accounts(shipped(np.random.default_rng(2)), path)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ConfigError, match=r"a\.npz: not the file that the scorecard names"):
        read_accounts(path, sha256=name)
    with pytest.raises(ConfigError, match=r"b\.npz: can't be read"):
        read_accounts(tmp_path / "b.npz", sha256=name)


def test_of_each_customer_four_accounts_are_kept_and_no_mixture() -> None:
    accounts = shipped(np.random.default_rng(2))
    many = accounts.at(np.tile(np.arange(len(accounts.kind)), 3))
    pure = np.arange(len(many.kind)) % 240 != 0
    kinds = np.where(np.arange(len(many.kind)) % 240 == 239, "red_team", many.kind)
    kept = some_of_each(replace(many, pure=pure, kind=kinds), seed=0)
    names, counts = np.unique(kept.customer, return_counts=True)
    assert len(names) == 120
    assert counts.max() == 4
    assert kept.pure.all()
    assert "red_team" not in kept.kind


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"encoder": {"name": "minilm"}}, "expected the encoder"),
        ({"atlas": {"path": "mine"}}, "an own atlas"),
    ],
)
def test_an_encoder_or_atlas_without_accounts_is_refused(
    config: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        adapt("day.parquet", tmp_path / "mine", RunConfig.model_validate(config))
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_exists_and_both_ways_at_once_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "adapt", tmp_path / "day.parquet", "--out", tmp_path)
    assert code == 5
    assert "exists already" in err
    both = ("--labels", tmp_path / "l.csv", "--contamination", 0.1)
    code, _, err = call(capsys, "adapt", tmp_path / "day.parquet", "--out", tmp_path / "mine", *both)
    assert code == 2
    assert "give one of the two" in err


def test_traffic_and_state_are_not_both_given_and_not_both_missing(tmp_path: Path) -> None:
    for given in ({"state": tmp_path / "state"}, {}):
        with pytest.raises(ConfigError, match="one of the two"):
            adapt("day.parquet" if given else None, tmp_path / "mine", RunConfig(), **given)


def test_options_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--cache: keeps vectors of --corpora"):
        adapt("day.parquet", tmp_path / "mine", RunConfig(), cache=tmp_path)
    own = RunConfig.model_validate({"detect": {"scorecard": "card.json"}})
    with pytest.raises(ConfigError, match=r"detect\.scorecard: is not used with --corpora"):
        adapt("day.parquet", tmp_path / "mine", own, corpora=tmp_path)


@pytest.mark.slow
def test_a_state_teaches_what_its_traffic_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "simulate", tmp_path / "day", "--accounts", 160, "--seed", 4)[0] == 0
    traffic, state = tmp_path / "day" / "traffic.parquet", tmp_path / "state"
    day = pq.read_table(traffic, columns=["timestamp"])["timestamp"][0].as_py().date()
    run = ("run", traffic, tmp_path / "results", "--state", state, "--day", day)
    code, _, err = call(capsys, *run)
    assert code == 0, err
    config = resolve_config(RunConfig())
    judge = load_judge(config, threads=1)
    first = features_of_state(state, config, judge, threads=1)
    second = features_of_traffic(traffic, config, judge, threads=1)
    assert first.ids == second.ids
    assert len(first.ids) > 100
    np.testing.assert_allclose(first.features.named, second.features.named, rtol=1e-5, atol=2e-6)
    for name in VECTORS:
        np.testing.assert_allclose(first.features.vectors[name], second.features.vectors[name], atol=1e-6)
    config = RunConfig.model_validate({"detect": {"min_prompts": 100_000}})
    with pytest.raises(TrafficError, match=r"none of its [0-9,]+ accounts has 100000 prompts"):
        adapt(None, tmp_path / "none", config, state=state)


@pytest.mark.slow
def test_harvests_of_corpora_serve_an_atlas_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = EvaluateConfig(accounts=200, train=400)
    monkeypatch.setattr("coverage_lab.jobs.adapt.EvaluateConfig", lambda: few)
    assert call(capsys, "simulate", tmp_path / "day", "--accounts", 160, "--seed", 4)[0] == 0
    traffic = tmp_path / "day" / "traffic.parquet"
    code, _, err = call(capsys, "atlas", "build", traffic, tmp_path / "atlas", "--cells", "8,16,32")
    assert code == 0, err
    corpora = write_corpora(tmp_path / "corpora", collection())
    config = tmp_path / "config.toml"
    config.write_text(f'[atlas]\npath = "{tmp_path / "atlas"}"\n')
    mine = ("--out", tmp_path / "mine", "--config", config)
    assert call(capsys, "adapt", traffic, *mine)[0] == 2, "no harvests are known by that atlas"
    code, said, err = call(capsys, "adapt", traffic, *mine, "--corpora", corpora)
    assert code == 0, err
    assert "Fitted to " in said
    config.write_text(config.read_text() + f'[detect]\nscorecard = "{tmp_path / "mine/scorecard.json"}"\n')
    code, _, err = call(capsys, "run", traffic, tmp_path / "results", "--config", config)
    assert code == 0, err
    scores = pq.read_table(tmp_path / "results" / "accounts.parquet", columns=["score"])["score"]
    assert scores.null_count < scores.length() / 2


@pytest.mark.slow
def test_a_day_is_adapted_to_and_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "simulate", tmp_path / "day", "--accounts", 160, "--seed", 4)[0] == 0
    traffic, mine = tmp_path / "day" / "traffic.parquet", tmp_path / "mine"
    code, said, err = call(capsys, "adapt", traffic, "--out", mine)
    assert code == 0, err
    assert "Fitted to " in said
    told = json.loads((mine / "adapted.json").read_text())
    assert told["own_accounts"] > 100
    assert 0.5 < told["before"]["auroc"] <= 1
    assert 0.5 < told["after"]["auroc"] <= 1
    everything = (mine / "adapted.json").read_text() + (mine / "scorecard.json").read_text()
    assert "acct-" not in everything
    config = tmp_path / "config.toml"
    config.write_text(f'[detect]\nscorecard = "{mine / "scorecard.json"}"\n')
    code, said, err = call(capsys, "run", traffic, tmp_path / "results", "--config", config)
    assert code == 0, err


def test_the_calibration_is_told_as_that_of_calibrate_and_both_halves_count_all_accounts() -> None:
    rng = np.random.default_rng(7)
    known = shipped(rng)
    old = before(known)
    own = own_traffic(rng, 200)
    found = adapt_scorecard(own, known, old, contamination=0.1)
    assert len(found.usual.kind) == 200, "accounts that were set aside count as false alarms too"
    assert len(found.learnt.kind) == 180
    # Archetypes stay those of before, so features must be compared as they were there.
    np.testing.assert_allclose(found.scorecard.standardised(own), old.standardised(own), atol=1e-4)
    np.testing.assert_allclose(found.scorecard.archetype_chances(own), old.archetype_chances(own), atol=1e-4)
