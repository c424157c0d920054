"""Building an atlas from a user's own reference traffic."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coverage_lab.atlas import Atlas, fit_atlas, save_atlas
from coverage_lab.config import RunConfig
from coverage_lab.detect.load import threads_of
from coverage_lab.encoders import encode_unique, load_encoder
from coverage_lab.errors import OutputError, TrafficError
from coverage_lab.progress import Progress, silent
from coverage_lab.traffic import check_sources, find_sources, read_traffic


def build_atlas(
    traffic: str | Path,
    folder: Path,
    config: RunConfig,
    *,
    sizes: tuple[int, int, int],
    seed: int = 0,
    progress: Progress = silent,
) -> Atlas:
    """Fit an atlas on reference traffic and save it to `folder`.

    Parameters
    ----------
    sizes : (coarse, middle, fine)
        Cells per level.

    Raises
    ------
    OutputError
        `folder` exists.
    TrafficError
        The traffic has no usable row, or fewer distinct prompts than fine cells.
    """
    if folder.exists():
        raise OutputError(f"OUT {folder}: exists already; an atlas is never changed, give a new folder")
    sources = find_sources(traffic)
    check_sources(sources, config.traffic)
    as_of = config.traffic.as_of or datetime.now(UTC)
    kept, quarantined, rows = [], 0, 0
    for batch in read_traffic(sources, config.traffic, as_of=as_of):
        rows += batch.rows_in
        quarantined += batch.quarantined.num_rows
        kept.append(batch.good.select(["account_id", "prompt"]))
        progress("read", rows, None)
    prompts = pa.concat_tables(kept) if kept else None
    if prompts is None or prompts.num_rows == 0:
        raise TrafficError(f"INPUT {traffic}: no usable row ({quarantined} of {rows} unusable)")
    encoder = load_encoder(config.encoder, threads=threads_of(config), progress=progress)
    accounts = pc.dictionary_encode(prompts["account_id"].combine_chunks())
    texts = prompts["prompt"].to_pylist()
    vectors, which = encode_unique(encoder, texts, progress=progress)
    if len(vectors) < sizes[-1]:
        raise TrafficError(
            f"INPUT {traffic}: {len(vectors)} distinct prompts can't fill {sizes[-1]} fine cells; "
            "give more traffic or fewer --cells"
        )
    atlas = fit_atlas(
        vectors[which],
        accounts.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        np.ones(len(texts), dtype=bool),
        texts,
        encoder=encoder,
        sizes=sizes,
        seed=seed,
        description=f"{prompts.num_rows:,} prompts of {len(accounts.dictionary):,} accounts of "
        "reference traffic",
        progress=progress,
    )
    save_atlas(atlas, folder)
    return atlas
