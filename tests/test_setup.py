"""scripts/setup chooses a build of torch by itself: no question, no network (pip here is a stand-in)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

#: Writes down how it was called. Its answers to `--dry-run --report FILE` are files: what would be installed
#: from the usual index and from PyTorch's own; no file = nothing is found there.
FAKE_PIP = """#!/usr/bin/env bash
here=$(dirname "$0")
echo "$*" >> "$here/calls"
case "$*" in
  *--dry-run*--index-url*) answer=$here/own_index.json ;;
  *--dry-run*) answer=$here/usual_index.json ;;
  *) exit 0 ;;
esac
[ -f "$answer" ] || { echo "ERROR: No matching distribution found for torch" >&2; exit 1; }
while [ "$1" != --report ]; do shift; done
cp "$answer" "$2"
"""
CPU = ("torch", "sympy")
CUDA = ("torch", "nvidia-cublas", "cuda-bindings", "sympy")


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def setup(tmp_path):
    """Call scripts/setup in a copy whose .venv has no torch; gives pip's calls and stderr."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/setup", tmp_path / "scripts")
    bin_folder = tmp_path / ".venv/bin"
    program(bin_folder / "pip", FAKE_PIP)
    program(bin_folder / "python", "#!/usr/bin/env bash\nexit 1\n")

    def call(*, gpu=False, usual=None, own=None, variable=None, extras="transformer"):
        program(tmp_path / "path/nvidia-smi", f"#!/usr/bin/env bash\nexit {0 if gpu else 9}\n")
        for name, packages in (("usual_index", usual), ("own_index", own)):
            if packages is not None:
                report = {"install": [{"metadata": {"name": package}} for package in packages]}
                (bin_folder / f"{name}.json").write_text(json.dumps(report))
        environment = {name: value for name, value in os.environ.items() if name != "COVERAGE_LAB_TORCH"}
        environment |= {"PATH": f"{tmp_path / 'path'}:{environment['PATH']}", "PYTHON": sys.executable}
        if variable is not None:
            environment["COVERAGE_LAB_TORCH"] = variable
        done = subprocess.run(
            ["scripts/setup", *filter(None, [extras])],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        calls = (bin_folder / "calls").read_text().splitlines()
        assert calls[-1] == f"install --quiet --no-compile --editable .{extras and f'[{extras}]'}"
        return [line.removeprefix("install --quiet ") for line in calls[:-1]], done.stderr

    return call


def installed(calls: list[str]) -> str:
    """What the one call that installs torch names; the others only look."""
    (words,) = [call for call in calls if "--dry-run" not in call]
    return words


def test_a_gpu_takes_pips_default_build(setup):
    calls, said = setup(gpu=True, usual=CPU)
    assert calls == ["torch"]
    assert "GPU" in said


def test_without_a_gpu_the_cpu_build_that_pip_finds(setup):
    calls, said = setup(usual=CPU, own=CPU)
    assert installed(calls) == "torch==2.13.0"
    assert len(calls) == 2, "PyTorch's own index is not asked"
    assert "CPU build" in said


@pytest.mark.parametrize("usual", [CUDA, None], ids=["only CUDA", "no torch"])
def test_otherwise_the_cpu_build_of_pytorchs_own_index(setup, usual):
    calls, said = setup(usual=usual, own=CPU)
    assert installed(calls) == f"torch==2.13.0 --index-url {CPU_INDEX}"
    assert "PyTorch's own index" in said


@pytest.mark.parametrize("own", [CUDA, None], ids=["only CUDA there", "out of reach"])
def test_otherwise_the_default_build_with_its_size_in_one_line(setup, own):
    calls, said = setup(usual=CUDA, own=own)
    assert installed(calls) == "torch"
    (line,) = [line for line in said.splitlines() if line.startswith("torch: ")]
    assert "about 3 GB" in line


def test_the_variable_decides_when_it_is_set(setup):
    calls, said = setup(gpu=True, usual=CPU, variable="torch==2.12.0 --index-url https://example.org/simple")
    assert calls == ["torch==2.12.0 --index-url https://example.org/simple"]
    assert "COVERAGE_LAB_TORCH" in said


@pytest.mark.parametrize("extras", ["", "ray", "ray,state"])
def test_without_an_extra_that_needs_it_there_is_no_torch(setup, extras):
    calls, said = setup(gpu=True, usual=CPU, own=CPU, extras=extras)
    assert calls == []
    assert "torch" not in said


@pytest.mark.parametrize("extras", ["transformer", "gpu", "ray,transformer", "gpu,ray", "test"])
def test_extras_that_need_torch_get_it_first(setup, extras):
    calls, _ = setup(usual=CPU, extras=extras)
    assert installed(calls) == "torch==2.13.0"


def test_a_second_call_finds_it_done(setup):
    first, _ = setup(usual=CPU)
    second, said = setup(usual=CPU)
    assert second == first, "pip is not called again"
    assert said == ""
