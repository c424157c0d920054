"""Errors that a user can act on, and the exit code that each gives a script.

Every message names the argument, what was expected and what came, and is one line.
"""

from __future__ import annotations


class CoverageLabError(Exception):
    """Something that the user can put right; the message says how."""

    exit_code = 1


class ConfigError(CoverageLabError):
    """A config file or option that can't be used."""

    exit_code = 2


class MissingExtraError(CoverageLabError):
    """A library that is an extra of this package is not installed."""

    exit_code = 2

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {library}, which is not installed: pip install 'coverage-lab[{extra}]'"
        )
        self.library = library
        self.extra = extra


class PlatformError(CoverageLabError):
    """An operating system that this package is not made for."""

    exit_code = 2


class TrafficError(CoverageLabError):
    """Input traffic that can't be read at all (single bad rows go to quarantine instead)."""

    exit_code = 3


class AtlasError(CoverageLabError):
    """An atlas that is damaged, or belongs to another encoder."""

    exit_code = 4


class OutputError(CoverageLabError):
    """The output folder can't be used: it holds another run, is not writable, or the disk is full."""

    exit_code = 5
