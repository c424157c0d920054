"""Plots and pages for the people who decide."""

from coverage_lab.files.table_rows import rows_of_accounts
from coverage_lab.report.notebook import Explanation
from coverage_lab.report.plots import growth_figure
from coverage_lab.report.run_page import percentiles_of, write_report
from coverage_lab.report.terminal import explain_account, top_accounts_table

__all__ = [
    "Explanation",
    "explain_account",
    "growth_figure",
    "percentiles_of",
    "rows_of_accounts",
    "top_accounts_table",
    "write_report",
]
