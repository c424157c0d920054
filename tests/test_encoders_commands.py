"""Which encoders and precisions the commands offer."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import call, some_traffic

import coverage_lab as cl
from coverage_lab import jobs, service
from coverage_lab.config import EncoderConfig, EvaluateConfig, RunConfig
from coverage_lab.errors import ConfigError
from coverage_lab.evaluate import evaluation
from coverage_lab.jobs import analysis


class Stop:
    """Stands where a job begins: remembers its configs, and ends the command there."""

    def __init__(self) -> None:
        self.asked: list[EncoderConfig] = []

    def job(self, traffic: object, output: object, config: RunConfig, **rest: object) -> None:
        self.stop(config.encoder)

    def evaluation(self, corpora: object, output: object, config: EvaluateConfig, **rest: object) -> None:
        self.stop(config.encoder)

    def stop(self, config: EncoderConfig) -> None:
        self.asked.append(config)
        raise ConfigError("stopped here")


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Stop:
    found = Stop()
    monkeypatch.setattr(jobs, "run_job", found.job)
    monkeypatch.setattr(analysis, "run_job", found.job)
    monkeypatch.setattr(evaluation, "evaluate_corpora", found.evaluation)
    return found


@pytest.mark.parametrize("name", ["static", "minilm", "cascade"])
def test_run_offers_every_encoder_and_the_cascade(
    name: str, stop: Stop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = tmp_path / "day.jsonl"
    day.write_text('{"account_id": "a", "timestamp": "2026-01-01T00:00:00Z", "prompt": "name a river"}\n')
    code, _, err = call(capsys, "run", day, tmp_path / "out", "--encoder", name)
    assert (code, "stopped here" in err) == (2, True)
    assert [config.name for config in stop.asked] == [name]


def test_analyze_takes_the_cascade(stop: Stop) -> None:
    with pytest.raises(ConfigError, match="stopped here"):
        cl.analyze(some_traffic(), encoder="cascade")
    assert stop.asked == [EncoderConfig(name="cascade")]


def test_serve_takes_the_cascade(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def served(config: RunConfig, *, host: str, port: int, results: Path | None) -> None:
        asked.append(config.encoder.name)

    monkeypatch.setattr(service, "serve_forever", served)
    assert call(capsys, "serve", "--encoder", "cascade")[0] == 0
    assert asked == ["cascade"]


@pytest.mark.parametrize("words", [("evaluate", "corpora", "out"), ("atlas", "build", "traffic", "out")])
def test_commands_of_one_encoder_do_not_offer_the_cascade(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, *words, "--encoder", "cascade")
    assert (code, "'cascade' is not one of" in " ".join(err.split())) == (2, True)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "float16"])
def test_evaluate_offers_every_precision(
    precision: str, stop: Stop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", tmp_path, tmp_path / "out", "--encoder", "minilm", "--precision", precision)
    code, _, err = call(capsys, *words)
    assert (code, "stopped here" in err) == (2, True)
    assert stop.asked == [EncoderConfig.model_validate({"name": "minilm", "precision": precision})]
