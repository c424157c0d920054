"""Indexing banks, and matching the accounts of a traffic with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from coverage_lab.banks import Banks, build_banks, load_banks, match_texts
from coverage_lab.banks.match import THRESHOLD
from coverage_lab.config import RunConfig
from coverage_lab.detect.load import resolve_config, threads_of
from coverage_lab.encoders import load_encoder
from coverage_lab.errors import TrafficError
from coverage_lab.jobs.prompts import Paths, usable_prompts
from coverage_lab.progress import Progress, silent


def index_banks(
    folder: str | Path,
    out: str | Path,
    *,
    column: str = "prompt",
    config: RunConfig | None = None,
    progress: Progress = silent,
) -> Banks:
    """Index the known prompt banks of a folder for `match_banks`: one file a bank, one prompt a row.

    Parameters
    ----------
    folder : str or Path
        With files that end in ``.txt`` (a prompt a line), ``.jsonl``, ``.csv`` or ``.parquet``.
    out : str or Path
        Folder for the index; must not exist. It holds vectors and numbers of rows, no text.
    column : str
        Where the prompts are, in files with columns.
    config : RunConfig, optional
        Its encoder; the default when not given.
    progress : Progress, optional
        Told how far encoding is.

    Raises
    ------
    TrafficError
        The folder has no bank, or one can't be read.
    OutputError
        `out` exists or can't be written.
    """
    settings = resolve_config(RunConfig() if config is None else config)
    encoder = load_encoder(settings.encoder, threads=threads_of(settings), progress=progress)
    return build_banks(Path(folder), Path(out), encoder=encoder, column=column, progress=progress)


def match_banks(
    traffic: Paths,
    banks: str | Path,
    *,
    ordinary: Paths | None = None,
    threshold: float = THRESHOLD,
    config: RunConfig | None = None,
    progress: Progress = silent,
) -> pa.Table:
    """Find near-duplicates of accounts' prompts in known prompt banks.

    Who sends a published bank, in its order, replays it; ordinary customers share a few prompts with any
    bank by chance, and how many they share is told beside each match.

    Parameters
    ----------
    traffic : str, Path or sequence of them
        As for `analyze`: file, folder, glob or address. All prompts are held in memory.
    banks : str or Path
        Folder that `index_banks` or ``coverage-lab banks build`` wrote.
    ordinary : str, Path or sequence of them, optional
        Ordinary traffic for the chance level; the other accounts of `traffic` when not given.
    threshold : float
        Cosine similarity from which on a prompt matches, 0.5 to 1.
    config : RunConfig, optional
        Encoder, which must be the banks', and how traffic is read.
    progress : Progress, optional
        Told how far the work is.

    Returns
    -------
    pyarrow.Table
        A row for each account and bank with a match: share, chance level, p-value, order and places of the
        closest examples; schema `coverage_lab.banks.MATCHES`. No text.

    Raises
    ------
    TrafficError
        Traffic or banks can't be read, or no prompt can be used.
    ConfigError
        The encoder is another than the banks', or the threshold is out of range.
    """
    settings = resolve_config(RunConfig() if config is None else config)
    known = load_banks(Path(banks))
    return match_sent(
        texts_of(traffic, settings, progress=progress),
        known,
        ordinary=ordinary,
        threshold=threshold,
        config=settings,
        progress=progress,
    )


def match_sent(
    sent: Mapping[str, Sequence[str]],
    known: Banks,
    *,
    ordinary: Paths | None,
    threshold: float,
    config: RunConfig,
    progress: Progress,
) -> pa.Table:
    """As `match_banks`, of prompts that `texts_of` gave and of banks that are loaded."""
    settings = resolve_config(config)
    usual = None if ordinary is None else texts_of(ordinary, settings, progress=progress)
    encoder = load_encoder(settings.encoder, threads=threads_of(settings), progress=progress)
    return match_texts(sent, known, encoder=encoder, ordinary=usual, threshold=threshold, progress=progress)


def texts_of(traffic: Paths, config: RunConfig, *, progress: Progress = silent) -> dict[str, list[str]]:
    """Prompts of every account that can be used, in time order.

    Raises
    ------
    TrafficError
        There is none.
    """
    prompts, rows = usable_prompts(traffic, config.traffic, progress=progress)
    if not prompts.num_rows:
        raise TrafficError(f"INPUT {traffic}: no usable row of {rows:,}")
    order = [
        ("account_id", "ascending"),
        ("timestamp", "ascending"),
        ("source", "ascending"),
        ("row", "ascending"),
    ]
    prompts = prompts.select(["account_id", "timestamp", "source", "row", "prompt"]).sort_by(order)
    found: dict[str, list[str]] = {}
    for name, text in zip(prompts["account_id"].to_pylist(), prompts["prompt"].to_pylist(), strict=True):
        found.setdefault(name, []).append(text)
    return found
