"""A finished run's scores → a scorecard that is calibrated on the user's own traffic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import expit, logit

from coverage_lab.config import DetectConfig
from coverage_lab.detect.calibrate import LABELS, BenignScores, calibrate_labelled, calibrate_unlabelled
from coverage_lab.detect.scorecard import Calibration, Scorecard, default_scorecard, load_scorecard
from coverage_lab.errors import ConfigError, OutputError
from coverage_lab.files.atomic import disk_errors, whole_file
from coverage_lab.files.manifest import MANIFEST, Manifest, read_manifest

#: Share of harvests to guard against where nobody has labelled the traffic.
CONTAMINATION = 0.05

#: Facts of a calibration in a scorecard's card begin so.
CALIBRATION = "calibration_"
#: Scores this near 0 or 1 count as this near, so that log-odds stay finite.
_EDGE = 1e-15


@dataclass(frozen=True)
class Recalibrated:
    """A scorecard calibrated anew, and what to say of it.

    Attributes
    ----------
    accounts : int
        The run's accounts with a score and enough prompts to be judged.
    used : int
        Of those, how many the p-values compare with.
    benign, harvest : int or None
        Labelled ones among `accounts`; None without labels.
    without_account : int
        Labels of accounts that are not among `accounts`.
    extrapolated_below : float
        p-values below this rest on an extrapolated tail; 0 = none do.
    auroc : float or None
        How well the score tells the labels apart; None without labelled harvests.
    review_p : float
        The run's `detect.review_p`.
    """

    scorecard: Scorecard
    accounts: int
    used: int
    benign: int | None
    harvest: int | None
    without_account: int
    extrapolated_below: float
    auroc: float | None
    review_p: float


def recalibrate(
    results: Path, out: Path, *, labels: Path | None = None, contamination: float | None = None
) -> Recalibrated:
    """Calibrate a run's scorecard on the run's own accounts and write it to a new file.

    Weights, archetypes and mixture stay as they are; the benign scores that p-values compare with are
    replaced (`coverage_lab.detect.calibrate`). Only accounts of at least the run's `detect.min_prompts`
    prompts count. A written score is rounded up in the sixth decimal, so that no p-value gets smaller by it.

    Parameters
    ----------
    results : Path
        Output folder of a finished run.
    out : Path
        JSON file to write; must not exist.
    labels : Path, optional
        `.csv` or `.parquet` with the columns `account_id` and `label` (one of `LABELS`). An account without
        a label is not used.
    contamination : float, optional
        Without labels: the largest share of harvests to guard against; `CONTAMINATION` when not given.

    Raises
    ------
    ConfigError
        The run has no scores or its scorecard is gone, the labels can't be used, there are too few
        accounts, or an option is out of range.
    OutputError
        No finished run there, or `out` exists or can't be written.
    """
    if labels is not None and contamination is not None:
        raise ConfigError("--contamination: is for traffic without --labels; give one of the two")
    if out.exists():
        raise OutputError(f"--out {out}: exists already; give a new file")
    for name in (MANIFEST, "accounts.parquet"):
        if not (results / name).exists():
            raise OutputError(f"RUN {results}: no finished run there (no {name}); give a run's OUTPUT folder")
    manifest = read_manifest(results / MANIFEST)
    if manifest.cascade is not None:
        raise ConfigError(
            f"RUN {results}: a cascade's scores are of two scorecards; calibrate each on a run of its encoder"
        )
    config = manifest.config.detect
    before = _scorecard(manifest, results)
    accounts = _scored_accounts(results, config)
    log_odds = _log_odds(accounts["score"].to_numpy())
    prompts = accounts["prompts"].to_numpy()
    made_from: dict[str, str | float | int]
    benign_labels = harvest_labels = auroc = None
    without_account = 0
    try:
        if labels is None:
            share = CONTAMINATION if contamination is None else contamination
            benign = calibrate_unlabelled(log_odds, prompts, contamination=share)
            made_from = {
                "from": "a user's own traffic, nobody labelled it",
                "contamination": share,
                "left_out": benign.left_out,
            }
        else:
            label, without_account = labels_of(labels, accounts["account_id"].to_pylist())
            found = calibrate_labelled(log_odds, prompts, label)
            benign = found.benign
            auroc = None if math.isnan(found.auroc) else found.auroc
            benign_labels, harvest_labels = int((label == "benign").sum()), int((label == "harvest").sum())
            made_from = {
                "from": "a user's own traffic, labelled by reviewers",
                "labelled_benign": benign_labels,
                "labelled_harvest": harvest_labels,
            }
            if auroc is not None:
                made_from["auroc"] = round(auroc, 4)
    except ValueError as error:
        source = f"RUN {results}" if labels is None else f"--labels {labels}"
        raise ConfigError(f"{source}: {error}") from error
    made_from |= {
        "accounts": len(benign.score),
        "smallest_p": round(benign.smallest_p, 6),
        "extrapolated_below": benign.extrapolated_below,
    }
    scorecard = _with_calibration(before, benign, made_from)
    _write(scorecard, out)
    return Recalibrated(
        scorecard=scorecard,
        accounts=accounts.num_rows,
        used=len(benign.score),
        benign=benign_labels,
        harvest=harvest_labels,
        without_account=without_account,
        extrapolated_below=benign.extrapolated_below,
        auroc=auroc,
        review_p=config.review_p,
    )


def _scorecard(manifest: Manifest, results: Path) -> Scorecard:
    """The scorecard that gave the run's scores."""
    file = manifest.config.detect.scorecard
    if manifest.model is None:
        raise ConfigError(f"RUN {results}: has no scores, because no scorecard fitted its atlas")
    card = default_scorecard(manifest.encoder.name) if file is None else load_scorecard(file)
    if card.id != manifest.model.id:
        raise ConfigError(
            f"RUN {results}: was scored by scorecard {manifest.model.id[:12]}, but "
            f"{file or 'the one that ships'} is {card.id[:12]} now; run again, then calibrate"
        )
    return card


def _scored_accounts(results: Path, config: DetectConfig) -> pa.Table:
    path = results / "accounts.parquet"
    try:
        table = pq.read_table(path, columns=["account_id", "score", "prompts"])
    except pa.ArrowException as error:
        raise OutputError(f"{path}: can't be read as a run's table ({type(error).__name__})") from error
    enough = pc.and_(pc.is_valid(table["score"]), pc.greater_equal(table["prompts"], config.min_prompts))
    return table.filter(enough)


def _log_odds(score: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = logit(np.clip(score, _EDGE, 1 - _EDGE))
    return odds


def labels_of(path: Path, ids: Sequence[str]) -> tuple[NDArray[np.str_], int]:
    """Label of each account, "unknown" where there is none; and how many labels no account has.

    Raises
    ------
    ConfigError
        The file can't be read, says what is no label, or names none of the accounts.
    """
    table = _read_labels(path)
    given: dict[str, str] = {}
    for row, (account_id, label) in enumerate(
        zip(table["account_id"].to_pylist(), table["label"].to_pylist(), strict=True)
    ):
        if label not in LABELS:
            raise ConfigError(
                f"--labels {path}: row {row}: label must be one of {', '.join(LABELS)}, got {label!r:.40}"
            )
        if account_id is None:
            raise ConfigError(f"--labels {path}: row {row}: account_id is missing")
        if given.setdefault(account_id, label) != label:
            raise ConfigError(f"--labels {path}: row {row}: an account_id that another row labels otherwise")
    known = given.keys() & set(ids)
    if not known:
        raise ConfigError(f"--labels {path}: none of its {len(given):,} accounts was judged in the run")
    return np.array([given.get(account_id, "unknown") for account_id in ids]), len(given) - len(known)


def _read_labels(path: Path) -> pa.Table:
    wanted = ["account_id", "label"]
    try:
        if path.suffix.lower() == ".csv":
            # Ids are text, also those that look like numbers.
            types = dict.fromkeys(wanted, pa.large_string())
            options = csv.ConvertOptions(column_types=types, strings_can_be_null=True)
            table = csv.read_csv(path, convert_options=options)
        elif path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
        else:
            raise ConfigError(f"--labels {path}: expected a .csv or .parquet file")
        missing = [name for name in wanted if table.column_names.count(name) != 1]
        if missing:
            raise ConfigError(
                f"--labels {path}: expected one column {missing[0]!r}, got {table.column_names}"
            )
        return table.select(wanted).cast(pa.schema([(name, pa.large_string()) for name in wanted]))
    except OSError as error:
        raise ConfigError(f"--labels {path}: can't be read ({error.strerror or 'not a table'})") from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--labels {path}: can't be read as a table ({type(error).__name__}); "
            "expected a Parquet file, or CSV in UTF-8 with the columns account_id and label"
        ) from error


def _with_calibration(
    before: Scorecard, benign: BenignScores, made_from: Mapping[str, str | float | int]
) -> Scorecard:
    score = np.minimum(np.ceil(1e6 * expit(benign.score)) / 1e6, 1.0)
    card = {name: value for name, value in before.card.items() if not name.startswith(CALIBRATION)}
    return before.model_copy(
        update={
            "calibration": Calibration(
                neighbours=benign.neighbours,
                prompts=tuple(benign.prompts.tolist()),
                score=tuple(score.tolist()),
            ),
            # GrowingAccounts accounts of the shipped corpora say nothing about the user's own.
            "growth": None,
            "card": card | {f"{CALIBRATION}{name}": value for name, value in made_from.items()},
        }
    )


def _write(scorecard: Scorecard, out: Path) -> None:
    with disk_errors(out):
        try:
            with whole_file(out, temporary=out.with_name(f".{out.name}.part")) as temporary:
                temporary.write_text(scorecard.model_dump_json() + "\n", encoding="utf-8")
        except FileNotFoundError as error:
            raise OutputError(f"--out {out}: its folder does not exist") from error
