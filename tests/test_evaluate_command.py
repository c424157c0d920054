"""`coverage-lab evaluate`: options and config file become one `EvaluateConfig`."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import call

from coverage_lab.config import EncoderConfig, EvaluateConfig
from coverage_lab.errors import ConfigError
from coverage_lab.evaluate import evaluation

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[EvaluateConfig, dict[str, object]]]:
    """What the benchmark was asked for; it ends there."""
    found: list[tuple[EvaluateConfig, dict[str, object]]] = []

    def stop(corpora: Path, output: Path, config: EvaluateConfig, **rest: object) -> None:
        rest.pop("progress")
        found.append((config, rest))
        raise ConfigError("stopped here")

    monkeypatch.setattr(evaluation, "evaluate_corpora", stop)
    return found


def test_without_options_the_defaults(asked, capsys: Capture) -> None:
    assert call(capsys, "evaluate", "corpora", "out")[0] == 2
    assert asked == [(EvaluateConfig(), {"cache": None, "overwrite": False})]


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (("--encoder", "static"), "encoder", EncoderConfig(name="static", precision="float32")),
        (("--precision", "auto"), "encoder", EncoderConfig(precision="auto")),
        (("--together", "groups.txt"), "together", Path("groups.txt")),
        (("--folds", "3"), "folds", 3),
        (("--rows", "60"), "rows", 60),
        (("--accounts", "7"), "accounts", 7),
        (("--repeats", "2"), "repeats", 2),
        (("--longest", "50"), "longest", 50),
        (("--judge", "100,250"), "judge_sizes", (100, 250)),
        (("--no-baselines",), "baselines", ()),
        (("--baseline", "volume", "--baseline", "CAP"), "baselines", ("volume", "CAP")),
        (("--cells", "4,16,64"), "cells", (4, 16, 64)),
        (("--train", "9"), "train", 9),
        (("--seed", "0"), "seed", 0),
    ],
)
def test_each_option_changes_its_field_and_no_other(
    words: tuple[str, ...], field: str, value: object, asked, capsys: Capture
) -> None:
    assert "stopped here" in call(capsys, "evaluate", "corpora", "out", *words)[2]
    ((config, _),) = asked
    assert config == EvaluateConfig().model_copy(update={field: value}) != EvaluateConfig()


def test_cache_and_overwrite_are_not_of_the_config(asked, capsys: Capture) -> None:
    call(capsys, "evaluate", "corpora", "out", "--cache", "v", "--overwrite")
    assert asked == [(EvaluateConfig(), {"cache": Path("v"), "overwrite": True})]


def test_options_come_before_the_file(asked, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        'folds = 4\nseed = 7\nbaselines = ["volume"]\njudge_sizes = [100]\n[encoder]\nname = "static"\n'
    )
    call(capsys, "evaluate", "corpora", "out", "--config", path)
    call(capsys, "evaluate", "corpora", "out", "--config", path, "--seed", 1, "--baselines")
    call(capsys, "evaluate", "corpora", "out", "--config", path, "--encoder", "minilm")
    exact = EncoderConfig(name="static", precision="float32")
    of_file = EvaluateConfig(folds=4, seed=7, baselines=("volume",), judge_sizes=(100,), encoder=exact)
    assert [config for config, _ in asked] == [
        of_file,
        of_file.model_copy(update={"seed": 1, "baselines": None}),
        of_file.model_copy(update={"encoder": EncoderConfig(name="minilm", precision="float32")}),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--folds", "1"), "option 'folds': Input should be greater than or equal to 2, got 1"),
        (("--seed", "-1"), "option 'seed': "),
        (("--longest", "49"), "option 'longest': "),
        (("--config", "missing.toml"), "config missing.toml: can't be read (No such file or directory)"),
    ],
)
def test_values_out_of_range_are_one_line(words: tuple[str, ...], said: str, asked, capsys: Capture) -> None:
    code, out, err = call(capsys, "evaluate", "corpora", "out", *words)
    assert (code, out, err.count("\n"), asked) == (2, "", 1, [])
    assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fold = 3\n", "unknown key 'fold'; `coverage-lab evaluate --help` says where the keys are listed"),
        ("folds = 1\n", "'folds': Input should be greater than or equal to 2, got 1"),
        ("folds = \n", "not valid TOML"),
    ],
)
def test_a_bad_file_is_one_line(text: str, said: str, asked, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    code, _, err = call(capsys, "evaluate", "corpora", "out", "--config", path)
    assert (code, err.count("\n"), asked) == (2, 1, [])
    assert f"config {path}: {said}" in err


def test_help_says_the_defaults_of_the_config(capsys: Capture) -> None:
    _, out, _ = call(capsys, "evaluate", "--help")
    said = " ".join(out.replace("│", " ").split())
    for part in ("held out in turn; 5 when not given.", "fine; 64,512,2048 when not given."):
        assert part in said
