"""Logs as JSON, one line an event: time, level, request id, name of the key. Never a prompt or a key."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
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
        Appended to; only its owner may read it, also where it was there before.

    Raises
    ------
    ConfigError
        It can't be written to, or is not ours to close to others.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.touch(mode=0o600)
            # Unbuffered: what could not be written must not come out with a later line.
            self._file = path.open("ab", buffering=0)
            if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                os.fchmod(self._file.fileno(), 0o600)
        except OSError as error:
            raise ConfigError(f"service.audit {path}: can't be written ({error.strerror})") from error
        self._torn = False

    def asked(self, *, request_id: str, key: str, address: str, accounts: list[str], status: int) -> None:
        """Add a line; it is with the operating system when this returns.

        Raises
        ------
        OSError
            It could not be written whole: the disk is full.
        """
        fields = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": request_id,
            "key": key,
            "address": address,
            "status": status,
            "accounts": accounts,
        }
        line = (b"\n" if self._torn else b"") + json.dumps(fields, ensure_ascii=True).encode() + b"\n"
        written = self._file.write(line)
        if written < len(line):
            self._torn = self._torn or written > 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn = False
