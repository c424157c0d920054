"""What `import coverage_lab as cl` gives: light, lazy, and a result that shows, keeps and explains itself."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from support.commands import some_traffic

import coverage_lab as cl
from coverage_lab.config import RunConfig
from coverage_lab.errors import CoverageLabError, OutputError, TrafficError
from coverage_lab.measures import growth_curves

CONFIG = RunConfig.model_validate(
    {"job": {"buckets": 2, "threads": 1}, "detect": {"review_p": 0.9, "watch_p": 0.99}}
)


@pytest.fixture(scope="module")
def result():
    return cl.analyze(some_traffic(), config=CONFIG)


def test_importing_loads_no_library():
    code = "import sys, coverage_lab as cl; print(sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for library in ("torch", "ray", "faiss", "sklearn", "plotly", "matplotlib", "pyarrow", "numpy"):
        assert f"'{library}'" not in loaded


def test_every_public_name_is_there_and_has_words():
    for name in cl.__all__:
        value = getattr(cl, name)
        assert name == "__version__" or len(value.__doc__) > 60, name
    assert set(cl.__all__) <= set(dir(cl))
    with pytest.raises(AttributeError, match="has no attribute 'analyse'"):
        cl.analyse  # noqa: B018


def test_a_notebook_shows_summary_accounts_and_picture(result):
    shown = result._repr_html_()
    assert "6 accounts, 360 prompts" in shown
    assert "acct-0" in shown
    assert '<img src="data:image/png;base64,' in shown
    assert 'alt="Score against prompts of 6 accounts' in shown
    assert "6 accounts, 360 prompts" in repr(result)


def test_names_in_the_display_stay_text(result):
    hostile = "<img src=x onerror=alert(1)>\u202e"
    ids = pa.array([hostile] * 6, pa.large_string())
    accounts = result.accounts.set_column(0, "account_id", ids)
    shown = cl.Analysis(**{**result.__dict__, "accounts": accounts})._repr_html_()
    assert "<img src=x" not in shown
    assert "\u202e" not in shown


def test_saved_and_loaded_is_the_same(result, tmp_path):
    again = cl.load(result.save(tmp_path / "kept"))
    for name in ("accounts", "curves", "cells", "flags", "campaigns", "members", "quarantine"):
        assert getattr(again, name).equals(getattr(result, name)), name
    assert (again.run, again.report_html) == (result.run, result.report_html)
    with pytest.raises(OutputError, match="expected an empty or a new one"):
        result.save(tmp_path / "kept")


def test_a_folder_without_a_finished_run_is_said(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(OutputError, match=r"expected a finished run, report.html is missing"):
        cl.load(tmp_path)


def test_frames_hold_the_tables(result):
    assert isinstance(result.to_polars(), pl.DataFrame)
    assert result.to_polars("cells").to_arrow().num_rows == result.cells.num_rows
    assert result.to_pandas("curves").shape == result.curves.shape
    with pytest.raises(CoverageLabError, match=r"table: expected one of accounts, .*got 'prompts'"):
        result.to_pandas("prompts")


def test_explanation_is_text_page_and_json(result):
    story = result.explain("acct-1")
    assert "Account acct-1" in repr(story)
    assert story._repr_html_().startswith("<pre")
    told = json.loads(json.dumps(story.to_dict(), allow_nan=False))
    assert told["account"]["prompts"] == 60
    assert {row["account_id"] for row in told["curves"] + told["cells"]} == {"acct-1"}
    with pytest.raises(CoverageLabError, match=r"account: expected an account_id of the run, got 'nobody'"):
        cl.explain(result, "nobody")


def test_two_accounts_side_by_side(result):
    both = result.compare("acct-1", "acct-0")
    rows = {row["measure"]: row for row in both.table.to_pylist()}
    accounts = {row["account_id"]: row for row in result.accounts.to_pylist()}
    for name in ("prompts", "score", "distinct_fine", "repeat_share"):
        assert rows[name]["first"] == accounts["acct-1"][name]
        assert rows[name]["second"] == accounts["acct-0"][name]
    assert "Ground reached (fine)" in repr(both)
    other = result.accounts.set_column(
        result.accounts.column_names.index("atlas_id"), "atlas_id", pa.array(list("abcdef"))
    )
    with pytest.raises(CoverageLabError, match="judged on one atlas"):
        cl.Analysis(**{**result.__dict__, "accounts": other}).compare("acct-1", "acct-0")


def test_threshold_is_where_the_p_value_falls_to_the_watch_line(result):
    prompts, score = result.threshold()
    card = cl.jobs.results._scorecard(result.run)
    assert np.isfinite(score).all()
    assert (card.p_value(score, prompts) <= 0.99).all()
    assert (card.p_value(score - 1e-6, prompts) > 0.99).all()


def test_each_step_alone_gives_what_the_run_gives(result):
    traffic = some_traffic()
    texts = {}
    for row in traffic.sort_by("timestamp").to_pylist():
        texts.setdefault(row["account_id"], []).append(row["prompt"])
    judged = cl.score(texts, config=CONFIG)
    for name in ("account_id", "score", "p_value", "q_value", "verdict", "distinct_fine"):
        assert judged[name].to_pylist() == result.accounts[name].to_pylist(), name
    atlas, static = cl.default_atlas("static"), cl.encoder("static")
    cells = atlas.assign(static.encode(texts["acct-1"]))[:, -1]
    curve = growth_curves(cells, [0, len(cells)], atlas.masses[-1])
    assert curve.distinct[-1] == len(set(cells.tolist()))


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ({"a": "text"}, r"prompts\['a'\]: expected a list of texts, got a single text"),
        ({"a": []}, r"prompts\['a'\]: expected a list of texts, got no text"),
        ({"a": ["fine", ""]}, r"prompts\['a'\]: expected texts that can be used, got one with empty_prompt"),
    ],
)
def test_what_cannot_be_scored_is_said(prompts, said):
    with pytest.raises(TrafficError, match=said):
        cl.score(prompts)


def test_evidence_of_an_account_ends_at_its_score(result):
    rows = {row["account_id"]: row for row in result.accounts.to_pylist()}
    name = next(name for name, row in rows.items() if row["reason_details"])
    axes = cl.plot.account_evidence(result, name).axes[0]
    told = sorted((piece["points"] for piece in rows[name]["reason_details"]), key=lambda value: -abs(value))
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(told)
    assert axes.get_yticklabels()[-1].get_text() == f"This account (score {rows[name]['score']:.2f})"
    with pytest.raises(
        CoverageLabError, match=r"account: expected an account_id of the result, got 'nobody'"
    ):
        cl.plot.account_evidence(result, "nobody")
