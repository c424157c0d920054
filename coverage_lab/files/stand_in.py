"""Plainly named stand-ins for folders whose names a library can't take, and private folders for this user."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from coverage_lab.errors import OutputError

#: What Delta Lake decodes twice, takes for a separator, or has no way to spell.
_ODD: Final = re.compile("[%\\\\\\[\\]|^\x00-\x1f\x7f\ud800-\udfff]")


def private_folder(purpose: str, key: str) -> Path:
    """Make a folder under the system's temporary one that belongs to this user and key alone.

    Parameters
    ----------
    purpose
        Part of the folder's name, in plain letters.
    key
        Whatever the folder is for; only its hash gets into the name.

    Raises
    ------
    OutputError
        Somebody else has put something there.
    """
    digest = hashlib.sha256(os.fsencode(key)).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else 0
    place = Path(tempfile.gettempdir()) / f"coverage-lab-{purpose}-{user}-{digest}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != user:
        raise OutputError(f"{str(place)!r}: belongs to another user; set TMPDIR to a folder of yours")
    return place


def stand_in(folder: Path, *inside: str) -> Path:
    """Return a folder with a plain name that holds links to all that lies in `folder`.

    Parameters
    ----------
    folder
        One with a plain name is returned as it is.
    inside
        Names of folders in it that are about to be written to; they are made.

    Raises
    ------
    OutputError
        The system's temporary folder has such a name itself.
    """
    real = folder.resolve()
    if not _ODD.search(str(real)):
        return folder
    place = private_folder("folder", str(real))
    if _ODD.search(str(place)):
        raise OutputError(f"TMPDIR: expected a folder with a plain name, got {str(place.parent)!r}")
    for name in inside:
        (real / name).mkdir(parents=True, exist_ok=True)
    names = set(os.listdir(real)) if real.is_dir() else set()
    for link in place.iterdir():
        if link.name not in names:
            link.unlink(missing_ok=True)
    for name in names:
        with suppress(FileExistsError):
            (place / name).symlink_to(real / name)
    return place
