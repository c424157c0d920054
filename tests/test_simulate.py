"""The simulated day: the same to the byte from one seed, of the promised shape, and not of one mould."""

import datetime
import itertools
import re
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coverage_lab.errors import ConfigError, OutputError
from coverage_lab.simulate import harvest as harvests
from coverage_lab.simulate import simulate_day, write_day
from coverage_lab.simulate.grammar import Grammar, parse, tidy
from coverage_lab.simulate.kinds import KINDS
from coverage_lab.simulate.pacing import by_the_hour, one_run, sittings, steady
from coverage_lab.simulate.persona import Persona
from coverage_lab.simulate.purposes import Voice, common, purposes
from coverage_lab.simulate.variety import Said

DATE = datetime.date(2026, 1, 15)
BANKS = ("work_text", "work_code", "work_shop", "person_home", "person_life", "languages", "red_team")


@pytest.fixture(scope="module")
def day():
    return simulate_day(seed=0)


@pytest.fixture(scope="module")
def prompts(day):
    """Account → its prompts in order of time."""
    found = defaultdict(list)
    for account, prompt in zip(*(day.traffic[c].to_pylist() for c in ("account_id", "prompt")), strict=True):
        found[account].append(prompt)
    return found


@pytest.fixture(scope="module")
def kind(day):
    return dict(zip(*(day.truth[c].to_pylist() for c in ("account_id", "kind")), strict=True))


def constant_shell(texts):
    """Whether a program sends one instruction before every payload."""
    return len({text.split("\n\n")[0] for text in texts}) == 1


def six_words(text):
    return tuple(text.lower().split()[:6])


def four_grams(texts):
    grams = Counter()
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        grams.update(zip(words, words[1:], words[2:], words[3:], strict=False))
    return grams


def test_same_seed_gives_the_same_bytes(tmp_path, day):
    first = write_day(day, tmp_path / "a")
    second = write_day(simulate_day(seed=0), tmp_path / "b")
    assert [path.name for path in first] == ["traffic.parquet", "truth.parquet"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_other_seeds_give_other_accounts(day):
    other = simulate_day(seed=1)
    mine, theirs = (set(d.traffic["prompt"].to_pylist()) for d in (day, other))
    assert len(mine & theirs) < 0.05 * min(len(mine), len(theirs))
    assert set(day.truth["account_id"].to_pylist()) != set(other.truth["account_id"].to_pylist())
    assert not set(day.traffic["payment_hash"].to_pylist()) & set(other.traffic["payment_hash"].to_pylist())


def test_columns_and_truth_apart(tmp_path, day):
    traffic, truth = write_day(day, tmp_path)
    names = pq.read_schema(traffic).names
    assert names == [
        "account_id", "timestamp", "prompt", "request_id", "session", "end_user", "tokens_in", "tokens_out",
        "network_hash", "payment_hash", "system_prompt_hash",
    ]  # fmt: skip
    assert pq.read_schema(traffic).field("timestamp").type == pa.timestamp("us", tz="UTC")
    assert pq.read_schema(truth).names == ["account_id", "kind", "group"]
    ids = " ".join(day.truth["account_id"].to_pylist())
    assert not [name for name in KINDS if name in ids]
    assert day.traffic["prompt"].null_count == 0
    assert len(set(day.traffic["request_id"].to_pylist())) == day.traffic.num_rows
    # The order of the accounts in the truth says nothing about their kind.
    kinds = day.truth["kind"].to_pylist()
    assert sum(a != b for a, b in itertools.pairwise(kinds)) > len(kinds) / 3


@pytest.mark.parametrize("accounts", [20, 60, pytest.param(100, marks=pytest.mark.slow)])
def test_every_kind_is_there(accounts):
    day = simulate_day(seed=3, accounts=accounts)
    kinds = Counter(day.truth["kind"].to_pylist())
    assert sum(kinds.values()) == accounts
    assert set(kinds) == set(KINDS)
    assert kinds["split_harvest"] % 10 == 0
    ordinary = kinds["task"] + kinds["product"] + kinds["person"]
    assert ordinary > accounts / 2 or accounts < 40
    assert set(day.traffic["account_id"].to_pylist()) == set(day.truth["account_id"].to_pylist())


def test_groups_name_the_campaign_only(day):
    rows = day.truth.to_pylist()
    assert Counter(row["group"] for row in rows if row["kind"] == "split_harvest") == {"campaign-1": 10}
    assert all(row["group"] is None for row in rows if row["kind"] != "split_harvest")
    parts = {row["account_id"] for row in rows if row["group"]}
    traffic = day.traffic.select(["account_id", "payment_hash"]).group_by(["account_id", "payment_hash"])
    cards = Counter(
        row["payment_hash"] for row in traffic.aggregate([]).to_pylist() if row["account_id"] in parts
    )
    assert cards.most_common(1)[0][1] == 4


def test_sizes(day, prompts, kind):
    assert 15_000 < day.traffic.num_rows < 30_000
    for account, texts in prompts.items():
        low, high = (300, 700) if kind[account] == "split_harvest" else (60, 1500)
        assert low <= len(texts) <= high, kind[account]
    words = np.array([len(text.split()) for texts in prompts.values() for text in texts])
    assert words.min() <= 3
    assert words.max() >= 120
    assert np.percentile(words, 5) < 8 < 25 < np.percentile(words, 95)


def test_times_are_sorted_and_within_the_day(day):
    times = day.traffic["timestamp"].to_pylist()
    assert times == sorted(times)
    assert {time.date() for time in times} == {DATE}
    assert simulate_day(accounts=20, date=datetime.date(2024, 2, 29)).traffic["timestamp"][
        0
    ].as_py().date() == (datetime.date(2024, 2, 29))


def test_harvest_is_steady_and_people_come_in_bursts(day, kind):
    seconds = defaultdict(list)
    for account, time in zip(*(day.traffic[c].to_pylist() for c in ("account_id", "timestamp")), strict=True):
        seconds[account].append(time.timestamp())
    spread = defaultdict(list)
    for account, at in seconds.items():
        gaps = np.diff(at)
        spread[kind[account]].append(gaps.std() / gaps.mean())
    assert max(spread["harvest"] + spread["split_harvest"]) < 0.7  # gamma of shape 6: 0.41
    assert min(spread["person"]) > 1.5  # a Poisson process: 1


def test_only_the_reseller_names_end_users(day, kind):
    users = defaultdict(set)
    for account, user in zip(*(day.traffic[c].to_pylist() for c in ("account_id", "end_user")), strict=True):
        users[kind[account]].add(user)
    assert 50 <= len(users.pop("multi_tenant")) <= 300
    assert all(named == {None} for named in users.values())


def test_exact_repeats_are_few_and_none_in_harvests(prompts, kind):
    repeats = defaultdict(list)
    for account, texts in prompts.items():
        repeats[kind[account]].append(1 - len(set(texts)) / len(texts))
    assert max(repeats["harvest"] + repeats["split_harvest"] + repeats["evaluation_run"]) == 0
    assert max(repeats["person"] + repeats["product"] + repeats["multi_tenant"]) < 0.05
    assert max(repeats["task"]) < 0.08
    assert sum(repeats["product"]) > 0  # people do retry


def test_a_split_bank_overlaps_nowhere(prompts, kind):
    texts = [text for account in prompts if kind[account] == "split_harvest" for text in prompts[account]]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("seed", [0, pytest.param(11, marks=pytest.mark.slow)])
def test_no_opening_is_a_mould(seed):
    day = simulate_day(seed=seed)
    kind = dict(zip(*(day.truth[c].to_pylist() for c in ("account_id", "kind")), strict=True))
    texts = defaultdict(list)
    for account, prompt in zip(*(day.traffic[c].to_pylist() for c in ("account_id", "prompt")), strict=True):
        texts[account].append(prompt)
    for account, own in texts.items():
        if kind[account] in {"person", "product", "harvest", "split_harvest", "multi_tenant"}:
            (words, count), *_ = Counter(six_words(text) for text in own).most_common(1)
            assert count < 0.03 * len(own), (kind[account], words)
        elif kind[account] == "task" and constant_shell(own):
            payloads = [text.split("\n\n", 1)[1] for text in own]
            assert len(set(payloads)) > 0.9 * len(payloads)


def test_distinct_four_grams(prompts, kind):
    """Thresholds lie below what seeds 0, 1 and 2 measured."""
    free = {a: t for a, t in prompts.items() if not constant_shell(t)}
    for name, least in (("person", 0.6), ("product", 0.55), ("harvest", 0.6), ("multi_tenant", 0.65)):
        grams = four_grams({text for account in free if kind[account] == name for text in free[account]})
        assert len(grams) / grams.total() > least, name
    everything = four_grams({text for texts in prompts.values() for text in texts})
    assert len(everything) / everything.total() > 0.45


def test_people_stay_on_their_own_ground_and_harvests_do_not(prompts, kind):
    """Words of four letters and more in a second half that the first half did not have."""
    unseen = defaultdict(list)
    for account, texts in prompts.items():
        texts = texts[:100]
        halves = [
            {word for text in part for word in re.findall(r"[a-z]{4,}", text.lower())}
            for part in (texts[: len(texts) // 2], texts[len(texts) // 2 :])
        ]
        unseen[kind[account]].append(len(halves[1] - halves[0]) / len(halves[1]))
    assert np.median(unseen["person"]) < np.median(unseen["split_harvest"]) - 0.1
    assert np.median(unseen["product"]) < np.median(unseen["split_harvest"])


def test_harvest_breadth():
    assert len(harvests.task_types()) >= 25
    assert min(len(forms) for forms in harvests.task_types().values()) >= 3
    assert len(set(harvests.topics())) >= 400
    bank = harvests.harvest_bank(3000, np.random.default_rng(5))
    assert len(set(bank)) == 3000
    named = sum(any(topic in text for text in bank) for topic in harvests.topics())
    assert named > 0.99 * len(harvests.topics())
    assert harvests.harvest_bank(0, np.random.default_rng(5)) == []


def test_no_template_sign_is_left(prompts):
    left = re.compile(r"#[a-z_0-9]+(\.cap)?#|#\d+-\d+#|\[\d\d%| {2,}\S* *$")
    assert [text for texts in prompts.values() for text in texts if left.search(text)][:3] == []


@pytest.mark.parametrize("purpose", purposes(*BANKS), ids=lambda purpose: purpose.name)
def test_every_bank_of_a_purpose_expands(purpose):
    rng = np.random.default_rng(0)
    grammar = Grammar(purpose.banks)
    own = [entries for symbol, entries in purpose.banks.items() if entries is not common().get(symbol)]
    assert own
    for entry in itertools.chain.from_iterable(own):
        grammar.expand(entry, rng)
    voice = Voice.drawn(purpose, rng)
    assert len({voice.ask(rng) for _ in range(40)}) > 25
    assert voice.follow_up(rng)


def test_grammar_syntax():
    rng = np.random.default_rng(0)
    grammar = Grammar({"fruit": ["apple", "pear"], "pair": ["#x=fruit# and #x#"], "loop": ["#loop#"]})
    assert {grammar.expand("#pair#", rng) for _ in range(30)} == {"Apple and apple", "Pear and pear"}
    assert {grammar.expand("I got #3-5#", rng) for _ in range(60)} == {"I got 3", "I got 4", "I got 5"}
    assert {grammar.expand("n=#10-20/5#.", rng) for _ in range(60)} == {"n=10.", "n=15.", "n=20."}
    assert {grammar.expand("A{b|{c|d}|}", rng) for _ in range(90)} == {"Ab", "Ac", "Ad", "A"}
    kept = sum(grammar.expand("A[20%b]", rng) == "Ab" for _ in range(2000))
    assert 300 < kept < 500  # binomial(2000, 0.2): 400 ± 18
    assert grammar.expand(r"\#1 \[x\] \{y\|z\}", rng) == "#1 [x] {y|z}"
    assert grammar.expand("#t.cap#!", rng, bound={"t": "late"}) == "Late!"
    with pytest.raises(ConfigError, match="no bank"):
        grammar.expand("#plum#", rng)
    with pytest.raises(ConfigError, match="name itself"):
        grammar.expand("#loop#", rng)
    for broken in ("a #b", "a {b", "a [b"):
        with pytest.raises(ConfigError, match="never closed"):
            parse(broken)


def test_narrowed_keeps_this_many_and_fixes_their_wording():
    rng = np.random.default_rng(0)
    grammar = Grammar({"shop": ["shop #1-9#0#0-9##0-9#", "kiosk {a|b|c|d} [x]", "mall #1-99#"]})
    own = grammar.narrowed(rng, {"shop": 2})
    assert len({own.expand("#shop#", rng) for _ in range(60)}) == 2
    assert len({grammar.expand("#shop#", rng) for _ in range(60)}) > 10
    with pytest.raises(ConfigError, match="no bank"):
        grammar.narrowed(rng, {"plum": 2})


def test_tidy():
    assert tidy("give me a apple , a hour and a user .") == "Give me an apple, an hour and a user."
    assert tidy("on the 2th, 3th, 12th and 21th") == "On the 2nd, 3rd, 12th and 21st"
    assert tidy("so  what?  not sure. fine") == "So what? Not sure. Fine"
    assert tidy("x\n    indented") == "x\n    indented"


def test_persona_habits():
    text = "Could you tell me what is wrong with the garden because I am lost?"
    rng = np.random.default_rng(0)
    plain = Persona(0, 0, 0, 0, 0, 0, 0)
    assert plain.write(text, rng) == text
    assert "what's" in Persona(1, 0, 0, 0, 0, 0, 0).write(text, rng)
    assert Persona(0, 1, 0, 0, 0, 0, 0).write(text, rng).endswith(text[1:])
    assert Persona(0, 0, 1, 0, 0, 0, 0).write(text, rng).startswith(text)
    assert Persona(0, 0, 0, 1, 0, 0, 0).write(text, rng) == text.lower()
    assert Persona(0, 0, 0, 0, 1, 0, 0).write(text, rng) == text[:-1]
    assert len({Persona(0, 0, 0, 0, 0, 1, 0).write(text, rng) for _ in range(40)}) > 1
    assert Persona(0, 0, 0, 0, 0, 0, 0.5).write(text, rng) != text
    pasted = "Fix:\nI AM Code."
    assert Persona(1, 0, 1, 1, 1, 1, 1).write(pasted, rng).endswith("\nI AM Code.")


def test_said_redraws_what_is_worn():
    said, texts = Said(100), iter(["a b c d e f 1", "a b c d e f 2", "a b c d e f 3", "new one"])
    assert said.fresh(lambda: next(texts)) == "a b c d e f 1"
    assert said.fresh(lambda: next(texts)) == "new one"
    assert said.may_repeat("new one")
    said.note("new one")
    assert not said.may_repeat("new one")


@pytest.mark.parametrize("count", [1, 2, 500])
def test_pacing_stays_within_the_day(count):
    rng = np.random.default_rng(0)
    for at in (steady(count, rng), one_run(count, rng), by_the_hour(count, rng, zone=9)):
        assert len(at) == count
        assert np.all(np.diff(at) >= 0)
        assert at[0] >= 0
        assert at[-1] < 86_400
    for at in sittings(np.full(40, count), rng, zone=-7):
        assert len(at) == count
        assert np.all(np.diff(at) > 0)
        assert at[0] >= 0
        assert at[-1] < 86_400


def test_errors_are_plain(tmp_path):
    with pytest.raises(ConfigError, match="accounts: expected at least 20, got 19"):
        simulate_day(accounts=19)
    with pytest.raises(ConfigError, match="seed: expected 0 or more, got -1"):
        simulate_day(seed=-1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="expected a writable folder"):
        write_day(simulate_day(accounts=20), tmp_path / "file")


def test_progress_reaches_the_total():
    seen = []
    simulate_day(accounts=20, progress=lambda stage, done, total: seen.append((stage, done, total)))
    assert seen[-1] == ("simulate", 20, 20)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
