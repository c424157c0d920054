"""What a benchmark run says: typed results, tables, Markdown and the page, from accounts written here."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from scipy import stats
from sklearn.metrics import roc_auc_score
from support.commands import python
from support.scored_day import HOSTILE, PLAIN, SETTINGS, SIZES, day

from coverage_lab.errors import CoverageLabError, OutputError
from coverage_lab.evaluate.benchmark_page import write_page
from coverage_lab.evaluate.plots.style import PALETTE
from coverage_lab.evaluate.results import REPLAYED, Figures, Results
from coverage_lab.evaluate.scored_accounts import BENIGN_KINDS, ScoredAccounts, disguise_order
from coverage_lab.evaluate.summary import summarise
from coverage_lab.evaluate.tables import table


@pytest.fixture(scope="module")
def scored() -> ScoredAccounts:
    return day()


@pytest.fixture(scope="module")
def results(scored: ScoredAccounts) -> Results:
    return summarise(scored, settings=SETTINGS, seed=9)


def figures(results: Results, method: str, size: int) -> Figures:
    (found,) = [each for each in results.figures if (each.method, each.size) == (method, size)]
    return found


def test_masks_and_take(scored: ScoredAccounts):
    assert set(scored.kind[scored.benign].tolist()) == set(BENIGN_KINDS)
    assert set(scored.rung[scored.pure].tolist()) == {"in_order", "shuffled", "paced"}
    assert set(scored.kind[scored.harvest].tolist()) == {"harvest"}
    assert scored.sizes == SIZES
    assert scored.methods == ("half", "length", "old", "older", "ours")
    share = scored.ordinary_share
    assert set(share[scored.pure].tolist()) == {0.0}
    assert set(share[scored.rung == "mixed_90"].tolist()) == {0.9}
    assert np.isnan(share[scored.benign]).all()
    assert np.isnan(share[scored.campaign >= 0]).all()
    part = scored.take(scored.prompts == 100)
    assert part.accounts == int((scored.prompts == 100).sum())
    assert part.corpus.tolist() == scored.corpus[scored.prompts == 100].tolist()
    assert part.scores["ours"].tolist() == scored.scores["ours"][scored.prompts == 100].tolist()


def test_disguises_are_in_order_of_their_numbers():
    rungs = ["split_100_topic", "mixed_90", "split_5_random", "odd", "paced", "mixed_50", "in_order"]
    expected = ["in_order", "paced", "mixed_50", "mixed_90", "split_5_random", "split_100_topic", "odd"]
    assert sorted(rungs, key=disguise_order) == expected


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("language", np.array(["en"]), "language: expected shape"),
        ("corpora", (("a",),), "corpora: expected"),
        ("corpora", "empty", "corpora: expected a corpus for every account"),
        ("scores", {"ours": np.array([1.0])}, r"scores\['ours'\]: expected shape"),
        ("scores", "nan", r"scores\['ours'\]: expected finite scores, got 1 that"),
        ("kind", "wizard", "kind: expected one of .*got 'wizard'"),
        ("rung", "in_order", "rung: expected one for every harvest"),
        ("prompts", 0, "prompts: expected 1 or more, got 0"),
    ],
)
def test_bad_accounts_are_refused_in_one_line(
    scored: ScoredAccounts, field: str, value: object, message: str
):
    if value == "nan":
        value = {"ours": np.r_[np.nan, scored.scores["ours"][1:]]}
    elif value == "empty":
        value = ((), *scored.corpora[1:])
    elif isinstance(value, str | int):
        changed = getattr(scored, field).astype("<U20" if isinstance(value, str) else np.int64)
        changed[0] = value
        value = changed
    with pytest.raises(CoverageLabError, match=message) as caught:
        replace(scored, **{field: value})
    assert "\n" not in str(caught.value)


def test_a_mixture_without_a_percentage_is_refused(scored: ScoredAccounts):
    rung = np.where(scored.rung == "mixed_50", "mixed_half", scored.rung)
    with pytest.raises(CoverageLabError, match="expected mixed_<0 to 100>, got 'mixed_half'"):
        _ = replace(scored, rung=rung).ordinary_share


def test_perfect_scores_give_perfect_figures_and_false_alarms_at_one_percent(scored: ScoredAccounts):
    perfect = np.where(scored.harvest, 5.0, np.linspace(0, 1, scored.accounts))
    found = figures(
        summarise(replace(scored, scores={"ours": perfect}), settings=PLAIN, seed=0), "ours", 1000
    )
    assert (found.auroc, found.tpr_1pct, found.tpr_01pct) == (1.0, 1.0, 1.0)
    assert found.auroc_interval is not None
    assert (found.auroc_interval.low, found.auroc_interval.high) == (1.0, 1.0)
    # 1,000 innocent accounts: ten of them over the threshold, whatever their kind and language.
    for rows in (found.fpr_by_kind, found.fpr_by_language):
        assert sum(row.share * row.accounts for row in rows) == pytest.approx(10, abs=1e-3)
    assert {row.name for row in found.fpr_by_kind} == set(BENIGN_KINDS)
    assert {row.name for row in found.fpr_by_language} == {"", "de", "en"}
    assert {row.name for row in found.flagged_apart} == {"evaluation_run", "red_team"}
    assert {row.share for row in found.tpr_by_corpus} == {1.0}


@pytest.mark.parametrize(
    ("innocent", "one", "permille"), [(99, False, False), (999, True, False), (1000, True, True)]
)
def test_too_few_innocent_accounts_give_no_number(innocent: int, one: bool, permille: bool):
    found = figures(summarise(day(innocent=innocent, sizes=(1000,)), settings=SETTINGS, seed=0), "ours", 1000)
    assert found.auroc is not None
    assert (found.tpr_1pct is not None) == one
    assert (found.threshold_1pct is not None) == one
    assert (found.tpr_1pct_interval is not None) == one
    assert (found.tpr_01pct is not None) == permille
    assert bool(found.fpr_by_kind) == one
    assert bool(found.campaigns) == one


def test_one_cluster_on_a_side_gives_no_interval(scored: ScoredAccounts):
    same = np.where(scored.harvest, "all", scored.cluster)
    found = figures(summarise(replace(scored, cluster=same), settings=SETTINGS, seed=0), "ours", 1000)
    assert found.auroc is not None
    assert found.auroc_interval is None
    assert found.tpr_1pct_interval is None


def test_headline_is_at_1000_or_the_largest_size_with_results(results: Results):
    assert results.headline_size == 1000
    assert summarise(day(sizes=(50, 100)), settings=SETTINGS, seed=0).headline_size == 100
    only_innocent = summarise(
        day().take(np.array([kind in BENIGN_KINDS for kind in day().kind])), settings=SETTINGS, seed=0
    )
    assert only_innocent.headline_size is None
    assert only_innocent.headline() == []
    assert "No size has both" in terminal(only_innocent, 200)


def test_roles_and_the_best_baseline(results: Results):
    headline = results.headline()
    assert [each.role for each in headline] == ["detector", "variant", "baseline", "baseline", "probe"]
    assert [each.method for each in headline[2:4]] == ["old", "older"]
    assert results.best_baseline() == "old"
    assert results.lead is not None
    ours, old = headline[0], headline[2]
    assert results.lead.baseline == "old"
    assert results.lead.difference == pytest.approx(ours.tpr_1pct - old.tpr_1pct, abs=2e-6)
    assert results.lead.interval.low <= results.lead.difference <= results.lead.interval.high


def test_unknown_methods_in_the_settings_are_refused(scored: ScoredAccounts):
    with pytest.raises(CoverageLabError, match="got 'theirs'"):
        summarise(scored, settings=SETTINGS.model_copy(update={"detector": "theirs"}), seed=0)


def test_tables_agree_with_accounts_counted_by_hand(scored: ScoredAccounts, results: Results):
    found = figures(results, "ours", 100)
    at = scored.prompts == 100
    ranked = np.sort(scored.scores["ours"][at & scored.benign])
    threshold = ranked[-11]  # of 1,000, ten lie above
    assert found.threshold_1pct == pytest.approx(threshold, rel=1e-5)
    over = scored.scores["ours"] > threshold
    shares = [
        over[at & scored.pure & (scored.corpus == name)].mean() for name in np.unique(scored.corpus)[:6]
    ]
    assert found.tpr_1pct == pytest.approx(np.mean(shares), abs=1e-6)
    assert [row.share for row in found.tpr_by_corpus] == pytest.approx(sorted(shares), abs=1e-6)
    half = over[at & (scored.rung == "mixed_50")]
    (row,) = [row for row in found.tpr_by_rung if row.name == "mixed_50"]
    assert (row.accounts, row.corpora, row.share) == (6, 6, pytest.approx(half.mean(), abs=1e-6))
    assert [row.name for row in found.tpr_by_ordinary_percent] == ["0", "50", "90"]
    assert found.tpr_by_ordinary_percent[1].share == row.share
    assert found.tpr_by_ordinary_percent[0].accounts == 18
    (campaign,) = found.campaigns
    flagged = [over[scored.campaign == number].sum() for number in range(6)]
    assert (campaign.rung, campaign.campaigns, campaign.accounts) == ("split_5_topic", 6, 30)
    assert campaign.one == pytest.approx(np.mean([each >= 1 for each in flagged]), abs=1e-6)
    assert campaign.half == pytest.approx(np.mean([each >= 3 for each in flagged]), abs=1e-6)
    assert campaign.one_by_chance == pytest.approx(stats.binom.sf(0, 5, 0.01), abs=1e-6)
    languages = {row.name: row for row in found.fpr_by_language}
    german = over[at & scored.benign & (scored.language == "de")]
    assert languages["de"].accounts == german.size
    assert languages["de"].share == pytest.approx(german.mean(), abs=1e-6)


def test_auroc_and_its_interval_against_scikit_learn_on_accounts_drawn_one_cluster_at_a_time(
    scored: ScoredAccounts,
):
    # Corpora that are easily found, and innocent ones that score high, have few accounts: weights matter.
    high = scored.benign & np.array([name[-2:] in ("_0", "_1", "_2", "_3") for name in scored.corpus])
    easy = np.isin(scored.corpus, ("A_four", "A_five", HOSTILE))
    dropped = high & (np.random.default_rng(4).random(scored.accounts) > 0.15)
    dropped |= easy & np.isin(scored.rung, ("shuffled", "paced"))
    shifted = {"ours": scored.scores["ours"] + 3.0 * high}
    scored = replace(scored, cluster=scored.corpus, scores=shifted).take(~dropped)
    found = figures(summarise(scored, settings=PLAIN, seed=9), "ours", 100)
    at = (scored.prompts == 100) & (scored.pure | scored.benign)
    truth, scores = scored.pure[at], scored.scores["ours"][at]
    corpus, cluster = scored.corpus[at], scored.cluster[at]
    counts = dict(zip(*np.unique(corpus, return_counts=True), strict=True))
    weights = np.array([1 / counts[name] for name in corpus.tolist()])
    assert found.auroc == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights), abs=1e-6)
    rng = np.random.default_rng(77)
    drawn = []
    for _ in range(1000):
        rows: list[int] = []
        for side in (truth, ~truth):
            names = np.unique(cluster[side])
            for name in rng.choice(names, size=names.size):
                rows += np.flatnonzero(side & (cluster == name)).tolist()
        drawn.append(roc_auc_score(truth[rows], scores[rows], sample_weight=weights[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.auroc_interval.low == pytest.approx(low, abs=0.03)
    assert found.auroc_interval.high == pytest.approx(high, abs=0.03)
    assert high - low > 0.1


def test_growth_counts_trajectories_at_each_size(scored: ScoredAccounts, results: Results):
    (growth,) = [each for each in results.growth if each.method == "ours"]
    over = {}
    for size in SIZES:
        threshold = np.sort(scored.scores["ours"][(scored.prompts == size) & scored.benign])[-11]
        mine = (scored.prompts == size) & scored.pure
        hits = (scored.scores["ours"][mine] > threshold).tolist()
        over[size] = dict(zip(scored.trajectory[mine].tolist(), hits, strict=True))
    early = np.mean(list(over[100].values()))
    ever = np.mean([over[100][number] or over[1000][number] for number in over[100]])
    assert growth.trajectories == 18
    assert growth.never == pytest.approx(1 - ever, abs=1e-6)
    assert [each.share for each in growth.found_by] == pytest.approx([early, ever], abs=1e-6)
    # Two looks at innocent accounts: more than 1% of them is flagged at one of the two.
    assert growth.innocent_found_by[0].share == pytest.approx(0.01)
    assert 0.01 < growth.innocent_found_by[1].share <= 0.02


def test_sweeps_that_are_innocent_carry_their_own_archetype(results: Results):
    called = {each.kind: each for each in results.archetypes}
    assert called["evaluation_run"].own == 0.8
    assert called["red_team"].shares == {"harvesting": 0.2, "red_team": 0.8}
    assert called["task"].own is None
    assert "harvest" not in called, "nobody asked"


def test_json_has_the_same_bytes_each_time(scored: ScoredAccounts, results: Results):
    text = results.to_json()
    assert summarise(scored, settings=SETTINGS, seed=9).to_json() == text
    order = np.random.default_rng(0).permutation(scored.accounts)
    moved = ScoredAccounts(
        corpora=tuple(scored.corpora[at] for at in order.tolist()),
        scores={name: scored.scores[name][order] for name in reversed(scored.methods)},
        **{
            name: getattr(scored, name)[order]
            for name in (
                *("kind", "rung", "prompts", "cluster", "language"),
                *("fold", "campaign", "trajectory", "archetype", "p_value"),
            )
        },
    )
    assert summarise(moved, settings=SETTINGS, seed=9).to_json() == text
    assert Results.model_validate_json(text) == results
    assert Results.model_validate_json(text).to_json() == text
    raw = json.loads(text)
    assert list(raw) == sorted(raw)
    assert not re.search(r"\d{4}-\d\d-\d\d|seconds|elapsed|created", text)
    assert not re.search(r"\d\.\d{7}", re.sub(r'"threshold_1pct": \S+', "", text)), "more than six decimals"


def test_another_seed_moves_the_intervals_only(scored: ScoredAccounts, results: Results):
    other = summarise(scored, settings=SETTINGS, seed=10)
    ours, theirs = figures(results, "ours", 1000), figures(other, "ours", 1000)
    assert ours.tpr_1pct_interval != theirs.tpr_1pct_interval
    assert ours.model_copy(update={"auroc_interval": None, "tpr_1pct_interval": None}) == theirs.model_copy(
        update={"auroc_interval": None, "tpr_1pct_interval": None}
    )


@pytest.mark.slow
def test_json_and_page_do_not_hang_on_the_hash_seed(results: Results, tmp_path: Path):
    code = (
        "import sys; from pathlib import Path\n"
        "from coverage_lab.evaluate.benchmark_page import write_page\n"
        "from coverage_lab.evaluate.summary import summarise\n"
        "from support.scored_day import SETTINGS, day\n"
        "r = summarise(day(), settings=SETTINGS, seed=9)\n"
        "Path(sys.argv[1]).write_text(r.to_json()); write_page(Path(sys.argv[2]), r)"
    )
    digests = set()
    for seed in ("1", "2"):
        paths = [tmp_path / f"{seed}.json", tmp_path / f"{seed}.html"]
        ended = python(code, *paths, environment={"PYTHONHASHSEED": seed})
        assert ended.returncode == 0, ended.stderr
        digests.add(tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths))
    assert len(digests) == 1
    assert paths[0].read_text() == results.to_json()


def terminal(results: Results, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table(results))
    return console.export_text()


def test_terminal_table_says_its_figures_and_where_they_hold(results: Results):
    text = terminal(results, 80)
    assert REPLAYED in text.splitlines()[0]
    ours = results.headline()[0]
    (row,) = [line for line in text.splitlines() if line.strip().startswith("ours")]
    assert row.split()[1:] == [
        f"{ours.auroc:.3f}",
        f"{ours.tpr_1pct:.2f}",
        f"{ours.tpr_01pct:.2f}",
        f"{figures(results, 'ours', 100).tpr_1pct:.2f}",
    ]
    assert f"{ours.auroc_interval.low:.3f}–{ours.auroc_interval.high:.3f}" in text
    few = summarise(day(innocent=500), settings=SETTINGS, seed=9)
    (row,) = [line for line in terminal(few, 80).splitlines() if line.strip().startswith("ours")]
    assert row.split()[3] == "n/a"


def test_eight_sizes_fit_into_80_columns():
    sizes = (50, 100, 250, 500, 1000, 2000, 5000, 10_000)
    text = terminal(summarise(day(innocent=110, sizes=sizes), settings=SETTINGS, seed=9), 80)
    assert "10k" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def hostile_methods(scored: ScoredAccounts) -> Results:
    """Results whose detector and best baseline are named after `HOSTILE`."""
    scores = {
        HOSTILE: scored.scores["ours"],
        f"{HOSTILE} too": scored.scores["old"],
        "length": scored.scores["length"],
    }
    settings = PLAIN.model_copy(update={"detector": HOSTILE, "versions": {HOSTILE: HOSTILE}})
    return summarise(replace(scored, scores=scores), settings=settings, seed=9)


def test_names_cannot_steer_the_terminal(scored: ScoredAccounts):
    text = terminal(hostile_methods(scored), 200)
    assert "\x1b" not in text
    assert "\u202e" not in text


class Page(HTMLParser):
    """Tags, visible text and scripts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.policy = ""
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._in = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._in = tag
        values = dict(attrs)
        if tag == "script":
            self.scripts.append((values, ""))
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self._in != "style":
            self.text += data


def page_of(results: Results, folder: Path) -> Page:
    path = folder / "benchmark.html"
    write_page(path, results)
    assert [each.name for each in folder.iterdir()] == ["benchmark.html"], "nothing partial stays"
    return Page(path.read_text(encoding="utf-8"))


def test_page_runs_its_own_scripts_only(scored: ScoredAccounts, tmp_path: Path):
    page = page_of(hostile_methods(scored), tmp_path)
    assert len(page.scripts) == 3
    assert "img" not in page.tags
    assert "default-src 'none'" in page.policy
    assert page.policy.count("sha256-") == 2
    assert "\x1b" not in page.text
    assert "<script>document.title" in page.text, "the name is shown, as text"
    data = json.loads(page.scripts[0][1])
    assert page.scripts[0][0]["type"] == "application/json"
    assert "<" not in page.scripts[0][1]
    # Plotly reads a small HTML of its own.
    texts = [text for text in strings(data["plots"]) if "script" in text]
    assert texts
    assert not any("<script" in text or "<img" in text for text in texts)


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings(part)


def test_page_draws_what_the_results_say(results: Results, tmp_path: Path):
    page = page_of(results, tmp_path)
    assert page.text.count(REPLAYED) >= 3
    plots = json.loads(page.scripts[0][1])["plots"]
    assert set(plots) == {"roc", "corpora", "kinds", "languages", "rungs", "sizes"}
    ours = results.headline()[0]
    roc = {trace["text"]: trace for trace in plots["roc"]["data"]}
    at = roc["ours"]["x"].index(0.01)
    assert roc["ours"]["y"][at] == ours.tpr_1pct
    assert (roc["ours"]["x"][-1], roc["ours"]["y"][-1]) == (1.0, 1.0)
    assert plots["roc"]["layout"]["xaxis"]["type"] == "log"
    dots = {trace["name"]: trace for trace in plots["corpora"]["data"] if trace["mode"] == "markers"}
    assert set(dots) == {"ours", "old"}
    assert dots["ours"]["x"] == [row.share for row in ours.tpr_by_corpus]
    assert dots["ours"]["y"] == [5, 4, 3, 2, 1, 0], "lowest first, so at the top"
    bars = plots["kinds"]["data"][0]
    assert bars["x"] == [row.share for row in (*ours.fpr_by_kind, *ours.flagged_apart)]
    assert "several or unknown" in plots["languages"]["data"][0]["y"]
    roles = {text[6:-1] for text in strings(plots) if text.startswith("var(--")}
    assert roles <= set(PALETTE["light"])
    assert set(PALETTE["light"]) == set(PALETTE["dark"])


def test_page_of_nothing_says_so(scored: ScoredAccounts, tmp_path: Path):
    page = page_of(summarise(scored.take(scored.benign), settings=SETTINGS, seed=0), tmp_path)
    assert "No size has both harvests and innocent accounts" in page.text
    assert json.loads(page.scripts[0][1])["plots"] == {}


def test_page_that_cannot_be_written(results: Results, tmp_path: Path):
    with pytest.raises(OutputError, match="can't be written"):
        write_page(tmp_path / "no" / "page.html", results)


CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: run scripts/test, or apt-get install chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1280])
def test_page_in_a_browser_is_quiet_and_fits(
    browser: Browser, scored: ScoredAccounts, tmp_path: Path, width: int
):
    path = tmp_path / "benchmark.html"
    write_page(path, hostile_methods(scored))
    page = browser.new_page(viewport={"width": width, "height": 900})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: problems.append(request.url) if "file:" not in request.url else None)
    page.goto(path.as_uri())
    page.wait_for_function("() => document.querySelectorAll('.plot .main-svg').length >= 12", timeout=20_000)
    assert page.title() != "run"
    assert page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    clipped = page.evaluate(
        """() => [...document.querySelectorAll('.plot')].flatMap((plot) => {
            const box = plot.getBoundingClientRect();
            return [...plot.querySelectorAll('.ytick text, .xtick text, .legendtext, .bartext')]
                .filter((text) => { const b = text.getBoundingClientRect();
                    return b.width && (b.left < box.left - 1 || b.right > box.right + 1); })
                .map((text) => text.textContent);
        })"""
    )
    assert clipped == []
    page.close()
    assert [each for each in problems if not each.startswith("data:")] == []
