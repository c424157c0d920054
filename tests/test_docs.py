"""What the documents say is so: commands, options, config keys, figures."""

import doctest
import importlib
import json
import pkgutil
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

import coverage_lab
from coverage_lab.cli import app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = get_command(app)


def commands():
    """Every command of the CLI with its words: `run`, `atlas build`, ..."""
    for name, command in COMMAND.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", part) for inner, part in command.commands.items())
        else:
            yield name, command


def documented_calls():
    """Calls of coverage-lab in the README's shell blocks and in the help's examples."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.S)
    text = "\n".join(blocks) + "\n".join(re.findall(r"`(coverage-lab [^`]*)`", README))
    helps = "\n".join(command.help or "" for _, command in commands())
    text += "\n" + "\n".join(re.findall(r"Example: `(coverage-lab [^`]*)`", helps))
    for line in text.splitlines():
        found = re.search(r"coverage-lab [^#|]*", line)
        if found and "…" not in found.group() and "|" not in line:
            yield found.group().strip()


@pytest.mark.parametrize("call", sorted(set(documented_calls())))
def test_documented_call_exists_with_its_options(call):
    words = shlex.split(call)[1:]
    command = COMMAND
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, call
        command = command.commands[words.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word in options, f"{call}: no option {word}"


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_command_is_documented(name, command):
    assert f"coverage-lab {name}" in README
    assert len(command.help or "") > 80, f"{name}: --help does not teach"
    assert "Example: " in command.help
    for parameter in command.params:
        if parameter.name not in ("help", "port"):
            assert parameter.help, f"{name}: {parameter.name} has no help"


def modules():
    for package in (coverage_lab, importlib.import_module("coverage_kernels")):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield found.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name}: no docstring"
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("encoder", ["static", "minilm"])
def test_readme_figures_are_those_of_the_shipped_card(encoder):
    card = json.loads((ROOT / f"coverage_lab/detect/data/{encoder}.json").read_text())["card"]
    (row,) = [line for line in README.splitlines() if line.startswith(f"| `{encoder}` |")]
    shown = [float(cell) for cell in re.findall(r"\d\.\d+", row)]
    names = ("auroc", "auroc_interval_low", "auroc_interval_high")
    names += ("tpr_1pct", "tpr_1pct_interval_low", "tpr_1pct_interval_high", "tpr_01pct")
    assert shown == [round(card[name], 2) for name in names]


def test_changelog_names_every_command():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for name in COMMAND.commands:
        assert name in text
