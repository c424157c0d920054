"""The systems that this package runs on, and what differs between them."""

from __future__ import annotations

import sys

from coverage_lab.errors import PlatformError

#: `sys.platform` → its name for people. With and without Ray.
SUPPORTED = {"linux": "Linux", "darwin": "macOS"}


def check_platform() -> None:
    """Refuse a system that this package is not made for; for the entrances, before any work.

    Raises
    ------
    PlatformError
        In one line, with the systems that are supported.
    """
    if sys.platform not in SUPPORTED:
        names = " and ".join(SUPPORTED.values())
        raise PlatformError(
            f"coverage_lab runs on {names}, got {sys.platform!r}; use one of those, on Windows for instance "
            "WSL (Windows Subsystem for Linux)"
        )


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, in MiB."""
    import resource  # Unix only: not before `check_platform` was asked

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB on Linux.
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))
