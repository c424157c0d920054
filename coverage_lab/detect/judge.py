"""Account states → the tables that a run writes and the service answers with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coverage_lab.accounts import AccountStates, behaviour, cells_table, curves_table, measure, trace_prompts
from coverage_lab.accounts.opening_words import OpeningWords
from coverage_lab.accounts.readable import TextFacts, text_facts
from coverage_lab.accounts.state import WRAPPING
from coverage_lab.atlas import Atlas
from coverage_lab.config import DetectConfig
from coverage_lab.detect.cascade import accounts_to_escalate, replace_accounts
from coverage_lab.detect.counterfactual import Without, without_top_cells
from coverage_lab.detect.fdr import adjusted_p
from coverage_lab.detect.features import FEATURES, VECTORS, Features, features_of
from coverage_lab.detect.mixture import HarvestedShare, harvested_share
from coverage_lab.detect.reasons import Reason, least_told, reasons, without_sentence
from coverage_lab.detect.scorecard import Scorecard
from coverage_lab.detect.trajectory import Watched, look, trajectory_p, unwatched
from coverage_lab.detect.verdict import UNREADABLE_SHARE, archetype_of, few_texts, verdict_of
from coverage_lab.encoders import Encoder
from coverage_lab.errors import ConfigError
from coverage_lab.progress import Progress, silent
from coverage_lab.schema import ACCOUNTS, CURVES, FIRST_VISITS, FIRST_VISITS_FIELDS, FLAGS, LEVELS

#: Column of `AccountStates.wrapping_sums` that counts prompts.
_WRAPPED = WRAPPING.index("wrapped_prompts")


@dataclass(frozen=True)
class Judge:
    """All that a judgement depends on besides the prompts.

    Attributes
    ----------
    scorecard : Scorecard or None
        None where none fits the atlas: measures are computed, score and p-value are null.
    config_id : str
        Digest of the run's config, for the trace of each flag.
    second : Judge or None
        Of a cascade: who judges the accounts anew that this one gives a p-value of at most `escalate_p`
        (`coverage_lab.detect.cascade`).
    show_openings : bool
        Whether the reasons of accounts with a p-value of at most `watch_p` may name opening words, which is
        prompt text.
    """

    encoder: Encoder
    atlas: Atlas
    scorecard: Scorecard | None
    config: DetectConfig
    config_id: str
    second: Judge | None = None
    escalate_p: float = 0.0
    show_openings: bool = False

    @property
    def stages(self) -> tuple[Judge, ...]:
        """This judge, and the second one of a cascade."""
        return (self,) if self.second is None else (self, self.second)

    @cached_property
    def model_id(self) -> str:
        """Id of the scorecard; "none" without one. Taken once: it is the digest of a long text."""
        return self.scorecard.id if self.scorecard is not None else "none"

    @property
    def ids(self) -> tuple[str | None, ...]:
        """Ids of each stage's encoder, atlas and scorecard: two judges with the same ids say the same."""
        return tuple(
            name
            for stage in self.stages
            for name in (
                stage.encoder.id,
                stage.atlas.id,
                stage.scorecard.id if stage.scorecard is not None else None,
            )
        )

    @property
    def device(self) -> str:
        """Where the encoders run: ``cpu``, ``cuda``, or both."""
        return ", ".join(sorted({stage.encoder.device for stage in self.stages}))


@dataclass(frozen=True)
class JudgedAccounts:
    """What is known of some accounts: tables of `coverage_lab.schema`, without prompt text.

    Attributes
    ----------
    watched : Watched or None
        What this look alone saw of the accounts, to be kept until they are looked at again, in the order of
        `accounts`: 0 looks where it does not count. None where it was not asked for, or the scorecard holds
        no accounts as they grew.
    unreadable : int
        Prompts without readable text among those that were looked at.
    states : AccountStates or None
        What the accounts were judged by, in the order of `accounts`; of a cascade, by its first stage.
    """

    accounts: pa.Table
    curves: pa.Table
    cells: pa.Table
    flags: pa.Table
    watched: Watched | None = None
    unreadable: int = 0
    states: AccountStates | None = None


def judge_prompts(
    prompts: pa.Table, judge: Judge, *, curves: bool = True, progress: Progress = silent
) -> JudgedAccounts:
    """Trace, measure and judge whole accounts.

    Parameters
    ----------
    prompts : Table
        Schema `coverage_lab.schema.TRAFFIC`; every account's prompts are all in it. Nothing that is
        answered for one account depends on the others, so `q_value` is null; see `with_q_values`.
    curves : bool
        Whether growth curves are drawn; without, that table has no rows.
    """
    facts, words = text_facts(prompts), OpeningWords(prompts)
    states = trace_prompts(prompts, judge.encoder, judge.atlas, progress=progress)
    first = _judge_traced(states, judge, facts=facts, words=words, curves=curves)
    if judge.second is None:
        return first
    escalated = accounts_to_escalate(
        first.accounts, escalate_p=judge.escalate_p, min_prompts=judge.config.min_prompts
    )
    if not len(escalated):
        return first
    theirs = prompts.filter(pc.is_in(prompts["account_id"], value_set=escalated))
    second = judge_prompts(theirs, judge.second, curves=curves, progress=progress)
    return JudgedAccounts(
        accounts=replace_accounts(first.accounts, second.accounts, escalated),
        curves=replace_accounts(first.curves, second.curves, escalated),
        cells=replace_accounts(first.cells, second.cells, escalated),
        flags=replace_accounts(first.flags, second.flags, escalated),
        unreadable=first.unreadable,
        states=first.states,
    )


def judge_states(
    states: AccountStates,
    judge: Judge,
    *,
    watched: Watched | None = None,
    facts: TextFacts | None = None,
    words: OpeningWords | None = None,
) -> JudgedAccounts:
    """Measure and judge account states.

    Parameters
    ----------
    states : AccountStates
    watched : Watched, optional
        What was seen of the accounts at former looks at the same prompts, in the order of `states`. With it,
        `p_value` is that of an account's highest standing over all looks, so that looking every day raises
        no more false alarms than looking once (`coverage_lab.detect.trajectory`), and `p_today` that of this
        look alone. Accounts beyond the horizon that the scorecard knows, or below its first size, keep the
        p-value of this look.
    facts : TextFacts, optional
        What today's texts of the accounts tell, which states no longer hold.
    words : OpeningWords, optional
        Names openings by today's texts, where the judge may show them.

    Raises
    ------
    ConfigError
        The judge is a cascade: states are made with one encoder, and the prompts are gone.
    """
    if judge.second is not None:
        raise ConfigError("encoder.name: a cascade judges prompts, not account states; choose one encoder")
    return _judge_traced(states, judge, watched, facts=facts, words=words)


def _judge_traced(
    states: AccountStates,
    judge: Judge,
    watched: Watched | None = None,
    *,
    facts: TextFacts | None = None,
    words: OpeningWords | None = None,
    curves: bool = True,
) -> JudgedAccounts:
    """Judge account states by the one stage that `judge` is, whatever its `second`."""
    cells = cells_table(states, judge.atlas)
    ids = pa.array(states.account_ids, pa.large_string())
    accounts, after = _accounts_table(
        states,
        cells,
        judge,
        watched,
        None if facts is None else facts.of(ids),
        words if judge.show_openings else None,
    )
    return JudgedAccounts(
        accounts=accounts,
        curves=curves_table(states, judge.atlas) if curves else CURVES.empty_table(),
        cells=cells,
        flags=_flags_table(accounts, judge, states),
        watched=after,
        unreadable=0 if facts is None else int(facts.unreadable.sum()),
        states=states,
    )


def with_q_values(accounts: pa.Table, config: DetectConfig) -> pa.Table:
    """Fill in the q-values of accounts that are judged together: all of a run.

    Parameters
    ----------
    accounts : Table
        Schema `coverage_lab.schema.ACCOUNTS`, or only its `prompts`, `p_value` and `q_value`; in any order.
        Judged are those with a p-value and at least `min_prompts` prompts; the others keep a null and are
        not counted.
    """
    p = accounts["p_value"].to_numpy().astype(np.float64)
    enough = accounts["prompts"].to_numpy() >= config.min_prompts
    q = adjusted_p(np.where(enough, p, np.nan))
    column = accounts.schema.get_field_index("q_value")
    return accounts.set_column(column, ACCOUNTS.field("q_value"), pa.array(q, pa.float64(), from_pandas=True))


@dataclass(frozen=True, eq=False)
class _ScorecardOutput:
    """What the scorecard gives each account.

    Attributes
    ----------
    style, wording : (A,)
        Points of those two kinds of evidence.
    archetypes : list of str
        The likeliest archetype of each account.
    archetype_probabilities : list of dict
        Of every archetype, by name.
    without : dict
        By position, of the accounts with p ≤ `watch_p`: the score without their top cells.
    """

    score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    p_today: NDArray[np.float64] | None
    watched: Watched | None
    style: NDArray[np.float64]
    wording: NDArray[np.float64]
    share: HarvestedShare
    archetypes: list[str]
    archetype_probabilities: list[dict[str, float]]
    reasons: list[list[Reason]]
    without: dict[int, Without]
    least_told: float


def _apply_scorecard(
    states: AccountStates,
    features: Features,
    cells: pa.Table,
    scorecard: Scorecard,
    judge: Judge,
    watched: Watched | None,
    words: OpeningWords | None,
) -> _ScorecardOutput:
    points = scorecard.points(features)
    score = scorecard.score(points)
    p_today = p_value = scorecard.p_value(score, states.prompts)
    if watched is not None and scorecard.growth is not None:
        calibration = scorecard.growth.trajectories()
        after = look(watched, score, states.prompts, calibration=calibration)
        alone = look(unwatched(len(score)), score, states.prompts, calibration=calibration)
        counts = after.looks > watched.looks
        watched = Watched(np.where(counts, alone.looks, 0), np.where(counts, alone.highest, np.nan))
        over_time = trajectory_p(after.highest, calibration=calibration)
        p_value = np.where(np.isnan(over_time) | (states.prompts > calibration.sizes[-1]), p_today, over_time)
    else:
        watched = None
    probabilities = scorecard.archetype_chances(features)
    names = scorecard.archetypes.names
    raised = np.flatnonzero(p_value <= judge.config.watch_p).tolist()
    without = without_top_cells(
        states,
        raised,
        cells,
        atlas=judge.atlas,
        scorecard=scorecard,
        features=features,
        min_prompts=judge.config.min_prompts,
    )
    share = _share(features, scorecard)
    told = reasons(
        scorecard,
        features,
        share=share,
        account_ids=states.account_ids,
        topics=_topics(cells),
        topic_labels=judge.atlas.names[LEVELS.index("middle")],
        opening_words=words,
        raised=raised,
    )
    return _ScorecardOutput(
        score=score,
        p_value=p_value,
        p_today=None if watched is None else p_today,
        watched=watched,
        style=points[:, len(FEATURES) + VECTORS.index("prompts")],
        wording=points[:, len(FEATURES) + VECTORS.index("openings")],
        share=share,
        archetypes=[names[k] for k in np.argmax(probabilities, axis=1)],
        archetype_probabilities=[dict(zip(names, row, strict=True)) for row in probabilities.tolist()],
        reasons=told,
        without=dict(zip(raised, without, strict=True)),
        least_told=least_told(scorecard),
    )


def _topics(cells: pa.Table) -> dict[str, list[tuple[str, float]]]:
    """Middle cells that each account stands out in, the most first, with its share of prompts there."""
    middle = cells.filter(pc.equal(cells["level"], "middle"))
    found: dict[str, list[tuple[str, float]]] = {}
    for account_id, cell, label, share, reference in zip(
        *(middle[name].to_pylist() for name in ("account_id", "cell", "label", "share", "reference_share")),
        strict=True,
    ):
        if share > reference:
            found.setdefault(account_id, []).append((label or f"#{cell}", share))
    return found


def _share(features: Features, scorecard: Scorecard) -> HarvestedShare:
    """Share of harvested prompts; NaN where the scorecard has nothing to tell it by."""
    mixture = scorecard.mixture
    if not mixture.tells:
        unknown = np.full(len(features), np.nan)
        return HarvestedShare(unknown, unknown, unknown)
    return harvested_share(
        scorecard.additive(features),
        features.prompts,
        benign=np.array(mixture.benign),
        harvest=np.array(mixture.harvest),
        prompt_sd=mixture.prompt_sd,
    )


def _accounts_table(
    states: AccountStates,
    cells: pa.Table,
    judge: Judge,
    watched: Watched | None,
    facts: TextFacts | None,
    words: OpeningWords | None,
) -> tuple[pa.Table, Watched | None]:
    size = len(states.account_ids)
    measures = measure(states, judge.atlas)
    end_users = states.end_users.counts(size)
    scored = None
    if judge.scorecard is not None and size:
        features = features_of(states, measures.values, middle_cells=judge.atlas.sizes[1])
        scored = _apply_scorecard(states, features, cells, judge.scorecard, judge, watched, words)
    told = [None] * size if facts is None else _told_by_texts(facts)
    verdicts, archetypes, probabilities, sentences = _verdicts(states.prompts, end_users, scored, judge, told)
    columns = {
        "account_id": pa.array(states.account_ids, pa.large_string()),
        "prompts": pa.array(states.prompts),
        "first_seen": _timestamps(states, states.offsets[:-1]),
        "last_seen": _timestamps(states, states.offsets[1:] - 1),
        "end_users": pa.array(end_users),
        "sessions": pa.array(states.sessions.counts(size)),
        "instructions": pa.array(states.templates.counts(size)),
        "wrapped_share": pa.array(states.wrapping_sums[:, _WRAPPED] / np.maximum(states.prompts, 1)),
        "verdict": pa.array(verdicts, pa.string()),
        "archetype": pa.array(archetypes, pa.string()),
        "archetype_probability": pa.array(probabilities, pa.float64()),
        "reasons": pa.array(sentences, ACCOUNTS.field("reasons").type),
        "reason_details": pa.array(
            [[] for _ in range(size)]
            if scored is None
            else [[reason.row() for reason in mine] for mine in scored.reasons],
            ACCOUNTS.field("reason_details").type,
        ),
        "atlas_id": pa.array([judge.atlas.id] * size, pa.string()),
    }
    computed = {**measures.values, **behaviour(states)}
    columns |= {name: pa.array(x, pa.float64(), from_pandas=True) for name, x in computed.items()}
    if scored is not None:
        numbers = {
            "score": scored.score,
            "p_value": scored.p_value,
            "style_points": scored.style,
            "wording_points": scored.wording,
            "harvested_share": scored.share.told,
            "harvested_share_low": scored.share.low,
            "harvested_share_high": scored.share.high,
        }
        if scored.p_today is not None:
            numbers["p_today"] = scored.p_today
        # An account that its texts say nothing about is not compared with others.
        compared = np.array([sentence is None for sentence in told], np.bool_)
        for name in ("p_value", "p_today"):
            if name in numbers:
                numbers[name] = np.where(compared, numbers[name], np.nan)
        columns |= {name: pa.array(x, pa.float64(), from_pandas=True) for name, x in numbers.items()}
        rest = [scored.without[i].score if i in scored.without else None for i in range(size)]
        columns["score_without_top_cells"] = pa.array(rest, pa.float64())
    columns |= {field.name: pa.nulls(size, field.type) for field in ACCOUNTS if field.name not in columns}
    return pa.table(columns, schema=ACCOUNTS), None if scored is None else scored.watched


def _verdicts(
    prompts: NDArray[np.int64],
    end_users: NDArray[np.int64],
    scored: _ScorecardOutput | None,
    judge: Judge,
    told: Sequence[str | None],
) -> tuple[list[str], list[str], list[float | None], list[list[str]]]:
    """Verdict, archetype, its probability and reasons of each account."""
    calibrated = judge.scorecard.calibrated_prompts if judge.scorecard is not None else (0, 0)
    verdicts, archetypes, probabilities, sentences = [], [], [], []
    for i in range(len(prompts)):
        size, users = int(prompts[i]), int(end_users[i])
        probable = None
        if scored is not None:
            likeliest = scored.archetypes[i]
            probable = likeliest, scored.archetype_probabilities[i][likeliest]
        verdict, notes = verdict_of(
            prompts=size,
            end_users=users,
            p_value=float(scored.p_value[i]) if scored is not None else None,
            probable=probable,
            calibrated_prompts=calibrated,
            config=judge.config,
            told_by_texts=told[i],
        )
        archetype = archetype_of(
            verdict=verdict, prompts=size, end_users=users, probable=probable, config=judge.config
        )
        named = users >= judge.config.multi_tenant_end_users
        verdicts.append(verdict)
        archetypes.append(archetype)
        probabilities.append(
            scored.archetype_probabilities[i].get(archetype) if scored is not None and not named else None
        )
        if scored is not None and scored.p_today is not None and verdict in ("watch", "review"):
            notes.append(_looks_sentence(float(scored.p_value[i]), float(scored.p_today[i])))
        if scored is not None:
            notes += [reason.sentence for reason in scored.reasons[i]]
        if scored is not None and i in scored.without and size >= judge.config.min_prompts:
            sentence = without_sentence(
                scored.without[i], size, float(scored.score[i]), least=scored.least_told
            )
            notes += [sentence] if sentence is not None else []
        sentences.append(notes)
    return verdicts, archetypes, probabilities, sentences


def _told_by_texts(facts: TextFacts) -> list[str | None]:
    """Why the texts of an account give no ground for a verdict; None where they do."""
    told: list[str | None] = []
    for prompts, unreadable, distinct in zip(
        facts.prompts.tolist(), facts.unreadable.tolist(), facts.distinct.tolist(), strict=True
    ):
        if unreadable > UNREADABLE_SHARE * prompts:
            told.append(
                f"{unreadable:,} of its {prompts:,} prompts have no readable text (redaction marks, hashes, "
                "base64, no letters): nothing can be said of what it asks"
            )
        else:
            told.append(few_texts(distinct, prompts))
    return told


def _looks_sentence(p_value: float, p_today: float) -> str:
    return (
        f"p = {p_value:.3g} counts every look at this account so far, the highest included; "
        f"today's alone would be {p_today:.3g}"
    )


def _timestamps(states: AccountStates, rows: np.ndarray) -> pa.Array:
    return pa.array(states.timestamps[rows], pa.int64()).cast(ACCOUNTS.field("first_seen").type)


def _flags_table(accounts: pa.Table, judge: Judge, states: AccountStates) -> pa.Table:
    """Choose the accounts a person should look at: whatever scored high, even where it is inconclusive."""
    raised = pc.less_equal(accounts["p_value"], judge.config.watch_p)
    enough = pc.greater_equal(accounts["prompts"], judge.config.min_prompts)
    chosen = pc.fill_null(pc.and_(raised, enough), False)
    rows = np.flatnonzero(chosen.to_numpy())
    return flags_of(accounts.filter(chosen), judge, first_visits=first_visits(states, rows))


def first_visits(states: AccountStates, rows: NDArray[np.int64]) -> pa.Array:
    """Fine cells that some accounts reached, in that order; `coverage_lab.schema.FIRST_VISITS`."""
    ways: list[list[dict[str, int]]] = []
    for row in rows.tolist():
        trace = states.cells[states.offsets[row] : states.offsets[row + 1], LEVELS.index("fine")]
        reached, first, counts = np.unique(trace, return_index=True, return_counts=True)
        order = np.argsort(first)
        columns = (reached[order].tolist(), (first[order] + 1).tolist(), counts[order].tolist())
        ways.append(
            [dict(zip(FIRST_VISITS_FIELDS, visit, strict=True)) for visit in zip(*columns, strict=True)]
        )
    return pa.array(ways, FIRST_VISITS)


def flags_of(accounts: pa.Table, judge: Judge, *, first_visits: pa.Array | None = None) -> pa.Table:
    """Rows of `coverage_lab.schema.FLAGS` of accounts that one stage judged."""
    trace = {
        "atlas_id": judge.atlas.id,
        "encoder_id": judge.encoder.id,
        "model_id": judge.model_id,
        "config_id": judge.config_id,
    }
    own = {
        "first_visits": pa.nulls(accounts.num_rows, FIRST_VISITS) if first_visits is None else first_visits
    }
    columns = {name: accounts[name] for name in FLAGS.names if name not in trace | own} | own
    columns |= {name: pa.array([value] * accounts.num_rows, pa.string()) for name, value in trace.items()}
    return pa.table(columns, schema=FLAGS)
