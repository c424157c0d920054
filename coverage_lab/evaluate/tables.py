"""Results as text: the headline's table for a terminal, and the wording that the page shares with it."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from coverage_lab.evaluate.results import REPLAYED, Figures, Interval, Results
from coverage_lab.untrusted.text import escaped


def number(value: float | None, digits: int = 2) -> str:
    """A share or AUROC with fixed digits; 'n/a' for ``None``."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def size_name(size: int) -> str:
    """A size in few letters: 50, 1k, 2.5k."""
    return f"{size / 1000:g}k" if size >= 1000 else str(size)


def caption(results: Results) -> str:
    """Accounts and corpora behind the headline, and what the intervals and 'n/a' mean, in one line."""
    mine = next((each for each in results.sizes if each.size == results.headline_size), None)
    if mine is None:
        return f"No size has both harvests and innocent accounts. Figures are {REPLAYED}."
    return (
        f"{mine.harvests:,} harvests of {mine.harvest_corpora:,} corpora against {mine.benign:,} innocent "
        f"accounts of {mine.benign_corpora:,}, corpus-out over {results.settings.folds:,} folds. Intervals: "
        f"95%, {results.replicates:,} resamplings of corpora. n/a: too few innocent accounts to tell "
        "(100 for 1%, 1,000 for 0.1%), or no harvests."
    )


def headline_title(results: Results) -> str:
    """The title of the headline table."""
    size = "" if results.headline_size is None else f", at {results.headline_size:,} prompts an account"
    return f"{results.claim}{size}"


def other_sizes(results: Results) -> list[int]:
    """Sizes beside the headline's that have both harvests and innocent accounts, ascending."""
    return [
        each.size
        for each in results.sizes
        if each.harvests and each.benign and each.size != results.headline_size
    ]


def figures_of(results: Results, method: str, size: int) -> Figures | None:
    """The figures of one method at one size, ``None`` where there are none."""
    return next((each for each in results.figures if (each.method, each.size) == (method, size)), None)


def tpr_text(results: Results, method: str, size: int) -> str:
    """TPR at 1% FPR as text."""
    figures = figures_of(results, method, size)
    return number(None if figures is None else figures.tpr_1pct)


def table(results: Results) -> Table:
    """The headline for a terminal, one row a method.

    Returns
    -------
    rich.table.Table
        AUROC and TPR at 1% FPR with intervals and TPR at 0.1% at the headline's size, and TPR at 1% FPR
        at the other sizes; without rows where there is no headline.
    """
    drawn = Table(
        title=headline_title(results),
        title_justify="left",
        caption=caption(results),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    drawn.add_column("method", overflow="fold", min_width=16)
    for name in ("AUROC", "TPR@1%", "TPR@\n0.1%"):
        drawn.add_column(name, justify="right", no_wrap=True)
    sizes = other_sizes(results)
    for size in sizes:
        drawn.add_column(f"@1%\n{size_name(size)}", justify="right", no_wrap=True)
    for each in results.headline():
        drawn.add_row(
            Text(escaped(each.method), style="bold" if each.role == "detector" else ""),
            _stacked(number(each.auroc, 3), each.auroc_interval, 3),
            _stacked(number(each.tpr_1pct), each.tpr_1pct_interval, 2),
            number(each.tpr_01pct),
            *[tpr_text(results, each.method, size) for size in sizes],
        )
    return drawn


def _stacked(text: str, interval: Interval | None, digits: int) -> Text:
    """The figure, and on the next line its interval, so that a row fits into 80 columns."""
    stacked = Text(text)
    if interval is not None:
        stacked.append(f"\n{interval.low:.{digits}f}–{interval.high:.{digits}f}", style="dim")
    return stacked


def interval_text(interval: Interval | None, digits: int = 2) -> str:
    """An interval as '[low, high]'; '' for ``None``."""
    return "" if interval is None else f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]"
