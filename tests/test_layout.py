"""The rooms' one direction, the files that must not exist, and the config file that lists every key."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from coverage_lab.config import EvaluateConfig, RunConfig

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "coverage_lab"
KERNELS = ROOT / "kernels" / "coverage_kernels"

ROOMS = re.search(r"```rooms\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.S)
assert ROOMS, "CONTRIBUTING.md: no list of rooms"
#: The list of CONTRIBUTING.md: a line may import those below it; rooms of one line don't import each other.
DIRECTION = tuple(tuple(re.split(r"  +", line)[0].split()) for line in ROOMS[1].splitlines())
BASE = set(DIRECTION[-1])
RANK = {room: rank for rank, rooms in enumerate(DIRECTION[:-1]) for room in rooms}


def imported(file: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "coverage_lab" and len(parts) > 1 else None


def violations(file: Path, room: str) -> list[str]:
    found = []
    for module in imported(file):
        other = room_of(module)
        if other is None or other == room or other in BASE or other == "__version__":
            continue
        if room in BASE or RANK[other] <= RANK[room]:
            found.append(f"{file.name} ({room}) imports {module}")
    return found


def test_rooms_import_in_one_direction():
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        assert room in RANK or room in BASE, f"{file}: a room that DIRECTION does not know"
        found += violations(file, room)
    assert found == []


def test_every_room_of_the_list_is_there():
    there = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name[0] not in "_."}
    assert (set(RANK) | BASE) <= there
    assert there - set(RANK) - BASE == {"py.typed"}


def test_direction_check_can_fail(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def later():\n    from coverage_lab.jobs import run_job\n")
    assert violations(bad, "detect")
    assert violations(bad, "service"), "rooms side by side don't import each other"
    assert violations(bad, "config")
    assert violations(bad, "cli") == []


def test_measures_import_numbers_only():
    allowed = {"__future__", "collections", "coverage_kernels", "coverage_lab", "dataclasses", "functools"}
    allowed |= {"math", "numpy", "scipy", "sklearn", "typing"}
    for file in (PACKAGE / "measures").rglob("*.py"):
        tops = {module.split(".")[0] for module in imported(file)}
        assert tops <= allowed, f"{file} imports {tops - allowed}"
        assert "open(" not in file.read_text(encoding="utf-8"), file


def test_kernels_never_import_the_lab():
    files = list(KERNELS.rglob("*.py"))
    assert files
    for file in files:
        assert not any(module.split(".")[0] == "coverage_lab" for module in imported(file)), file


def is_python(file: Path) -> bool:
    """Whether a program without a suffix is Python's."""
    with file.open("rb") as opened:
        first = opened.readline(100)
    return not file.suffix and first.startswith(b"#!") and b"python" in first


def private_imports(file: Path, *, tests: bool = False) -> list[str]:
    """Modules inside a kernel's folder that a file outside of it imports; its reference is for everybody.

    A kernel's own tests may look inside: those that are named `test_kernel_…` or after the kernel, and the
    processes that they start (`support/interpreter.py`).
    """
    found = []
    for module in imported(file):
        parts = module.split(".")
        if parts[0] != "coverage_kernels" or len(parts) < 3 or parts[2] == "reference":
            continue
        folder = KERNELS / parts[1]
        own = folder in file.parents or (
            tests and (file.name == "interpreter.py" or "kernel" in file.name or parts[1] in file.name)
        )
        if (folder / f"{parts[2]}.py").exists() and not own:
            found.append(f"{file.name} imports {module}")
    return found


def test_nobody_imports_a_kernels_private_modules():
    everything = [
        file for folder in ("coverage_lab", "kernels", "scripts") for file in (ROOT / folder).rglob("*")
    ]
    code = [file for file in everything if file.suffix == ".py" or (file.is_file() and is_python(file))]
    tests = list((ROOT / "tests").rglob("*.py"))
    assert len(code) > 100
    assert len(tests) > 50
    assert [text for file in code for text in private_imports(file)] == []
    assert [text for file in tests for text in private_imports(file, tests=True)] == []


def test_check_of_private_modules_can_fail(tmp_path):
    bad = tmp_path / "test_bad.py"
    for line in (
        "from coverage_kernels.causal_novelty import triton_kernel",
        "from coverage_kernels.causal_novelty.blocked import DIAGONAL",
        "import coverage_kernels.rarefaction.gpu",
    ):
        bad.write_text(f"def later():\n    {line}\n")
        assert private_imports(bad, tests=True), line
    bad.write_text("from coverage_kernels.causal_novelty import causal_novelty, reference\n")
    assert private_imports(bad) == []
    inside = tmp_path / "test_kernel_x.py"
    inside.write_text("from coverage_kernels.causal_novelty import blocked\n")
    assert private_imports(inside, tests=True) == []
    assert private_imports(inside), "code is no test, whatever its name"


def test_no_package_in_folders_that_would_shadow_others():
    for folder in ("kernels", "tests", "scripts", "notebooks"):
        assert not (ROOT / folder / "__init__.py").exists(), folder


def test_no_test_module_imports_another_or_sets_its_own_path():
    """What tests share is in `tests/support`, which pytest's `pythonpath` finds."""
    for file in (ROOT / "tests").rglob("*.py"):
        assert not any(module.split(".")[0].startswith("test_") for module in imported(file)), file
        assert "sys.path." + "insert" not in file.read_text(encoding="utf-8"), file


def test_no_utils_and_no_pickle():
    for file in [*PACKAGE.rglob("*.py"), *KERNELS.rglob("*.py")]:
        assert file.name not in ("utils.py", "helpers.py"), file
        assert not any(module.split(".")[0] in ("pickle", "pandas") for module in imported(file)), file


CONFIGS = [("configs/default.toml", RunConfig), ("configs/evaluate.toml", EvaluateConfig)]


@pytest.mark.parametrize(("file", "kind"), CONFIGS)
def test_config_file_holds_the_defaults(file, kind):
    raw = tomllib.loads((ROOT / file).read_text())
    assert kind.model_validate(raw) == kind()


@pytest.mark.parametrize(("file", "kind"), CONFIGS)
def test_config_file_names_every_key(file, kind):
    text = (ROOT / file).read_text()

    def keys(model):
        for name, field in model.model_fields.items():
            yield name
            inner = field.annotation
            if hasattr(inner, "model_fields"):
                yield from keys(inner)

    for key in keys(kind):
        assert re.search(rf"^(# )?{key} = |^\[(\w+\.)?{key}\]", text, re.M), f"{file}: no {key}"
