"""What the Ray job does when workers, nodes, files, disks or the driver fail: the same tables in the end."""

from __future__ import annotations

import gc
import subprocess
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from support.commands import some_traffic, tables, write
from support.killed import KILLED, dies_at, dies_before, end_of
from support.ray_faults import Faults, connect

from coverage_lab.config import RunConfig
from coverage_lab.errors import CoverageLabError, OutputError, TrafficError
from coverage_lab.jobs import ingest as reading
from coverage_lab.jobs import run_job
from coverage_lab.jobs.ray import scheduler
from coverage_lab.jobs.ray.scheduler import Failure, Job, run_jobs
from coverage_lab.progress import Progress, silent

ray = pytest.importorskip("ray", reason="the Ray job needs the extra 'ray'")
from ray.cluster_utils import Cluster  # noqa: E402

SETTINGS = {
    "encoder": {"name": "static"},
    "traffic": {"as_of": "2026-01-20T00:00:00Z"},
    "job": {"buckets": 4, "threads": 1, "ray": {"actors": 2, "retries": 1}},
    "detect": {"review_p": 0.9, "watch_p": 0.99},
}
CONFIG = RunConfig.model_validate(SETTINGS)
FILES = 3


def a_day(folder: Path) -> Path:
    """Traffic in three files, each with two rows that can't be used."""
    table = some_traffic()
    prompts = table["prompt"].to_pylist()
    for row in (5, 6, 130, 131, 250, 251):
        prompts[row] = None
    table = table.set_column(2, "prompt", pa.array(prompts))
    folder.mkdir()
    for number in range(FILES):
        write(table.slice(number * 120, 120), folder / f"part-{number}.parquet")
    return folder


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    return a_day(tmp_path_factory.mktemp("input") / "day")


@pytest.fixture(scope="module")
def undisturbed(day, tmp_path_factory):
    """A local run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run_job(day, folder, CONFIG)
    return folder


@pytest.fixture(scope="module")
def cluster():
    """One node with two CPUs, which notices soon when another dies."""
    sooner = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": False, "_system_config": sooner},
    )
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def connected(cluster, tmp_path_factory):
    faults = connect(cluster.address, tmp_path_factory.mktemp("faults"))
    yield faults
    ray.shutdown()


@pytest.fixture
def faults(connected: Faults, monkeypatch):
    monkeypatch.setattr(reading, "SMALLEST_SHARE", 1)
    connected.plan({})
    for struck in connected.folder.glob("struck-*"):
        struck.unlink()
    return connected


def done(out: Path) -> dict[str, tuple[int, int]]:
    """What is finished in a work folder: inode and time of each share's and bucket's file."""
    found = [*out.glob(".work/buckets/share-*/*"), *out.glob(".work/parts/bucket-*/*")]
    return {str(file): (file.stat().st_ino, file.stat().st_mtime_ns) for file in found}


def refused(kind: type[CoverageLabError], day: Path, out: Path, config: RunConfig = CONFIG) -> str:
    """What a run on Ray says as it ends with this kind of error, on one line.

    An exception that is kept, as `pytest.raises` keeps it, would keep the run's lock on its folder.
    """
    with pytest.raises(kind) as caught:
        run_job(day, out, config, ray=True)
    assert caught.type is kind
    said = str(caught.value)
    assert "\n" not in said
    del caught
    gc.collect()
    return said


def read_here(day: Path, out: Path) -> None:
    """Do the first stage without Ray, so that a test of the second needs no readers."""

    def stop(stage: str, done: int, total: int | None) -> None:
        if stage == "buckets":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(day, out, CONFIG, progress=stop)


@pytest.mark.slow
def test_a_killed_actor_s_work_is_done_by_another(faults, day, undisturbed, tmp_path):
    faults.plan({"bucket-00001": "killed once", "share-00002": "killed once"})
    run_job(day, tmp_path / "out", CONFIG, ray=True)
    assert tables(tmp_path / "out") == tables(undisturbed)
    assert sorted(faults.begun()) == sorted(
        [*(f"share-{at:05d}" for at in (0, 1, 2, 2)), *(f"bucket-{at:05d}" for at in (0, 1, 1, 2, 3))]
    )


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["killed", "memory limit"])
def test_a_bucket_that_never_works_keeps_no_other_from_it(fault, faults, day, undisturbed, tmp_path):
    out = tmp_path / "out"
    read_here(day, out)
    faults.plan({"bucket-00000": fault})
    said = refused(CoverageLabError, day, out)
    lost = "out of memory" if fault == "memory limit" else "its worker died"
    assert f"the workers of bucket-00000 ({lost}) were lost each time; all other buckets are done" in said
    assert "more memory" in said
    assert faults.begun().count("bucket-00000") == 2, "once, and once more as job.ray.retries says"
    assert {path.name for path in out.glob(".work/parts/*")} == {f"bucket-{at:05d}" for at in (1, 2, 3)}
    before = done(out)
    assert len(before) == FILES * 6 + 3 * 7, "files of a share; tables of a bucket"
    faults.plan({})
    kept: list[dict[str, tuple[int, int]]] = []
    run_job(
        day,
        out,
        CONFIG,
        ray=True,
        progress=lambda *told: kept.append(done(out)) if told[0] == "buckets" else None,
    )
    assert all(before.items() <= now.items() for now in kept)
    assert faults.begun() == ["bucket-00000"]
    assert tables(out) == tables(undisturbed)


@pytest.mark.slow
def test_a_worker_s_own_error_is_told_without_its_words(faults, day, undisturbed, tmp_path):
    read_here(day, tmp_path / "out")
    faults.plan({"bucket-00002": "bug"})
    said = refused(CoverageLabError, day, tmp_path / "out")
    assert "bucket-00002: " in said
    assert "TypeError in ray_faults.py:" in said
    assert "prompt" not in said
    assert faults.begun().count("bucket-00002") == 1, "it would fail again"
    assert len(list(tmp_path.glob("out/.work/parts/bucket-*"))) == 3


@pytest.mark.slow
def test_a_file_that_kills_its_reader_is_named_and_all_else_read(faults, day, undisturbed, tmp_path):
    out = tmp_path / "out"
    faults.plan({"part-1.parquet": "killed"})
    said = refused(TrafficError, day, out)
    assert said.startswith("input file part-1.parquet: ")
    assert "reader was lost each time (its worker died)" in said
    before = done(out)
    assert {Path(file).parent.name for file in before} == {"share-00000", "share-00002"}
    faults.plan({})
    run_job(day, out, CONFIG, ray=True)
    assert [name for name in faults.begun() if name.startswith("share")] == ["share-00001"]
    assert tables(out) == tables(undisturbed)


@pytest.mark.slow
def test_a_damaged_file_is_named_and_all_else_read(faults, day, tmp_path):
    """Its footer is whole, so that only reading tells."""
    poisoned = tmp_path / "day"
    poisoned.mkdir()
    for file in day.iterdir():
        content = bytearray(file.read_bytes())
        if file.name == "part-0.parquet":
            content[4:2000] = bytes(1996)
        (poisoned / file.name).write_bytes(content)
    assert refused(TrafficError, poisoned, tmp_path / "out").startswith("input file part-0.parquet: can't be")
    assert len(list(tmp_path.glob("out/.work/buckets/share-*"))) == 2


@pytest.mark.slow
def test_a_truncated_file_is_refused_before_any_work(faults, day, tmp_path):
    cut = tmp_path / "cut.parquet"
    cut.write_bytes((day / "part-0.parquet").read_bytes()[:-100])
    assert "input file cut.parquet: can't be read" in refused(TrafficError, cut, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.root
def test_a_full_disk_is_one_line_and_gone_on_from(faults, day, undisturbed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can't be mounted here: needs root")
    try:
        # What fits: nothing of the first stage; the first stage, but not the buckets' tables.
        for size, finished in (("64k", "spread.json"), ("256k", None)):
            subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
            assert "the disk is full" in refused(OutputError, day, disk / "out")
            if finished is not None:
                assert not (disk / "out/.work" / finished).exists()
        assert (disk / "out/.work/spread.json").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        faults.plan({})
        run_job(day, disk / "out", CONFIG, ray=True)
        assert not any(name.startswith("share") for name in faults.begun())
        assert tables(disk / "out") == tables(undisturbed)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def driver(point: str, address: str, day: Path, out: Path, config: RunConfig) -> None:
    """Run on the cluster in a process that is killed at a point (`support.killed.end_of` calls it there)."""
    reading.SMALLEST_SHARE = 1
    job = config.job.model_copy(update={"ray": config.job.ray.model_copy(update={"address": address})})
    progress: Progress = silent
    if point in STAGES:
        progress = dies_at(*STAGES[point])
    run_job(
        day,
        out,
        config.model_copy(update={"job": job}),
        ray=True,
        progress=progress,
        checkpoint=dies_before(point),
    )


#: Points inside a stage; all others are steps of the job.
STAGES = {"in read": ("read", 1), "in work": ("buckets", 2)}
POINTS = (
    "in read",
    "work",
    "in work",
    "campaigns",
    "gather",
    "sort accounts",
    "gather flags",
    "report",
    "finish",
    "never",
)


@pytest.mark.slow
def test_a_driver_killed_at_every_stage_goes_on_each_time(cluster, faults, day, undisturbed, tmp_path):
    """One run that is killed nine times: each driver goes on from where the one before was killed."""
    out = tmp_path / "out"
    finished: dict[str, tuple[int, int]] = {}
    counts = []
    for point in POINTS:
        ended = end_of(driver, point, cluster.address, day, out, CONFIG, fresh=True)
        assert ended == (0 if point == "never" else KILLED), point
        assert (out / "run.json").exists() == (point == "never"), point
        if point != "never":
            now = done(out)
            kept = {file: now.get(file) for file in finished}
            assert kept == finished, f"{point}: what was finished before was done again"
            finished = now
            counts.append(
                (len(list(out.glob(".work/buckets/share-*"))), len(list(out.glob(".work/parts/bucket-*"))))
            )
    assert tables(out) == tables(undisturbed)
    assert 1 <= counts[0][0] <= FILES
    assert counts[1] == (FILES, 0)
    assert counts[2][0] == FILES
    assert 2 <= counts[2][1] <= 4
    assert counts[3:] == [(FILES, 4)] * 6


@pytest.mark.slow
def test_a_lost_node_s_bucket_is_done_on_another(cluster, faults, day, undisturbed, tmp_path):
    """The second node's actor is held in its bucket until the node is gone."""
    out = tmp_path / "out"
    second = cluster.add_node(num_cpus=2)
    faults.plan({f"bucket-{at:05d}": f"held on {second.node_id}" for at in range(4)})
    three = CONFIG.job.ray.model_copy(update={"actors": 3})
    config = CONFIG.model_copy(update={"job": CONFIG.job.model_copy(update={"ray": three})})
    gone: list[str] = []

    def lose() -> None:
        while not gone:
            held = [name for name, node in faults.log() if node == second.node_id and "bucket" in name]
            if held:
                cluster.remove_node(second, allow_graceful=False)
                gone.extend(held)
            time.sleep(0.05)

    watcher = threading.Thread(target=lose, daemon=True)
    watcher.start()
    run_job(day, out, config, ray=True)
    watcher.join(timeout=60)
    assert gone, "no bucket was given to the second node"
    assert tables(out) == tables(undisturbed)
    begun = [name for name in faults.begun() if name.startswith("bucket")]
    assert sorted(begun) == sorted([*(f"bucket-{at:05d}" for at in range(4)), *gone])


@pytest.mark.slow
def test_a_run_whose_last_node_is_gone_ends_and_goes_on_later(cluster, faults, day, undisturbed, tmp_path):
    """Somebody else has the first node's CPUs; the second is lost with the actors that work there."""
    out = tmp_path / "out"
    read_here(day, out)
    others = Other.options(num_cpus=2).remote()
    ray.get(others.ready.remote())
    second = cluster.add_node(num_cpus=2)
    faults.plan({f"bucket-{at:05d}": f"held on {second.node_id}" for at in (2, 3)})
    gone: list[set[str]] = []

    def lose() -> None:
        while not gone:
            if {"bucket-00002", "bucket-00003"} <= set(faults.begun()):
                gone.append({path.name for path in out.glob(".work/parts/*")})
                cluster.remove_node(second, allow_graceful=False)
            time.sleep(0.05)

    watcher = threading.Thread(target=lose, daemon=True)
    watcher.start()
    impatient = CONFIG.job.ray.model_copy(update={"start_timeout_s": 20.0})
    config = CONFIG.model_copy(update={"job": CONFIG.job.model_copy(update={"ray": impatient})})
    said = refused(CoverageLabError, day, out, config)
    watcher.join(timeout=60)
    assert gone == [{"bucket-00000", "bucket-00001"}]
    assert "no worker found a place on the cluster for 20 s, bucket-0000" in said
    assert " and 1 more still to do" in said
    assert "Run the same command again" in said
    assert "job.ray.start_timeout_s" in said
    ray.kill(others)
    faults.plan({})
    run_job(day, out, config, ray=True)
    assert sorted(faults.begun()) == ["bucket-00002", "bucket-00003"]
    assert tables(out) == tables(undisturbed)


@ray.remote(num_cpus=1)
class Other:
    """An actor of somebody's; as a worker it takes `loads_s` to get ready."""

    def __init__(self, loads_s: float = 0.0) -> None:
        self._loads_s = loads_s

    def ready(self) -> None:
        time.sleep(self._loads_s)

    def do(self, number: int) -> int:
        return number


def run_on(spawn, jobs=2, **options) -> tuple[list[int], dict[str, Failure]]:
    found: list[int] = []
    failures = run_jobs(
        [Job(f"job-{number}", (number,)) for number in range(jobs)],
        spawn,
        actors=1,
        retries=0,
        done=found.append,
        beat=lambda: None,
        **options,
    )
    return found, failures


@pytest.mark.slow
def test_who_loads_for_long_is_not_taken_for_one_without_a_place(faults, monkeypatch):
    monkeypatch.setattr(scheduler, "BEAT_S", 0.2)
    begun = time.monotonic()
    assert run_on(Other.remote, start_timeout_s=60.0) == ([0, 1], {})
    # Enough for a process to start on this machine as it is now.
    patience = 2 * (time.monotonic() - begun) + 1
    assert run_on(lambda: Other.remote(patience + 1), start_timeout_s=patience) == ([0, 1], {})


@pytest.mark.slow
def test_an_actor_that_no_node_can_hold_is_waited_for_no_longer_than_told(faults):
    begun = time.monotonic()
    with pytest.raises(CoverageLabError, match=r"for 1.5 s, job-0 still to do") as caught:
        run_on(Other.options(resources={"none has it": 1}).remote, jobs=1, start_timeout_s=1.5)
    assert 1.5 <= time.monotonic() - begun < 10
    assert "\n" not in str(caught.value)
