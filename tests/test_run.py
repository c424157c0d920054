"""The main job end to end: what it writes, going on after an interruption, Ray, other folders."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.commands import TABLES, call, some_traffic, tables, write
from support.killed import CHANGED, end_of, run_until_change
from support.manifests import edit_manifest
from support.traced import a_scorecard

import coverage_lab as cl
import coverage_lab.errors
from coverage_lab.config import DetectConfig, RunConfig
from coverage_lab.detect.judge import with_q_values
from coverage_lab.files.manifest import read_manifest
from coverage_lab.jobs import run_job
from coverage_lab.jobs.combine import discoveries
from coverage_lab.schema import ACCOUNTS, CELLS, CURVES, FLAGS, QUARANTINE

#: Nearly every account is flagged, so that the comparisons of tables compare flags too.
SETTINGS = {
    "encoder": {"name": "static"},
    "job": {"buckets": 4, "threads": 1},
    "detect": {"review_p": 0.9, "watch_p": 0.99},
}
STATIC = RunConfig.model_validate(SETTINGS)
TOML = (
    '[encoder]\nname = "static"\n[job]\nbuckets = 4\nthreads = 1\n[detect]\nreview_p = 0.9\nwatch_p = 0.99\n'
)


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    return write(some_traffic(), tmp_path_factory.mktemp("day") / "traffic.parquet")


@pytest.fixture(scope="module")
def undisturbed(day, tmp_path_factory):
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run_job(day, folder, STATIC)
    return folder


def test_tables_have_their_schemas_and_counts_add_up(undisturbed):
    schemas = dict(zip(TABLES, (ACCOUNTS, CURVES, CELLS, FLAGS, QUARANTINE), strict=True))
    for name, schema in schemas.items():
        assert pq.read_schema(undisturbed / f"{name}.parquet").equals(schema), name
    manifest = json.loads((undisturbed / "run.json").read_text())
    counts = manifest["counts"]
    assert counts["rows_in"] == counts["rows_used"] + counts["rows_quarantined"] == 360
    assert manifest["encoder"]["name"] == "static"
    assert {"encoder", "atlas", "model", "config_id", "versions", "timings", "verdicts"} <= set(manifest)
    accounts = pq.read_table(undisturbed / "accounts.parquet")
    assert accounts["account_id"].to_pylist() == [f"acct-{i}" for i in range(6)]
    assert accounts["prompts"].to_pylist() == [60] * 6
    assert 0 <= pc.min(accounts["score"]).as_py() <= pc.max(accounts["score"]).as_py() <= 1
    assert not (undisturbed / ".work").exists()
    assert pq.read_table(undisturbed / "flags.parquet").num_rows > 0
    assert "acct-0" in (undisturbed / "report.html").read_text()


def test_q_values_are_of_the_whole_run_and_reach_the_flags(undisturbed):
    accounts = pq.read_table(undisturbed / "accounts.parquet")
    p = accounts["p_value"].to_pylist()
    # Benjamini and Hochberg by definition, over all six accounts, which lie in four buckets.
    expected = [
        min(min(6 * other / sum(x <= other for x in p) for other in p if other >= mine), 1) for mine in p
    ]
    assert accounts["q_value"].to_pylist() == pytest.approx(expected)
    flags = pq.read_table(undisturbed / "flags.parquet")
    by_id = dict(zip(accounts["account_id"].to_pylist(), accounts["q_value"].to_pylist(), strict=True))
    assert flags.num_rows > 0
    for row in flags.to_pylist():
        assert row["q_value"] == by_id[row["account_id"]]
    found = json.loads((undisturbed / "run.json").read_text())["discoveries"]
    assert (found["judged"], found["found"]) == (6, sum(q <= found["rate"] for q in expected))


@pytest.mark.parametrize(
    ("compared", "judged", "fewest", "words"),
    [
        (120, 4, 1, None),
        (120, 13, 2, "by itself: at least 2 must reach the smallest p together"),
        (9, 3, 3, "by itself: at least 3 must reach the smallest p together"),
        (5, 3, 5, "no account can be a discovery (q at most 0.1), whatever it scores"),
    ],
)
def test_too_small_a_calibration_is_said_in_one_sentence(compared, judged, fewest, words):
    calibration = a_scorecard().calibration.model_copy(update={"neighbours": compared})
    card = a_scorecard().model_copy(update={"calibration": calibration})
    smallest = 1 / (compared + 1)
    accounts = pa.table({"q_value": judged_p(smallest, fewest, judged)})
    told = discoveries(accounts, card)
    assert (told.judged, told.fewest) == (judged, fewest)
    assert (told.note is None) if words is None else (words in told.note)
    # So many at the smallest p are discoveries, and one fewer are none.
    assert told.found == (fewest if fewest <= judged else 0)
    if 1 < fewest <= judged:
        assert discoveries(pa.table({"q_value": judged_p(smallest, fewest - 1, judged)}), card).found == 0


def judged_p(smallest, at_smallest, judged):
    """q-values of accounts of which so many have the smallest p, and the others 1."""
    p = [smallest] * min(at_smallest, judged) + [1.0] * (judged - min(at_smallest, judged))
    columns = {field.name: pa.nulls(judged, field.type) for field in ACCOUNTS}
    columns |= {"p_value": pa.array(p), "prompts": pa.array([99] * judged)}
    schema = pa.schema([field.with_nullable(True) for field in ACCOUNTS])
    return with_q_values(pa.table(columns, schema=schema), DetectConfig())["q_value"]


@pytest.mark.slow
def test_a_run_says_that_its_calibration_is_too_small_for_a_single_discovery(tmp_path, capsys):
    """51 accounts, each compared with 232 customers: 51/233 > 0.2, so two at the smallest p are none."""
    many = write(some_traffic(accounts=51, prompts=50), tmp_path / "many.parquet")
    config = tmp_path / "config.toml"
    config.write_text(TOML)
    sentence = "With 232 ordinary customers to compare each of 51 judged accounts with, no account can be a"
    code, out, err = call(capsys, "run", many, tmp_path / "plain", "--config", config)
    assert code == 0, err
    found = json.loads((tmp_path / "plain" / "run.json").read_text())["discoveries"]
    assert (found["judged"], found["fewest"]) == (51, 3)
    assert found["note"].startswith(sentence)
    assert sentence in " ".join(out.split())
    # With state the p-values are of all days and a little finer: other customers' growth is compared.
    dated = ("--state", tmp_path / "state", "--day", "2026-01-01")
    code, out, err = call(capsys, "run", many, tmp_path / "dated", "--config", config, *dated)
    assert code == 0, err
    found = json.loads((tmp_path / "dated" / "run.json").read_text())["discoveries"]
    assert (found["judged"], found["fewest"]) == (51, 2)
    assert "no account can be a discovery (q at most 0.1) by itself" in found["note"]


def test_nothing_judged_is_no_discovery():
    assert discoveries(pa.table({"q_value": pa.nulls(3, pa.float64())}), a_scorecard()) is None
    assert discoveries(pa.table({"q_value": pa.array([0.5])}), None) is None


def test_calibrate_a_run_and_run_again_with_it(day, tmp_path, capsys):
    """A run's made-up accounts become what the next run compares with."""
    many = write(some_traffic(accounts=120, prompts=52, seed=9), tmp_path / "many.parquet")
    config = tmp_path / "config.toml"
    config.write_text(TOML)
    assert call(capsys, "run", many, tmp_path / "first", "--config", config)[0] == 0
    code, out, err = call(capsys, "calibrate", tmp_path / "first", "--out", tmp_path / "own.json")
    assert code == 0, err
    assert "of 120 scored accounts" in " ".join(out.split())
    config.write_text(TOML + f'scorecard = "{tmp_path / "own.json"}"\n')
    code, _, err = call(capsys, "run", day, tmp_path / "second", "--config", config)
    assert code == 0, err
    before, after = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("first", "second"))
    assert before["model"]["id"] != after["model"]["id"]
    assert after["model"]["card"]["calibration_accounts"] == after["model"]["calibration"]["accounts"] <= 120
    assert "rest on an extrapolated tail" in (tmp_path / "second" / "report.html").read_text()
    p = pq.read_table(tmp_path / "second" / "accounts.parquet")["p_value"].to_pylist()
    assert min(p) >= after["model"]["calibration"]["smallest_p"]
    assert np.mean(p) > 0.1, "accounts of the same kind as those calibrated on are not unusual"


def test_no_prompt_text_leaves_the_run(undisturbed):
    for name in ("run.json", "report.html"):
        assert "to a beginner" not in (undisturbed / name).read_text(), name
    for name in TABLES:
        assert "beginner" not in str(pq.read_table(undisturbed / f"{name}.parquet").to_pydict())


def test_the_same_command_again_finds_it_done(undisturbed, day):
    before = {file.name: file.stat().st_mtime_ns for file in undisturbed.iterdir()}
    manifest = run_job(day, undisturbed, STATIC)
    assert manifest.to_json() == (undisturbed / "run.json").read_text()
    assert before == {file.name: file.stat().st_mtime_ns for file in undisturbed.iterdir()}


def test_each_step_is_told_before_it_is_taken(day, tmp_path):
    told = []
    run_job(day, tmp_path / "out", STATIC, checkpoint=told.append)
    gathered = ["gather accounts", "sort accounts", "gather flags", "sort flags"]
    gathered += ["gather campaigns", "gather members"]
    gathered += ["gather curves", "gather cells", "gather quarantine"]
    assert told == ["read", "work", "campaigns", "gather", *gathered, "report", "finish"]


@pytest.mark.parametrize("damage", [{"counts": ...}, {"schema_version": 2}, None])
def test_a_manifest_of_another_shape_is_refused_and_overwritten_on_request(
    damage, day, undisturbed, tmp_path, capsys
):
    out = shutil.copytree(undisturbed, tmp_path / "out")
    if damage is None:
        (out / "run.json").write_text('{"run_id": "half a fi')
    else:
        edit_manifest(out, **damage)
    config = tmp_path / "config.toml"
    config.write_text(TOML)
    code, _, err = call(capsys, "run", day, out, "--config", config)
    assert (code, err.count("\n")) == (5, 1)
    assert err.rstrip().endswith("or a damaged one; give another folder or --overwrite")
    assert call(capsys, "run", day, out, "--config", config, "--overwrite")[0] == 0
    assert tables(out) == tables(undisturbed)
    assert read_manifest(out / "run.json").counts.rows_in == 360


POINTS = [("read", 1), ("buckets", 0), ("buckets", 1), ("buckets", 3), ("buckets", 4)]


@pytest.mark.parametrize("point", range(len(POINTS)))
def test_interrupted_anywhere_and_started_again_gives_the_same_tables(point, day, undisturbed, tmp_path):
    stage, at_least = POINTS[point]

    def interrupt(reported, done, total):
        if reported == stage and done >= at_least:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(day, tmp_path / "out", STATIC, progress=interrupt)
    assert not (tmp_path / "out" / "run.json").exists()
    redone = []
    run_job(day, tmp_path / "out", STATIC, progress=lambda s, d, t: redone.append((s, d)))
    assert tables(tmp_path / "out") == tables(undisturbed)
    if stage == "buckets":
        assert not any(s == "read" for s, _ in redone), "reading was finished and must not be done again"
        assert next(d for s, d in redone if s == "buckets") == at_least, "finished buckets must not be redone"


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_killed_for_real_and_started_again(how, day, undisturbed, tmp_path, capsys):
    config = tmp_path / "config.toml"
    config.write_text(TOML)
    out = tmp_path / "out"
    command = ["run", str(day), str(out), "--config", str(config)]
    # The first bucket is held up so that the signal arrives while work is going on.
    # A process that a shell began in the background ignores SIGINT, and so do its children.
    slow = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys, time, coverage_lab.jobs.run as r; work = r.work_bucket\n"
        "def held(*a, **k):\n work(*a, **k); time.sleep(20)\n"
        "r.work_bucket = held\n"
        "from coverage_lab.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *command],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(out.glob(".work/parts/bucket-*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no bucket was finished in two minutes"
        time.sleep(0.02)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command again goes on" in stderr
        assert "Traceback" not in stderr
    else:
        assert process.returncode == -signal.SIGKILL
    assert not (out / "run.json").exists()
    code, _, err = call(capsys, *command)
    assert code == 0, err
    assert tables(out) == tables(undisturbed)


#: Those of the default suite are of each stage.
SOME_MOMENTS = (1, 4, 9, 15, 21, 27, 34, 38)
MOMENTS = (1, 2, 3, 4, 5, 7, 9, 12, 15, 18, 21, 23, 25, 27, 30, 32, 34, 36, 37, 38)


@pytest.mark.parametrize(
    "moment",
    [pytest.param(at, marks=() if at in SOME_MOMENTS else pytest.mark.slow) for at in MOMENTS],
)
def test_killed_at_any_change_on_disk_and_started_again(moment, day, undisturbed, tmp_path):
    out = tmp_path / "out"
    assert end_of(run_until_change, moment, day, out, STATIC) == CHANGED, "no such moment any more"
    run_job(day, out, STATIC)
    assert tables(out) == tables(undisturbed)
    assert sorted(file.name for file in out.iterdir()) == sorted(file.name for file in undisturbed.iterdir())


def test_ray_gives_the_same_bytes(day, undisturbed, tmp_path):
    config = STATIC.model_copy(
        update={"job": STATIC.job.model_copy(update={"ray": STATIC.job.ray.model_copy(update={"actors": 2})})}
    )
    manifest = run_job(day, tmp_path / "out", config, ray=True)
    assert manifest.execution.ray is True
    assert tables(tmp_path / "out") == tables(undisturbed)


@pytest.mark.slow
def test_ray_says_when_the_cluster_is_too_small(day, tmp_path):
    config = RunConfig.model_validate(
        {"encoder": {"name": "static"}, "job": {"threads": 1, "ray": {"actors": 3000}}}
    )
    with pytest.raises(cl.errors.ConfigError, match=r"3000 actors.*the cluster has"):
        run_job(day, tmp_path / "out", config, ray=True)
    assert not (tmp_path / "out").exists(), "it must stop before any work"


@pytest.mark.slow
def test_ray_worker_errors_are_one_line(day, tmp_path):
    def damaged(step):
        if step == "work":
            for bucket in (tmp_path / "out/.work/buckets").rglob("*.arrow"):
                bucket.write_bytes(b"no bucket")

    with pytest.raises(cl.errors.OutputError, match=r"bucket .* can't be read") as caught:
        run_job(day, tmp_path / "out", STATIC, ray=True, checkpoint=damaged)
    assert "\n" not in str(caught.value)


def test_ray_without_ray_names_the_extra(day, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = call(capsys, "run", day, tmp_path / "out", "--encoder", "static", "--ray")
    assert code == 2
    assert "pip install 'coverage-lab[ray]'" in err
    assert not (tmp_path / "out").exists(), "it must stop before any work"


def test_how_a_file_is_cut_changes_no_account(undisturbed, tmp_path):
    table = some_traffic()
    folder = tmp_path / "parts"
    folder.mkdir()
    for i in range(3):
        write(table.take(pa.array(range(i, table.num_rows, 3))), folder / f"part-{2 - i}.parquet")
    run_job(folder, tmp_path / "out", STATIC)
    assert tables(tmp_path / "out")["accounts"] == tables(undisturbed)["accounts"]
    assert tables(tmp_path / "out")["curves"] == tables(undisturbed)["curves"]


@pytest.mark.slow
def test_minilm_runs_too(tmp_path, day):
    small = write(some_traffic(accounts=2, prompts=55), tmp_path / "small.parquet")
    config = RunConfig.model_validate({"encoder": {"name": "minilm"}})
    manifest = run_job(small, tmp_path / "out", config)
    assert manifest.encoder.name == "minilm"
    accounts = pq.read_table(tmp_path / "out" / "accounts.parquet")
    assert accounts["score"].null_count == 0


def test_analyze_gives_the_same_as_the_command(undisturbed, day):
    result = cl.analyze(some_traffic(), config=STATIC)
    assert result.accounts.equals(pq.read_table(undisturbed / "accounts.parquet"))
    assert result.curves.equals(pq.read_table(undisturbed / "curves.parquet"))
    assert result.run.counts.rows_in == 360
    assert "<html" in result.report_html


@pytest.mark.slow
def test_analyze_keeps_a_table_run_and_finds_it_again(tmp_path):
    first = cl.analyze(some_traffic(), output=tmp_path / "out", config=STATIC)
    again = cl.analyze(some_traffic(), output=tmp_path / "out", config=STATIC)
    assert again.run == first.run
    with pytest.raises(cl.errors.OutputError, match="holds another run"):
        cl.analyze(some_traffic(seed=5), output=tmp_path / "out", config=STATIC)
    other = cl.analyze(some_traffic(seed=5), output=tmp_path / "out", config=STATIC, overwrite=True)
    assert other.run.run_id != first.run.run_id


def test_analyze_refuses_an_encoder_that_is_not_there():
    with pytest.raises(cl.errors.ConfigError, match="'name'"):
        cl.analyze(some_traffic(), encoder="bogus")


def test_finished_means_all_files_are_there(day, tmp_path, undisturbed, capsys):
    out = tmp_path / "out"
    run_job(day, out, STATIC)
    (out / "accounts.parquet").unlink()
    code, _, err = call(capsys, "explain", "acct-0", "--run", out)
    assert code == 5
    assert "no accounts.parquet" in err
    run_job(day, out, STATIC)
    assert tables(out) == tables(undisturbed)


def test_run_command_ends_with_a_table(day, tmp_path, capsys):
    code, out, err = call(capsys, "run", day, tmp_path / "out", "--encoder", "static")
    assert code == 0, err
    assert "acct-" in out
    assert "360 rows in = 360 used + 0 quarantined" in " ".join(out.split())
    assert "Discoveries among 6 judged accounts: " in " ".join(out.split())
    assert "report.html" in out
    assert "nothing was computed again" not in out
    code, out, err = call(capsys, "run", day, tmp_path / "out", "--encoder", "static")
    assert code == 0, err
    assert "nothing was computed again" in " ".join(out.split())


def test_explain_shows_one_account(undisturbed, capsys):
    code, out, _ = call(capsys, "explain", "acct-3", "--run", undisturbed)
    assert code == 0
    assert "acct-3" in out
    code, out, _ = call(capsys, "explain", "acct-3", "--run", undisturbed, "--json")
    assert code == 0
    story = json.loads(out)
    assert story["account"]["account_id"] == "acct-3"
    assert story["account"]["reason_details"] is not None
    assert 0 <= story["percentiles"]["burstiness"] <= 100
    code, _, err = call(capsys, "explain", "nobody", "--run", undisturbed)
    assert code == 2
    assert "'nobody'" in err
    code, _, err = call(capsys, "explain", "acct-3", "--run", undisturbed / "nowhere")
    assert code == 5
    assert "no finished run" in err


def test_output_with_another_run_is_refused_and_can_be_replaced(undisturbed, tmp_path, capsys):
    day = write(some_traffic(accounts=2, seed=1), tmp_path / "a.parquet")
    other = write(some_traffic(accounts=3, seed=2), tmp_path / "b.parquet")
    out = tmp_path / "out"
    assert call(capsys, "run", day, out, "--encoder", "static")[0] == 0
    held = tables(out)
    code, _, err = call(capsys, "run", other, out, "--encoder", "static")
    assert (code, "holds another run" in err, len(err.splitlines())) == (5, True, 1)
    assert tables(out) == held
    code, _, err = call(capsys, "run", other, out, "--encoder", "static", "--overwrite")
    assert code == 0
    assert tables(out) != held


def test_foreign_files_are_never_touched(day, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    code, _, err = call(capsys, "run", day, out, "--encoder", "static", "--overwrite")
    assert code == 5
    assert "'thesis.txt'" in err
    assert [file.name for file in out.iterdir()] == ["thesis.txt"]


@pytest.mark.root
def test_disk_full_is_one_line_and_can_be_gone_on_from(day, undisturbed, tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can't be mounted here: needs root")
    try:
        config = tmp_path / "config.toml"
        config.write_text(TOML)
        code, _, err = call(capsys, "run", day, disk / "out", "--config", config)
        assert (code, "the disk is full" in err, len(err.splitlines())) == (5, True, 1), err
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        code, _, err = call(capsys, "run", day, disk / "out", "--config", config)
        assert code == 0, err
        assert tables(disk / "out") == tables(undisturbed)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_two_runs_at_once_are_refused(day, tmp_path):
    out = tmp_path / "out"
    seen = []

    def second(stage, done, total):
        if stage == "buckets" and not seen:
            seen.append(stage)
            with pytest.raises(cl.errors.OutputError, match="another run is working"):
                run_job(day, out, STATIC)

    run_job(day, out, STATIC, progress=second)
    assert seen


def test_output_that_is_a_file(day, tmp_path, capsys):
    target = tmp_path / "file"
    target.write_text("x")
    code, _, err = call(capsys, "run", day, target, "--encoder", "static")
    assert code == 5
    assert "is a file" in err
