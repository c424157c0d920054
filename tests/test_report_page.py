"""The report's page as bytes: what it says, what it escapes, and that it is the same each time."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pytest
from plotly.offline import get_plotlyjs_version
from support.manifests import a_manifest, a_model
from support.report_fixture import HOSTILE_IDS, NOTE, Run, a_reason

from coverage_lab import schema
from coverage_lab.atlas import default_atlas
from coverage_lab.config import ReportConfig
from coverage_lab.errors import CoverageLabError, OutputError
from coverage_lab.files.manifest import Discoveries
from coverage_lab.plotting.html_file import plotly_js, policy
from coverage_lab.report import growth_figure, words, write_report
from coverage_lab.report.accounts_view import Percentiles, anchor_of, explain_command, flag_order
from coverage_lab.report.plots import MAX_POINTS, PALETTE, overview_rows
from coverage_lab.report.run_page import shown_flags
from coverage_lab.schema import FLAGS
from coverage_lab.untrusted.shell import shell_word
from coverage_lab.untrusted.text import json_for_script, plotly_text, shortened, visible


class _Page(HTMLParser):
    """Text outside scripts and styles, the tags with their attributes, and the scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts[-1] += data
        elif self._open != "style":
            self.text += f"{data} "

    def words(self) -> str:
        return " ".join(self.text.split())


def _write(path: Path, made: Run, **changes: Any) -> _Page:
    write_report(path, **(made.arguments() | changes))
    return _Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run() -> Run:
    return Run(ordinary=60, flagged=8)


@pytest.fixture(scope="module")
def page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> _Page:
    return _write(tmp_path_factory.mktemp("page") / "report.html", run)


def test_same_inputs_give_the_same_bytes(run: Run, tmp_path: Path) -> None:
    write_report(tmp_path / "a.html", **run.arguments())
    again = Run(ordinary=60, flagged=8)
    write_report(tmp_path / "elsewhere.html", **again.arguments())
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "elsewhere.html").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.html", "elsewhere.html"]


def test_header_tells_the_run_and_its_limits(page: _Page) -> None:
    text = page.words()
    for statement in (
        "The system recommends; people decide.",
        "Every flag can be appealed.",
        "evidence from behaviour only",
        "What it can’t tell:",
        "1,200 calibration accounts",
        "64 → 1,024 → 16,384 cells",
        "prompt is empty, only white space or only a word for nothing ({}, [], null)",
        "33.50 s",
    ):
        assert statement in text
    full = [attrs["title"] for tag, attrs in page.tags if tag == "code" and "title" in attrs]
    assert "a" * 64 in full


def test_evidence_is_shown_with_its_place_among_ordinary_accounts(
    page: _Page, run: Run, tmp_path: Path
) -> None:
    text = page.words()
    assert "Its mix of topics some, for harvesting +0.50" in text
    assert "P96" in text
    odd = [
        row | {"reason_details": [a_reason("<b>new</b>") | {"percentile": 99.7, "points": -1.0}]}
        for row in run.accounts.to_pylist()
    ]
    changed = pa.Table.from_pylist(odd, schema=schema.ACCOUNTS)
    text = _write(tmp_path / "odd.html", run, accounts=changed).words()
    assert "<b>new</b> some, for harvesting -1.00 over P99" in text


def test_behaviour_is_shown_as_no_part_of_the_score(page: _Page) -> None:
    text = page.words()
    assert "Behaviour no score uses it Whole account Burstiness" in text
    assert "Share of tokens out" in text


def test_page_says_when_opening_words_are_shown(run: Run, page: _Page, tmp_path: Path) -> None:
    assert "this page holds no prompt text." in page.words()
    config = run.run.config.model_copy(update={"report": ReportConfig(show_openings=True)})
    shown = _write(tmp_path / "shown.html", run, run=run.run.model_copy(update={"config": config})).words()
    assert "no prompt text but opening words of flagged accounts" in shown


def test_nothing_is_fetched_and_only_our_scripts_may_run(page: _Page) -> None:
    linked = [
        (tag, attrs[name])
        for tag, attrs in page.tags
        for name in ("src", "href", "action", "srcset", "data")
        if attrs.get(name) and not str(attrs[name]).startswith("#")
    ]
    assert linked == [("link", "data:,")]
    found = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert found is not None
    assert found.startswith("default-src 'none'; script-src 'sha256-")
    script_sources = found.split("script-src")[1].split(";")[0]
    assert "unsafe" not in script_sources
    assert found == policy(*page.scripts[-2:])
    assert "http" not in found


def test_hostile_ids_are_text_and_never_tags(page: _Page) -> None:
    assert "img" not in [tag for tag, _ in page.tags]
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    for account_id in HOSTILE_IDS:
        assert visible(account_id) in page.text
    assert "{{ 7*7 }}" in page.text
    # Data of the eight accounts and of the page, Plotly, ours.
    assert len(page.scripts) == 8 + 1 + 2
    assert "\u202e" not in page.text


def test_hidden_characters_stay_out_of_what_is_shown(page: _Page) -> None:
    shown = page.text + "".join(str(attrs.get("aria-label", "")) for _, attrs in page.tags)
    assert not re.search("[\u0000-\u0008\u000b-\u001f\u202a-\u202e\u2066-\u2069\u2028\u2029]", shown)


def test_flagged_accounts_come_gravest_first(run: Run, page: _Page) -> None:
    shown = [attrs["id"] for tag, attrs in page.tags if tag == "details"]
    order = {"review": 0, "watch": 1, "inconclusive": 2}
    expected = sorted(
        run.flags.to_pylist(),
        key=lambda row: (
            order[row["verdict"]],
            row["p_value"] if row["p_value"] is not None else 2,
            -row["score"],
        ),
    )
    assert shown == [anchor_of(row["account_id"]) for row in expected]
    assert len(shown) == 8


def test_more_flagged_than_shown_says_how_many_and_where(run: Run, tmp_path: Path) -> None:
    page = _write(tmp_path / "report.html", run, max_accounts=3)
    assert len([tag for tag, _ in page.tags if tag == "details"]) == 3
    assert "The first 3 are shown; the other 5 are in flags.parquet" in page.words()


def test_nobody_flagged_is_said_kindly_and_the_overview_stays(tmp_path: Path) -> None:
    page = _write(tmp_path / "report.html", Run(ordinary=5, flagged=0))
    assert "No account was flagged in this run." in page.words()
    assert "details" not in [tag for tag, _ in page.tags]
    assert "overview" in [attrs.get("id") for _, attrs in page.tags]


def test_evidence_beside_the_score_is_on_every_case_and_in_the_table(run: Run, page: _Page) -> None:
    text = page.words()
    for row in run.flags.to_pylist():
        if row["verdict"] == "inconclusive":
            continue
        share, low, high = (row[f"harvested_share{end}"] for end in ("", "_low", "_high"))
        title = words.ARCHETYPES[row["archetype"]]
        assert f"Archetype {title}, probability {row['archetype_probability']:.0%}" in text
        told = "can't be told" if share is None else f"{share:.0%}"
        assert f"Harvested share {told} ({low:.0%} to {high:.0%})" in text
        assert f"q-value {row['q_value']:.3g}" in text
        left = f"{row['score_without_top_cells']:.3f} instead of {row['score']:.3f}"
        assert f"Score without its top topics {left}" in text
    columns = [attrs["data-key"] for tag, attrs in page.tags if tag == "button" and "data-key" in attrs]
    assert columns == ["name", "verdict", "archetype", "prompts", "score", "p", "q", "harvested", "reason"]


def test_unknown_evidence_is_n_a_and_never_a_number(tmp_path: Path) -> None:
    run = Run(ordinary=3, flagged=1)
    evidence = ["archetype_probability", "q_value", "score_without_top_cells"]
    evidence += [f"harvested_share{end}" for end in ("", "_low", "_high")]
    flags = [row | dict.fromkeys(evidence, float("nan")) for row in run.flags.to_pylist()]
    page = _write(tmp_path / "report.html", run, flags=pa.Table.from_pylist(flags, schema=schema.FLAGS))
    text = page.words()
    assert "Archetype harvesting Harvested share n/a q-value n/a Score without its top topics n/a" in text
    assert not re.search(r"\bnan\b", text, flags=re.IGNORECASE)


def test_discoveries_and_their_note_are_said_as_text(page: _Page, tmp_path: Path) -> None:
    assert "chance on average: 6." in page.words()
    assert NOTE in page.words()
    assert "must" not in [tag for tag, _ in page.tags]
    changed = {
        "discoveries": Discoveries(rate=0.1, judged=4, found=0, fewest=1, note=None),
        "model": a_model("m", calibration_extrapolated_below=0.05),
    }
    manifest = Run(ordinary=3, flagged=1).run.model_copy(update=changed)
    other = _write(tmp_path / "report.html", Run(ordinary=3, flagged=1), run=manifest).words()
    assert "None" not in other
    assert "Below 0.05 p-values rest on an extrapolated tail." in other
    assert "extrapolated" not in page.words()


def test_hostile_labels_in_reasons_are_text(tmp_path: Path) -> None:
    run = Run(ordinary=3, flagged=1)
    hostile = "Without its top narrow topic (<script>alert(3)</script>\u202e), the score would be 0.100"
    flags = [row | {"reasons": [hostile], "archetype": "<b>odd</b>"} for row in run.flags.to_pylist()]
    page = _write(tmp_path / "report.html", run, flags=pa.Table.from_pylist(flags, schema=schema.FLAGS))
    assert visible(hostile) in page.text
    assert "Archetype <b>odd</b>, probability" in page.words()
    assert "b" not in [tag for tag, _ in page.tags]


def test_an_empty_run_still_gives_a_page(tmp_path: Path) -> None:
    page = _write(
        tmp_path / "report.html",
        Run(ordinary=1, flagged=0),
        run=a_manifest(model=None, input=""),
        accounts=schema.ACCOUNTS.empty_table(),
        flags=schema.FLAGS.empty_table(),
    )
    assert "No account had a usable prompt in this run." in page.words()
    assert "Rows read 0" in page.words()
    assert "Input not recorded" in page.words()


def test_what_a_run_lacks_is_said_not_hidden(run: Run, tmp_path: Path) -> None:
    manifest = a_manifest(model=None, discoveries=None, timings={}, versions={})
    text = _write(tmp_path / "report.html", run, run=manifest).words()
    assert "Model not recorded not recorded" in text
    assert "None: every row could be used." in text
    assert "Stage: not recorded." in text
    assert "Version: not recorded." in text
    assert "Discoveries, of which" not in text
    assert "The smallest p-value that this calibration can give" not in text


def test_no_p_values_and_no_measures_and_no_curves(tmp_path: Path) -> None:
    run = Run(ordinary=3, flagged=2, p_values=False)
    rows = run.accounts.to_pylist()
    for row in rows:
        row |= dict.fromkeys(schema.MEASURE_COLUMNS)
        row["distinct_fine"] = float("nan")
    page = _write(
        tmp_path / "report.html",
        run,
        accounts=pa.Table.from_pylist(rows, schema=schema.ACCOUNTS),
        curves=schema.CURVES.empty_table(),
        cells=schema.CELLS.empty_table(),
    )
    text = page.words()
    assert "No p-values." in text
    assert text.count("No growth curve was recorded for this account.") == 2
    assert text.count("No cell was recorded for this account.") == 2
    assert not re.search(r"\bnan\b", text, flags=re.IGNORECASE)


def test_percentiles_count_the_others_and_half_the_ties() -> None:
    rows = Run(ordinary=5, flagged=0).accounts.to_pylist()
    for row, score in zip(rows, [0.1, 0.2, 0.2, 0.4, 0.9], strict=True):
        row["score"] = score
    percentiles = Percentiles([{"score": value} for value in (0.4, 0.9, 0.1, 0.2)])
    for batch in pa.Table.from_pylist(rows, schema=schema.ACCOUNTS).to_batches(max_chunksize=2):
        percentiles.count(batch)
    # By hand, over the four others: 0; one below and one tie -> 1.5 of 4; three below; all below.
    assert [percentiles.of("score", value) for value in (0.1, 0.2, 0.4, 0.9)] == [0.0, 37.5, 75.0, 100.0]
    assert percentiles.of("score", None) is None


def test_overview_keeps_every_shown_account_within_the_cap() -> None:
    generator = np.random.default_rng(3)
    ranks = np.zeros(20_000, np.int64)
    rows = overview_rows(ranks, generator.random(20_000), np.array([5, 19_999])).tolist()
    assert {5, 19_999} <= set(rows)
    assert len(rows) == MAX_POINTS
    assert rows == sorted(set(rows))
    assert overview_rows(ranks[:10], generator.random(10), np.array([1])).tolist() == list(range(10))


@pytest.mark.parametrize("name", ["accounts", "curves", "cells", "flags"])
def test_a_table_without_a_column_is_refused_by_name(run: Run, tmp_path: Path, name: str) -> None:
    table = run.arguments()[name].drop_columns(["account_id"])
    with pytest.raises(CoverageLabError, match=rf"^{name}: .*'account_id' is missing"):
        write_report(tmp_path / "report.html", **(run.arguments() | {name: table}))


def test_a_flag_without_an_account_is_refused_in_one_visible_line(run: Run, tmp_path: Path) -> None:
    accounts = run.accounts.filter(pa.compute.not_equal(run.accounts["account_id"], HOSTILE_IDS[2]))
    with pytest.raises(CoverageLabError, match=r"^flags: ") as caught:
        write_report(tmp_path / "report.html", **(run.arguments() | {"accounts": accounts}))
    assert str(caught.value).isprintable()


def test_bad_max_accounts_and_unwritable_path(run: Run, tmp_path: Path) -> None:
    with pytest.raises(CoverageLabError, match="max_accounts: expected 1 or more, got 0"):
        write_report(tmp_path / "report.html", **run.arguments(), max_accounts=0)
    with pytest.raises(OutputError, match="can't be written"):
        write_report(tmp_path / "missing" / "report.html", **run.arguments())


def test_growth_figure_draws_the_account_and_three_nulls(run: Run) -> None:
    account_id = HOSTILE_IDS[0]
    figure = growth_figure(run.curves, account_id, "fine")
    assert isinstance(figure, go.Figure)
    named = {trace.name: trace for trace in figure.data if trace.name}
    assert list(named) == ["Own prompts, shuffled", "Ordinary traffic", "Uniform sweep", "This account"]
    rows = [r for r in run.curves.to_pylist() if r["account_id"] == account_id and r["level"] == "fine"]
    assert list(named["This account"].x) == [row["n"] for row in rows]
    assert list(named["This account"].y) == [row["distinct"] for row in rows]
    assert named["Uniform sweep"].y[-1] == pytest.approx(rows[-1]["uniform_mean"], rel=1e-3)
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(bands) == 3
    assert all(min(band.y) >= 1 for band in bands)
    assert named["Own prompts, shuffled"].line.color == PALETTE["light"]["own"]


def test_growth_figure_refuses_what_is_not_there(run: Run) -> None:
    with pytest.raises(CoverageLabError, match=r"^level: expected one of coarse, middle, fine"):
        growth_figure(run.curves, HOSTILE_IDS[0], "finest")
    with pytest.raises(CoverageLabError, match=r"^account_id: "):
        growth_figure(run.curves, "nobody", "fine")


def test_every_verdict_archetype_level_and_measure_has_words() -> None:
    assert set(words.VERDICTS) == set(schema.VERDICTS)
    assert set(words.ARCHETYPES) == set(schema.ARCHETYPES)
    assert tuple(schema.LEVEL_WORDS) == schema.LEVELS
    expected = {f"{name}_{level}" for name in schema.LEVEL_MEASURES for level in schema.LEVELS}
    assert set(schema.MEASURES) == expected | set(schema.ACCOUNT_MEASURES)
    for name, measure in schema.MEASURES.items():
        assert all(measure), name
        assert "{value}" in measure.statement, name
        assert "{cells}" not in "".join(measure), name
    assert set(PALETTE["light"]) == set(PALETTE["dark"])
    explained = {term for term, _ in words.GLOSSARY}
    assert {words.ARCHETYPE, words.HARVESTED_SHARE, words.Q_VALUE, words.WITHOUT_TOP} <= explained


def test_every_column_of_every_table_has_words() -> None:
    tables = {
        "traffic": schema.TRAFFIC,
        "accounts": schema.ACCOUNTS,
        "curves": schema.CURVES,
        "cells": schema.CELLS,
        "flags": schema.FLAGS,
        "quarantine": schema.QUARANTINE,
    }
    for name, table in tables.items():
        described = schema.describe_columns(name)
        assert [(c.name, c.kind, c.nullable) for c in described] == [
            (f.name, f.type, f.nullable) for f in table
        ]
        assert all(c.meaning == c.meaning.strip().rstrip(".") != "" for c in described), name
    assert schema.meaning("accounts", "new_slope_fine").startswith("share of the narrow topics it reached")
    with pytest.raises(KeyError):
        schema.describe_columns("nothing")


@pytest.mark.parametrize(
    ("value", "format", "shown"),
    [
        (1234.0, "count", "1,234"),
        (0.42, "percent", "42%"),
        (0.004, "percent", "0.4%"),
        (0.0, "percent", "0%"),
        (1.26, "times", "1.3×"),
        (0.126, "times", "0.13×"),
        (126.0, "times", "126×"),
        (-0.6931, "log_times", "0.50×"),
        (3.14, "deviations", "+3.1"),
        (-0.01, "deviations", "+0.0"),
        (1234.5, "deviations", "+1,234"),
        (-0.001, "number", "0.00"),
    ],
)
def test_measures_are_written_for_people(value: float, format: schema.Format, shown: str) -> None:
    assert schema.written(value, format) == shown


def _luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("behind", ["background", "surface"])
def test_contrast_of_text_and_marks(theme: str, behind: str) -> None:
    colours = PALETTE[theme]

    def contrast(name: str) -> float:
        lighter, darker = sorted((_luminance(colours[name]), _luminance(colours[behind])), reverse=True)
        return (lighter + 0.05) / (darker + 0.05)

    # WCAG 2.2, 1.4.3 and 1.4.11; `bar` (a histogram with labelled axes), rule and grid are decoration.
    assert min(contrast(n) for n in ("ink", "muted", "accent", "review", "watch", "inconclusive")) >= 4.5
    assert min(contrast(n) for n in ("clear", "account", "own", "reference", "uniform")) >= 3


def test_visible_spells_out_what_hides() -> None:
    assert visible("a\u202eb\n\x00\u00a0\u2028\U000e0041") == r"a\u202eb\x0a\x00\xa0\u2028\U000e0041"
    assert visible("plain é 漢字 🙂") == "plain é 漢字 🙂"
    assert visible("a\u200db", keep="\u200d") == "a\u200db"
    assert visible("a\u200db") == r"a\u200db"


def test_shortened_keeps_both_ends() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghijk", 10) == "abcde…hijk"
    assert len(shortened("x" * 10_000, 80)) == 80


def test_json_for_script_round_trips_and_cannot_close_a_script() -> None:
    value = {"id": "</script><!--&\u2028\u2029", "n": [1, 2.5, None]}
    text = json_for_script(value)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_for_script(float("nan"))


def test_plotly_text_escapes_its_small_html() -> None:
    assert plotly_text('<b>&lt;</b>"') == '&lt;b&gt;&amp;lt;&lt;/b&gt;"'


@pytest.mark.parametrize(
    "account_id", ["plain", "it's", "a b; rm -rf /", "$(id)", "back\\slash\u202e'", "\x1b[31m", "é\u0085é1"]
)
def test_shell_word_is_one_word_of_the_same_text(account_id: str) -> None:
    word = shell_word(account_id)
    assert word.isprintable()
    out = subprocess.run(
        ["bash", "-c", f"printf '%s|' {word}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert out.stdout.decode() == f"{account_id}|"


def test_explain_command_guards_against_options() -> None:
    assert explain_command("acme") == "coverage-lab explain acme --run OUTPUT"
    assert explain_command("--help") == "coverage-lab explain --run OUTPUT -- --help"


def test_the_gravest_flags_are_shown(run: Run) -> None:
    flags = run.arguments()["flags"]
    for most in (1, 3, flags.num_rows + 5):
        expected = sorted(flags.to_pylist(), key=flag_order)[:most]
        assert shown_flags(flags, max_accounts=most).to_pylist() == expected
    assert shown_flags(FLAGS.empty_table(), max_accounts=3).num_rows == 0


def _data_of(page: _Page) -> Any:
    return json.loads(next(script for script in page.scripts if script.startswith('{"palette"')))


def test_ways_over_the_map_are_drawn_where_the_atlas_is_laid_out(
    run: Run, page: _Page, tmp_path: Path
) -> None:
    maps = [attributes for _, attributes in page.tags if attributes.get("data-plot") == "map"]
    assert len(maps) == 8
    (atlas,) = _data_of(page)["maps"].values()
    reached = {visit["cell"] for way in run.flags["first_visits"].to_pylist() for visit in way}
    names = [
        atlas["starts"][start] + rest for start, rest in zip(atlas["start"], atlas["rests"], strict=True)
    ]
    assert dict(zip(atlas["named"], names, strict=True)) == {
        cell: run.atlas.names[2][cell] for cell in reached
    }
    assert [atlas["rows"], atlas["columns"]] == run.atlas.layout.T.tolist()
    for atlases in ([], [dataclasses.replace(run.atlas, layout=None)], [default_atlas("static")]):
        without = _write(tmp_path / "report.html", run, atlases=atlases)
        assert not [attributes for _, attributes in without.tags if attributes.get("data-plot") == "map"]


def test_page_is_small_and_draws_with_the_plotly_that_the_package_speaks_to(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, **Run(ordinary=80, flagged=12).arguments())
    assert path.stat().st_size < 2_000_000
    assert f"plotly.js (basic - minified) v{get_plotlyjs_version()}\n" in plotly_js()


def test_carried_plotly_is_the_published_file() -> None:
    # Of npm's plotly.js-basic-dist-min 4.1.1: sha256sum package/plotly-basic.min.js
    published = "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"
    assert hashlib.sha256(plotly_js().encode()).hexdigest() == published
