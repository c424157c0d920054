"""How much one request, and all of them together, may ask of the service."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of the service; all are positive, and `max_waiting` may be 0.

    Attributes
    ----------
    max_body_bytes : int
        Longest body; 413 beyond it.
    max_prompts, max_accounts : int
        Most of them in one request; 413 beyond it.
    max_waiting : int
        Requests that may wait while one is worked on; the next is answered 503. Bodies held in memory
        at once are at most ``(max_waiting + 1) * max_body_bytes``.
    body_seconds : float
        Time that a client has to send its body, since it holds a place while it sends; 408 beyond it.

    Raises
    ------
    ValueError
        A limit is not positive.
    """

    max_body_bytes: int = 32 * 2**20
    max_prompts: int = 20_000
    max_accounts: int = 1_000
    max_waiting: int = 8
    body_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse limits that would refuse every request."""
        for name, value in asdict(self).items():
            if value < 0 or (value == 0 and name != "max_waiting"):
                raise ValueError(f"limits.{name}: expected more than 0, got {value}")
