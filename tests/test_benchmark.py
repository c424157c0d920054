"""The benchmark end to end: nothing held out is ever learnt from, and the same bytes come twice."""

import json
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score
from support.commands import call
from support.traced import a_scorecard, labelled_accounts
from support.written_corpora import WordsEncoder, collection, corpus, write_corpora
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

from coverage_lab.cli import app
from coverage_lab.config import EncoderConfig
from coverage_lab.errors import ConfigError, MissingExtraError, OutputError
from coverage_lab.evaluate import benchmark, evaluation
from coverage_lab.evaluate.baselines import BASELINES
from coverage_lab.evaluate.benchmark import (
    ABLATIONS,
    CURVE,
    DETECTOR,
    PROBE,
    BenchmarkSettings,
    run_benchmark,
)
from coverage_lab.evaluate.benchmark_accounts import BenchmarkAccounts, draw_benchmark_accounts
from coverage_lab.evaluate.folds import clusters_of, folds_of
from coverage_lab.evaluate.parted_accounts import PartedAccounts, part_accounts
from coverage_lab.evaluate.prompt_pool import PromptPool, build_prompt_pool
from coverage_lab.evaluate.reference_mass import reference_mass
from coverage_lab.evaluate.scored_accounts import BENIGN_KINDS, ScoredAccounts
from coverage_lab.evaluate.vector_store import VectorStore
from coverage_lab.progress import silent

#: Sides that a line parts without a fault have log-odds without bound.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")

SETTINGS = BenchmarkSettings(cells=(4, 16, 64), train=300, seed=1)
SMALL = ("--folds", 3, "--accounts", 90, "--longest", 250, "--cells", "4,16,64")
TWO = ("--baseline", "volume", "--baseline", "mean embedding")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On a busy machine, threads that wait for one another by spinning take minutes over small matrices."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_corpora(tmp_path_factory.mktemp("benchmark") / "corpora", collection())


@pytest.fixture
def words(monkeypatch):
    encoder = WordsEncoder()
    monkeypatch.setattr(evaluation, "load_encoder", lambda config, **_: encoder)
    return encoder


class Spy:
    """A baseline that notes the rows it was fitted on and was asked about."""

    name = "spy"

    def __init__(self):
        self.told, self.asked = [], []

    def fit(self, train, *, seed):
        self.told.append(train)

        def score(sample):
            self.asked.append(sample)
            return np.zeros(len(sample.rows))

        return score


class Spied(NamedTuple):
    pool: PromptPool
    drawn: BenchmarkAccounts
    parted: PartedAccounts
    vectors: np.ndarray
    scored: ScoredAccounts
    spy: Spy
    atlases: list
    cards: list


@pytest.fixture(scope="module")
def spied():
    """One run with everything that learns watched: pool, accounts, their parts, …, scorecards."""
    corpora = collection()
    # Near-duplicates under two names and kinds must end up on one side.
    twin = corpus("A", "plain0", 300)
    corpora.append(
        replace(corpus("D", "twin", 200), prompts=twin.prompts[:40] + corpus("D", "t", 160).prompts)
    )
    cluster = clusters_of(corpora)
    fold = folds_of(corpora, cluster, folds=3, seed=1)
    pool = build_prompt_pool(corpora, rows=2400, fold=fold, cluster=cluster)
    drawn = draw_benchmark_accounts(pool, accounts=60, repeats=1, longest=120, seed=1)
    encoder, spy, atlases, cards = WordsEncoder(), Spy(), [], []
    parted = part_accounts(pool, drawn)
    vectors = VectorStore(encoder, None).encode(parted.texts)
    real_atlas, real_card = benchmark.fit_atlas, benchmark.fit_scorecard

    def fit_atlas(*arguments, **options):
        atlases.append((arguments, real_atlas(*arguments, **options)))
        return atlases[-1][1]

    def fit_scorecard(labelled, **options):
        cards.append((labelled, options))
        return real_card(labelled, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "fit_atlas", fit_atlas)
        patch.setattr(benchmark, "fit_scorecard", fit_scorecard)
        scored = run_benchmark(pool, drawn, parted, vectors, encoder, settings=SETTINGS, baselines=[spy])
    return Spied(pool, drawn, parted, vectors, scored, spy, atlases, cards)


def corpora_of_rows(pool, parted, rows):
    """Corpora of whole prompts by their text: wrapped and personal prompts count as what they hold."""
    home = {}
    for name, own in (*pool.corpora.items(), *pool.payload, *pool.trace):
        for row in own:
            home.setdefault(pool.texts[row], set()).add(name)
    return set().union(*(home[parted.texts[row]] for row in rows))


def test_the_twin_is_on_one_side(spied):
    pool = spied.pool
    assert pool.cluster["D_twin"] == pool.cluster["A_plain0"] == "A_plain0"
    assert pool.fold["D_twin"] == pool.fold["A_plain0"]


def test_no_atlas_has_seen_its_fold(spied):
    pool, parted, vectors, atlases = spied.pool, spied.parted, spied.vectors, spied.atlases
    place = {}
    for name, rows in parted.corpora.items():
        for row in rows:
            place.setdefault(vectors[row].tobytes(), set()).add(name)
    assert len(atlases) == 3
    for fold, ((seen, account, reference, texts), _) in enumerate(atlases):
        names = [place[row.tobytes()] for row in seen]
        assert set().union(*names) == {name for name in pool.corpora if pool.fold[name] != fold}
        assert texts is None
        # The reference mass is of the ordinary corpora outside the fold, every family an account.
        outside = {pool.cluster[name] for name in pool.corpora if pool.fold[name] != fold}
        assert len(np.unique(account)) == len(outside)
        for row, is_reference in enumerate(reference):
            assert is_reference == any(name[0] in "DE" for name in names[row]) or len(names[row]) > 1


def test_no_model_has_seen_its_fold(spied):
    pool, parted, spy, atlases, cards = spied.pool, spied.parted, spied.spy, spied.atlases, spied.cards
    per_fold = 1 + len(ABLATIONS) + len(CURVE)
    assert len(cards) == 3 * per_fold
    for number, (labelled, options) in enumerate(cards):
        fold = number // per_fold
        assert options["atlas_id"] == atlases[fold][1].id
        assert {pool.fold[str(name)] for name in labelled.cluster} == {0, 1, 2} - {fold}
        assert set(labelled.fold.tolist()) == {0, 1, 2} - {fold}
        here = {pool.cluster[name] for name in pool.corpora if pool.fold[name] == fold}
        assert not here & set(labelled.cluster.tolist())
        assert not (labelled.harvest & ~labelled.pure).any()
    for fold, (told, asked) in enumerate(zip(spy.told, spy.asked, strict=True)):
        learnt = corpora_of_rows(pool, parted, np.unique(np.concatenate(told.rows)))
        met = corpora_of_rows(pool, parted, np.unique(np.concatenate(asked.rows)))
        assert {pool.fold[name] for name in learnt} == {0, 1, 2} - {fold}
        assert {pool.fold[name] for name in met} == {fold}
        instructions = {parted.texts[row] for rows in told.rows for row in rows}
        assert not instructions & {parted.texts[row] for rows in asked.rows for row in rows}


def test_learning_curves_learn_from_fewer_corpora(spied):
    cards = spied.cards
    per_fold = 1 + len(ABLATIONS) + len(CURVE)
    for start in range(0, len(cards), per_fold):
        (whole, options), *ablations, quarter, half = cards[start : start + per_fold]
        assert "parts" not in options
        assert [options["parts"] for _, options in ablations] == list(ABLATIONS.values())
        counts = [len(set(labelled.cluster[labelled.harvest])) for labelled, _ in (quarter, half)]
        assert 2 <= counts[0] <= counts[1] < len(set(whole.cluster[whole.harvest]))


def test_baselines_learn_from_harvests_and_customers_only(spied):
    parted, scored, spy = spied.parted, spied.scored, spied.spy
    for fold, told in enumerate(spy.told):
        weights = [told.weight[told.harvest].sum(), told.weight[~told.harvest].sum()]
        assert weights[0] == pytest.approx(weights[1])
        outside = scored.fold != fold
        allowed = {
            tuple(parted.whole[parted.offsets[account] : parted.offsets[account + 1]])
            for account in np.flatnonzero(outside & (scored.pure | np.isin(scored.kind, BENIGN_KINDS)))
        }
        assert {tuple(rows) for rows in told.rows} <= allowed
    assert [len(asked.rows) for asked in spy.asked] == [int((scored.fold == fold).sum()) for fold in range(3)]


def test_scored_is_the_cast(spied):
    pool, drawn, scored = spied.pool, spied.drawn, spied.scored
    assert scored.methods == tuple(sorted([DETECTOR, *ABLATIONS, *CURVE, PROBE, "spy"]))
    assert scored.prompts.tolist() == drawn.size.tolist()
    assert all(np.isfinite(values).all() for values in scored.scores.values())
    for account, names in enumerate(scored.corpora):
        assert scored.cluster[account] == pool.cluster[names[0]]
        assert {pool.fold[name] for name in names} == {int(scored.fold[account])}
        tongues = {pool.language[name] for name in names}
        assert scored.language[account] == (tongues.pop() if len(tongues) == 1 else "")
    split = scored.campaign >= 0
    assert (split == np.char.startswith(scored.rung, "split")).all()
    for campaign in np.unique(scored.campaign[split]):
        mine = scored.campaign == campaign
        assert len(set(scored.fold[mine].tolist())) == len(set(scored.rung[mine].tolist())) == 1
    assert set(scored.archetype.tolist()) <= {
        "task_use", "mixed_product", "personal_use", "multi_tenant", "data_processing", "evaluation_run",
        "red_team_research", "harvesting",
    }  # fmt: skip


@pytest.mark.slow
def test_judging_some_sizes_only_changes_no_score(spied):
    pool, drawn, parted, vectors, scored, *_ = spied
    settings = replace(SETTINGS, judged=(100,))
    some = run_benchmark(pool, drawn, parted, vectors, WordsEncoder(), settings=settings, baselines=[])
    same = scored.take(scored.prompts == 100)
    assert some.accounts == same.accounts < scored.accounts
    assert np.array_equal(some.trajectory, same.trajectory)
    assert np.array_equal(some.archetype, same.archetype)
    for method in some.methods:
        assert np.array_equal(some.scores[method], same.scores[method])


def test_scores_have_the_intercept_of_their_fold():
    """Folds are put together: a score that lacked its model's intercept would not be comparable."""
    card = a_scorecard()
    held = labelled_accounts(accounts=6, seed=3).features
    odds = 1 / (1 + np.exp(-card.log_odds(held)))
    assert card.intercept != 0
    assert odds == pytest.approx(card.score(card.points(held)))


def test_no_training_account_lies_on_a_reference_that_its_own_family_is_in(spied):
    """The corpora that an account is made of are in the reference; its features must not see them there."""
    pool, drawn, parted, vectors = spied.pool, spied.drawn, spied.parted, spied.vectors
    fold, ((_, atlas), (labelled, _)) = 0, (spied.atlases[0], spied.cards[0])
    truth = benchmark._truth(pool, drawn)
    train = benchmark._training(drawn, truth, fold, SETTINGS)
    placed = replace(benchmark._distinct(parted, vectors), cells=atlas.assign(vectors))
    novelty = benchmark._novelty(parted, placed, silent)
    rows, family, reference = benchmark.corpus_contents(pool, parted, fold)
    inside = set(family[reference].tolist())
    own = [
        {pool.cluster[name] for name in drawn.sampled[t].corpora} & inside for t in drawn.trajectory[train]
    ]

    def by_mass_of(places, out):
        kept = reference & ~np.isin(family, list(out))
        mass = reference_mass(atlas, placed.cells[rows[kept], -1], family[kept])
        return benchmark._features(parted, train[places], placed, novelty, mass)

    leaks = 0
    for out in {frozenset(families) for families in own}:
        places = np.array([i for i, families in enumerate(own) if families == out])
        expected = by_mass_of(places, out)
        # Some of the accounts were measured in other company: the last digits may differ.
        found = labelled.features.named[places]
        np.testing.assert_allclose(found, expected.named, rtol=1e-9, atol=1e-9)
        for name, x in expected.vectors.items():
            np.testing.assert_allclose(labelled.features.vectors[name][places], x, rtol=1e-6)
        leaky = by_mass_of(places, ())
        if out:
            same = np.isclose(leaky.named, expected.named, equal_nan=True).all(axis=1)
            leaks += int((~same).sum())
    ordinary = sum(bool(families) for families in own)
    assert ordinary > 20
    assert leaks > 0.9 * ordinary, (
        "with its own mass an account's features would be others, and this would fail"
    )


@pytest.fixture(scope="module")
def outcome(folder, tmp_path_factory):
    """One run through the command line with a cache of vectors: (place, standard output)."""
    place = tmp_path_factory.mktemp("outcome")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "load_encoder", lambda config, **_: WordsEncoder())
        done = CliRunner().invoke(
            app,
            [str(word) for word in ("evaluate", folder, place / "out", *SMALL, *TWO, "--cache", place / "v")],
        )
    assert done.exit_code == 0, done.output
    return place, done.output


def test_files_and_table(outcome, folder):
    place, printed = outcome
    assert {file.name for file in (place / "out").iterdir()} == {
        "accounts.parquet",
        "benchmark.html",
        "results.json",
    }
    assert "on replayed public corpora" in printed
    for name in (DETECTOR, "mean embedding", "volume", PROBE):
        assert name in printed
    results = json.loads((place / "out" / "results.json").read_text())
    settings = results["settings"]
    assert settings["corpora"] == {"A": 6, "B": 4, "C": 3, "D": 9, "E": 4}
    assert settings["encoder_id"] == WordsEncoder.id
    assert (settings["folds"], settings["seed"], settings["detector"]) == (3, 1, DETECTOR)
    assert settings["variants"] == [*ABLATIONS, *CURVE]
    assert settings["probes"] == [PROBE]
    assert set(settings["versions"]) == {"coverage_lab", "numpy", "scikit-learn", "faiss"}
    roles = {figures["method"]: figures["role"] for figures in results["figures"]}
    assert {name for name, role in roles.items() if role == "baseline"} == {"volume", "mean embedding"}
    assert DETECTOR in (place / "out" / "benchmark.html").read_text()


def test_accounts_table_has_scores_and_no_text(outcome, folder):
    place, _ = outcome
    table = pq.read_table(place / "out" / "accounts.parquet")
    assert table.column_names[:11] == [
        "kind", "rung", "prompts", "corpora", "cluster", "language", "fold", "campaign", "trajectory",
        "archetype", "p_value",
    ]  # fmt: skip
    assert set(table.column_names[11:]) == {DETECTOR, *ABLATIONS, *CURVE, PROBE, "volume", "mean embedding"}
    assert all(table[name].null_count == 0 for name in table.column_names)
    assert table["volume"].to_pylist() == table["prompts"].to_pylist()
    written = {word for one in collection() for text in one.prompts[:20] for word in text.split()}
    held = (place / "out" / "accounts.parquet").read_bytes() + (place / "out" / "results.json").read_bytes()
    assert not [word for word in written if word.startswith("q") and word.encode() in held]
    for vectors in (place / "v").iterdir():
        assert not [
            word for word in written if word.startswith("q") and word.encode() in vectors.read_bytes()
        ]


def aucs(table, method, rungs, kinds, size):
    rows = [row for row in table.to_pylist() if row["prompts"] == size]
    kept = [row for row in rows if row["rung"] in rungs or row["kind"] in kinds]
    return roc_auc_score([row["rung"] in rungs for row in kept], [row[method] for row in kept])


def test_an_easy_case_is_told_and_length_tells_nothing(outcome):
    table = pq.read_table(outcome[0] / "out" / "accounts.parquet")
    # Constant instructions change the length, everything else has one length and both languages.
    rungs, kinds = ("in_order", "shuffled", "deduplicated", "paced"), ("task", "product", "multi_tenant")
    assert aucs(table, DETECTOR, rungs, kinds, 100) > 0.95
    assert aucs(table, "coverage shape alone", rungs, kinds, 100) > 0.8
    assert aucs(table, "volume", rungs, kinds, 100) == 0.5
    assert abs(aucs(table, PROBE, rungs, kinds, 100) - 0.5) < 0.15


@pytest.mark.slow
def test_the_probe_sees_length_where_there_is_some(tmp_path, words, capsys):
    made = [
        replace(one, prompts=tuple(f"{text} {'and so on ' * 4}" for text in one.prompts))
        if one.kind == "A"
        else one
        for one in collection()
    ]
    folder = write_corpora(tmp_path / "corpora", made)
    assert call(capsys, "evaluate", folder, tmp_path / "out", *SMALL, "--no-baselines")[0] == 0
    table = pq.read_table(tmp_path / "out" / "accounts.parquet")
    assert aucs(table, PROBE, ("in_order", "shuffled"), ("task", "product", "multi_tenant"), 100) > 0.95
    assert set(table.column_names[11:]) == {DETECTOR, *ABLATIONS, *CURVE, PROBE}
    assert json.loads((tmp_path / "out" / "results.json").read_text())["lead"] is None


@pytest.mark.slow
def test_a_second_run_gives_the_same_bytes_and_encodes_nothing_twice(
    outcome, folder, tmp_path, words, capsys
):
    place, _ = outcome
    code, _, err = call(capsys, "evaluate", folder, tmp_path, *SMALL, *TWO, "--cache", place / "v")
    assert (code, err) == (0, "")
    for name in ("results.json", "accounts.parquet", "benchmark.html"):
        assert (tmp_path / name).read_bytes() == (place / "out" / name).read_bytes(), name
    texts = {text for one in collection() for text in one.prompts}
    assert not texts & set(words.encoded), "the cache has them all"
    code, _, _ = call(
        capsys, "evaluate", folder, tmp_path, *SMALL, *TWO, "--cache", place / "v", "--seed", 2, "--overwrite"
    )
    assert code == 0
    assert (tmp_path / "results.json").read_bytes() != (place / "out" / "results.json").read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--folds", 99), 2, "folds: expected 2 to 26"),
        (("--folds", 6), 2, "outside fold"),
        (("--baseline", "PRADO"), 2, "baseline 'PRADO': expected one of volume"),
        (("--baseline", "PRADA", "--no-baselines"), 2, "can't be given together"),
        (("--cells", "4,16"), 2, "--cells '4,16': expected three numbers"),
        (("--cells", "4,16,90000"), 2, "cells: expected at most"),
        (("--judge", "a"), 2, "--judge 'a': expected numbers"),
        (("--judge", "100,1000"), 2, "judge: expected some of 50, 100, 250"),
        (("--together", "missing.txt"), 2, "together missing.txt"),
    ],
)
def test_bad_options_are_refused_in_one_line_before_encoding(
    folder, tmp_path, words, capsys, options, code, told
):
    if options == ("--folds", 6):
        folder = write_corpora(
            tmp_path / "few", [corpus(k, f"x{i}", 60) for k, n in (("A", 2), ("D", 4)) for i in range(n)]
        )
    ended, out, err = call(capsys, "evaluate", folder, tmp_path / "out", *SMALL, *options)
    assert (ended, out) == (code, "")
    assert told in err
    assert err.count("\n") == 1
    assert words.encoded == []


def test_folders_that_are_refused(outcome, folder, tmp_path, words, capsys):
    place, _ = outcome
    code, _, err = call(capsys, "evaluate", folder, place / "out", *SMALL)
    assert code == 5
    assert "holds another evaluation; give another folder or --overwrite" in err
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = call(capsys, "evaluate", folder, tmp_path, *SMALL, "--overwrite")
    assert (code, "'notes.txt'" in err) == (5, True)
    code, _, err = call(capsys, "evaluate", folder, tmp_path / "notes.txt", *SMALL)
    assert (code, "is a file" in err) == (5, True)
    code, _, err = call(capsys, "evaluate", tmp_path, tmp_path / "out", *SMALL)
    assert (code, "no file named" in err) == (3, True)
    assert words.encoded == []


def test_missing_extras_are_named(folder, tmp_path, monkeypatch, capsys):
    def missing(config, **_):
        raise MissingExtraError("torch", "transformer", "the MiniLM encoder")

    monkeypatch.setattr(evaluation, "load_encoder", missing)
    code, _, err = call(capsys, "evaluate", folder, tmp_path / "out", *SMALL)
    assert (code, "pip install 'coverage-lab[transformer]'" in err) == (2, True)


@pytest.mark.slow
def test_options_reach_the_encoder_and_the_cache(folder, tmp_path, monkeypatch, capsys):
    asked = []

    def load(config, **_):
        asked.append(config)
        encoder = WordsEncoder()
        encoder.precision = config.precision
        return encoder

    monkeypatch.setattr(evaluation, "load_encoder", load)
    small = (*SMALL, "--no-baselines", "--rows", 60, "--longest", 50, "--accounts", 12)
    words = ("--encoder", "minilm", "--precision", "bfloat16", "--cache", tmp_path / "v")
    assert call(capsys, "evaluate", folder, tmp_path / "out", *small, *words)[0] == 0
    assert asked == [EncoderConfig(name="minilm", precision="bfloat16")]
    assert [entry.name for entry in (tmp_path / "v").iterdir()] == ["bfloat16"]


def test_baselines_have_names_of_their_own():
    names = [baseline.name for baseline in BASELINES]
    assert len(names) == len(set(names))
    assert not set(names) & {DETECTOR, PROBE, *ABLATIONS, *CURVE}


@pytest.mark.slow
def test_corpora_without_variety_still_give_finite_scores():
    """One prompt said over and over: every spread is 0, many measures are not defined."""
    corpora = [
        replace(one, prompts=one.prompts[:1] * len(one.prompts))
        if one.name in ("A_plain1", "D_plain2")
        else one
        for one in collection()
    ]
    names = [one.name for one in corpora]
    pool = build_prompt_pool(
        corpora,
        rows=200,
        fold={name: i % 2 for i, name in enumerate(names)},
        cluster={name: name for name in names},
    )
    drawn = draw_benchmark_accounts(pool, accounts=30, repeats=1, longest=60, seed=1)
    encoder = WordsEncoder()
    parted = part_accounts(pool, drawn)
    vectors = VectorStore(encoder, None).encode(parted.texts)
    scored = run_benchmark(pool, drawn, parted, vectors, encoder, settings=SETTINGS, baselines=BASELINES)
    assert all(np.isfinite(values).all() for values in scored.scores.values())
    assert {"A_plain1", "D_plain2"} <= set(scored.corpus.tolist())


def test_too_few_corpora_are_refused():
    corpora = [corpus("A", "one", 60), corpus("A", "two", 60), corpus("D", "one", 60), corpus("D", "two", 60)]
    fold = {"A_one": 0, "A_two": 1, "D_one": 0, "D_two": 1}
    pool = build_prompt_pool(corpora, rows=60, fold=fold, cluster={name: name for name in fold})
    drawn = draw_benchmark_accounts(pool, accounts=8, repeats=1, longest=60, seed=0)
    parted = part_accounts(pool, drawn)
    vectors = VectorStore(WordsEncoder(), None).encode(parted.texts)
    with pytest.raises(
        ConfigError, match="outside fold 1 there are 1 clusters of harvests and 1 of ordinary"
    ):
        run_benchmark(pool, drawn, parted, vectors, WordsEncoder(), settings=SETTINGS, baselines=[])


def test_the_cache_keeps_vectors_not_text(tmp_path):
    first, texts = WordsEncoder(), ["alpha beta", "gamma delta", "alpha beta"]
    fresh = VectorStore(first, tmp_path).encode(texts)
    assert first.encoded == texts[1:] or sorted(first.encoded) == ["alpha beta", "gamma delta"]
    assert np.allclose(fresh, WordsEncoder().encode(texts), atol=1e-3)
    assert np.allclose(np.linalg.norm(fresh, axis=1), 1, atol=1e-6)
    second = WordsEncoder()
    again = VectorStore(second, tmp_path).encode([*texts, "new"])
    assert second.encoded == ["new"]
    assert again[:3].tobytes() == fresh.tobytes()
    other = WordsEncoder()
    other.id = "0" * 64
    VectorStore(other, tmp_path).encode(texts)
    assert len(other.encoded) == 2, "vectors of another encoder are never met"
    assert not list(tmp_path.glob("*.unfinished"))


def test_caches_that_can_not_be_used(tmp_path):
    encoder = WordsEncoder()
    VectorStore(encoder, tmp_path).encode(["alpha beta"])
    (part,) = tmp_path.iterdir()
    whole = part.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"not a file of ours"):
        part.write_bytes(broken)
        with pytest.raises(ConfigError, match="not a file of vectors"):
            VectorStore(encoder, tmp_path)
    part.write_bytes(whole)
    wider = WordsEncoder()
    wider.dim = 25
    with pytest.raises(ConfigError, match="expected vectors of 25 numbers"):
        VectorStore(wider, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="can't be written"):
        VectorStore(encoder, tmp_path / "file" / "deep").encode(["alpha"])
