"""The documents' commands and Python run as they stand, and print what the documents show."""

import contextlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.commands import call
from support.documents import DOCS, PAGES, ROOT, assert_shown, blocks, commands

from coverage_lab.simulate import simulate_day

pytestmark = pytest.mark.slow

#: Commands that are not run: they install, ask another machine, don't end, or take minutes
#: (`test_benchmark.py` runs `evaluate` on a small scale).
NOT_RUN = (
    "pip install ",
    "export ",
    ". .venv/bin/activate",
    "scripts/",
    "ray ",
    "coverage-lab serve",
    "curl ",
)
NOT_RUN += (
    "coverage-lab evaluate",
    "coverage-lab adapt",
    "COVERAGE_LAB_TORCH=",
    "sphinx-build ",
    "python docs/growth_picture.py",
)
#: Pages whose commands need a cluster or an object store; `test_docs.py` checks that they exist. And one
#: whose code asks a running service; `test_client.py` runs it.
ELSEWHERE = ("ray-cluster.md", "object-store.md", "first-scores.md")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What `scripts/demo` prints, and the folder that it ran in, with this interpreter's environment."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/demo", folder / "scripts")
    (folder / "scripts/setup").write_text("#!/bin/sh\n")
    (folder / "scripts/setup").chmod(0o755)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder, in_shell("scripts/demo", folder)


def in_shell(script, folder):
    environment = os.environ | {"COLUMNS": "130"}
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_shows_what_the_demo_prints(demo):
    (shown,) = [text for kind, text in blocks(ROOT / "README.md") if kind == "text"]
    assert_shown(shown, demo[1])


def test_tutorial_runs_from_top_to_bottom(demo, monkeypatch):
    folder, printed = demo
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for kind, text in blocks(DOCS / "tutorial.md"):
        if kind == "sh" and text != "scripts/demo\n":
            printed = in_shell(text, folder) or printed
        elif kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(text, names)
            printed = out.getvalue()
        elif kind == "text":
            assert_shown(text, printed)


def test_picture_is_drawn_and_says_what_the_run_says(demo, tmp_path):
    folder, _ = demo
    words = [sys.executable, str(DOCS / "growth_picture.py"), str(folder / "demo/results")]
    subprocess.run([*words, str(tmp_path / "growth.png")], check=True)
    drawn, kept = (path.read_bytes() for path in (tmp_path / "growth.png", DOCS / "growth.png"))
    assert drawn[:8] == kept[:8] == b"\x89PNG\r\n\x1a\n"
    # Width and height; the bytes differ from one version of the fonts to the next.
    assert drawn[16:24] == kept[16:24]
    assert len(drawn) == pytest.approx(len(kept), rel=0.1)


@pytest.fixture(scope="module")
def day():
    """Traffic with the ids that the pages name."""
    traffic = simulate_day(seed=3, accounts=24).traffic
    first = pc.min(traffic["account_id"]).as_py()
    ids = pc.if_else(pc.equal(traffic["account_id"], first), "acct-0042", traffic["account_id"])
    return traffic.set_column(traffic.column_names.index("account_id"), "account_id", ids)


@pytest.fixture
def workspace(tmp_path, day, monkeypatch):
    """A folder with the files that the pages' commands name."""
    for folder in ("traffic/day=2026-01-15", "reference"):
        (tmp_path / folder).mkdir(parents=True)
        pq.write_table(day, tmp_path / folder / "part.parquet")
    pq.write_table(day, tmp_path / "traffic.parquet")
    (tmp_path / "banks").mkdir()
    (tmp_path / "banks/home.csv").write_text("question\nHow do I paint a fence?\nHow do I bake bread?\n")
    renamed = day.rename_columns(
        [
            {"account_id": "org_id", "timestamp": "received_at", "prompt": "request_text"}.get(name, name)
            for name in day.column_names
        ]
    )
    with (tmp_path / "traffic.jsonl").open("w") as lines:
        for row in renamed.select(["org_id", "received_at", "request_text"]).to_pylist():
            lines.write(json.dumps(row | {"received_at": row["received_at"].isoformat()}) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUN_PAGES = [
    page
    for page in PAGES
    if page.name not in ("tutorial.md", *ELSEWHERE)
    and any(kind in ("sh", "python") for kind, _ in blocks(page))
]


def judge_a_hundred_accounts(workspace, capsys):
    """Deal the day's prompts to more than a hundred accounts, judge them, and label them."""
    day = pq.read_table(workspace / "traffic.parquet")
    accounts = [f"acct-{row // 60:04}" for row in range(day.num_rows)]
    dealt = day.set_column(day.column_names.index("account_id"), "account_id", pa.array(accounts))
    pq.write_table(dealt, workspace / "traffic.parquet")
    assert call(capsys, "run", "traffic.parquet", "results")[0] == 0
    labels = [f"{account},{('benign', 'harvest')[n < 5]}" for n, account in enumerate(sorted(set(accounts)))]
    (workspace / "reviewed.csv").write_text("\n".join(["account_id,label", *labels]))


@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.stem)
def test_page_runs_from_top_to_bottom(page, workspace, capsys):
    if page.name == "calibrate.md":
        judge_a_hundred_accounts(workspace, capsys)
    for kind, text in blocks(page):
        if kind == "toml":
            (workspace / "my.toml").write_text(text)
        elif kind == "python":
            exec(text, {})
    for command in commands(page):
        if command.startswith(NOT_RUN):
            continue
        words = shlex.split(command)
        assert words[0] == "coverage-lab", f"{page.name}: a command that this test does not know: {command}"
        code, _, said = call(capsys, *words[1:])
        assert code == 0, f"{command}\n{said}"
