"""Bad input through the whole job: a bad row is quarantined and counted, a bad file or config is one line."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import call, some_traffic, write

ROWS = 60


def run(capsys, source, tmp_path, *, config=""):
    """Run the job; returns (exit code, stderr, output folder)."""
    path = tmp_path / "config.toml"
    path.write_text('[encoder]\nname = "static"\n' + config)
    out = tmp_path / "out"
    code, _, err = call(capsys, "run", source, out, "--config", path)
    return code, err, out


def with_row(**row):
    """A JSON line that differs from a sound one in `row`; a value of ... removes the key."""
    sound = {"account_id": "acct-0", "timestamp": "2026-01-01T10:00:00Z", "prompt": "What is a fjord?"}
    return json.dumps({key: value for key, value in (sound | row).items() if value is not ...}).encode()


BAD_ROWS = {
    "null prompt": (with_row(prompt=None), "missing_prompt"),
    "no prompt": (with_row(prompt=...), "missing_prompt"),
    "1 MB prompt": (with_row(prompt="word " * 200_000), "prompt_too_long"),
    "blank prompt": (with_row(prompt=" \n"), "empty_prompt"),
    "wrong type": (with_row(prompt=7), "wrong_type"),
    "invalid UTF-8": (with_row().replace(b"fjord", b"fj\xff\xferd"), "invalid_utf8"),
    "no zone": (with_row(timestamp="2026-01-01T10:00:00"), "timestamp_without_zone"),
    "future": (with_row(timestamp="2999-01-01T10:00:00Z"), "timestamp_in_future"),
    "no date": (with_row(timestamp="yesterday"), "unparsable_timestamp"),
    "null account": (with_row(account_id=None), "missing_account"),
    "half a line": (b'{"account_id": "acct-0", "prom', "unparsable_row"),
    "same request twice": (b"\n".join([with_row(request_id="r1")] * 2), "duplicate_request"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row_is_quarantined_with_its_reason_and_the_rest_is_used(name, capsys, tmp_path):
    lines, reason = BAD_ROWS[name]
    sound = [with_row(prompt=f"Explain tide number {i}") for i in range(ROWS)]
    source = tmp_path / "traffic.jsonl"
    source.write_bytes(b"\n".join([*sound[:30], lines, *sound[30:]]) + b"\n")
    code, err, out = run(capsys, source, tmp_path)
    assert code == 0, err
    quarantine = pq.read_table(out / "quarantine.parquet")
    assert quarantine["reason"].to_pylist() == [reason]
    assert quarantine["source"].to_pylist() == ["traffic.jsonl"]
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert counts["rows_in"] == counts["rows_used"] + 1
    assert counts["quarantine_reasons"] == {reason: 1}
    used = pq.read_table(out / "accounts.parquet")["prompts"].to_pylist()
    assert used == [ROWS + (name == "same request twice")]


def test_out_of_order_timestamps_are_put_in_order(capsys, tmp_path):
    table = some_traffic(accounts=2)
    _, _, straight = run(capsys, write(table, tmp_path / "a.parquet"), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    backwards = table.take(pa.array(range(table.num_rows))[::-1])
    _, _, turned = run(capsys, write(backwards, other / "a.parquet"), other)
    for name in ("accounts", "curves", "cells"):
        assert (straight / f"{name}.parquet").read_bytes() == (turned / f"{name}.parquet").read_bytes()


def test_account_with_one_prompt(capsys, tmp_path):
    code, err, out = run(capsys, write(some_traffic(accounts=1, prompts=1), tmp_path / "t.parquet"), tmp_path)
    assert code == 0, err
    (row,) = pq.read_table(out / "accounts.parquet").to_pylist()
    assert (row["prompts"], row["verdict"], row["novelty_mean"]) == (1, "inconclusive", None)
    assert "Too few prompts" in row["reasons"][0]


def test_zero_rows_are_a_failure(capsys, tmp_path):
    code, err, out = run(capsys, write(some_traffic().slice(0, 0), tmp_path / "t.parquet"), tmp_path)
    assert code == 3
    assert "no row to judge" in err
    assert pq.read_table(out / "quarantine.parquet").num_rows == 0
    assert not (out / "run.json").exists()


def test_too_few_usable_rows_are_a_failure_with_the_reasons(capsys, tmp_path):
    rows = [with_row(prompt=f"Explain tide number {i}") for i in range(ROWS)]
    bad = [with_row(prompt=None), with_row(timestamp="yesterday")]
    source = tmp_path / "t.jsonl"
    source.write_bytes(b"\n".join([*rows, *bad * ROWS]))
    code, err, out = run(capsys, source, tmp_path)
    assert code == 3
    assert f"{ROWS} of {3 * ROWS} rows can be used" in err
    assert "60 missing_prompt" in err
    assert "60 unparsable_timestamp" in err
    assert "traffic.columns" in err
    assert pq.read_table(out / "quarantine.parquet").num_rows == 2 * ROWS
    assert not (out / "run.json").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code, err, _ = run(capsys, source, elsewhere, config="[traffic]\nmin_used_share = 0.3\n")
    assert code == 0
    assert "Warning: 120 of 180 rows are in quarantine" in err


def broken(tmp_path, name):
    path = tmp_path / "traffic.parquet"
    table = some_traffic(accounts=1)
    if name == "missing column":
        write(table.drop_columns(["prompt"]), path)
    elif name == "wrong type":
        write(table.set_column(2, "prompt", pa.array(range(table.num_rows))), path)
    elif name == "no zone":
        write(table.set_column(1, "timestamp", table["timestamp"].cast(pa.timestamp("us"))), path)
    elif name == "empty file":
        path.write_bytes(b"")
    elif name == "truncated":
        write(table, path)
        path.write_bytes(path.read_bytes()[:-300])
    elif name == "not there":
        path = tmp_path / "nowhere.parquet"
    elif name == "unknown kind":
        path = tmp_path / "traffic.xlsx"
        path.write_bytes(b"PK")
    return path


BAD_FILES = {
    "missing column": "prompt",
    "wrong type": "prompt",
    "no zone": "traffic.timezone",
    "empty file": "traffic.parquet",
    "truncated": "traffic.parquet",
    "not there": "nowhere.parquet",
    "unknown kind": ".xlsx",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_stops_with_one_line_before_any_work(name, capsys, tmp_path):
    code, err, out = run(capsys, broken(tmp_path, name), tmp_path)
    assert code == 3
    assert len(err.strip().splitlines()) == 1, err
    assert BAD_FILES[name] in err
    assert not out.exists()


BAD_CONFIGS = {
    "unknown key": ("[traffic]\ncolour = 1\n", "unknown key 'traffic.colour'"),
    "unknown table": ("[colour]\n", "unknown key 'colour'"),
    "wrong type": ("[detect]\nmin_prompts = 'many'\n", "'detect.min_prompts'"),
    "wrong order": ("[detect]\nreview_p = 0.5\n", "review_p (0.5) must not exceed watch_p (0.05)"),
    "no TOML": ("[detect\n", "not valid TOML"),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_bad_config_stops_with_one_line_before_any_work(name, capsys, tmp_path):
    text, words = BAD_CONFIGS[name]
    source = write(some_traffic(accounts=1), tmp_path / "t.parquet")
    code, err, out = run(capsys, source, tmp_path, config=text)
    assert code == 2
    assert len(err.strip().splitlines()) == 1, err
    assert words in err
    assert not out.exists()


def test_config_that_is_not_there(capsys, tmp_path):
    code, _, err = call(capsys, "run", "x.parquet", tmp_path / "out", "--config", tmp_path / "none.toml")
    assert code == 2
    assert "none.toml" in err


def test_atlas_of_another_encoder(capsys, tmp_path):
    import coverage_lab.atlas as package

    minilm = package.__path__[0] + "/data/minilm"
    source = write(some_traffic(accounts=1), tmp_path / "t.parquet")
    code, err, out = run(capsys, source, tmp_path, config=f"[atlas]\npath = '{minilm}'\n")
    assert code == 4
    assert "encoder" in err
    assert len(err.strip().splitlines()) == 1
    assert not out.exists()


def test_own_atlas_gives_measures_and_says_why_no_score(capsys, tmp_path):
    source = write(some_traffic(accounts=3, prompts=80), tmp_path / "t.parquet")
    arguments = ["atlas", "build", source, tmp_path / "atlas", "--encoder", "static", "--cells", "2,4,8"]
    code, out, err = call(capsys, *arguments)
    assert code == 0, err
    code, _, err = call(capsys, *arguments)
    assert code == 5
    assert "exists already" in err
    code, out, _ = call(capsys, "atlas", "show", tmp_path / "atlas")
    assert code == 0
    assert "fine: 8 cells" in out
    code, err, results = run(capsys, source, tmp_path, config=f"[atlas]\npath = '{tmp_path / 'atlas'}'\n")
    assert code == 0, err
    rows = pq.read_table(results / "accounts.parquet").to_pylist()
    assert {row["verdict"] for row in rows} == {"inconclusive"}
    assert all(row["score"] is None and "calibration" in row["reasons"][0] for row in rows)
    assert all(row["distinct_fine"] > 0 for row in rows)


def test_atlas_build_with_too_little_traffic(capsys, tmp_path):
    source = write(some_traffic(accounts=1), tmp_path / "t.parquet")
    code, _, err = call(capsys, "atlas", "build", source, tmp_path / "atlas", "--encoder", "static")
    assert code == 3
    assert "fewer --cells" in err
    code, _, err = call(capsys, "atlas", "build", source, tmp_path / "atlas", "--cells", "many")
    assert code == 2
    assert "--cells" in err


def test_hostile_account_ids_are_shown_harmlessly(capsys, tmp_path):
    table = some_traffic(accounts=1)
    name = "<script>alert(1)</script>\x1b[31m[red]"
    table = table.set_column(0, "account_id", pa.array([name] * table.num_rows))
    path = tmp_path / "config.toml"
    path.write_text('[encoder]\nname = "static"\n[detect]\nreview_p = 0.9\nwatch_p = 0.99\n')
    code, out, err = call(
        capsys, "run", write(table, tmp_path / "t.parquet"), tmp_path / "out", "--config", path
    )
    assert code == 0, err
    assert "\x1b[31m" not in out
    assert "<script>alert(1)" not in (tmp_path / "out" / "report.html").read_text()
