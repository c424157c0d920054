"""Pictures: what they draw, what they say in words, and that hostile names stay text."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from support.report_fixture import HOSTILE_IDS, Run

from coverage_lab.errors import CoverageLabError
from coverage_lab.measures import rarefaction
from coverage_lab.plotting import pictures
from coverage_lab.plotting.picture import safe, style_of


class Result:
    def __init__(self, **tables):
        self.accounts, self.curves = tables["accounts"], tables["curves"]


@pytest.fixture(scope="module")
def result():
    return Result(**Run(ordinary=30, flagged=6).arguments())


@pytest.fixture(scope="module")
def ids(result):
    return list(dict.fromkeys(result.curves["account_id"].to_pylist()))


def every_picture(result, ids, theme):
    rng = np.random.default_rng(0)
    yield pictures.growth(result, ids[0], theme=theme)
    yield pictures.growth(result, ids[:6], level="middle", theme=theme)
    yield pictures.scores(result, threshold=([10, 1000], [0.9, np.nan]), theme=theme)
    yield pictures.rarefaction_panels({"one": [3, 1, 1], ids[0]: [5, 0, 5]}, theme=theme)
    yield pictures.evidence({"style": 1.0, ids[0]: -0.5}, intercept=-1, theme=theme)
    yield pictures.calibration(rng.random(40), theme=theme)
    yield pictures.novelty(rng.random(40), name=ids[0], theme=theme)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_picture_is_drawn_titled_and_said_in_words(result, ids, theme):
    for picture in every_picture(result, ids, theme):
        titles = [axes.get_title(loc="left") for axes in picture.axes] + [picture.get_suptitle()]
        assert any(len(title) > 10 for title in titles)
        assert all(axes.get_xlabel() for axes in picture.axes)
        assert len(picture.alt) > 60
        shown = picture._repr_html_()
        assert shown.startswith('<img src="data:image/png;base64,iVBORw0KGgo'), "the first bytes of a PNG"
        assert "<script" not in shown.lower()


def test_the_same_picture_gives_the_same_svg_without_a_date(result, ids):
    first, second = (pictures.growth(result, ids[0]).svg() for _ in range(2))
    assert first == second
    assert b"dc:date" not in first


def luminance(colour):
    """Relative luminance by WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return np.dot(linear, [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_lines_stand_out_from_the_background(theme):
    style = style_of(theme)
    for name, least in {"ink": 7, "muted": 4.5, "account": 3, "uniform": 3, "reference": 3}.items():
        high, low = sorted([luminance(getattr(style, name)), luminance(style.surface)], reverse=True)
        assert (high + 0.05) / (low + 0.05) > least, name


def test_growth_draws_the_account_and_its_nulls(result, ids):
    axes = pictures.growth(result, ids[0], level="fine").axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    rows = result.curves.filter(
        (np.array(result.curves["account_id"].to_pylist()) == ids[0])
        & (np.array(result.curves["level"].to_pylist()) == "fine")
    ).sort_by("n")
    assert lines["The account"].get_ydata().tolist() == rows["distinct"].to_pylist()
    assert lines["Ordinary traffic"].get_ydata().tolist() == rows["reference_mean"].to_pylist()
    assert len(axes.collections) == 3, "a band a null"
    last = rows["distinct"].to_pylist()[-1]
    assert f"{last:,} narrow topics" in axes.get_title(loc="left").replace("\n", " ")


def test_rarefaction_panels_draw_the_measures():
    by_size, complete, _ = pictures.rarefaction_panels({"one": [3, 1, 1, 0]}).axes
    mean, _ = rarefaction(np.array([3, 1, 1]), [0, 3], np.arange(1, 6), [0, 5])
    assert by_size.lines[0].get_ydata() == pytest.approx(mean)
    # Chao and Jost by hand: f1 = 2, f2 = 0, n = 5, so A = 4·1/(4·1 + 2) and C = 1 − 2/5 · 2/3.
    assert complete.lines[0].get_ydata()[-1] == pytest.approx(1 - 2 / 5 * 2 / 3)


def test_waterfall_ends_at_the_score_whatever_is_left_out():
    points = {
        f"piece {letter}": value for letter, value in zip("abcdef", (2, -1, 0.5, 0.2, 0.1, 0.1), strict=True)
    }
    axes = pictures.evidence(points, intercept=-2, most=3).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([2, -1, 0.5, 0.4])
    assert axes.lines[-1].get_xdata()[0] == pytest.approx(-2 + 1.9)
    # 1 / (1 + e^0.1) by hand.
    assert axes.get_yticklabels()[-1].get_text() == "This account (score 0.48)"


def test_calibration_counts_false_alarms():
    picture = pictures.calibration([0.01, 0.04, 0.3, 0.9, np.nan])
    assert "50.0% of 4 ordinary accounts have p ≤ 0.05" in picture.alt


def test_novelty_takes_the_median_of_the_last_prompts():
    axes = pictures.novelty([0.9, np.nan, 0.1, 0.5, 0.7], window=3).axes[0]
    assert axes.lines[0].get_xdata().tolist() == [4, 5]
    assert axes.lines[0].get_ydata().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", [*HOSTILE_IDS, "$x_1$ $", "_hidden", "a\\$b$"])
def test_names_stay_text(name):
    picture = pictures.rarefaction_panels({name: [3, 1, 1], "other": [2, 2]})
    picture.draw_without_rendering()
    legend = picture.legends[0].get_texts()
    assert len(legend) == 2, "no name is left out"
    assert "\u202e" not in legend[0].get_text()
    assert legend[0].get_text() == safe(name)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (
            lambda r: pictures.growth(r, "nobody"),
            r"accounts: expected accounts with a growth curve .*'nobody'",
        ),
        (lambda r: pictures.growth(r, []), "accounts: expected 1 to 6, got 0"),
        (lambda r: pictures.growth(r, "x", level="deep"), "level: expected one of coarse, middle, fine"),
        (lambda r: pictures.growth(r, "x", theme="red"), "theme: expected 'light' or 'dark', got 'red'"),
        (lambda r: pictures.rarefaction_panels({"one": [1]}), r"counts: expected 2 prompts or more of 'one'"),
        (lambda r: pictures.evidence({"a": np.nan}, intercept=0), "points: expected one finite number"),
        (lambda r: pictures.calibration([1.2]), "p_values: expected one or more between 0 and 1"),
        (lambda r: pictures.novelty([]), "values: expected one novelty or more"),
    ],
)
def test_what_cannot_be_drawn_is_said(result, draw, said):
    with pytest.raises(CoverageLabError, match=said):
        draw(result)
