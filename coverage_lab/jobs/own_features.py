"""Features of one's own accounts: from traffic, or from the states that runs keep between days."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from coverage_lab.accounts import AccountStates, measure, trace_prompts
from coverage_lab.config import RunConfig
from coverage_lab.detect.features import Features, features_of, join
from coverage_lab.detect.judge import Judge
from coverage_lab.errors import TrafficError
from coverage_lab.files.output_folder import OutputFolder
from coverage_lab.jobs.ingest import read_input
from coverage_lab.progress import Progress, silent
from coverage_lab.state.files import accounts_held, read_states
from coverage_lab.state.table import Binding, StateTable, check_binding, state_url
from coverage_lab.traffic import check_sources, find_sources, without_repeats

#: Own accounts that are learnt from at most; more change little and take longer.
MOST = 5000
#: Accounts whose states are held at once.
_AT_ONCE = 250


@dataclass(frozen=True, eq=False)
class OwnFeatures:
    """Own accounts that are large enough, at most `MOST`, by a hash of their ids.

    Attributes
    ----------
    ids : list of str
    features : Features
        Row for row with `ids`.
    rows_quarantined : int
    skipped_files : dict
        Name of each file that was not read, and why.
    """

    ids: list[str]
    features: Features
    rows_quarantined: int
    skipped_files: dict[str, str]


def features_of_traffic(
    traffic: str | Path | Sequence[str | Path],
    config: RunConfig,
    judge: Judge,
    *,
    threads: int,
    progress: Progress = silent,
) -> OwnFeatures:
    """Read traffic as a run does, and measure its accounts.

    Raises
    ------
    TrafficError
        No account has `detect.min_prompts` usable prompts.
    """
    checked = without_repeats(check_sources(find_sources(traffic), config.traffic), config.traffic)
    sources = list(checked.sources)
    names = [source.name for source in sources]
    ids: list[str] = []
    parts: list[Features] = []
    quarantined = 0
    with tempfile.TemporaryDirectory(prefix="coverage-lab-") as scratch:
        folder = OutputFolder(Path(scratch) / "work", "adapt")
        try:
            read = read_input(sources, config, folder, readers=None, progress=progress)
            quarantined += pq.read_metadata(folder.work / "quarantine.parquet").num_rows
            for done, bucket in enumerate(read.buckets):
                progress("buckets", done, len(read.buckets))
                prompts, refused = bucket.read(names)
                quarantined += refused.num_rows
                with threadpool_limits(limits=threads):
                    states = trace_prompts(prompts, judge.encoder, judge.atlas)
                    found, features = _large(states, config, judge)
                ids += found
                parts.append(features)
                if sum(map(len, parts)) > 2 * MOST:
                    ids, features = _kept(ids, join(parts))
                    parts = [features]
        finally:
            folder.release()
    if not ids:
        raise TrafficError(
            f"INPUT: no account has {config.detect.min_prompts} usable prompts (detect.min_prompts); "
            "give more traffic, and see what `coverage-lab check` says of it"
        )
    ids, features = _kept(ids, join(parts))
    return OwnFeatures(ids, features, quarantined, dict(checked.skipped))


def features_of_state(
    state: str | Path, config: RunConfig, judge: Judge, *, threads: int, progress: Progress = silent
) -> OwnFeatures:
    """Measure the accounts of a state table, each by all its days; nothing in the table changes.

    Raises
    ------
    OutputError
        There is no state table, or it is of another encoder or atlas.
    TrafficError
        No account has `detect.min_prompts` prompts.
    """
    table = StateTable(state_url(state))
    check_binding(table, Binding(judge.encoder.id, judge.atlas.id))
    files = table.files()
    held = accounts_held(table, files, progress=progress)
    large = held.filter(pc.greater_equal(held["prompts"], config.detect.min_prompts))
    if not large.num_rows:
        raise TrafficError(
            f"state {table.url}: none of its {held.num_rows:,} accounts has {config.detect.min_prompts} "
            "prompts (detect.min_prompts); adapt once more days are in it"
        )
    chosen = sorted(large["account_id"].to_pylist(), key=_place)[:MOST]
    ids: list[str] = []
    parts: list[Features] = []
    for start in range(0, len(chosen), _AT_ONCE):
        progress("accounts", start, len(chosen))
        wanted = sorted(chosen[start : start + _AT_ONCE])
        states, _ = read_states(table, files, wanted, dim=judge.encoder.dim)
        with threadpool_limits(limits=threads):
            found, features = _large(states, config, judge)
        ids += found
        parts.append(features)
    progress("accounts", len(chosen), len(chosen))
    ids, features = _kept(ids, join(parts))
    return OwnFeatures(ids, features, 0, {})


def _large(states: AccountStates, config: RunConfig, judge: Judge) -> tuple[list[str], Features]:
    large = np.flatnonzero(states.prompts >= config.detect.min_prompts)
    features = features_of(states, measure(states, judge.atlas).values, middle_cells=judge.atlas.sizes[1])
    return [states.account_ids[row] for row in large.tolist()], features.at(large)


def _place(account_id: str) -> bytes:
    return hashlib.sha256(account_id.encode()).digest()


def _kept(ids: list[str], features: Features) -> tuple[list[str], Features]:
    """At most `MOST` accounts: those whose ids have the least hashes, so that input order changes nothing."""
    order = sorted(range(len(ids)), key=lambda row: _place(ids[row]))[:MOST]
    rows: NDArray[np.int64] = np.array(order, dtype=np.int64)
    return [ids[row] for row in order], features.at(rows)
