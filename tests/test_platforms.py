"""What happens on a system that is not supported, and what differs between those that are."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.commands import call

import coverage_lab
from coverage_lab.config import RunConfig
from coverage_lab.errors import PlatformError
from coverage_lab.platforms import check_platform, peak_memory_mb

ROOT = Path(coverage_lab.__file__).parent
#: Modules of Python that only Unix has.
UNIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}


@pytest.mark.parametrize("command", [("run", "day", "out"), ("run", "day", "out", "--ray"), ("--help",), ()])
def test_commands_say_in_one_line_what_is_supported(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    code, out, err = call(capsys, *command)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("coverage-lab: coverage_lab runs on Linux and macOS, got 'win32'")


def test_python_says_it_too_and_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "cygwin")
    for ray in (False, True):
        with pytest.raises(PlatformError, match=r"^coverage_lab runs on Linux and macOS, got 'cygwin'"):
            coverage_lab.analyze("day.parquet", output=tmp_path / "out", config=RunConfig(), ray=ray)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["linux", "darwin"])
def test_supported_systems_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", name)
    check_platform()


def test_peak_memory_is_in_mib_whatever_the_system_counts_in(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(ru_maxrss=512 * 2**20)
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory_mb() == 512
    usage.ru_maxrss = 512 * 2**10
    monkeypatch.setattr(sys, "platform", "linux")
    assert peak_memory_mb() == 512


def test_peak_memory_of_a_process_that_holds_300_mib() -> None:
    """No closer: Linux counts what its parent held when it was started."""
    program = (
        "import numpy as np; from coverage_lab.platforms import peak_memory_mb;"
        "held = np.ones(300 * 2**17); print(peak_memory_mb())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 300 <= int(ran.stdout) < 30_000


def test_nothing_that_only_unix_has_is_imported_before_the_check() -> None:
    found = []
    for file in ROOT.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{file.name}: {name}" for name in names if name.split(".")[0] in UNIX_ONLY]
    assert found == []


def test_without_those_modules_the_command_line_still_comes_to_its_check() -> None:
    program = (
        "import sys; sys.modules |= dict.fromkeys(['fcntl', 'resource']);"
        "import coverage_lab.cli, coverage_lab.jobs.ingest, coverage_lab.traffic;"
        "sys.platform = 'win32'; coverage_lab.cli.main()"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.count("\n") == 1
    assert "runs on Linux and macOS" in ran.stderr
