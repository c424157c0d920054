"""Logs as JSON, one line an event: time, level, request id, name of the key. Never a prompt or a key."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from coverage_lab.errors import ConfigError

#: Where our events go, and uvicorn's.
_LOGGERS: Final = ("coverage_lab.service", "uvicorn.error")
_FIELDS: Final = "fields"


def event(logger: logging.Logger, level: int, name: str, **fields: object) -> None:
    """Log an event with its fields."""
    logger.log(level, name, extra={_FIELDS: fields})


class JsonLines(logging.Formatter):
    """One line of JSON a record. Of an exception only its type is said: its message may hold text."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=True, default=str)


def log_to(stream: IO[str] | None = None) -> None:
    """Send the service's events, and uvicorn's errors, to a stream (standard error) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
    logging.getLogger("coverage_lab.service").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class AuditLog:
    """Who asked about which accounts, one line of JSON a request; no text, no scores.

    Parameters
    ----------
    path : Path
        Appended to; only its owner may read it.

    Raises
    ------
    ConfigError
        It can't be written to.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.touch(mode=0o600)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"service.audit {path}: can't be written ({error.strerror})") from error

    def asked(self, *, request_id: str, key: str, address: str, accounts: list[str], status: int) -> None:
        """Add a line; it is with the operating system when this returns."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": request_id,
            "key": key,
            "address": address,
            "status": status,
            "accounts": accounts,
        }
        self._file.write(json.dumps(line, ensure_ascii=True) + "\n")
        self._file.flush()
