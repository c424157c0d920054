"""A finished run as one object for notebooks: its tables, its display, accounts explained and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coverage_lab.detect.scorecard import Scorecard, default_scorecard, load_scorecard
from coverage_lab.errors import CoverageLabError, MissingExtraError, OutputError
from coverage_lab.files.atomic import disk_errors, whole_file
from coverage_lab.files.manifest import MANIFEST, Manifest, read_manifest
from coverage_lab.files.output_folder import REPORT, TABLES
from coverage_lab.files.table_rows import rows_of_accounts
from coverage_lab.report.notebook import Comparison, Explanation, summary_html, summary_text
from coverage_lab.report.run_page import percentiles_of
from coverage_lab.untrusted.text import shortened, visible

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True, repr=False)
class Analysis:
    """A finished run: its tables (schemas in `coverage_lab.schema`), its manifest and its page.

    In a notebook it shows a summary, the accounts to look at first, and a picture.

    Attributes
    ----------
    accounts, curves, cells, flags, campaigns, members, quarantine : pyarrow.Table
    run : Manifest
        What `run.json` holds.
    report_html : str
        The page for reviewers.
    """

    accounts: pa.Table
    curves: pa.Table
    cells: pa.Table
    flags: pa.Table
    campaigns: pa.Table
    members: pa.Table
    quarantine: pa.Table
    run: Manifest
    report_html: str

    def explain(self, account: str) -> Explanation:
        """Tell one account's whole story; see `explain`."""
        return explain(self, account)

    def compare(self, first: str, second: str) -> Comparison:
        """Set two accounts side by side; see `compare`."""
        return compare(self, first, second)

    def threshold(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Give the score from which on an account of each size can be flagged, for `plot.scores`.

        Returns
        -------
        prompts : int64 (k,)
            At most 50 sizes, from the smallest to the largest account of the run.
        score : float64 (k,)
            The smallest score whose p-value is at most `detect.watch_p`; NaN where no score has one.

        Raises
        ------
        CoverageLabError
            The run has no account or no scorecard, or its scorecard is not at hand any more.
        """
        card = _scorecard(self.run)
        counts = self.accounts["prompts"].to_numpy()
        if not len(counts):
            raise CoverageLabError("result: expected one account or more, got none")
        prompts = np.unique(np.geomspace(max(counts.min(), 1), max(counts.max(), 1), 50).round()).astype(
            np.int64
        )
        watch = self.run.config.detect.watch_p
        low, high = np.zeros(len(prompts)), np.ones(len(prompts))
        reachable = card.p_value(high, prompts) <= watch
        for _ in range(30):  # p never rises with the score
            middle = (low + high) / 2
            flagged = card.p_value(middle, prompts) <= watch
            low, high = np.where(flagged, low, middle), np.where(flagged, middle, high)
        return prompts, np.where(reachable, high, np.nan)

    def to_pandas(self, table: str = "accounts") -> Any:
        """Give one of the tables as a pandas frame.

        Parameters
        ----------
        table : str
            "accounts", "curves", "cells", "flags", "campaigns", "members" or "quarantine".

        Raises
        ------
        CoverageLabError
            There is no such table.
        MissingExtraError
            pandas is not installed.
        """
        try:
            return self._table(table).to_pandas()
        except ImportError as error:
            raise MissingExtraError("pandas", "notebook", "to_pandas") from error

    def to_polars(self, table: str = "accounts") -> polars.DataFrame:
        """Give one of the tables as a Polars frame; as `to_pandas`."""
        found = self._table(table)
        try:
            import polars
        except ImportError as error:
            raise MissingExtraError("polars", "notebook", "to_polars") from error
        frame = polars.from_arrow(found)
        assert isinstance(frame, polars.DataFrame)  # a table never comes out as a series
        return frame

    def save(self, folder: str | Path) -> Path:
        """Write the run to a folder, as `coverage-lab run` leaves it; `coverage_lab.load` opens it again.

        Parameters
        ----------
        folder : str or Path
            Made when missing; one with files in it is refused.

        Raises
        ------
        OutputError
            The folder holds files, or can't be written.
        """
        path = Path(folder)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise OutputError(f"folder {path}: expected an empty or a new one, got one with files in it")
            for name in TABLES:
                with whole_file(path / f"{name}.parquet") as partial:
                    pq.write_table(self._table(name), partial, compression="zstd")
            # The manifest comes last: a folder with it holds a finished run.
            for name, text in ((REPORT, self.report_html), (MANIFEST, self.run.to_json())):
                with whole_file(path / name) as partial:
                    partial.write_text(text, encoding="utf-8")
        return path

    def _table(self, name: str) -> pa.Table:
        if name not in TABLES:
            raise CoverageLabError(
                f"table: expected one of {', '.join(TABLES)}, got {visible(str(name))[:40]!r}"
            )
        return getattr(self, name)

    def __repr__(self) -> str:
        return summary_text(self.accounts, self.run)

    def _repr_html_(self) -> str:
        return summary_html(self.accounts, self.run, picture=_picture(self))


def load(folder: str | Path) -> Analysis:
    """Open the folder of a finished run, of `coverage-lab run` or `Analysis.save`.

    Parameters
    ----------
    folder : str or Path
        The OUTPUT folder.

    Returns
    -------
    Analysis

    Raises
    ------
    OutputError
        No finished run is there, or one of another version.

    Examples
    --------
    >>> import coverage_lab as cl
    >>> result = cl.load("results")  # doctest: +SKIP
    >>> result.explain("acct-0042")  # doctest: +SKIP
    """
    path = Path(folder)
    for name in (MANIFEST, REPORT, *(f"{table}.parquet" for table in TABLES)):
        if not (path / name).is_file():
            raise OutputError(
                f"folder {path}: expected a finished run, {name} is missing; give the OUTPUT folder of "
                "coverage-lab run, or run it again"
            )
    return load_analysis(path, read_manifest(path / MANIFEST))


def load_analysis(folder: Path, run: Manifest) -> Analysis:
    """Read a finished run's tables."""
    return Analysis(
        **{name: pq.read_table(folder / f"{name}.parquet") for name in TABLES},
        run=run,
        report_html=(folder / REPORT).read_text(encoding="utf-8"),
    )


def explain(result: Analysis, account: str) -> Explanation:
    """Tell one account's whole story: verdict, score, reasons, growth against its nulls, cells.

    Parameters
    ----------
    result : Analysis
    account : str
        An account_id of the run.

    Returns
    -------
    Explanation
        Shows itself in a terminal and a notebook; `to_dict` gives it for JSON.

    Raises
    ------
    CoverageLabError
        The run has no such account.
    """
    (row,) = _rows(result, [account])
    return Explanation(
        account=row,
        curves=rows_of_accounts(result.curves, [account]),
        cells=rows_of_accounts(result.cells, [account]),
        percentiles=percentiles_of(row, result.accounts),
    )


def compare(result: Analysis, first: str, second: str) -> Comparison:
    """Set the numbers of two accounts of a run side by side.

    Parameters
    ----------
    result : Analysis
    first, second : str
        Account ids, judged on the same atlas.

    Returns
    -------
    Comparison
        Shows itself in a terminal and a notebook; `table` holds the numbers.

    Raises
    ------
    CoverageLabError
        The run has no such account, or the two were judged on different atlases (in a cascade).
    """
    one, other = _rows(result, [first, second])
    if one["atlas_id"] != other["atlas_id"]:
        raise CoverageLabError(
            "accounts: expected two that were judged on one atlas, got one of the cascade's first stage and "
            "one of its second; their cells are not the same"
        )
    return Comparison.of(one, other)


def _rows(result: Analysis, accounts: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of accounts, in their order."""
    rows = {
        row["account_id"]: row
        for row in rows_of_accounts(result.accounts, list(dict.fromkeys(accounts))).to_pylist()
    }
    for account in accounts:
        if account not in rows:
            name = shortened(visible(str(account)), 80)
            raise CoverageLabError(
                f"account: expected an account_id of the run, got {name!r}; result.accounts lists them"
            )
    return [rows[account] for account in accounts]


def _picture(result: Analysis) -> str | None:
    """Scores against prompts, as HTML; None where matplotlib is not installed or nothing was scored."""
    if not result.accounts.num_rows or result.accounts["score"].null_count == result.accounts.num_rows:
        return None
    try:
        from coverage_lab.plotting.pictures import scores
    except MissingExtraError:
        return None  # the display says which extra brings it
    try:
        threshold = result.threshold()
    except CoverageLabError:  # a run from elsewhere, whose scorecard is not here: the points alone
        threshold = None
    return scores(result, threshold=threshold)._repr_html_()


def _scorecard(run: Manifest) -> Scorecard:
    """The scorecard that a run judged with, its first stage's in a cascade.

    Raises
    ------
    CoverageLabError
        There was none, or it is not at hand any more.
    """
    if run.model is None:
        raise CoverageLabError("result: expected a run with a scorecard, got one without")
    path = run.config.detect.scorecard if run.cascade is None else run.config.cascade.scorecard
    card = load_scorecard(path) if path is not None else default_scorecard(run.encoder.name)
    if card.id != run.model.id:
        raise CoverageLabError(
            f"result: expected the scorecard {run.model.id[:12]} that the run judged with, got "
            f"{card.id[:12]}; run it again with this version"
        )
    return card
