"""Known prompt banks: indexing them, and finding the accounts that send their prompts."""

from coverage_lab.banks.index import Bank, Banks, build_banks, load_banks
from coverage_lab.banks.match import MATCHES, match_texts

__all__ = ["MATCHES", "Bank", "Banks", "build_banks", "load_banks", "match_texts"]
