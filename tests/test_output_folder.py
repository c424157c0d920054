"""Whose an output folder is while somebody works in it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from coverage_lab.errors import OutputError
from coverage_lab.files.output_folder import OutputFolder

HOLD = """
import sys
from pathlib import Path
from coverage_lab.files.output_folder import OutputFolder
folder = OutputFolder(Path(sys.argv[1]), "key")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_at_once_and_a_kill_frees_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", HOLD, str(out)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        start = time.perf_counter()
        with pytest.raises(OutputError, match=r"^output .*out: another run is working in it right now$"):
            OutputFolder(out, "key")
        assert time.perf_counter() - start < 1
    finally:
        holder.kill()
        holder.communicate()
    OutputFolder(out, "key").release()


def test_released_by_the_holder_whoever_else_keeps_it(tmp_path: Path) -> None:
    first = OutputFolder(tmp_path / "out", "key")
    with pytest.raises(OutputError, match="another run is working"):
        OutputFolder(tmp_path / "out", "key")
    first.release()
    first.release()  # twice is once
    second = OutputFolder(tmp_path / "out", "key")
    with pytest.raises(OutputError, match="another run is working"):
        OutputFolder(tmp_path / "out", "key")
    second.release()


def test_overwriting_holds_the_folder_too(tmp_path: Path) -> None:
    OutputFolder(tmp_path / "out", "one").release()
    (tmp_path / "out" / "accounts.parquet").touch()
    second = OutputFolder(tmp_path / "out", "two", overwrite=True)
    assert not (tmp_path / "out" / "accounts.parquet").exists()
    with pytest.raises(OutputError, match="another run is working"):
        OutputFolder(tmp_path / "out", "two")
    second.release()


def test_a_disk_that_knows_no_locks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock of another kind would outlive a process that is killed, so none is taken."""
    import errno
    import fcntl

    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(
        OutputError, match=r"out: can't be locked \(Function not implemented\); its disk needs file locks"
    ):
        OutputFolder(tmp_path / "out", "key")


def test_a_folder_that_can_not_be_made_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, **options: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=r"can't be made .* give a folder"):
        OutputFolder(tmp_path / "out", "key")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_output_to_a_full_disk_ends_in_one_line() -> None:
    code = "import sys; sys.argv = ['coverage-lab', '--version']; from coverage_lab.cli import main; main()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == OutputError.exit_code
    assert done.stderr == "coverage-lab: the disk is full; free some space and run again\n"
