"""Drawn accounts: every kind and disguise is what its name says, and nothing of one fold is in another."""

import itertools
import re

import numpy as np
import pytest
from support.written_corpora import collection, corpus

from coverage_lab.errors import ConfigError
from coverage_lab.evaluate.benchmark_accounts import draw_benchmark_accounts
from coverage_lab.evaluate.instructions import PAYLOAD, TRACE
from coverage_lab.evaluate.prompt_pool import PERSON_PROMPTS, PromptPool, build_prompt_pool
from coverage_lab.evaluate.sampler import LEAST, MIXED, PURE, SPLIT, AccountSampler
from coverage_lab.evaluate.scored_accounts import APART_KINDS, BENIGN_KINDS

FOLDS = 3
INNOCENT = (*BENIGN_KINDS, *APART_KINDS)
EVERY = [*((kind, "") for kind in INNOCENT), *(("harvest", rung) for rung in (*PURE, *MIXED, *SPLIT))]


def banked(corpora, *, folds=FOLDS) -> PromptPool:
    """A pool whose folds get the corpora of a kind in turn, by name."""
    by_kind: dict[str, list[str]] = {}
    for one in sorted(corpora, key=lambda one: one.name):
        by_kind.setdefault(one.kind, []).append(one.name)
    fold = {name: place % folds for names in by_kind.values() for place, name in enumerate(names)}
    return build_prompt_pool(corpora, rows=5200, fold=fold, cluster={name: name for name in fold})


@pytest.fixture(scope="module")
def corpora():
    # A pool in every fold that is long enough to be split over a hundred accounts.
    return [*collection(), corpus("A", "long0", 5600), corpus("A", "long1", 5600), corpus("A", "long2", 5600)]


@pytest.fixture(scope="module")
def pool(corpora):
    return banked(corpora)


def most(_, there):
    return there


def at_most(size):
    return lambda _, there: min(size, there)


def drawn(pool, kind, rung, *, size=most, seed=0, times=6, fold=0):
    sampler = AccountSampler(pool, fold=fold, size=size, seed=seed)
    return [sampler.draw(kind, rung) for _ in range(times)]


def home_of(pool: PromptPool) -> np.ndarray:
    """Corpus of each row, wrapped and personal ones too."""
    home = np.full(len(pool.texts), "", dtype="U40")
    for name, own in (*pool.corpora.items(), *pool.payload, *pool.trace, *pool.people):
        home[own] = name
    return home


def test_the_bank_holds_every_prompt_once_in_file_order(pool, corpora):
    for one in corpora:
        if len(one.prompts) <= 5200:
            assert [pool.texts[row] for row in pool.corpora[one.name]] == list(one.prompts)
        else:
            assert len(pool.corpora[one.name]) == 5200
    every = [
        *pool.corpora.values(),
        *(r for _, r in (*pool.payload, *pool.trace, *pool.people)),
    ]
    assert sorted(np.concatenate(every).tolist()) == list(range(len(pool.texts)))


def test_people_are_whole_and_their_corpora_take_turns(corpora):
    made = [*corpora, corpus("E", "rooms", 400, users=5)]
    pool = banked(made, folds=1)
    named = {c.name: c for c in made}
    spoken: dict[str, int] = {}
    for name, rows in pool.people:
        one = named[name]
        texts = [pool.texts[row] for row in rows]
        (who,) = {one.people[one.prompts.index(text)] for text in texts}
        assert texts == [
            text for text, speaker in zip(one.prompts, one.people, strict=True) if speaker == who
        ]
        assert len(texts) >= PERSON_PROMPTS
        spoken[name] = spoken.get(name, 0) + 1
    assert spoken == {"D_forum0": 4, "D_forum1": 4, "D_forum2": 4, "E_rooms": 5}
    assert len({name for name, _ in pool.people[:4]}) == 4


def test_every_template_has_one_place_for_content():
    for template in (*PAYLOAD, *TRACE):
        assert template.count("{}") == 1
        assert len(template.encode()) > 20
    assert len(set(PAYLOAD) | set(TRACE)) == len(PAYLOAD) + len(TRACE)


@pytest.mark.parametrize("folds", [2, *(pytest.param(folds, marks=pytest.mark.slow) for folds in (1, 3, 12))])
def test_instructions_are_never_shared_between_folds(folds):
    # Braces in the content must come through as they are.
    made = [corpus(kind, f"x{i}", 60) for kind in "ABD" for i in range(26)]
    made = [one if i else _with_braces(one) for i, one in enumerate(made)]
    pool = banked(made, folds=folds)
    used: dict[str, set[int]] = {}
    for templates, wrapped in ((PAYLOAD, pool.payload), (TRACE, pool.trace)):
        for name, rows in wrapped:
            contents = {pool.texts[row] for row in pool.corpora[name]}
            found = set()
            for row in rows:
                inside = [
                    (template, match.group(1))
                    for template in templates
                    if (
                        match := re.fullmatch(
                            re.escape(template).replace(r"\{\}", "(.*)"), pool.texts[row], re.S
                        )
                    )
                ]
                (template,) = {template for template, content in inside if content in contents}
                found.add(template)
            assert len(found) == 1, "a product has one instruction"
            used.setdefault(found.pop(), set()).add(pool.fold[name])
    assert used
    assert all(len(folds_of_it) == 1 for folds_of_it in used.values())
    if folds > len(TRACE):
        assert {pool.fold[name] for name, _ in pool.trace} <= set(range(len(TRACE)))


def _with_braces(one):
    prompts = tuple(f"{text} {{}} {{0}} {{name}}" for text in one.prompts)
    return type(one)(one.name, one.kind, prompts, one.people, one.language)


@pytest.mark.parametrize(("kind", "rung"), EVERY)
def test_rows_are_of_the_named_corpora_of_the_fold(pool, kind, rung):
    home = home_of(pool)
    for fold in range(FOLDS):
        sampler = AccountSampler(pool, fold=fold, size=at_most(180), seed=5)
        assert sampler.can(kind, rung), "the collection has every kind in every fold"
        for account in [account for _ in range(4) for account in sampler.draw(kind, rung)]:
            assert (account.kind, account.rung) == (kind, rung)
            assert account.rows.dtype == np.int64
            assert {pool.fold[name] for name in account.corpora} == {fold}
            assert set(home[account.rows]) <= set(account.corpora)
            assert home[account.rows[0]] in account.corpora
            assert (account.campaign >= 1) == (rung in SPLIT)
            assert 0 < len(account.rows) <= 180 or rung.endswith("topic")
            # Time-outs: up to 5% are sent twice; parts of a topic may have four prompts in all.
            assert len(set(account.rows.tolist())) > 0.8 * len(account.rows) - 2


@pytest.mark.parametrize(("kind", "rung"), EVERY)
def test_seeds_decide(pool, kind, rung):
    one, same, other = (drawn(pool, kind, rung, size=at_most(180), seed=seed, times=2) for seed in (1, 1, 2))
    flat = [
        [(p.corpora, p.rows.tolist(), p.campaign, p.end_users) for ps in d for p in ps]
        for d in (one, same, other)
    ]
    assert flat[0] == flat[1]
    assert flat[0] != flat[2]


def test_sizes_are_asked_with_what_there_is(pool):
    for kind, rung in EVERY:
        asked = []

        def size(_, there, asked=asked):
            asked.append(there)
            return min(there, 60)

        (sampled,) = drawn(pool, kind, rung, size=size, times=1)
        assert len(asked) == 1
        if rung not in SPLIT:
            assert len(sampled[0].rows) == min(60, asked[0])


def unsent(rows):
    """Places whose prompt is not a repeat of the one before."""
    return np.flatnonzero(np.concatenate([[True], np.diff(rows) != 0]))


@pytest.mark.parametrize(("kind", "rung"), [("harvest", "in_order"), ("evaluation_run", ""), ("person", "")])
def test_in_order_is_one_stretch_of_the_file(pool, kind, rung):
    for (account,) in drawn(pool, kind, rung, size=at_most(90)):
        fresh = unsent(account.rows)
        assert (account.rows[fresh] - account.rows[0] == fresh).all()
        if kind == "person":
            assert len(fresh) == len(account.rows), "a person's prompts are sent as they were"


def test_shuffled_is_not_in_order(pool):
    for (account,) in drawn(pool, "harvest", "shuffled", size=at_most(200)):
        rising = (np.diff(account.rows) > 0).mean()
        assert 0.3 < rising < 0.7


def test_paced_takes_stretches_from_all_over(pool):
    for (account,) in drawn(pool, "harvest", "paced", size=at_most(200)):
        days = [account.rows[i : i + 10] for i in range(0, 200, 10)]
        for day in days:
            fresh = unsent(day)[1:]
            assert (day[fresh] - day[fresh][0] == fresh - fresh[0]).all(), "ten a day, in order"
        starts = [int(day[-1]) for day in days]
        assert starts != sorted(starts)
        assert np.ptp(account.rows) < 200


def test_deduplicated_leaves_one_prompt_of_each_opening():
    made = [corpus("A", "pool", 300), corpus("D", "shop", 60)]
    twice = [text.replace(text.split()[0], "Write", 1) for text in made[0].prompts]
    again = [" ".join([*text.split()[:5], "otherwise"]) for text in made[0].prompts]
    mixed = tuple(text for three in zip(made[0].prompts, again, twice, strict=True) for text in three)
    made[0] = type(made[0])("A_bank", "A", mixed, (None,) * 900)
    pool = banked(made, folds=1)
    (account,) = drawn(pool, "harvest", "deduplicated", times=1)[0]
    openings = [" ".join(pool.texts[row].lower().split()[:5]) for row in sorted(set(account.rows.tolist()))]
    assert len(openings) == len(set(openings))
    assert 300 * 0.9 < len(openings) <= 600


@pytest.mark.parametrize("rung", MIXED)
def test_mixtures_have_their_share_exactly(pool, rung):
    home = home_of(pool)
    for size in (57, 100, 180):
        for (account,) in drawn(pool, "harvest", rung, size=at_most(size)):
            harvest, cover = account.corpora
            assert (harvest[0], cover[0]) == ("A", "D")
            assert len(account.rows) == size
            assert (home[account.rows] == cover).sum() == round(size * MIXED[rung] / 100)
            halves = [(home[half] == cover).mean() for half in np.array_split(account.rows, 2)]
            assert abs(halves[0] - halves[1]) < 0.4, "mixed, not one after the other"


@pytest.mark.parametrize("rung", SPLIT)
def test_split_accounts_share_nothing_and_one_number(pool, rung):
    parts, way = int(rung.split("_")[1]), rung.split("_")[2]
    campaigns = drawn(pool, "harvest", rung, size=at_most(LEAST), times=2)
    numbers = [{account.campaign for account in sampled} for sampled in campaigns]
    assert numbers == [{1}, {2}]
    for sampled in campaigns:
        assert len({account.corpora for account in sampled}) == 1
        assert len(sampled) == parts or way == "topic"
        rows = [set(account.rows.tolist()) for account in sampled]
        assert sum(map(len, rows)) == len(set.union(*rows)), "disjoint"
        if way != "topic":
            assert {len(account.rows) for account in sampled} == {LEAST}
        spans = sorted((min(own), max(own)) for own in rows)
        ordered = all(one[1] < other[0] for one, other in itertools.pairwise(spans))
        assert ordered == (way == "chunk")


def test_split_by_topic_parts_words():
    """Two vocabularies that are dealt by topic end up apart; dealt at random they don't."""
    texts = tuple(f"{('apple pear plum' if i % 2 else 'steel iron zinc')} number {i}" for i in range(600))
    made = type(corpus("A", "x", 1))("A_x", "A", texts, (None,) * 600)
    pool = banked([made], folds=1)
    mixed = {}
    for way in ("topic", "random"):
        (sampled,) = drawn(pool, "harvest", f"split_5_{way}", times=1)
        shares = [np.mean(["apple" in pool.texts[row] for row in account.rows]) for account in sampled]
        mixed[way] = np.mean([min(share, 1 - share) for share in shares])
    assert mixed["topic"] < 0.02
    assert mixed["random"] > 0.3


def test_products_have_two_to_six_purposes_with_revisits(pool):
    home = home_of(pool)
    for (account,) in drawn(pool, "product", "", size=at_most(400), times=20):
        own = home[account.rows]
        names, counts = np.unique(own, return_counts=True)
        assert 2 <= len(account.corpora) <= 6
        assert set(names) == set(account.corpora)
        assert counts[names == account.corpora[0]] >= counts.max() - 0.05 * len(own)
        switches = (own[1:] != own[:-1]).sum()
        assert switches < 0.3 * len(own)
    assert any(
        (home[p.rows][1:] != home[p.rows][:-1]).sum() > 2 * len(p.corpora)
        for (p,) in drawn(pool, "product", "")
    )


def test_end_users_stay_with_their_prompts(pool):
    some = [account for (account,) in drawn(pool, "multi_tenant", "", times=30)]
    named = [account for account in some if account.end_users is not None]
    assert 5 <= len(named) <= 25
    for account in named:
        assert len(account.end_users) == len(account.rows)
        assert len(set(account.end_users)) >= 10
        again = np.flatnonzero(np.diff(account.rows) == 0)
        assert all(account.end_users[i] == account.end_users[i + 1] for i in again), (
            "who timed out tries again"
        )
    assert any(np.any(np.diff(account.rows) == 0) for account in named)


def test_what_is_not_there_can_not_be_drawn():
    made = [corpus("A", "pool", 240), corpus("D", "shop", 80)]
    sampler = AccountSampler(banked(made, folds=1), fold=None, size=most, seed=0)
    able = {one for one in EVERY if sampler.can(*one)}
    pure = {("harvest", rung) for rung in (*PURE, *MIXED)}
    assert able == {("task", ""), ("payload", ""), *pure}, "240 prompts can't be split over 5 accounts of 50"
    with pytest.raises(ConfigError, match="none to make an account of kind harvest split_5_chunk"):
        sampler.draw("harvest", "split_5_chunk")
    with pytest.raises(ConfigError, match=r"kind product$"):
        sampler.draw("product")


@pytest.fixture(scope="module")
def benchmark(pool):
    return draw_benchmark_accounts(pool, accounts=60, repeats=1, longest=300, seed=4)


def test_benchmark_accounts_has_prefixes_of_whole_trajectories(pool, benchmark):
    home = home_of(pool)
    for account in range(len(benchmark.size)):
        sent = benchmark.sampled[benchmark.trajectory[account]]
        rows = benchmark.rows(account)
        assert len(rows) == benchmark.size[account]
        assert rows.tolist() == sent.rows[: len(rows)].tolist()
        assert {pool.fold[str(name)] for name in home[rows]} == {
            int(benchmark.fold[benchmark.trajectory[account]])
        }
    assert set(benchmark.size.tolist()) == {50, 100, 250}
    assert max(len(sent.rows) for sent in benchmark.sampled) == 300
    for t, sent in enumerate(benchmark.sampled):
        judged = benchmark.size[benchmark.trajectory == t].tolist()
        whole = [n for n in (50, 100, 250) if n <= len(sent.rows)]
        assert judged == (whole[-1:] if sent.campaign >= 0 else whole)


def test_benchmark_accounts_has_every_kind_and_each_harvest_on_every_rung(pool, benchmark):
    assert {(account.kind, account.rung) for account in benchmark.sampled} == set(EVERY)
    for rung in ("in_order", "shuffled", "paced", *MIXED):
        assert sorted(account.corpora[0] for account in benchmark.sampled if account.rung == rung) == sorted(
            pool.names("A", None)
        )


def test_campaigns_have_numbers_of_their_own_over_all_folds(benchmark):
    facts: dict[int, set[tuple[object, ...]]] = {}
    for fold, account in zip(benchmark.fold.tolist(), benchmark.sampled, strict=True):
        if account.campaign >= 0:
            facts.setdefault(account.campaign, set()).add((fold, account.rung, account.corpora))
    assert len(facts) == 2 * len(SPLIT) * FOLDS
    assert all(len(fact) == 1 for fact in facts.values())


@pytest.mark.slow
def test_benchmark_accounts_hangs_on_its_seed(pool, benchmark):
    def rows(one):
        return [account.rows.tolist() for account in one.sampled]

    assert rows(draw_benchmark_accounts(pool, accounts=60, repeats=1, longest=300, seed=4)) == rows(benchmark)
    assert rows(draw_benchmark_accounts(pool, accounts=60, repeats=1, longest=300, seed=6)) != rows(benchmark)


@pytest.mark.parametrize(
    ("made", "options", "told"),
    [
        ([("A", 60), ("D", 60)], {"longest": 20}, "longest: expected at least 50, got 20"),
        ([("A", 60), ("A", 60)], {}, "expected harvests"),
        ([("D", 60), ("E", 60)], {}, "expected harvests"),
        ([("A", 40), ("D", 40)], {}, "expected harvests"),
        ([("A", 60), ("D", 60)], {"sizes": (100, 50)}, "sizes: expected rising"),
    ],
)
def test_casts_that_can_not_be(made, options, told):
    pool = banked([corpus(kind, f"x{i}", prompts) for i, (kind, prompts) in enumerate(made)], folds=2)
    with pytest.raises(ConfigError, match=told):
        draw_benchmark_accounts(pool, **({"accounts": 4, "repeats": 1, "longest": 100, "seed": 0} | options))
