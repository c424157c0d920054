"""`coverage-lab calibrate`: a finished run's own accounts become what p-values compare with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score
from support.commands import call
from support.manifests import a_manifest, a_model, edit_manifest
from support.traced import a_scorecard

from coverage_lab.config import DetectConfig, RunConfig
from coverage_lab.detect import load_scorecard
from coverage_lab.detect.calibrate import calibrate_unlabelled
from coverage_lab.errors import ConfigError, OutputError
from coverage_lab.jobs.recalibrate import recalibrate

BENIGN, HARVESTS = 600, 30

Folder = Callable[..., Path]


def the_accounts() -> dict[str, np.ndarray]:
    """600 benign accounts, 30 harvests, and 40 with too few prompts."""
    rng = np.random.default_rng(8)
    log_odds = np.concatenate(
        [rng.logistic(-3, 0.8, BENIGN), rng.normal(3, 1, HARVESTS), rng.normal(0, 3, 40)]
    )
    prompts = rng.integers(50, 3000, len(log_odds))
    prompts[BENIGN + HARVESTS :] = rng.integers(2, 50, 40)
    return {
        "account_id": np.array([f"{i:04d}" for i in range(len(log_odds))]),
        "score": 1 / (1 + np.exp(-log_odds)),
        "prompts": prompts,
    }


@pytest.fixture
def results(tmp_path: Path) -> Folder:
    """Make a finished run's folder of `the_accounts`, as far as `calibrate` reads it."""

    def make(
        rows: slice = slice(None), *, config: dict[str, object] | None = None, model: object = ...
    ) -> Path:
        folder = tmp_path / "results"
        folder.mkdir()
        columns = {name: pa.array(values[rows]) for name, values in the_accounts().items()}
        pq.write_table(pa.table(columns), folder / "accounts.parquet")
        scorecard = tmp_path / "scorecard.json"
        scorecard.write_text(a_scorecard().model_dump_json())
        manifest = a_manifest(
            config=RunConfig.model_validate({"detect": {"scorecard": str(scorecard)} | (config or {})}),
            model=a_model(a_scorecard().id) if model is ... else model,
        )
        (folder / "run.json").write_text(manifest.to_json())
        return folder

    return make


@pytest.fixture
def labels(tmp_path: Path) -> Callable[..., Path]:
    """Write labels: the first 200 accounts benign, the harvests harvest, 50 unknown."""

    def make(name: str = "labels.csv", table: pa.Table | None = None) -> Path:
        path = tmp_path / name
        if table is None:
            ids = the_accounts()["account_id"]
            known = [*ids[:200], *ids[BENIGN : BENIGN + HARVESTS], *ids[200:250]]
            said = ["benign"] * 200 + ["harvest"] * HARVESTS + ["unknown"] * 50
            table = pa.table({"account_id": [str(i) for i in known], "label": said})
        (csv.write_csv if path.suffix.lower() == ".csv" else pq.write_table)(table, path)
        return path

    return make


def log_odds(score: np.ndarray) -> np.ndarray:
    return np.log(score / (1 - score))


def test_unlabelled_is_calibrate_unlabelled_on_the_log_odds(results: Folder, tmp_path: Path) -> None:
    made = recalibrate(results(), tmp_path / "own.json")
    mine = the_accounts()
    enough = mine["prompts"] >= 50
    expected = calibrate_unlabelled(
        log_odds(mine["score"][enough]), mine["prompts"][enough], contamination=0.05
    )
    card = load_scorecard(tmp_path / "own.json")
    assert card == made.scorecard
    assert card.calibration.prompts == tuple(expected.prompts.tolist())
    assert np.allclose(log_odds(np.array(card.calibration.score)), expected.score, atol=2e-3)
    assert card.calibration.neighbours == expected.neighbours == 500
    assert (made.accounts, made.used) == (BENIGN + HARVESTS, len(expected.score))
    assert made.extrapolated_below == 0.05
    assert made.auroc is made.benign is made.harvest is None


def test_only_the_calibration_and_its_card_change(results: Folder, tmp_path: Path) -> None:
    card = recalibrate(results(), tmp_path / "own.json").scorecard
    unchanged = {"calibration", "card"}
    assert card.model_dump(exclude=unchanged) == a_scorecard().model_dump(exclude=unchanged)
    assert card.id != a_scorecard().id
    told = {name: value for name, value in card.card.items() if name.startswith("calibration_")}
    assert card.card == a_scorecard().card | told
    assert set(told) == {
        "calibration_from",
        "calibration_contamination",
        "calibration_left_out",
        "calibration_accounts",
        "calibration_smallest_p",
        "calibration_extrapolated_below",
    }
    assert told["calibration_accounts"] == len(card.calibration.score)
    text = (tmp_path / "own.json").read_text()
    assert not any(f'"{i:04d}"' in text for i in range(700)), "an account_id is in the scorecard"


def test_written_scores_are_rounded_up_so_that_no_p_value_shrinks(results: Folder, tmp_path: Path) -> None:
    card = recalibrate(results(), tmp_path / "own.json", contamination=0).scorecard
    mine = the_accounts()
    enough = mine["prompts"] >= 50
    order = np.argsort(mine["prompts"][enough], kind="stable")
    exact = mine["score"][enough][order]
    written = np.array(card.calibration.score)
    assert (written >= exact - 1e-15).all()
    assert (written <= exact + 1e-6 + 1e-12).all()
    assert written.max() <= 1
    p = card.p_value(mine["score"][enough], mine["prompts"][enough])
    assert p.min() == pytest.approx(2 / 501), "the highest account of all is compared with itself"


def test_new_benign_accounts_are_flagged_as_often_as_said(results: Folder, tmp_path: Path) -> None:
    card = recalibrate(results(), tmp_path / "own.json").scorecard
    rng = np.random.default_rng(30)
    fresh = 1 / (1 + np.exp(-rng.logistic(-3, 0.8, 4000)))
    harvests = 1 / (1 + np.exp(-rng.normal(3, 1, 400)))
    sizes = rng.integers(50, 3000, 4000)
    p = card.p_value(fresh, sizes)
    # Ranges that hold five standard errors of 600 calibration and 4,000 fresh accounts.
    assert (p <= 0.01).mean() < 0.035
    assert 0.01 < (p <= 0.05).mean() < 0.10
    assert (card.p_value(harvests, sizes[:400]) <= 0.01).mean() > 0.8


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet", "LABELS.CSV"])
def test_labelled_uses_the_benign_and_tells_the_auroc(
    results: Folder, labels: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    made = recalibrate(results(), tmp_path / "own.json", labels=labels(name))
    mine = the_accounts()
    rows = np.r_[:200, BENIGN : BENIGN + HARVESTS]
    truth = np.r_[np.zeros(200), np.ones(HARVESTS)]
    assert made.auroc == pytest.approx(roc_auc_score(truth, mine["score"][rows]), abs=1e-12)
    assert (made.benign, made.harvest, made.used, made.without_account) == (200, HARVESTS, 200, 0)
    card = made.scorecard
    assert card.calibration.neighbours == 200
    assert sorted(card.calibration.prompts) == sorted(mine["prompts"][:200].tolist())
    assert made.extrapolated_below == 0
    assert card.card["calibration_labelled_harvest"] == HARVESTS
    assert card.card["calibration_auroc"] == pytest.approx(made.auroc, abs=1e-4)
    assert "calibration_contamination" not in card.card


def test_calibrated_again_leaves_no_word_of_the_calibration_before(
    results: Folder, labels: Callable[..., Path], tmp_path: Path
) -> None:
    folder = results()
    first = recalibrate(folder, tmp_path / "first.json", labels=labels()).scorecard
    manifest = json.loads((folder / "run.json").read_text())
    manifest["config"]["detect"]["scorecard"] = str(tmp_path / "first.json")
    manifest["model"]["id"] = first.id
    (folder / "run.json").write_text(json.dumps(manifest))
    again = recalibrate(folder, tmp_path / "again.json").scorecard
    assert "calibration_auroc" in first.card
    assert "calibration_auroc" not in again.card


def test_min_prompts_of_the_run_and_contamination_change_something(results: Folder, tmp_path: Path) -> None:
    folder = results(config={"min_prompts": 500})
    made = recalibrate(folder, tmp_path / "a.json")
    assert made.accounts == int((the_accounts()["prompts"] >= 500).sum())
    other = recalibrate(folder, tmp_path / "b.json", contamination=0.1)
    assert other.scorecard.calibration != made.scorecard.calibration


def test_labels_of_accounts_that_were_not_judged_are_counted(
    results: Folder, labels: Callable[..., Path], tmp_path: Path
) -> None:
    few = str(the_accounts()["account_id"][-1])
    table = pa.table(
        {"account_id": ["0000", "0001", few, "nobody"], "label": ["benign", "benign", "harvest", "harvest"]}
    )
    made = recalibrate(results(), tmp_path / "own.json", labels=labels(table=table))
    assert (made.benign, made.harvest, made.without_account, made.auroc) == (2, 0, 2, None)
    assert "calibration_auroc" not in made.scorecard.card


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"account_id": ["0000"], "label": ["good"]}, "row 0: label must be one of benign, harvest, unknown"),
        ({"account_id": ["0000", "0001"], "label": ["benign", None]}, "row 1: label must be one of"),
        ({"account_id": [None], "label": ["benign"]}, "row 0: account_id is missing"),
        (
            {"account_id": ["0000", "0000"], "label": ["benign", "harvest"]},
            "row 1: an account_id that another",
        ),
        ({"account_id": ["0000"], "verdict": ["benign"]}, "expected one column 'label'"),
        ({"account_id": ["x", "y"], "label": ["benign", "benign"]}, "none of its 2 accounts was judged"),
        ({"account_id": ["0000"], "label": ["harvest"]}, "no scored account is labelled benign"),
    ],
)
@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_unusable_labels_are_one_line(
    results: Folder,
    labels: Callable[..., Path],
    tmp_path: Path,
    name: str,
    columns: dict[str, list[str | None]],
    message: str,
) -> None:
    table = pa.table({key: pa.array(values, pa.string()) for key, values in columns.items()})
    with pytest.raises(ConfigError, match=message) as caught:
        recalibrate(results(), tmp_path / "own.json", labels=labels(name, table))
    assert str(caught.value).startswith(f"--labels {tmp_path / name}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "own.json").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", b""),
        ("labels.csv", b'a,b\n1,2,3\n"'),
        ("labels.csv", b"PAR1\x15\xff\n\xfe,\xff"),
        ("labels.parquet", b"PAR1"),
        ("labels.xlsx", b"x"),
    ],
)
def test_files_that_hold_no_table_are_one_line(
    results: Folder, tmp_path: Path, name: str, content: bytes
) -> None:
    folder, path = results(), tmp_path / name
    path.write_bytes(content)
    for there in (path, tmp_path / "missing.csv", tmp_path / "missing.parquet"):
        with pytest.raises(ConfigError, match=f"^--labels {there}: ") as caught:
            recalibrate(folder, tmp_path / "own.json", labels=there)
        assert "\n" not in str(caught.value)


def test_too_few_accounts_and_runs_without_scores(results: Folder, tmp_path: Path) -> None:
    folder = results(slice(0, 60))
    with pytest.raises(ConfigError, match=r"^RUN .*60 scored accounts, at least 100 are needed"):
        recalibrate(folder, tmp_path / "own.json")
    edit_manifest(folder, model=None)
    with pytest.raises(ConfigError, match="has no scores"):
        recalibrate(folder, tmp_path / "own.json")
    edit_manifest(folder, config={"detect": {"gone": 1}})
    with pytest.raises(OutputError, match=r"unknown key 'config\.detect\.gone'; run again"):
        recalibrate(folder, tmp_path / "own.json")
    (folder / "accounts.parquet").unlink()
    with pytest.raises(OutputError, match=r"no accounts\.parquet"):
        recalibrate(folder, tmp_path / "own.json")
    with pytest.raises(OutputError, match="no finished run there"):
        recalibrate(tmp_path / "nowhere", tmp_path / "own.json")


def test_a_scorecard_that_is_another_now_is_refused(results: Folder, tmp_path: Path) -> None:
    folder = results(model=a_model("f" * 64))
    with pytest.raises(ConfigError, match=r"was scored by scorecard ffffffffffff, but .* run again"):
        recalibrate(folder, tmp_path / "own.json")
    (tmp_path / "scorecard.json").unlink()
    with pytest.raises(ConfigError, match="can't be read"):
        recalibrate(folder, tmp_path / "own.json")


def test_out_is_never_overwritten_and_needs_its_folder(results: Folder, tmp_path: Path) -> None:
    folder = results()
    (tmp_path / "mine.json").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        recalibrate(folder, tmp_path / "mine.json")
    assert (tmp_path / "mine.json").read_text() == "mine"
    with pytest.raises(OutputError, match="folder does not exist"):
        recalibrate(folder, tmp_path / "no" / "own.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.json", "results", "scorecard.json"]


def test_contamination_is_not_for_labels_and_has_a_range(
    results: Folder, labels: Callable[..., Path], tmp_path: Path
) -> None:
    folder = results()
    with pytest.raises(ConfigError, match=r"--contamination: is for traffic without --labels"):
        recalibrate(folder, tmp_path / "own.json", labels=labels(), contamination=0.05)
    with pytest.raises(ConfigError, match="contamination must be in"):
        recalibrate(folder, tmp_path / "own.json", contamination=0.5)


def test_scores_of_exactly_nought_and_one_are_used(results: Folder, tmp_path: Path) -> None:
    folder = results()
    table = pq.read_table(folder / "accounts.parquet")
    score = table["score"].to_numpy().copy()
    score[:3], score[3:6] = 1.0, 0.0
    pq.write_table(table.set_column(1, "score", pa.array(score)), folder / "accounts.parquet")
    card = recalibrate(folder, tmp_path / "own.json", contamination=0).scorecard
    assert max(card.calibration.score) == 1.0
    assert np.isfinite(card.calibration.score).all()


def test_command_says_what_it_made(
    results: Folder, labels: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = results()
    code, out, err = call(capsys, "calibrate", folder, "--out", tmp_path / "own.json")
    assert (code, err) == (0, "")
    said = " ".join(out.split())
    assert "of 630 scored accounts are what p-values compare with, 500 of similar size" in said
    assert "Smallest p-value: 0.002." in said
    assert "p-values below 0.05 rest on an extrapolated tail" in said
    assert str(tmp_path / "own.json") in out
    code, out, _ = call(capsys, "calibrate", folder, "--out", tmp_path / "l.json", "--labels", labels())
    said = " ".join(out.split())
    assert code == 0
    assert "Labels: 200 benign, 30 harvest; 0 of accounts that were not judged." in said
    assert "AUROC of the score on them: 1.000" in said or "AUROC of the score on them: 0.99" in said
    assert "extrapolated" not in said
    code, _, err = call(capsys, "calibrate", folder, "--out", tmp_path / "own.json")
    assert (code, len(err.splitlines())) == (5, 1)
    code, _, err = call(capsys, "calibrate", folder, "--out", tmp_path / "x.json", "--contamination", "0.5")
    assert code == 2


def test_command_warns_where_no_review_can_come_out(
    results: Folder, labels: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = pa.table({"account_id": ["0000", "0001", "0002"], "label": ["benign"] * 3})
    code, out, _ = call(
        capsys, "calibrate", results(), "--out", tmp_path / "o.json", "--labels", labels(table=few)
    )
    said = " ".join(out.split())
    assert code == 0
    assert "Smallest p-value: 0.25." in said
    assert f"above detect.review_p = {DetectConfig().review_p:g}" in said
    assert "not known (no account labelled harvest)" in said
