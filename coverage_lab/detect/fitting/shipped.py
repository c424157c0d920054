"""Features of the accounts that a shipped scorecard was fitted on: numbers, no text, in one file.

A user's own traffic has ordinary accounts in plenty and hardly ever a known harvest, so harvests come from
here (`coverage_lab.detect.fitting.adapt`).
"""

from __future__ import annotations

import hashlib
import importlib.resources
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coverage_lab.detect.features import FEATURES, VECTORS, Features
from coverage_lab.detect.fitting.accounts import TrainingAccounts
from coverage_lab.detect.scorecard import Scorecard
from coverage_lab.errors import ConfigError

#: Where a scorecard's card says which file of accounts belongs to it.
ACCOUNTS_HASH = "accounts_sha256"
#: Accounts of one customer that are kept: they are much alike.
_OF_ONE = 4
_STEPS = 127


def some_of_each(accounts: TrainingAccounts, *, seed: int) -> TrainingAccounts:
    """Keep the pure harvests and the ordinary accounts, at most four of one customer, drawn at random."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(accounts.ordinary | (accounts.harvest & accounts.pure))
    rows = rng.permutation(rows)
    _, which = np.unique(accounts.customer[rows], return_inverse=True)
    order = np.argsort(which, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(which[order]) != 0))
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return accounts.at(np.sort(rows[order[place < _OF_ONE]]))


def write_accounts(accounts: TrainingAccounts, path: Path) -> str:
    """Write accounts to a file, vectors in steps of 1/127 of a column's largest value.

    Returns
    -------
    str
        Hex SHA-256 of the file. The same accounts give the same bytes.
    """
    arrays: dict[str, NDArray[np.generic]] = {
        "named": accounts.features.named.astype(np.float32),
        "prompts": accounts.features.prompts,
        "kind": accounts.kind,
        "customer": accounts.customer,
        "cluster": accounts.cluster,
        "fold": accounts.fold,
        "language": accounts.language,
        "pure": accounts.pure,
    }
    for name in VECTORS:
        x = accounts.features.vectors[name]
        step = np.maximum(np.abs(x).max(axis=0), 1e-9).astype(np.float32) / _STEPS
        arrays[f"{name}_step"] = step
        arrays[f"{name}_steps"] = np.rint(x / step).astype(np.int8)
    # Not `savez`, which writes the time of day.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for key, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{key}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_accounts(path: Path, *, sha256: str) -> TrainingAccounts:
    """Read accounts from their file.

    Raises
    ------
    ConfigError
        The file can't be read, is another one than the hash says, or is of another version's features.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"accounts {path.name}: can't be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ConfigError(f"accounts {path.name}: not the file that the scorecard names; install again")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        named = arrays["named"].astype(np.float64)
        if named.shape[1] != len(FEATURES):
            raise ConfigError(
                f"accounts {path.name}: expected {len(FEATURES)} features, got {named.shape[1]}; "
                "install again"
            )
        vectors = {
            name: (arrays[f"{name}_steps"] * arrays[f"{name}_step"]).astype(np.float32) for name in VECTORS
        }
        return TrainingAccounts(
            features=Features(named, vectors, arrays["prompts"]),
            **{key: arrays[key] for key in ("kind", "customer", "cluster", "fold", "language", "pure")},
        )


def shipped_accounts(encoder_name: str, card: Scorecard) -> TrainingAccounts:
    """Load the accounts that ship with a built-in encoder's scorecard.

    Raises
    ------
    ConfigError
        None ship with this scorecard.
    """
    sha256 = card.card.get(ACCOUNTS_HASH)
    if not isinstance(sha256, str):
        raise ConfigError(
            f"encoder.name: no accounts ship for {encoder_name!r}, so nothing can be fitted to own traffic "
            'with it; expected "static"'
        )
    resource = importlib.resources.files("coverage_lab.detect") / "data" / f"{encoder_name}_accounts.npz"
    with importlib.resources.as_file(resource) as path:
        return read_accounts(path, sha256=sha256)
