"""Ask a scoring service from Python: whole tables in, a table of scores out."""

from coverage_lab.client.client import Client, Scores, ServiceError

__all__ = ["Client", "Scores", "ServiceError"]
