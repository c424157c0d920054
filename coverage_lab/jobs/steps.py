"""The steps of a run, each alone on values in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coverage_lab.accounts import trace_prompts
from coverage_lab.atlas import Atlas, default_atlas, load_atlas
from coverage_lab.config import EncoderConfig, RunConfig
from coverage_lab.detect.judge import judge_prompts, with_q_values
from coverage_lab.detect.load import load_judge, resolve_config, threads_of
from coverage_lab.encoders import Encoder, load_encoder, resolve_name
from coverage_lab.errors import CoverageLabError, TrafficError
from coverage_lab.jobs.prompts import usable_prompts
from coverage_lab.progress import Progress, silent
from coverage_lab.traffic import (
    validate_records,
)
from coverage_lab.untrusted.text import shortened, visible


def encoder(
    name: Literal["static", "minilm"] = "static", *, device: Literal["auto", "cpu", "cuda"] = "auto"
) -> Encoder:
    """Load an encoder: its `encode` turns texts into unit vectors.

    Parameters
    ----------
    name : str
        "static" (multilingual, needs no torch) or "minilm" (English, extra `transformer`).
    device : str
        "auto", "cpu" or "cuda".

    Returns
    -------
    Encoder
        ``encoder.encode(texts)`` gives float32 ``(n, encoder.dim)``.

    Raises
    ------
    ConfigError
        There is no such encoder, or no such device here.
    MissingExtraError
        The encoder's libraries are not installed.

    Examples
    --------
    >>> import coverage_lab as cl
    >>> static = cl.encoder("static")
    >>> vectors = static.encode(["Where is the river?", "Where does the river flow?"])
    >>> cells = cl.default_atlas("static").assign(vectors)
    >>> vectors.shape, cells.shape
    ((2, 512), (2, 3))
    """
    return load_encoder(EncoderConfig(name=name, device=device))


def trace(
    traffic: str | Path | Sequence[str | Path],
    accounts: Sequence[str],
    *,
    config: RunConfig | None = None,
    progress: Progress = silent,
) -> dict[str, NDArray[np.int32]]:
    """Place the prompts of some accounts of a traffic on the atlas, in time order.

    Parameters
    ----------
    traffic : str, Path or sequence of them
        As for `analyze`: file, folder, glob or address.
    accounts : sequence of str
        Account ids, one or more.
    config : RunConfig, optional
        Encoder and atlas, and how traffic is read; the defaults when not given. Of a cascade the first stage.
    progress : Progress, optional
        Told how far reading and encoding are.

    Returns
    -------
    dict of account → int32 (n, 3)
        Cell of each prompt that can be used at each level, coarsest first, in the order of `accounts`;
        ``plot.capability_map(atlas, {name: cells[:, 2] …})`` draws them.

    Raises
    ------
    TrafficError
        The traffic has no usable prompt of one of the accounts, or can't be read.
    CoverageLabError
        No account is named; or as of loading the parts (`ConfigError`, `AtlasError`).
    """
    wanted = list(dict.fromkeys(accounts))
    if not wanted:
        raise CoverageLabError("accounts: expected one or more, got none")
    settings = resolve_config(RunConfig() if config is None else config)
    prompts, _ = usable_prompts(traffic, settings.traffic, accounts=wanted, progress=progress)
    found = set(pc.unique(prompts["account_id"]).to_pylist())
    for account in wanted:
        if account not in found:
            raise TrafficError(
                f"accounts: expected accounts with a usable prompt in the traffic, got "
                f"{shortened(visible(account), 80)!r}"
            )
    judge = load_judge(settings, threads=threads_of(settings), progress=progress)
    states = trace_prompts(prompts, judge.encoder, judge.atlas, progress=progress)
    place = {name: at for at, name in enumerate(states.account_ids)}
    return {
        name: states.cells[states.offsets[place[name]] : states.offsets[place[name] + 1]] for name in wanted
    }


def atlas_of(config: RunConfig) -> Atlas:
    """Load the atlas that a config judges on; of a cascade the first stage's.

    Raises
    ------
    AtlasError
        It is missing or damaged.
    """
    first = config.encoder.name == "cascade"
    path = config.cascade.atlas if first else config.atlas.path
    if path is not None:
        return load_atlas(path)
    return default_atlas("static" if first else resolve_name(config.encoder))


def score(
    prompts: Mapping[str, Sequence[str]], *, config: RunConfig | None = None, first: datetime | None = None
) -> pa.Table:
    """Judge accounts that are given as lists of texts, without files.

    Parameters
    ----------
    prompts : mapping of account → texts
        Prompts of each account in the order in which they were sent.
    config : RunConfig, optional
        Encoder, atlas, scorecard and thresholds; the defaults when not given.
    first : datetime, optional
        When each account's first prompt was sent, with a zone; the others follow a second apart. When not
        given, 1 January 2026.

    Returns
    -------
    pyarrow.Table
        Schema `coverage_lab.schema.ACCOUNTS`, by account: score, p-value, verdict, reasons and measures.

    Raises
    ------
    TrafficError
        A text can't be used (empty, too long, not text), or an account has none.
    CoverageLabError
        There is no account; or as of loading the parts (`ConfigError`, `AtlasError`).

    Examples
    --------
    >>> import coverage_lab as cl
    >>> judged = cl.score({"one": ["How do I cook rice?", "How do I boil an egg?"], "two": ["Tell a joke."]})
    >>> judged.select(["account_id", "prompts", "verdict"]).to_pylist()[0]
    {'account_id': 'one', 'prompts': 2, 'verdict': 'inconclusive'}
    """
    if not prompts:
        raise CoverageLabError("prompts: expected one account or more, got none")
    settings = resolve_config(RunConfig() if config is None else config)
    begin = datetime(2026, 1, 1, tzinfo=UTC) if first is None else first
    records = []
    for account, texts in prompts.items():
        if isinstance(texts, str) or not len(texts):
            name = shortened(visible(str(account)), 80)
            kind = "a single text" if isinstance(texts, str) else "no text"
            raise TrafficError(f"prompts[{name!r}]: expected a list of texts, got {kind}")
        records += [
            {"account_id": account, "timestamp": begin + timedelta(seconds=place), "prompt": text}
            for place, text in enumerate(texts)
        ]
    ours = settings.traffic.model_copy(update={"columns": {}})
    last = begin + timedelta(seconds=max(len(texts) for texts in prompts.values()))
    batch = validate_records(records, ours, as_of=last, source_name="prompts")
    if batch.quarantined.num_rows:
        bad = batch.quarantined.sort_by("row").to_pylist()[0]
        name = shortened(visible(str(bad["account_id"])), 80)
        raise TrafficError(
            f"prompts[{name!r}]: expected texts that can be used, got one with {bad['reason']} "
            f"({visible(bad['detail'])[:120]}); leave it out, or see traffic.max_prompt_bytes"
        )
    judge = load_judge(settings, threads=threads_of(settings))
    return with_q_values(judge_prompts(batch.good, judge).accounts, settings.detect)
