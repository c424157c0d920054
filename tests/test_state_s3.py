"""The state table on an object store: what holds on a folder holds there, at a cost that does not grow."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path

import boto3
import pyarrow.parquet as pq
import pytest
from support import daily_state as daily
from support.commands import call, write
from support.daily_state import (
    CONFIG,
    FIRST,
    all_at_once,
    contents,
    count,
    count_and_die,
    day_number,
    outputs,
    together,
    traffic_of,
)
from support.daily_state import SEEN as ACCOUNTS
from support.killed import KILLED, end_of
from support.s3_server import BUSY, KEY, LOSE, SECRET, SEEN

import coverage_lab.jobs.run
from coverage_lab.config import RunConfig
from coverage_lab.detect.load import load_judge
from coverage_lab.errors import OutputError, TrafficError
from coverage_lab.jobs import StateDay, run_job
from coverage_lab.state import store as state_store
from coverage_lab.state.errors import table_errors
from coverage_lab.state.maintenance import (
    forget_account,
    migrate_state,
    retain_days,
    rollback_day,
    show_state,
)
from coverage_lab.state.table import Change, StateFile, StateTable, open_or_create

BUCKET = "states"

judge, days, undisturbed = daily.judge, daily.days, daily.undisturbed


class Store:
    """The server, and a client that is not Delta Lake's to look at it from outside."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.address,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        self.client.create_bucket(Bucket=BUCKET)

    def ask(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path) as answer:
            return answer.read()

    def seen(self) -> list[dict[str, str]]:
        return json.loads(self.ask(SEEN))

    def objects(self, name: str) -> dict[str, bytes]:
        """Every object below a table's address, by path."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{name}/")
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return {
            key.removeprefix(f"{name}/"): self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            for key in keys
        }

    def upload(self, folder: Path, name: str) -> str:
        """Copy a state on a folder to the store; returns its address."""
        for file in folder.rglob("*"):
            if file.is_file():
                key = f"{name}/{file.relative_to(folder)}"
                self.client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())
        return f"s3://{BUCKET}/{name}"


@pytest.fixture(scope="module")
def store():
    with pytest.MonkeyPatch.context() as patch:
        program = [sys.executable, str(Path(__file__).parent / "support" / "s3_server.py")]
        server = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        try:
            patch.setenv("NO_PROXY", "127.0.0.1")
            found = Store(int(server.stdout.readline()))
            for other in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
                patch.delenv(other, raising=False)
            patch.setenv("AWS_ENDPOINT_URL", found.address)
            patch.setenv("AWS_ALLOW_HTTP", "true")
            patch.setenv("AWS_REGION", "us-east-1")
            patch.setenv("AWS_ACCESS_KEY_ID", KEY)
            patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
            yield found
        finally:
            server.kill()
            server.wait()
            server.stdout.close()


@pytest.fixture
def name(request):
    """A table's name of this test alone."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


@pytest.fixture
def url(name):
    return f"s3://{BUCKET}/{name}"


@pytest.fixture
def after(store, undisturbed, name):
    """Give a copy on the store of the state after so many days."""
    return lambda n: store.upload(undisturbed[0].parent / f"after-{n}", name)


def until(day: date, state) -> dict[str, list[dict]]:
    return {one: rows for one, rows in contents(state).items() if one <= day.isoformat()}


def version(url) -> int:
    return StateTable(url).version


@pytest.mark.slow
def test_days_on_a_store_are_those_of_a_folder(store, url, name, days, undisturbed, tmp_path):
    store.seen()
    for n in range(3):
        count(days[n], tmp_path / f"out-{n}", url, n)
        assert outputs(tmp_path / f"out-{n}") == outputs(undisturbed[1][n])
    assert contents(url) == until(day_number(2), undisturbed[0])
    commits = [one for one in store.seen() if one["kind"] == "PUT" and "_delta_log/0" in one["path"]]
    assert [one["path"].rsplit("/", 1)[-1] for one in commits] == [f"{n:020d}.json" for n in range(4)]
    assert {one["only_new"] for one in commits} == {"*"}, "a commit never writes over another"
    # A state that was counted on a folder and copied goes on as one that was counted on the store.
    assert store.objects(name).keys() == {
        str(file.relative_to(undisturbed[0].parent / "after-3"))
        for file in (undisturbed[0].parent / "after-3").rglob("*")
        if file.is_file()
    }
    assert json.loads((tmp_path / "out-2" / "run.json").read_text())["state"]["url"] == url
    told = [*store.objects(name).values(), *daily.every_byte(tmp_path).values()]
    assert not [text for text in told if SECRET.encode() in text or KEY.encode() in text]


@pytest.mark.slow
def test_the_same_again_changes_nothing(url, after, days, tmp_path):
    after(2)
    before, rows = version(url), contents(url)
    moved = write(pq.read_table(days[1]), tmp_path / "moved.parquet")
    count(days[1], tmp_path / "again", url, 1)
    count(moved, tmp_path / "moved", url, 1, recompute=True)
    assert (version(url), contents(url)) == (before, rows)
    with pytest.raises(TrafficError, match=r"day-1\.parquet: its content was counted on 2026-01-11"):
        count(days[1], tmp_path / "other-day", url, 2)


@pytest.mark.slow
def test_recompute_with_a_late_file_is_as_on_a_folder(store, url, name, after, days, undisturbed, tmp_path):
    late = write(traffic_of(day_number(1), ("bob", "eve"), seed=5), tmp_path / "late.parquet")
    both = tmp_path / "both"
    both.mkdir()
    for file in (days[1], late):
        (both / file.name).write_bytes(file.read_bytes())
    folder = shutil.copytree(undisturbed[0].parent / "after-3", tmp_path / "state")
    after(3)
    for state, out in ((url, "there"), (folder, "here")):
        count(both, tmp_path / out, state, 1, recompute=True)
        count(days[3], tmp_path / f"{out}-3", state, 3)
    assert contents(url) == contents(folder)
    for out in ("there", "there-3"):
        assert outputs(tmp_path / out) == outputs(tmp_path / out.replace("there", "here"))
    kept = [path for path in store.objects(name) if path.startswith(("_days", "_files"))]
    assert len(kept) == 4 + 5, "the record and the marker of the day that was replaced are gone"


POINTS = ("in a file", "commit table", "clean up state")


@pytest.mark.slow
def test_killed_and_started_again_counts_the_day_once(store, days, undisturbed, tmp_path):
    for point in POINTS:
        url = store.upload(undisturbed[0].parent / "after-2", point.replace(" ", "-"))
        assert end_of(count_and_die, daily.CARD, point, days[2], tmp_path / point, url, 2) == KILLED, point
        assert (day_number(2) in StateTable(url).days()) == (point == "clean up state")
        for _ in range(2):
            count(days[2], tmp_path / point, url, 2)
            assert version(url) == 3
        assert contents(url) == until(day_number(2), undisturbed[0])
        assert outputs(tmp_path / point) == outputs(undisturbed[1][2])


@pytest.mark.slow
def test_days_at_once_all_land(store, url, days, undisturbed, tmp_path):
    wait = all_at_once(3)
    calls = [lambda n=n: count(days[n], tmp_path / f"out-{n}", url, n, checkpoint=wait) for n in range(3)]
    assert together(*calls) == [None] * 3
    assert contents(url) == until(day_number(2), undisturbed[0])
    assert version(url) == 3


def test_the_same_day_at_once_one_wins_and_the_other_is_told(store, url, days, tmp_path):
    wait = all_at_once(2)
    raised = together(
        *[
            lambda n=n: count(days[n], tmp_path / f"out-{n}", url, 0, checkpoint=wait, allow_other_days=True)
            for n in range(2)
        ]
    )
    (lost,) = [n for n in range(2) if raised[n] is not None]
    assert "has been counted by another run" in str(raised[lost])
    assert [row["account_id"] for row in contents(url)[FIRST.isoformat()]] == list(ACCOUNTS[1 - lost])
    assert version(url) == 1


@pytest.mark.slow
def test_a_commit_whose_answer_is_lost_lands_once(store, url, after, days, undisturbed, tmp_path):
    after(2)
    store.ask(LOSE)
    count(days[2], tmp_path / "out", url, 2)
    assert version(url) == 3
    assert contents(url) == until(day_number(2), undisturbed[0])
    assert outputs(tmp_path / "out") == outputs(undisturbed[1][2])


def test_a_busy_store_is_asked_again(store, url, after):
    after(1)
    store.ask(f"{BUSY}3")
    assert list(StateTable(url).days()) == [FIRST]


@pytest.mark.slow
def test_a_retain_between_copy_and_commit_takes_nothing(url, after, days, undisturbed, tmp_path):
    after(2)
    retained = []

    def retain(step):
        if step == "commit table":
            retained.append(retain_days(url, 30))

    count(days[2], tmp_path / "out", url, 2, checkpoint=retain)
    assert retained == [[]]
    assert contents(url) == until(day_number(2), undisturbed[0])
    assert [shown.prompts for shown in show_state(url)[1]] == [28, 42, 28]
    with pytest.raises(TrafficError, match="its content was counted on 2026-01-12"):
        count(days[2], tmp_path / "again", url, 3)


def where_is(objects: dict[str, bytes], account: str) -> list[str]:
    """Objects that hold a name as it stands, or in a column."""
    found = [path for path, text in objects.items() if account.encode() in text]
    for path, text in objects.items():
        if path.endswith(".parquet"):
            table = pq.read_table(BytesIO(text), partitioning=None)
            if "account_id" in table.column_names and account in table["account_id"].to_pylist():
                found.append(path)
    return found


@pytest.mark.slow
def test_a_forgotten_account_is_in_no_object(store, url, name, tmp_path):
    for n, accounts in enumerate([("ann", "secret-id"), ("secret-id",), ("ann", "bob")]):
        named = write(traffic_of(day_number(n), accounts), tmp_path / f"from-secret-id-{n}.parquet")
        count(named, tmp_path / f"out-{n}", url, n)
    rollback_day(url, day_number(1))  # its bytes stay, for runs that read an older version
    assert len(where_is(store.objects(name), "secret-id")) > 2
    rows = contents(url)
    assert forget_account(url, "secret-id")[0] == 1
    assert where_is(store.objects(name), "secret-id") == []
    expected = {day: [row for row in of if row["account_id"] != "secret-id"] for day, of in rows.items()}
    assert contents(url) == expected
    assert len(where_is(store.objects(name), "ann")) > 1, "the others are still there"


@pytest.mark.slow
def test_retain_deletes_the_objects_of_old_days(store, url, name, after, undisturbed):
    after(4)
    assert retain_days(url, 2) == [day_number(0), day_number(1)]
    left = [day_number(n).isoformat() for n in (2, 3)]
    rows = contents(undisturbed[0])
    assert contents(url) == {day: rows[day] for day in left}
    found = store.objects(name)
    assert {path.split("/")[0] for path in found if "bucket-" in path} == {f"day={day}" for day in left}
    assert len([path for path in found if path.startswith(("_days", "_files"))]) == 4
    assert where_is(found, "dan") == []


@pytest.mark.slow
def test_commands(store, url, after, capsys):
    after(3)
    code, out, _ = call(capsys, "state", "show", url)
    assert code == 0
    assert [f"2026-01-1{n}" in out for n in range(4)] == [True, True, True, False]
    assert call(capsys, "state", "rollback", url, "--day", "2026-01-11", "--yes")[0] == 0
    assert list(StateTable(url).days()) == [day_number(0), day_number(2)]
    assert call(capsys, "state", "forget", url, "bob", "--yes")[0] == 0
    assert call(capsys, "state", "retain", url, "--days", "1", "--yes")[0] == 0
    assert list(StateTable(url).days()) == [day_number(2)]
    code, out, _ = call(capsys, "state", "migrate", url)
    assert (code, "nothing to do" in out) == (0, True)


def nobody_listens() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    ("table", "setting", "words"),
    [
        (
            f"s3://{BUCKET}/x",
            {"AWS_ACCESS_KEY_ID": "AKIASOMEBODYELSE"},
            "the keys in the environment are wrong",
        ),
        (f"s3://{BUCKET}/x", {"AWS_ACCESS_KEY_ID": None}, "no keys for the store were found"),
        ("s3://no-such-bucket/x", {}, "there is no such bucket"),
        (f"s3://{BUCKET}/x", {"AWS_ENDPOINT_URL": "nobody"}, "the store can't be reached"),
        (f"s3://{BUCKET}/x", {"AWS_ALLOW_HTTP": None}, "is not https; AWS_ALLOW_HTTP"),
        (f"s3://{BUCKET}/nothing-here", {}, "no state table there"),
    ],
)
def test_a_store_that_can_not_be_used_is_one_clear_line(
    table, setting, words, store, days, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(state_store._RETRIES, "retry_timeout", "1s")
    for variable, value in setting.items():
        if value is None:
            monkeypatch.delenv(variable)
        else:
            monkeypatch.setenv(variable, nobody_listens() if value == "nobody" else value)
    begun = time.perf_counter()
    code, out, err = call(capsys, "state", "show", table)
    # Delta Lake's own bound is three minutes.
    assert time.perf_counter() - begun < 10
    assert (code, out) == (5, "")
    assert words in " ".join(err.split())
    if "nothing" not in table:
        with pytest.raises(OutputError, match=words.replace("?", r"\?")) as told:
            count(days[0], tmp_path / "out", table, 0)
        assert "\n" not in str(told.value)
        err += str(told.value)
        assert not (tmp_path / "out").exists(), "refused before any work"
    for hidden in (SECRET, KEY, "AKIASOMEBODYELSE", "from-the-store", "\x1b", "↳"):
        assert hidden not in err


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (
            "Generic S3 error\n  \x1b[31m↳\x1b[0m Error performing PUT http://169.254.169.254/latest",
            "no keys for",
        ),
        (
            "Generic GCS error\n ↳ Error performing GET https://x/b?sig=hidden - 503\n ↳ busy",
            "Generic GCS error",
        ),
        ("Generic Azure error\n ↳ <Error><Code>Odd</Code><Key>hidden</Key></Error>", "Generic Azure error"),
    ],
)
def test_other_stores_errors_are_told_without_secrets(raised, words):
    with pytest.raises(OutputError, match=words) as told, table_errors("gs://b/state"):
        raise OSError(raised)
    assert "hidden" not in str(told.value)
    assert "\n" not in str(told.value)
    assert "\x1b" not in str(told.value)


def with_history(folder: Path, old: int) -> Path:
    """A table with so many days long before the window, whose files are not there: nobody may read them."""
    open_or_create(str(folder), daily.binding())
    for n in range(old):
        day = date(2020, 1, 1) + timedelta(days=n)
        path = f"day={day}/run=old/bucket-00000-of-00001-{n:016x}.parquet"
        file = StateFile(path, 9_999, 7, day, "old")
        StateTable(str(folder)).commit(
            lambda _, file=file: Change(removed=[], added=[file]), told={"action": "day"}
        )
    return folder


@pytest.mark.slow
def test_requests_of_a_day_do_not_grow_with_history(store, name, tmp_path):
    """Four buckets, a window of three days; the log is at the same place between two checkpoints."""
    config = RunConfig.model_validate(
        daily.SETTINGS | {"job": {"buckets": 4, "threads": 1}, "state": {"window_days": 3}}
    )
    files = [
        write(traffic_of(day_number(n), ("ann", "bob", "cho", "dan"), prompts=5), tmp_path / f"{n}.parquet")
        for n in range(3)
    ]
    asked = []
    for old in (14, 34):
        url = store.upload(with_history(tmp_path / str(old), old), f"{name}-{old}")
        for n, file in enumerate(files):
            store.seen()
            count(file, tmp_path / f"{old}-{n}", url, n, config)
        seen = store.seen()
        asked.append(Counter(one["kind"] for one in seen))
        openings = sum(one["path"].endswith("_last_checkpoint") for one in seen)
        commits = sum(one["kind"] == "GET" and one["path"].endswith(".json") for one in seen)
        # None for a bucket; each commit since the last checkpoint is read twice on opening.
        assert openings <= 4
        assert commits <= openings * 2 * 10
    assert asked[0] == asked[1]
    assert asked[0].total() < 120


@pytest.mark.slow
def test_workers_on_ray_take_the_keys_from_their_environment(store, name, days, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="the Ray job needs the extra 'ray'")
    # The workers have not this process's stand-in: the real judge, here and there.
    monkeypatch.setattr(coverage_lab.jobs.run, "load_judge", load_judge)
    run_job(days[0], tmp_path / "before", CONFIG, state=StateDay(tmp_path / "state", FIRST))
    url = store.upload(tmp_path / "state", name)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        manifest = run_job(days[1], tmp_path / "there", CONFIG, ray=True, state=StateDay(url, day_number(1)))
    finally:
        ray.shutdown()
    run_job(days[1], tmp_path / "here", CONFIG, state=StateDay(tmp_path / "state", day_number(1)))
    assert outputs(tmp_path / "there") == outputs(tmp_path / "here")
    assert contents(url) == contents(tmp_path / "state")
    assert manifest.state.read.rows == 2, "ann and bob of the day before, read by workers"
    told = daily.every_byte(tmp_path).values()
    assert not [text for text in told if SECRET.encode() in text or KEY.encode() in text]


@pytest.mark.slow
@pytest.mark.parametrize("version", [2, 4])
def test_an_older_table_is_refused_and_left_as_it_is(version, store, url, name, after, days, tmp_path):
    StateTable(after(2)).set_schema_version(version)
    before = store.objects(name)
    for refused in (lambda: count(days[2], tmp_path / "out", url, 2), lambda: migrate_state(url)):
        with pytest.raises(OutputError, match=f"schema version {version}, expected 5; .*start a new table"):
            refused()
    assert store.objects(name) == before


@pytest.mark.slow
def test_a_file_of_somebody_else_among_the_markers_stops_nothing(store, url, name, after, days, tmp_path):
    table = StateTable(after(2))
    marker = table.store.paths("_files", recursive=True)[0]
    foreign = f"{marker.rsplit('/', 1)[0]}/index.html"
    table.store.put_text("not ours", foreign)
    with pytest.raises(TrafficError, match="its content was counted on"):
        count(days[0], tmp_path / "out", url, 5)
    forget_account(url, "ann")
    assert foreign in store.objects(name)
    assert not [path for path, held in store.objects(name).items() if b"ann" in held and path != foreign]
