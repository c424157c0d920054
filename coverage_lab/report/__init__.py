"""Plots and pages for the people who decide."""

from coverage_lab.files.table_rows import rows_of_accounts
from coverage_lab.report.plots import growth_figure
from coverage_lab.report.run_page import write_report
from coverage_lab.report.terminal import account_as_json, explain_account, top_accounts_table

__all__ = [
    "account_as_json",
    "explain_account",
    "growth_figure",
    "rows_of_accounts",
    "top_accounts_table",
    "write_report",
]
