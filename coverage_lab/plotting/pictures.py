"""Pictures of results for papers and notebooks: each a function that returns a matplotlib figure.

``cl.plot.growth(result, "acct-1")`` in a notebook shows it; ``.savefig("growth.svg")`` keeps it. Every
picture has a title that says what is seen, units, a text for those who can't see it (`Picture.alt`), colours
that the colour-blind tell apart with a second sign beside colour, and the themes "light" and "dark".
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

from coverage_lab.errors import CoverageLabError
from coverage_lab.measures import coverage_curve, curve_grid, extrapolation, rarefaction
from coverage_lab.plotting.capability_map import capability_map, map_page
from coverage_lab.plotting.picture import Picture, Style, Theme, legend, named, panel, safe, style_of
from coverage_lab.schema import EVIDENCE_WORDS, LEVEL_WORDS, LEVELS
from coverage_lab.untrusted.text import shortened, visible

__all__ = [
    "Picture",
    "Tables",
    "account_evidence",
    "calibration",
    "capability_map",
    "evidence",
    "growth",
    "map_page",
    "novelty",
    "rarefaction_panels",
    "scores",
]

#: Column of `schema.CURVES`, what it is, dash. The dash says the same as the colour.
_NULLS = (
    ("uniform", "Uniform sweep: every cell equally likely", (0, (6, 2, 1, 2))),
    ("reference", "Ordinary traffic", (0, (6, 3))),
    ("own", "Its own prompts in random order", (0, (1, 1.5))),
)
#: Verdict, marker, size; the gravest last, so that it lies on top.
_MARKS = (("clear", "o", 18), ("inconclusive", "s", 26), ("watch", "D", 34), ("review", "^", 60))
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 2, 1, 2)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)))


class Tables(Protocol):
    """What a picture reads of a result: tables of `coverage_lab.schema`; an `Analysis` has them."""

    @property
    def accounts(self) -> pa.Table:
        """Schema `ACCOUNTS`."""

    @property
    def curves(self) -> pa.Table:
        """Schema `CURVES`."""


def growth(
    result: Tables, accounts: str | Sequence[str], *, level: str = "fine", theme: Theme = "light"
) -> Picture:
    """Draw growth curves: different cells reached against prompts sent.

    One account is drawn against its three nulls with their 95% bands; several, up to six, against each other
    and against ordinary traffic.

    Parameters
    ----------
    result : Analysis
    accounts : str or sequence of str
        One account, or up to six.
    level : str
        "coarse", "middle" or "fine".
    theme : str
        "light" or "dark".

    Raises
    ------
    CoverageLabError
        An account has no curve at that level, there are none or more than six, or no such level or theme.
    """
    names = [accounts] if isinstance(accounts, str) else list(accounts)
    style, cells = style_of(theme), _cells_of(level)
    if not 1 <= len(names) <= len(style.several):
        raise CoverageLabError(f"accounts: expected 1 to {len(style.several)}, got {len(names)}")
    curves = [_curve(result.curves, name, level) for name in names]
    figure = Picture(style)
    axes = panel(figure, style)
    if len(names) == 1:
        title = _one_curve(axes, style, safe(names[0]), curves[0], cells)
    else:
        ratios = [rows["distinct"][-1] / rows["reference_mean"][-1] for rows in curves]
        least, most = int(np.argmin(ratios)), int(np.argmax(ratios))
        title = (
            f"Against ordinary traffic of its size, {safe(names[least])} reached {ratios[least]:.2f}× as "
            f"many {cells}, {safe(names[most])} {ratios[most]:.2f}×"
        )
        longest = max(curves, key=lambda rows: rows["n"][-1])
        axes.plot(
            longest["n"],
            longest["reference_mean"],
            color=style.muted,
            linestyle=(0, (6, 3)),
            linewidth=1.5,
            label="Ordinary traffic",
        )
        for name, rows, colour, dash in zip(names, curves, style.several, _DASHES, strict=False):
            axes.plot(
                rows["n"], rows["distinct"], color=colour, linestyle=dash, linewidth=2.2, label=safe(name)
            )
    named(axes, style, x="prompts sent", y=f"different {cells} reached", title=title)
    _counts(axes)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    legend(axes, style, loc="upper left")
    ends = "; ".join(
        f"{visible(name)} reached {int(rows['distinct'][-1]):,} {cells} in {int(rows['n'][-1]):,} prompts, "
        f"where ordinary traffic would reach {rows['reference_mean'][-1]:,.0f}"
        for name, rows in zip(names, curves, strict=True)
    )
    figure.alt = f"Growth curves, different {cells} reached against prompts sent. {ends}."
    return figure


def _one_curve(
    axes: Axes, style: Style, name: str, rows: Mapping[str, NDArray[np.float64]], cells: str
) -> str:
    colours = {"uniform": style.uniform, "reference": style.reference, "own": style.own}
    n = rows["n"]
    for key, words, dash in _NULLS:
        axes.fill_between(n, rows[f"{key}_low"], rows[f"{key}_high"], color=colours[key], alpha=0.15, lw=0)
        axes.plot(n, rows[f"{key}_mean"], color=colours[key], linestyle=dash, linewidth=1.6, label=words)
    axes.plot(n, rows["distinct"], color=style.account, linewidth=2.8, label="The account", zorder=1.9)
    reached, expected = rows["distinct"][-1], rows["reference_mean"][-1]
    return f"{name}: {reached:,.0f} {cells} in {n[-1]:,.0f} prompts; ordinary traffic: {expected:,.0f}"


def scores(
    result: Tables,
    *,
    threshold: tuple[ArrayLike, ArrayLike] | None = None,
    theme: Theme = "light",
) -> Picture:
    """Draw every account's score against its prompts, by verdict.

    Parameters
    ----------
    result : Analysis
    threshold : (prompts, scores), optional
        Score from which on the p-value of an account of that size is at most `detect.watch_p`;
        `Analysis.threshold` gives it.
    theme : str
        "light" or "dark".

    Raises
    ------
    CoverageLabError
        No account has a score, or there is no such theme.
    """
    style = style_of(theme)
    rows = result.accounts.filter(pc.is_valid(result.accounts["score"]))
    if not rows.num_rows:
        raise CoverageLabError(
            "result: expected accounts with a score, got none (no scorecard fits its atlas)"
        )
    prompts, score = rows["prompts"].to_numpy(), rows["score"].to_numpy()
    verdicts = np.array(rows["verdict"].to_pylist())
    figure = Picture(style)
    axes = panel(figure, style)
    said = []
    for verdict, marker, size in _MARKS:
        mine = verdicts == verdict
        if mine.any():
            colour = getattr(style, verdict)
            axes.scatter(
                prompts[mine],
                score[mine],
                marker=marker,
                s=size,
                facecolors="none" if verdict == "inconclusive" else colour,
                edgecolors=colour,
                alpha=0.7 if verdict == "clear" else 1.0,
                linewidths=1.2,
                label=f"{verdict} ({int(mine.sum()):,})",
                zorder=2,
            )
            said.append(f"{int(mine.sum()):,} {verdict}")
    if threshold is not None:
        at, height = (np.asarray(part, np.float64) for part in threshold)
        axes.plot(
            at,
            height,
            color=style.ink,
            linestyle=(0, (5, 3)),
            linewidth=1.3,
            label="above: p at most detect.watch_p",
        )
    _name_gravest(axes, style, rows)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.03, 1.08)
    flagged = int(np.isin(verdicts, ("review", "watch")).sum())
    title = f"{flagged:,} of {rows.num_rows:,} accounts stand out by their score"
    named(
        axes, style, x="prompts (log scale)", y="score (0 to 1, higher = more like harvesting)", title=title
    )
    legend(figure, style, loc="outside lower center", ncols=5)
    figure.alt = f"Score against prompts of {rows.num_rows:,} accounts: {', '.join(reversed(said))}."
    return figure


def _name_gravest(axes: Axes, style: Style, rows: pa.Table, most: int = 3) -> None:
    """Write the ids of the few accounts with the highest scores among those for review."""
    grave = rows.filter(pc.equal(rows["verdict"], "review")).sort_by([("score", "descending")]).slice(0, most)
    for row in grave.select(["account_id", "prompts", "score"]).to_pylist():
        axes.annotate(
            safe(row["account_id"], 24),
            (row["prompts"], row["score"]),
            xytext=(7, 4),
            textcoords="offset points",
            color=style.ink,
            fontsize=8.5,
        )


def rarefaction_panels(
    counts: Mapping[str, ArrayLike], *, theme: Theme = "light", cells: str = "cells"
) -> Picture:
    """Draw the three panels of Chao and colleagues: by size, completeness, and by coverage.

    Solid lines are rarefaction, dashed ones extrapolation to twice the prompts; the dot is what was sent.

    Parameters
    ----------
    counts : mapping of name → int (cells,)
        Prompts of up to six accounts in each cell that they reached; zeros are left out.
    theme : str
        "light" or "dark".
    cells : str
        What the cells are called, in the plural.

    Raises
    ------
    CoverageLabError
        There are no accounts or more than six, an account has fewer than 2 prompts, or no such theme.

    References
    ----------
    .. [1] Chao et al. (2014), Ecological Monographs 84:45; as the R package iNEXT draws them.
    """
    style = style_of(theme)
    if not 1 <= len(counts) <= len(style.several):
        raise CoverageLabError(f"counts: expected 1 to {len(style.several)} accounts, got {len(counts)}")
    figure = Picture(style, width=10.5, height=3.9)
    by_size, complete, by_coverage = (panel(figure, style, (1, 3, place)) for place in (1, 2, 3))
    said = []
    for (name, values), colour, marker in zip(counts.items(), style.several, "o^sDvP", strict=False):
        visits = np.asarray(values)
        visits = visits[visits > 0].astype(np.int64)
        n = int(visits.sum())
        if n < 2:
            raise CoverageLabError(f"counts: expected 2 prompts or more of {visible(name)[:60]!r}, got {n}")
        cut = np.array([0, len(visits)])
        inner = curve_grid(n)
        outer = np.unique(np.linspace(n, 2 * n, 20).astype(np.int64))
        within = rarefaction(visits, cut, inner, np.array([0, len(inner)]))
        beyond = extrapolation(visits, cut, outer, np.array([0, len(outer)]))
        known = coverage_curve(visits, cut, inner, np.array([0, len(inner)]))
        ahead = coverage_curve(visits, cut, outer, np.array([0, len(outer)]))
        for axes, first, second in (
            (by_size, (inner, within), (outer, beyond)),
            (by_coverage, (known, within), (ahead, beyond)),
        ):
            for (x, (mean, variance)), dash in ((first, "-"), (second, (0, (4, 2)))):
                width = 1.96 * np.sqrt(variance)
                axes.fill_between(x, mean - width, mean + width, color=colour, alpha=0.15, lw=0)
                axes.plot(x, mean, color=colour, linestyle=dash, linewidth=2)
        complete.plot(inner, known, color=colour, linewidth=2)
        complete.plot(outer, ahead, color=colour, linewidth=2, linestyle=(0, (4, 2)))
        dot: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 7, "linestyle": "none"}
        by_size.plot([n], [len(visits)], label=safe(name), **dot)
        complete.plot([n], [ahead[0]], **dot)
        by_coverage.plot([ahead[0]], [len(visits)], **dot)
        said.append(f"{visible(name)}: {len(visits):,} {cells} in {n:,} prompts, coverage {ahead[0]:.0%}")
    named(by_size, style, x="prompts", y=f"different {cells}", title="How much, by prompts")
    named(complete, style, x="prompts", y="coverage of its own ground", title="How complete")
    named(
        by_coverage,
        style,
        x="coverage of its own ground",
        y=f"different {cells}",
        title="How much, equally complete",
    )
    for axes in (by_size, complete):
        _counts(axes)
    by_coverage.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for axis in (complete.yaxis, by_coverage.xaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    complete.set_ylim(0, 1.03)
    for axes in (by_size, by_coverage):
        axes.set_ylim(bottom=0)
    legend(figure, style, loc="outside lower center", ncols=3)
    figure.alt = (
        f"Rarefaction and extrapolation by prompts, completeness, and by coverage. {'; '.join(said)}."
    )
    return figure


def evidence(
    points: Mapping[str, float],
    *,
    intercept: float,
    most: int = 10,
    theme: Theme = "light",
    title: str = "",
    start: str = "A median ordinary account",
) -> Picture:
    """Draw how a score came about: what each piece of evidence adds to the log-odds, as a waterfall.

    Parameters
    ----------
    points : mapping of name → float
        What each piece adds to the log-odds; above 0 speaks for harvesting.
    intercept : float
        Log-odds of a median ordinary account, where the waterfall starts.
    most : int
        Pieces shown, the largest first; the others are added up.
    theme : str
        "light" or "dark".
    title : str
        Replaces the title that the numbers give.
    start : str
        What the waterfall starts from.

    Raises
    ------
    CoverageLabError
        There is no piece, one is not finite, `most` is below 1, or no such theme.
    """
    style = style_of(theme)
    if not points or not all(np.isfinite([intercept, *points.values()])):
        raise CoverageLabError(
            "points: expected one finite number or more, got none or one that is not finite"
        )
    if most < 1:
        raise CoverageLabError(f"most: expected 1 or more, got {most}")
    ranked = sorted(points.items(), key=lambda piece: -abs(piece[1]))
    pieces = [(safe(name, 44), value) for name, value in ranked[:most]]
    if ranked[most:]:
        pieces.append((f"all others ({len(ranked) - most})", sum(value for _, value in ranked[most:])))
    total = intercept + sum(points.values())
    score, begin = (1 / (1 + np.exp(-odds)) for odds in (total, intercept))
    figure = Picture(style, height=1.6 + 0.34 * (len(pieces) + 2))
    axes = panel(figure, style, grid="x")
    labels = [
        textwrap.fill(f"{start} (score {begin:.2f})", 36),
        *[name for name, _ in pieces],
        f"This account (score {score:.2f})",
    ]
    at = intercept
    axes.plot([intercept], [0], marker="o", color=style.muted, markersize=8)
    for row, (_, value) in enumerate(pieces, start=1):
        colour = style.review if value > 0 else style.clear
        axes.barh(
            row,
            value,
            left=at,
            color=colour,
            height=0.62,
            hatch=None if value > 0 else "////",
            edgecolor=style.surface,
        )
        axes.plot([at, at], [row - 1, row], color=style.muted, linewidth=0.8, zorder=1)
        at += value
        axes.annotate(
            f"{value:+.2f}".replace("-", "−"),
            (max(at, at - value), row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=style.ink,
            fontsize=8.5,
        )
    last = len(pieces) + 1
    axes.plot([at, at], [last - 1, last], color=style.muted, linewidth=0.8, zorder=1)
    axes.plot([total], [last], marker="D", color=style.ink, markersize=8)
    axes.set_yticks(range(last + 1), labels)
    axes.tick_params(axis="y", labelcolor=style.ink, length=0)
    axes.invert_yaxis()
    axes.use_sticky_edges = False
    axes.margins(x=0.1)
    raised = sum(value > 0 for value in points.values())
    said = title or f"{raised} of {len(points)} pieces of evidence raise the score to {score:.2f}"
    named(axes, style, x="log-odds of harvesting\n(solid: raises, hatched: lowers)", y="")
    figure.suptitle(said, color=style.ink, fontsize=11, fontweight="bold", x=0.01, ha="left")
    listed = ", ".join(f"{visible(name)} {value:+.2f}" for name, value in ranked[:most])
    figure.alt = f"Waterfall of the evidence from score {begin:.2f} to {score:.2f}: {listed}."
    return figure


def account_evidence(result: Tables, account: str, *, theme: Theme = "light") -> Picture:
    """Draw how an account's score came about, from its `reason_details`: kinds of evidence as a waterfall.

    Evidence that moves nothing is not told in the table; it is part of where the waterfall starts.

    Parameters
    ----------
    result : Analysis
    account : str
        An account with a score and with reasons.
    theme : str
        "light" or "dark".

    Raises
    ------
    CoverageLabError
        The result has no such account, it has no score or no evidence, or there is no such theme.
    """
    rows = result.accounts.filter(pc.field("account_id") == account).to_pylist()
    name = shortened(visible(str(account)), 80)
    if not rows:
        raise CoverageLabError(f"account: expected an account_id of the result, got {name!r}")
    row = rows[0]
    if row["score"] is None or not 0 < row["score"] < 1 or not row["reason_details"]:
        raise CoverageLabError(
            f"account: expected one with a score between 0 and 1 and with evidence, got {name!r} without"
        )
    points = {EVIDENCE_WORDS[told["evidence"]]: told["points"] for told in row["reason_details"]}
    odds = float(np.log(row["score"]) - np.log1p(-row["score"]))
    raised = [kind for kind, value in points.items() if value > 0]
    kinds = f"{len(raised)} of {len(points)} kinds of evidence told"
    return evidence(
        points,
        intercept=odds - sum(points.values()),
        theme=theme,
        title=f"{safe(account)}: {kinds} raise its score, to {row['score']:.2f}",
        start="An ordinary account, and what is too small to tell",
    )


def calibration(p_values: ArrayLike, *, theme: Theme = "light") -> Picture:
    """Draw p-values of ordinary accounts against what they should be: uniform between 0 and 1.

    Above the diagonal there are more small p-values than there should be (false alarms), below fewer. The
    band holds 95% of the points of truly uniform p-values, each by itself.

    Parameters
    ----------
    p_values : float (n,)
        p-values of accounts that are known to be ordinary; NaN is left out.
    theme : str
        "light" or "dark".

    Raises
    ------
    CoverageLabError
        There is no p-value, one is outside 0 to 1, or no such theme.
    """
    style = style_of(theme)
    values = np.asarray(p_values, np.float64)
    values = np.sort(values[~np.isnan(values)])
    if not len(values) or values[0] < 0 or values[-1] > 1:
        raise CoverageLabError("p_values: expected one or more between 0 and 1, got none or one outside")
    n = len(values)
    rank = np.arange(1, n + 1)
    figure = Picture(style, width=5.4, height=4.8)
    axes = panel(figure, style)
    low, high = beta.ppf(0.025, rank, n + 1 - rank), beta.ppf(0.975, rank, n + 1 - rank)
    axes.fill_betweenx(rank / n, low, high, color=style.muted, alpha=0.2, lw=0, label="95% of uniform ones")
    axes.plot(
        [0, 1], [0, 1], color=style.muted, linestyle=(0, (5, 3)), linewidth=1.2, label="as it should be"
    )
    axes.step(
        np.r_[0, values, 1],
        np.r_[0, rank / n, 1],
        where="post",
        color=style.account,
        linewidth=2,
        label="these accounts",
    )
    share = float((values <= 0.05).mean())
    said = f"{share:.1%} of {n:,} ordinary accounts have p ≤ 0.05 (5% expected)"
    named(axes, style, x="p-value", y="share of accounts at or below it", title=said)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    legend(axes, style, loc="lower right")
    figure.alt = f"Share of accounts at or below each p-value, against the diagonal. {said}."
    return figure


def novelty(values: ArrayLike, *, name: str = "", window: int = 25, theme: Theme = "light") -> Picture:
    """Draw how new each prompt of an account was when it came.

    Parameters
    ----------
    values : float (n,)
        Novelty of each prompt in time order, as `coverage_lab.measures.novelty` gives it; NaN is left out.
    name : str
        The account, for the title.
    window : int
        Prompts over which the line takes the median, 1 or more.
    theme : str
        "light" or "dark".

    Raises
    ------
    CoverageLabError
        There is no value, `window` is below 1, or no such theme.
    """
    style = style_of(theme)
    found = np.asarray(values, np.float64)
    known = np.flatnonzero(~np.isnan(found))
    if not len(known):
        raise CoverageLabError("values: expected one novelty or more, got none")
    if window < 1:
        raise CoverageLabError(f"window: expected 1 or more, got {window}")
    width = min(window, len(known))
    middle = np.median(np.lib.stride_tricks.sliding_window_view(found[known], width), axis=1)
    figure = Picture(style)
    axes = panel(figure, style)
    axes.scatter(
        known + 1, found[known], s=10, color=style.uniform, alpha=0.55, linewidths=0, label="one prompt"
    )
    line = known[width - 1 :] + 1
    axes.plot(line, middle, color=style.account, linewidth=2.4, label=f"median of the last {width}")
    new = float((found[known] > 0.5).mean())
    owner = f"{safe(name)}: " if name else ""
    said = f"{new:.0%} of its prompts were unlike all before them"
    named(axes, style, x="prompts sent", y="novelty (0 = a repeat, 1 = unrelated)", title=f"{owner}{said}")
    _counts(axes)
    axes.set_ylim(-0.03, max(1.05, float(found[known].max()) * 1.03))
    legend(figure, style, loc="outside lower center", ncols=2)
    half = np.median(found[known])
    figure.alt = f"Novelty of {len(known):,} prompts in the order they came, median {half:.2f}; {said}."
    return figure


def _cells_of(level: str) -> str:
    if level not in LEVELS:
        raise CoverageLabError(
            f"level: expected one of {', '.join(LEVELS)}, got {visible(str(level))[:40]!r}"
        )
    return LEVEL_WORDS[level]


def _curve(curves: pa.Table, account: str, level: str) -> dict[str, NDArray[np.float64]]:
    rows = curves.filter((pc.field("account_id") == account) & (pc.field("level") == level)).sort_by("n")
    if not rows.num_rows:
        name = shortened(visible(str(account)), 80)
        raise CoverageLabError(
            f"accounts: expected accounts with a growth curve at level {level}, got {name!r}"
        )
    return {name: rows[name].to_numpy() for name in rows.column_names if name not in ("account_id", "level")}


def _counts(axes: Axes) -> None:
    """Write thousands with commas."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:,.0f}" if value == round(value) else f"{value:g}")
        )
