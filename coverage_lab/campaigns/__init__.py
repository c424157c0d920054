"""Campaigns: groups of accounts that are evidence together where each alone is not."""
