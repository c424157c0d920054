"""Account states → the tables that a run writes and the service answers with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coverage_lab.accounts import AccountStates, cells_table, curves_table, measure, trace_prompts
from coverage_lab.atlas import Atlas
from coverage_lab.config import DetectConfig
from coverage_lab.detect.features import feature_matrix
from coverage_lab.detect.reasons import reasons
from coverage_lab.detect.scorecard import Scorecard
from coverage_lab.detect.verdict import archetype_of, verdict_of
from coverage_lab.encoders import Encoder
from coverage_lab.progress import Progress, silent
from coverage_lab.schema import ACCOUNTS, FLAGS, MEASURE_COLUMNS


@dataclass(frozen=True)
class Judge:
    """All that a judgement depends on besides the prompts.

    Attributes
    ----------
    scorecard : Scorecard or None
        None where none fits the atlas: measures are computed, score and p-value are null.
    config_id : str
        Digest of the run's config, for the trace of each flag.
    """

    encoder: Encoder
    atlas: Atlas
    scorecard: Scorecard | None
    config: DetectConfig
    config_id: str


@dataclass(frozen=True)
class Judged:
    """What is known of some accounts: tables of `coverage_lab.schema`, without prompt text."""

    accounts: pa.Table
    curves: pa.Table
    cells: pa.Table
    flags: pa.Table


def judge_prompts(prompts: pa.Table, judge: Judge, *, progress: Progress = silent) -> Judged:
    """Trace, measure and judge whole accounts.

    Parameters
    ----------
    prompts : Table
        Schema `coverage_lab.schema.TRAFFIC`; every account's prompts are all in it. Nothing that is
        answered for one account depends on the others.
    """
    return judge_states(trace_prompts(prompts, judge.encoder, judge.atlas, progress=progress), judge)


def judge_states(states: AccountStates, judge: Judge) -> Judged:
    """Measure and judge account states."""
    accounts = _accounts(states, judge)
    return Judged(
        accounts=accounts,
        curves=curves_table(states, judge.atlas),
        cells=cells_table(states, judge.atlas),
        flags=_flags(accounts, judge),
    )


def _accounts(states: AccountStates, judge: Judge) -> pa.Table:
    size = len(states.account_ids)
    measures = measure(states, judge.atlas)
    prompts = states.prompts
    end_users = states.end_users.counts(size)
    features = feature_matrix(measures.values, prompts, states.vector_sums)
    scores: list[float | None] = [None] * size
    p_values: list[float | None] = [None] * size
    calibrated = judge.scorecard.calibrated_prompts if judge.scorecard is not None else (0, 0)
    style: list[float | None] = [None] * size
    why: list[list[str]] = [[] for _ in range(size)]
    if judge.scorecard is not None and size:
        points = judge.scorecard.points(features)
        score = judge.scorecard.score(points)
        scores = score.tolist()
        style = points[:, -1].tolist()
        p_values = judge.scorecard.p_value(score, prompts).tolist()
        why = reasons(judge.scorecard, features, points)
    verdicts, archetypes = [], []
    for i in range(size):
        verdict, notes = verdict_of(
            prompts=int(prompts[i]),
            end_users=int(end_users[i]),
            p_value=p_values[i],
            calibrated_prompts=calibrated,
            config=judge.config,
        )
        verdicts.append(verdict)
        why[i] = notes + why[i]
        archetypes.append(
            archetype_of(
                verdict=verdict,
                prompts=int(prompts[i]),
                end_users=int(end_users[i]),
                middle_collision_ratio=float(measures["collision_ratio_middle"][i]),
                config=judge.config,
            )
        )
    columns = {
        "account_id": pa.array(states.account_ids, pa.large_string()),
        "prompts": pa.array(prompts),
        "first_seen": _moments(states, states.offsets[:-1]),
        "last_seen": _moments(states, states.offsets[1:] - 1),
        "end_users": pa.array(end_users),
        "sessions": pa.array(states.sessions.counts(size)),
        "score": pa.array(scores, pa.float64()),
        "p_value": pa.array(p_values, pa.float64()),
        "style_points": pa.array(style, pa.float64()),
        "verdict": pa.array(verdicts, pa.string()),
        "archetype": pa.array(archetypes, pa.string()),
        "reasons": pa.array(why, ACCOUNTS.field("reasons").type),
    }
    columns |= {name: pa.array(measures[name], pa.float64(), from_pandas=True) for name in MEASURE_COLUMNS}
    return pa.table(columns, schema=ACCOUNTS)


def _moments(states: AccountStates, rows: np.ndarray) -> pa.Array:
    return pa.array(states.timestamps[rows], pa.int64()).cast(ACCOUNTS.field("first_seen").type)


def _flags(accounts: pa.Table, judge: Judge) -> pa.Table:
    """Choose the accounts a person should look at: whatever scored high, even where it is inconclusive."""
    raised = pc.less_equal(accounts["p_value"], judge.config.watch_p)
    enough = pc.greater_equal(accounts["prompts"], judge.config.min_prompts)
    flagged = accounts.filter(pc.fill_null(pc.and_(raised, enough), False))
    trace = {
        "atlas_id": judge.atlas.id,
        "encoder_id": judge.encoder.id,
        "model_id": judge.scorecard.id if judge.scorecard is not None else "none",
        "config_id": judge.config_id,
    }
    columns = {name: flagged[name] for name in FLAGS.names if name not in trace}
    columns |= {name: pa.array([value] * flagged.num_rows, pa.string()) for name, value in trace.items()}
    return pa.table(columns, schema=FLAGS)
