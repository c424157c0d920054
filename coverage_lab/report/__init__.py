"""Plots and pages for the people who decide."""

from coverage_lab.files.table_rows import rows_of_accounts
from coverage_lab.report.campaign_terminal import explain_campaign
from coverage_lab.report.campaigns_view import members_of
from coverage_lab.report.notebook import Explanation
from coverage_lab.report.plots import growth_figure
from coverage_lab.report.run_page import percentiles_of, write_report
from coverage_lab.report.terminal import explain_account, top_accounts_table

__all__ = [
    "Explanation",
    "explain_account",
    "explain_campaign",
    "growth_figure",
    "members_of",
    "percentiles_of",
    "rows_of_accounts",
    "top_accounts_table",
    "write_report",
]
