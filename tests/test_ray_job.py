"""The Ray job when nothing fails: reading in shares, bucketed input, progress, submitting."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.commands import some_traffic, tables, write

from coverage_lab.config import RunConfig, TrafficConfig
from coverage_lab.errors import ConfigError, TrafficError
from coverage_lab.jobs import ingest as reading
from coverage_lab.jobs import run_job
from coverage_lab.jobs.ray import bucket_stage, scheduler
from coverage_lab.jobs.ray.cluster import ray_cluster
from coverage_lab.progress import ProgressLines, span
from coverage_lab.traffic import bucket_of, cut_shares, find_sources, read_pieces, read_traffic, ready_buckets

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "encoder": {"name": "static"},
    "traffic": {"as_of": "2026-01-20T00:00:00Z"},
    "job": {"buckets": 4, "threads": 1, "ray": {"actors": 2}},
    "detect": {"review_p": 0.9, "watch_p": 0.99},
}
CONFIG = RunConfig.model_validate(SETTINGS)
ALONE = RunConfig.model_validate({**SETTINGS, "job": {"threads": 1, "ray": {"actors": 2}}})
NOON = datetime(2026, 1, 20, 12, tzinfo=UTC)


def spoilt() -> pa.Table:
    """Traffic of which every thirtieth row can't be used."""
    table = some_traffic()
    prompts = [None if row % 30 == 7 else text for row, text in enumerate(table["prompt"].to_pylist())]
    return table.set_column(2, "prompt", pa.array(prompts))


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """One file in row groups of 50, and two small ones."""
    folder = tmp_path_factory.mktemp("input") / "day"
    folder.mkdir()
    pq.write_table(spoilt().slice(0, 240), folder / "a.parquet", row_group_size=50)
    write(spoilt().slice(240, 60), folder / "b.parquet")
    write(spoilt().slice(300), folder / "c.parquet")
    return folder


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """The same traffic as a former job left it, in folders by account."""
    folder = tmp_path_factory.mktemp("ready") / "day"
    table = spoilt()
    number = bucket_of(table["account_id"], 3)
    for value in range(3):
        inside = folder / f"bucket={value}"
        inside.mkdir(parents=True)
        write(table.filter(pa.array(number == value)), inside / "part.parquet")
    return folder


@pytest.fixture(scope="module")
def whole(day, tmp_path_factory):
    """A local run that read all in one share."""
    folder = tmp_path_factory.mktemp("whole")
    run_job(day, folder, CONFIG)
    return folder


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="the Ray job needs the extra 'ray'")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def small_shares(monkeypatch):
    monkeypatch.setattr(reading, "SMALLEST_SHARE", 1)
    monkeypatch.setattr(reading, "LARGEST_SHARE", 1)


@given(most=st.integers(1, 40_000))
def test_shares_one_after_the_other_are_the_input(day, most):
    sources = find_sources(day)
    config = TrafficConfig()
    expected = list(read_traffic(sources, config, as_of=NOON))
    shares = cut_shares(sources, most)
    found = [batch for share in shares for batch in read_pieces(share, config, as_of=NOON)]
    for name in ("good", "quarantined"):
        one, other = (pa.concat_tables(getattr(batch, name) for batch in some) for some in (found, expected))
        assert one.equals(other), name
    assert sum(batch.rows_in for batch in found) == 360
    size = {source.name: source.path.stat().st_size for source in sources}
    if most >= max(size.values()):
        assert len(shares) <= len(sources)
        assert all(sum(size[piece.source.name] for piece in share) <= most for share in shares)
    if most == 1:
        assert [piece.groups for share in shares for piece in share] == [
            *((at, at + 1) for at in range(5)),
            (0, 1),
            (0, 1),
        ]


def test_no_sources_are_no_shares():
    assert cut_shares([], 10) == []
    assert ready_buckets([]) == []


def test_shares_change_no_table(day, whole, tmp_path, small_shares):
    run_job(day, tmp_path / "out", CONFIG, progress=lambda *told: None)
    assert tables(tmp_path / "out") == tables(whole)
    rows = pq.read_table(whole / "quarantine.parquet").to_pydict()
    assert rows["source"] == ["a.parquet"] * 8 + ["b.parquet"] * 2 + ["c.parquet"] * 2
    assert rows["row"] == [*range(7, 240, 30), 7, 37, 7, 37]


@pytest.mark.slow
def test_ray_reads_in_shares_and_gives_the_same_bytes(cluster, day, whole, tmp_path, small_shares):
    told: list[tuple[str, int, int | None]] = []
    manifest = run_job(day, tmp_path / "out", CONFIG, ray=True, progress=lambda *one: told.append(one))
    assert tables(tmp_path / "out") == tables(whole)
    assert manifest.counts.rows_in == 360
    read = [done for stage, done, _ in told if stage == "read"]
    assert read == sorted(read)
    # Zero and the like may be told again while nothing is new.
    assert (len({done for done in read if done}), read[-1]) == (7, 360), "a report for each share"
    assert {done for stage, done, total in told if stage == "buckets" and total == 4} == {0, 1, 2, 3, 4}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["read", "buckets"])
def test_begun_here_and_ended_on_ray_and_the_other_way_round(
    cluster, stage, day, whole, tmp_path, small_shares
):
    def stop(reported: str, done: int, total: int | None) -> None:
        if reported == stage and done > 1:
            raise KeyboardInterrupt

    for first, name in ((False, "here"), (True, "there")):
        with pytest.raises(KeyboardInterrupt):
            run_job(day, tmp_path / name, CONFIG, ray=first, progress=stop)
        run_job(day, tmp_path / name, CONFIG, ray=not first)
        assert tables(tmp_path / name) == tables(whole)


@pytest.mark.parametrize(
    ("configured", "environment", "expected"),
    [(None, None, "local"), (None, "here:1", "here:1"), ("there:2", "here:1", "there:2")],
)
def test_which_cluster_is_joined(configured, environment, expected, monkeypatch):
    """Never whichever happens to run on this machine."""
    ray = pytest.importorskip("ray", reason="the Ray job needs the extra 'ray'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment is not None:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def init(*, address: str, **_: object) -> None:
        raise ConnectionError(f"asked for {address}")

    monkeypatch.setattr(ray, "init", init)
    config = RunConfig.model_validate({"job": {"ray": {"address": configured}}})
    with pytest.raises(ConfigError, match=f"asked for {expected}"), ray_cluster(config, threads=1):
        pass


@pytest.mark.slow
def test_bucketed_input_is_used_as_it_is(cluster, ready, whole, tmp_path):
    copied: list[Path] = []

    def look(stage: str, done: int, total: int | None) -> None:
        copied.extend(tmp_path.rglob("*.arrow"))
        assert stage != "buckets" or total == 3

    local = run_job(ready, tmp_path / "here", ALONE, progress=look)
    run_job(ready, tmp_path / "there", ALONE, ray=True, progress=look)
    assert copied == [], "traffic was written once more"
    assert tables(tmp_path / "here") == tables(tmp_path / "there")
    # Other buckets are other matrices, so scores may differ in the last bits.
    found, expected = (pq.read_table(folder / "accounts.parquet") for folder in (tmp_path / "here", whole))
    for name in ("account_id", "prompts", "verdict", "first_seen"):
        assert found[name].equals(expected[name])
    assert found["score"].to_pylist() == pytest.approx(expected["score"].to_pylist(), rel=1e-5)
    counts = local.counts
    assert (counts.rows_in, counts.rows_quarantined, counts.buckets) == (360, 12, 3)
    rows = pq.read_table(tmp_path / "here/quarantine.parquet")
    assert set(rows["source"].to_pylist()) <= {f"bucket={value}/part.parquet" for value in range(3)}


def test_bucketed_input_is_bucketed_anew_when_asked(ready, whole, tmp_path):
    manifest = run_job(ready, tmp_path / "out", CONFIG)
    assert manifest.counts.buckets == 4
    for name in ("accounts", "flags", "curves", "cells"):
        assert tables(tmp_path / "out")[name] == tables(whole)[name]


def test_an_account_in_two_ready_buckets_is_one_clear_error(ready, tmp_path):
    folder = tmp_path / "day"
    for value, start in ((7, 0), (10, 55)):
        (folder / f"bucket={value}").mkdir(parents=True)
        write(spoilt().slice(start, 60), folder / f"bucket={value}" / "x.parquet")
    with pytest.raises(TrafficError, match=r"'acct-0' lies in two bucket=") as caught:
        run_job(folder, tmp_path / "out", ALONE)
    said = str(caught.value)
    assert "\n" not in said
    assert "bucket=7/x.parquet" in said
    assert "bucket=10/x.parquet" in said
    assert not (tmp_path / "out" / "run.json").exists()


def test_ready_buckets_are_all_or_none_and_go_by_value(tmp_path):
    names = ["day=1/bucket=2", "day=1/bucket=10", "day=2/bucket=2"]
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        write(some_traffic(1, 1), tmp_path / name / "x.parquet")
    found = ready_buckets(find_sources(tmp_path))
    assert [[piece.source.name for piece in bucket] for bucket in found] == [
        ["day=1/bucket=2/x.parquet", "day=2/bucket=2/x.parquet"],
        ["day=1/bucket=10/x.parquet"],
    ]
    write(some_traffic(1, 1), tmp_path / "y.parquet")
    assert ready_buckets(find_sources(tmp_path)) is None


def test_a_worker_s_unforeseen_error_keeps_its_words():
    with (
        pytest.raises(Exception, match=r"ValueError in test_ray_job.py:\d+$") as caught,
        scheduler.without_text(),
    ):
        raise ValueError("a prompt's words")
    assert "words" not in str(caught.value)
    with pytest.raises(TrafficError, match="named"), scheduler.without_text():
        raise TrafficError("named")


def test_lost_buckets_are_named_with_the_way_out():
    lost = {
        "bucket-00002": scheduler.Failure(None, "out of memory"),
        "bucket-00001": scheduler.Failure(None, "x"),
    }
    said = str(bucket_stage._failed_buckets(lost))
    assert said.index("bucket-00001 (x)") < said.index("bucket-00002 (out of memory)")
    own = {**lost, "bucket-00003": scheduler.Failure(TrafficError("file f: damaged"))}
    error = bucket_stage._failed_buckets(own)
    assert type(error) is TrafficError
    assert str(error) == "bucket-00003: file f: damaged (and bucket-00001, bucket-00002 failed too)"


class Clock:
    """A clock that goes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_lines_tell_rate_and_time_left():
    written: list[str] = []
    clock = Clock()
    lines = ProgressLines(written.append, every_s=30, clock=clock)
    lines("read", 0, None)
    clock.now += 20
    lines("read", 100_000, None)
    assert written == [], "not due yet"
    clock.now += 20
    lines("read", 200_000, None)
    assert written == ["read: 200,000, 5,000/s"]
    clock.now += 10
    lines("buckets", 4, 64)
    clock.now += 40
    lines("buckets", 8, 64)
    # Four in forty seconds; 56 are left.
    assert written[1:] == ["buckets: 8 of 64, 0.1/s, 9 min left"]
    lines("encode", 0, 10)
    clock.now += 40
    lines("encode", 5, 10)
    assert written[2:] == ["encode: 5 of 10, 0.12/s, 40 s left"]
    lines("encode", 1, 10)  # the next bucket's
    clock.now += 31
    lines("buckets", 9, 64)
    # Five since the first report, 111 seconds ago.
    assert written[3:] == ["encode: 1 of 10; buckets: 9 of 64, 0.045/s, 20 min left"]


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (99, "99 s"), (300, "5 min"), (9000, "2.5 h")])
def test_span(seconds, words):
    assert span(seconds) == words


def submit(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/submit"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_submit_builds_the_job():
    shown = submit("in dir", "out", "--address", "http://head:8265", "--show", "--", "--config", "c.toml")
    assert shown.stdout == (
        "ray job submit --address http://head:8265 -- coverage-lab run 'in dir' out --ray --config c.toml\n"
    )
    assert submit("a", "b", "--show").stdout == "ray job submit -- coverage-lab run a b --ray\n"
    assert "--no-wait -- coverage-lab" in submit("a", "b", "--show", "--no-wait").stdout
    assert submit("a").returncode == 2
    help_text = submit("--help").stdout
    for word in ("TRAFFIC", "OUTPUT", "--address", "--no-wait", "goes on when it"):
        assert word in " ".join(help_text.split())


@pytest.mark.slow
def test_cluster_config_is_one_that_ray_takes():
    ray_util = pytest.importorskip(
        "ray.autoscaler._private.util", reason="the cluster launcher comes with the extra 'ray'"
    )
    config = yaml.safe_load((ROOT / "configs/cluster.yaml").read_text())
    ray_util.validate_config(ray_util.prepare_config(config))
    assert config["max_workers"] == len(config["provider"]["worker_ips"])
