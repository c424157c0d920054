"""Days of a state table: traffic, a judge without a model, runs day after day, and what is in the table."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import coverage_lab.jobs.run
from coverage_lab.config import RunConfig
from coverage_lab.detect import Judge
from coverage_lab.detect.scorecard import load_scorecard
from coverage_lab.jobs import StateDay, run_job
from coverage_lab.progress import no_checkpoint, silent
from coverage_lab.schema import TRAFFIC
from coverage_lab.state.store import StateStore, storage_options
from coverage_lab.state.table import Binding, StateTable
from support.commands import TABLES, WORDS, write
from support.killed import die, dies_at, dies_before
from support.traced import HashEncoder, a_scorecard, tiny_atlas

SETTINGS = {
    "encoder": {"name": "static"},
    "job": {"buckets": 2, "threads": 1},
    "detect": {"min_prompts": 10, "review_p": 0.9, "watch_p": 0.99},
}
CONFIG = RunConfig.model_validate(SETTINGS)
FIRST = date(2026, 1, 10)
CARD = Path("unset")


def stand_in(config, **_):
    """A judge without a model, in place of the one that the config names."""
    return Judge(HashEncoder(), tiny_atlas(), load_scorecard(CARD), config.detect, config.digest())


def binding():
    return Binding(HashEncoder.id, tiny_atlas().id)


@pytest.fixture(autouse=True, scope="module")
def judge(tmp_path_factory):
    global CARD
    CARD = tmp_path_factory.mktemp("card") / "card.json"
    CARD.write_text(a_scorecard().model_dump_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage_lab.jobs.run, "load_judge", stand_in)
        # The page is a fifth of so small a run's time, and says nothing here.
        patch.setattr(coverage_lab.jobs.run, "write_report", lambda target, **_: target.write_text("page"))
        yield stand_in


def traffic_of(day: date, accounts=("ann", "bob", "cho"), *, prompts=14, seed=0) -> pa.Table:
    """Our own words, some of them again and again, for some accounts on one day."""
    rng = np.random.default_rng([seed, day.toordinal(), *map(ord, "".join(accounts))])
    rows = [(account, i) for account in accounts for i in range(prompts)]
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return pa.table(
        {
            "account_id": [account for account, _ in rows],
            "timestamp": pa.array([start + timedelta(seconds=30 * i) for _, i in rows]).cast(
                TRAFFIC.field("timestamp").type
            ),
            "prompt": [f"Explain {' and '.join(rng.choice(WORDS[:9], 2))} please" for _ in rows],
            "end_user": [f"user {i % 3} of {account}" for account, i in rows],
        }
    )


def day_number(n: int) -> date:
    return FIRST + timedelta(days=n)


#: Accounts of each of four days; dan comes once, ann stays away once.
SEEN = (("ann", "bob"), ("ann", "bob", "dan"), ("bob", "cho"), ("ann", "bob", "cho"))


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Files of four days."""
    folder = tmp_path_factory.mktemp("days")
    return [
        write(traffic_of(day_number(n), accounts), folder / f"day-{n}.parquet")
        for n, accounts in enumerate(SEEN)
    ]


def count(file, out, state, n, config=CONFIG, *, progress=silent, checkpoint=no_checkpoint, **options):
    wanted = StateDay(state, day_number(n), **options)
    return run_job(file, out, config, state=wanted, progress=progress, checkpoint=checkpoint)


def count_all(days, folder, config=CONFIG):
    """Run the days one after the other; returns state, outputs, and keeps the state after each."""
    state = folder / "state"
    outs = [folder / f"out-{n}" for n in range(len(days))]
    for n, file in enumerate(days):
        count(file, outs[n], state, n, config)
        shutil.copytree(state, folder / f"after-{n + 1}")
    return state, outs


@pytest.fixture(scope="module")
def undisturbed(days, tmp_path_factory):
    return count_all(days, tmp_path_factory.mktemp("undisturbed"))


def contents(state) -> dict[str, list[dict]]:
    """Rows of the newest version by day, from a folder or an object store."""
    table = StateTable(str(state))
    found: dict[str, list[dict]] = {}
    for file in table.files():
        with table.store.opened(file.path) as opened:
            rows = pq.read_table(opened, partitioning=None).to_pylist()
        found.setdefault(file.day.isoformat(), []).extend(rows)
    for rows in found.values():
        rows.sort(key=lambda row: row["account_id"])
    # NaN is not itself, its text is.
    return json.loads(json.dumps(found, default=str).replace("NaN", '"NaN"'))


def outputs(out) -> dict[str, bytes]:
    return {name: (out / f"{name}.parquet").read_bytes() for name in TABLES}


def every_byte(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def together(*calls):
    """Run in threads at once; returns what each raised."""
    raised = [None] * len(calls)

    def one(i):
        try:
            calls[i]()
        except Exception as error:
            raised[i] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def all_at_once(runs: int) -> Callable[[str], None]:
    """Give a checkpoint for so many runs: nobody commits before everybody has looked at the table."""
    barrier = threading.Barrier(runs)

    def checkpoint(step: str) -> None:
        if step == "commit":
            barrier.wait(60)

    return checkpoint


def count_and_die(card: Path, point: str, file: Path, out: Path, state: str | Path, n: int) -> None:
    """Count a day in a process that is killed at a point (`support.killed.end_of` calls it there)."""
    global CARD
    CARD = card
    coverage_lab.jobs.run.load_judge = stand_in
    if point == "in a bucket":
        count(file, out, state, n, progress=dies_at("buckets", 1))
    elif point == "in a file":
        StateStore.put = _half_a_file  # type: ignore[method-assign]
        count(file, out, state, n)
    else:
        count(file, out, state, n, checkpoint=dies_before(point))


def _half_a_file(store: StateStore, local: Path, path: str) -> None:
    """Die with a file half written: in its place on a folder, and of an object store's upload."""
    url = store.url
    if "://" in url:
        from deltalake.fs import DeltaStorageHandler

        stream = DeltaStorageHandler(url, storage_options(url))._handler.open_output_stream(path, None)
        stream.write(local.read_bytes()[:99])
    else:
        Path(url, path).parent.mkdir(parents=True)
        Path(url, path).write_bytes(local.read_bytes()[:99])
    die()
