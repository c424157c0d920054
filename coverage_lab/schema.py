"""Arrow schemas of every table, and what each column and measure means in words for people.

`TRAFFIC` and `QUARANTINE` are what `traffic` yields; the others are what a run writes.
No table but `TRAFFIC` (which never leaves the run's work folder) holds prompt text.

The words stand here once: report, `explain`, the service's answers and the reference read them here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import pyarrow as pa

SCHEMA_VERSION = 5

#: The nested levels of an atlas, coarsest first, and what their cells are called for people.
LEVEL_WORDS = {"coarse": "broad topics", "middle": "topics", "fine": "narrow topics"}
LEVELS = tuple(LEVEL_WORDS)

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")


class Column(NamedTuple):
    """One column of a table.

    Attributes
    ----------
    name : str
    kind : DataType
        Arrow type.
    meaning : str
        What it holds, in one line without a capital or a full stop.
    nullable : bool
        Whether it may be null; `meaning` says when.
    """

    name: str
    kind: pa.DataType
    meaning: str
    nullable: bool = True

    @property
    def field(self) -> pa.Field:
        """The Arrow field. The words are left out: they would change the bytes of every file."""
        return pa.field(self.name, self.kind, nullable=self.nullable)


def _required(name: str, kind: pa.DataType, meaning: str) -> Column:
    return Column(name, kind, meaning, nullable=False)


def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    return pa.schema([column.field for column in columns])


def _texts(*named: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(Column(name, pa.large_string(), meaning) for name, meaning in named)


_TRAFFIC = (
    _required("account_id", pa.large_string(), "the account that sent it"),
    _required("timestamp", UTC_MICROSECONDS, "when it was sent, UTC"),
    _required("prompt", pa.large_string(), "its text"),
    *_texts(
        ("request_id", "the request; an account's second row with the same one is quarantined"),
        ("session", "the conversation it belongs to"),
        ("end_user", "the account's own user who sent it"),
    ),
    Column("tokens_in", pa.int64(), "tokens of the prompt"),
    Column("tokens_out", pa.int64(), "tokens of the answer"),
    *_texts(
        ("network_hash", "hash of the network that it came from"),
        ("payment_hash", "hash of the account's means of payment"),
        ("system_prompt_hash", "hash of the system prompt"),
    ),
    Column("turn", pa.int64(), "hash of all user turns so far; null where the request held text alone"),
    Column("continued", pa.bool_(), "whether tools were called or answered after the newest user turn"),
    _required("source", pa.int32(), "position of the file among the input's sorted files, from 0"),
    _required("row", pa.int64(), "position of the row in that file, from 0"),
)
#: One validated prompt a row.
TRAFFIC = _schema(_TRAFFIC)

REQUIRED_COLUMNS = ("account_id", "timestamp", "prompt")
OPTIONAL_COLUMNS = (
    "request_id",
    "session",
    "end_user",
    "tokens_in",
    "tokens_out",
    "network_hash",
    "payment_hash",
    "system_prompt_hash",
)

_QUARANTINE = (
    _required("source", pa.large_string(), "file of the input, relative to it"),
    _required("row", pa.int64(), "position in that file, from 0"),
    Column("account_id", pa.large_string(), "the account; null where the row names none"),
    _required("reason", pa.string(), "why the row could not be used: one of the reasons below"),
    _required("detail", pa.string(), "more on that, for people; never repeats prompt text"),
)
#: One unusable row a row.
QUARANTINE = _schema(_QUARANTINE)

#: Reason code -> what it means, for people.
QUARANTINE_REASONS = {
    "missing_account": "account_id is null, empty or blank",
    "missing_timestamp": "timestamp is null",
    "missing_prompt": "prompt is null",
    "empty_prompt": "prompt is empty, only white space or only a word for nothing ({}, [], null)",
    "prompt_too_long": "prompt is longer than traffic.max_prompt_bytes",
    "invalid_utf8": "a text column is not valid UTF-8",
    "wrong_type": "a value has another type or form than its column should have, or an id is too long",
    "unparsable_timestamp": "timestamp text is not ISO 8601 or alike, or a local time that does not exist",
    "timestamp_without_zone": "timestamp has no time zone and traffic.timezone is not set",
    "timestamp_out_of_range": "timestamp is before 2000 or beyond what microseconds can hold",
    "timestamp_in_future": "timestamp is after the run's 'now' and its tolerance",
    "unparsable_row": "the line is not a JSON object",
    "duplicate_request": "the account already has a row with this request_id",
}

#: Reason code -> what to do about it.
QUARANTINE_REMEDIES = {
    "missing_account": "map account_id in traffic.columns, or give traffic.constants",
    "missing_timestamp": "map timestamp in traffic.columns, or give traffic.constants",
    "missing_prompt": "map prompt in traffic.columns, or name the log's traffic.format",
    "empty_prompt": "have the log store prompts, map prompt in traffic.columns, or name its traffic.format",
    "prompt_too_long": "raise traffic.max_prompt_bytes",
    "invalid_utf8": "convert the file to UTF-8, for instance with iconv",
    "wrong_type": "map the column or a place in it in traffic.columns, or name the log's traffic.format",
    "unparsable_timestamp": "map timestamp in traffic.columns, or give traffic.timestamp_unit",
    "timestamp_without_zone": 'set traffic.timezone, for instance to "UTC"',
    "timestamp_out_of_range": "give traffic.timestamp_unit, or map timestamp in traffic.columns",
    "timestamp_in_future": "check the sender's clock, traffic.timezone and traffic.timestamp_unit",
    "unparsable_row": "expected JSON objects; name the log's traffic.format, or convert the file",
    "duplicate_request": "map request_id in traffic.columns to an id that every request has of its own",
}

#: How a measure is written for people: a count; a share as percent; a factor ("×"); a natural logarithm as
#: the factor that it stands for; standard deviations with their sign; a plain number.
Format: TypeAlias = Literal["count", "percent", "times", "log_times", "deviations", "number"]


class Measure(NamedTuple):
    """What a measure of an account is called and how it is read.

    In `meaning` and `statement` ``{cells}`` stands for the level's cells.

    Attributes
    ----------
    title : str
        A few words, for the head of a row.
    meaning : str
        What the number is, in one line without a capital or a full stop.
    range : str
        Values that it can take.
    reading : str
        What high or low says, as a sentence.
    statement : str
        The measure of one account as a clause, with ``{value}`` where the number goes.
    format : Format
        How the number is written.
    """

    title: str
    meaning: str
    range: str
    reading: str
    statement: str
    format: Format

    @property
    def definition(self) -> str:
        """Meaning and range in one line."""
        return f"{self.meaning}; {self.range}"

    def at(self, level: str) -> Measure:
        """The same of one of `LEVELS`, its cells called by their name."""
        cells = LEVEL_WORDS[level]
        return self._replace(
            meaning=self.meaning.replace("{cells}", cells),
            statement=self.statement.replace("{cells}", cells),
        )


#: Per level, the measures of an account; see `coverage_lab.measures`.
LEVEL_MEASURES: Mapping[str, Measure] = {
    "distinct": Measure(
        "Ground reached",
        "number of {cells} that it reached",
        "1 and up",
        "Higher when it touches more ground.",
        "it reached {value} {cells}",
        "count",
    ),
    "sample_coverage": Measure(
        "Chance of known ground",
        "estimated chance that its next prompt lies on {cells} that it has reached already",
        "0 to 1",
        "Low when most of where it goes next would be new.",
        "the chance that its next prompt stays on {cells} that it has reached already is {value}",
        "percent",
    ),
    "new_slope": Measure(
        "Visited only once",
        "share of the {cells} it reached that it visited exactly once",
        "0 to 1",
        "High when it moves on and seldom comes back.",
        "{value} of the {cells} it reached were visited exactly once",
        "percent",
    ),
    "collision_ratio": Measure(
        "Return to the same ground",
        "how often two of its prompts share one of the {cells}, relative to two prompts of ordinary traffic",
        "0 and up, 1 = as often",
        "Below 1 when it meets the same ground less often than ordinary traffic does.",
        "two of its prompts share one of the {cells} {value} as often as two prompts of ordinary traffic",
        "times",
    ),
    "collision_z": Measure(
        "Return to the same ground, against chance",
        "pairs of its prompts that share one of the {cells}, in standard deviations from ordinary traffic",
        "any, 0 = as ordinary traffic",
        "Far below 0 when it avoids ground that it has seen.",
        "pairs of its prompts share one of the {cells} {value} standard deviations more often than in "
        "ordinary traffic",
        "deviations",
    ),
    "growth_vs_reference": Measure(
        "Growth against ordinary traffic",
        "ln of the {cells} it reached over those that as many prompts of ordinary traffic would reach",
        "any, 0 = as many",
        "As a factor below 1 when it reached less ground than ordinary traffic of that size.",
        "it reached {value} as many {cells} as the same number of prompts of ordinary traffic would",
        "log_times",
    ),
    "growth_vs_uniform": Measure(
        "Growth against a uniform sweep",
        "{cells} it reached over those that as many prompts drawn evenly from the whole map would reach",
        "above 0, 1 = as many",
        "Near 1 when it grows as a systematic sweep would.",
        "it reached {value} as many {cells} as a uniform sweep would",
        "times",
    ),
    "order_z": Measure(
        "How early new ground comes",
        "how much sooner it reached new {cells} than its own prompts in random order would, in standard "
        "deviations",
        "any, 0 = no sooner",
        "Above 0 when new ground came sooner than chance order gives, below 0 when it came later.",
        "it reached new {cells} {value} standard deviations sooner than its own prompts in random order "
        "would (below 0: later)",
        "deviations",
    ),
    "return_z": Measure(
        "Staying on one ground",
        "how much more often a prompt stays on the {cells} of the one before than in random order, in "
        "standard deviations",
        "any, 0 = no more often",
        "Below 0 when it seldom stays where it is, above 0 when it works through one subject at a time.",
        "from one prompt to the next it stays on the same {cells} {value} standard deviations more often "
        "than in random order (below 0: less often)",
        "deviations",
    ),
    "evenness": Measure(
        "Evenness",
        "how evenly its prompts are spread over the {cells} it reached",
        "0 to 1, 1 = all alike",
        "Near 1 when all the ground that it reached is used alike.",
        "its prompts are spread over the {cells} it reached with an evenness of {value} (1: all alike)",
        "number",
    ),
    "dispersion_z": Measure(
        "Distance from ordinary traffic’s shares",
        "how far its shares of the {cells} are from those of ordinary traffic, in standard deviations of "
        "chance",
        "any, 0 = as ordinary prompts drawn by chance",
        "Below 0 when it is more even than draws from ordinary traffic; far above 0 when it keeps to ground "
        "of its own.",
        "how its prompts divide among the {cells} is {value} standard deviations of chance from how ordinary "
        "traffic divides",
        "deviations",
    ),
    "discount": Measure(
        "Pitman–Yor discount",
        "how steadily new {cells} keep coming, by the Pitman–Yor model",
        "−1 to 1",
        "Near 1 when new ground comes without end, below 0 when a limited ground is used up.",
        "how steadily new {cells} keep coming is {value} (Pitman–Yor discount; near 1: without end, below 0: "
        "a limited set is used up)",
        "number",
    ),
}

#: Measures that no level belongs to.
ACCOUNT_MEASURES: Mapping[str, Measure] = {
    "novelty_mean": Measure(
        "Mean novelty",
        "mean distance of a prompt to the nearest earlier prompt of the account, 1 − cosine",
        "0 = a repeat, 1 = unrelated, at most 2",
        "High when a prompt is mostly unlike all earlier ones.",
        "its prompts are on average {value} away from the nearest earlier one (0: a repeat, 1: unrelated)",
        "number",
    ),
    "novelty_p10": Measure(
        "Novelty, lowest tenth",
        "distance to the nearest earlier prompt that nine in ten of its prompts exceed, 1 − cosine",
        "0 = a repeat, 1 = unrelated, at most 2",
        "High when even its most repetitive prompts are new.",
        "nine in ten of its prompts are more than {value} away from the nearest earlier one (0: a repeat, 1: "
        "unrelated)",
        "number",
    ),
    "novelty_median": Measure(
        "Median novelty",
        "distance to the nearest earlier prompt that half of its prompts exceed, 1 − cosine",
        "0 = a repeat, 1 = unrelated, at most 2",
        "The novelty of its middle prompt.",
        "half of its prompts are more than {value} away from the nearest earlier one (0: a repeat, 1: "
        "unrelated)",
        "number",
    ),
    "novelty_low_share": Measure(
        "Near repeats",
        "share of its prompts that nearly repeat an earlier one (less than 0.1 away from it)",
        "0 to 1",
        "Low when it hardly ever asks nearly the same again.",
        "{value} of its prompts nearly repeat an earlier one",
        "percent",
    ),
    "novelty_hole": Measure(
        "Missing near repeats",
        "ln of its near repeats over those that prompts a little further apart let expect",
        "any, 0 = as many",
        "As a factor below 1 when near repeats look as if they had been filtered out.",
        "it has {value} as many near repeats as its prompts a little further apart let expect (below 1×: as "
        "if filtered out)",
        "log_times",
    ),
    "repeat_share": Measure(
        "Exact repeats",
        "share of its prompts that repeat an earlier one to the letter",
        "0 to 1",
        "Low when it hardly ever sends the same prompt again.",
        "{value} of its prompts repeat an earlier one to the letter",
        "percent",
    ),
}

#: How a value of `reason_details` is written: as a measure, where an account stands on the scale on which 0
#: is the median of ordinary accounts of its size and 1 their 95th percentile, or a share of its prompts.
ReasonUnit: TypeAlias = Format | Literal["standing", "share_of_prompts"]

#: Kinds of evidence that the score adds up, and what each is called for people.
EVIDENCE_WORDS: Mapping[str, str] = {
    "shape": "How it covers ground",
    "build": "How its prompts are built",
    "prompts": "How its prompts read",
    "instruction": "How its instructions read",
    "topics": "Its mix of topics",
    "spread": "How its prompts differ",
    "openings": "How its prompts open",
    "content_openings": "How what varies in them opens",
}

#: Every measure column of `ACCOUNTS`, in order.
MEASURES: Mapping[str, Measure] = {
    f"{name}_{level}": measure.at(level) for level in LEVELS for name, measure in LEVEL_MEASURES.items()
} | dict(ACCOUNT_MEASURES)
MEASURE_COLUMNS = tuple(MEASURES)


#: How an account behaves beside what it asks; no score uses it. Repeats are among the measures.
BEHAVIOUR: Mapping[str, Measure] = {
    "burstiness": Measure(
        "Burstiness",
        "how irregular the gaps between its prompts are (Goh and Barabási)",
        "−1 = like a clock, 0 = as at random moments, 1 = bursts",
        "Near −1 when a program sends at even pace; above 0 when it sends in bursts with pauses.",
        "the gaps between its prompts have a burstiness of {value} (−1: like a clock, 1: bursts)",
        "number",
    ),
    "hours_used": Measure(
        "Hours of the day",
        "hours of the day, UTC, that it uses, less used ones counting less (exponential of the entropy)",
        "1 to 24",
        "Near 24 when it sends round the clock.",
        "it uses {value} hours of the day",
        "number",
    ),
    "prompts_per_session": Measure(
        "Prompts a session",
        "its prompts over the sessions that it names",
        "above 0",
        "Low when conversations are short; near 1 when every prompt stands alone.",
        "it sends {value} prompts a session",
        "number",
    ),
    "prompts_per_end_user": Measure(
        "Prompts an end user",
        "its prompts over the end users that it names",
        "above 0",
        "High when few users send much.",
        "it sends {value} prompts an end user",
        "number",
    ),
    "output_share": Measure(
        "Share of tokens out",
        "tokens of the answers over all tokens, of the prompts of which both are known",
        "0 to 1",
        "High when short prompts bring long answers.",
        "{value} of its tokens are those of answers",
        "percent",
    ),
}
BEHAVIOUR_COLUMNS = tuple(BEHAVIOUR)


def written(value: float, format: Format) -> str:
    """Write a measure for people, as `Format` says."""
    if format == "log_times":
        value, format = math.exp(value), "times"
    if format == "count":
        return f"{value:,.0f}"
    if format == "percent":
        return f"{value:.1%}" if 0 < value < 0.095 else f"{value:.0%}"
    if format == "times":
        return f"{value:,.0f}×" if value >= 10 else f"{value:.1f}×" if value >= 0.95 else f"{value:.2f}×"
    if format == "deviations":
        # Adding 0.0 after rounding turns a negative zero into a plain one.
        return f"{round(value, 1) + 0.0:+,.1f}" if abs(value) < 100 else f"{value:+,.0f}"
    return f"{round(value, 2) + 0.0:.2f}"


VERDICTS = ("clear", "watch", "review", "inconclusive")
ARCHETYPES = (
    "task_use",
    "mixed_product",
    "personal_use",
    "multi_tenant",
    "data_processing",
    "evaluation_run",
    "red_team_research",
    "harvesting",
    "unknown",
)

#: What a reviewer weighs beside score and p-value, in `ACCOUNTS` and `FLAGS` alike.
_EVIDENCE = (
    Column(
        "p_today",
        pa.float64(),
        "in a run with state, the p-value of this look alone; null without, where `p_value` is just that",
    ),
    Column(
        "q_value",
        pa.float64(),
        "p-value adjusted for how many accounts the run judged (Benjamini-Hochberg): of accounts with a "
        "q-value of at most q, on average at most a share q is there by chance. Null for accounts that were "
        "not judged (no p-value, or fewer than `detect.min_prompts` prompts)",
    ),
    Column(
        "harvested_share",
        pa.float64(),
        "estimated share of the account's prompts that is harvested, 0..1; null where its interval is wider "
        "than 0.5, which is so for most accounts, and where no scorecard can tell",
    ),
    Column("harvested_share_low", pa.float64(), "lower end of its 90% interval"),
    Column("harvested_share_high", pa.float64(), "upper end of its 90% interval"),
    Column(
        "score_without_top_cells",
        pa.float64(),
        "the score if the prompts in its three top fine cells had not been sent: the measures of coverage "
        "computed without them, style, wording and build as they are. Null unless the p-value is at most "
        "`detect.watch_p` and at least `detect.min_prompts` prompts are left",
    ),
)

_SCORE = Column(
    "score",
    pa.float64(),
    "0..1, higher = more like harvesting; not a probability. Null where no scorecard fits the atlas",
)
_P_VALUE = Column(
    "p_value",
    pa.float64(),
    "conformal p-value: share of ordinary accounts of similar size that score at least as high, 0..1. In a "
    "run with state of the highest score so far, against ordinary accounts over the same growth. Null as "
    "for score",
)
_VERDICT = _required(
    "verdict", pa.string(), "clear, watch, review or inconclusive: what a person should do about it"
)
_ARCHETYPE = _required("archetype", pa.string(), f"likeliest explanation: {', '.join(ARCHETYPES)}")
_ARCHETYPE_PROBABILITY = Column(
    "archetype_probability",
    pa.float64(),
    "the model's probability of `archetype`, 0..1; null where it is unknown, or decided by the end users "
    "named",
)
_CAMPAIGN = Column(
    "campaign",
    pa.string(),
    "the campaign for watch or review that it is a member of (`campaigns.parquet`), else null; a member's "
    "verdict is at least watch",
)
_PROMPTS = _required("prompts", pa.int64(), "usable prompts, the ones that were judged")
_REASONS = _required(
    "reasons",
    pa.list_(pa.field("item", pa.string(), nullable=False)),
    "why the verdict, and what moved the score, in sentences",
)


def _told(name: str, kind: pa.DataType, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


#: Type of the column `reason_details`; `REASON_FIELDS` and `RESTS_ON_FIELDS` say what its fields mean.
_RESTS_ON = pa.struct(
    [
        _told("name", pa.string()),
        _told("share", pa.float64()),
        _told("value", pa.float64()),
        _told("ordinary_low", pa.float64(), nullable=True),
        _told("ordinary_median", pa.float64(), nullable=True),
        _told("ordinary_high", pa.float64(), nullable=True),
        _told("unit", pa.string()),
        _told("percentile", pa.float64(), nullable=True),
    ]
)
REASON_DETAILS = pa.list_(
    _told(
        "item",
        pa.struct(
            [
                _told("evidence", pa.string()),
                _told("direction", pa.string()),
                _told("effect", pa.string()),
                _told("points", pa.float64()),
                _told("value", pa.float64()),
                _told("ordinary_low", pa.float64()),
                _told("ordinary_median", pa.float64()),
                _told("ordinary_high", pa.float64()),
                _told("unit", pa.string()),
                _told("percentile", pa.float64()),
                _told("pushing", pa.int64(), nullable=True),
                _told("carrying", pa.int64(), nullable=True),
                _told("rests_on", pa.list_(_told("item", _RESTS_ON))),
                _told("sentence", pa.string()),
            ]
        ),
    )
)
_RANGE = "the range in which two in three ordinary accounts of its size lie"
#: Field of an entry of `reason_details` -> what it holds.
REASON_FIELDS: Mapping[str, str] = {
    "evidence": f"kind of evidence: {', '.join(EVIDENCE_WORDS)}",
    "direction": "towards harvesting or away from it: `towards` or `away`",
    "effect": "how far it moves the score: `strong`, `some` or `little`",
    "points": "what it adds to the score's log-odds",
    "value": "where the account stands among ordinary accounts of its size: 0 = their median, 1 = their 95th "
    "percentile",
    "ordinary_low": f"lower end of {_RANGE}, on that scale",
    "ordinary_median": "their median: 0",
    "ordinary_high": "upper end of that range",
    "unit": "`standing`: that scale",
    "percentile": "estimated percent of ordinary accounts of its size that stand lower",
    "pushing": "how many measures, topics or hashed openings push that way; null where they can't be counted",
    "carrying": "how few of them make up four fifths of the push",
    "rests_on": "what pushes most: measures outside the range of ordinary accounts, topics, or openings "
    "(only with `report.show_openings`)",
    "sentence": "the reason in words, as in `reasons`",
}
#: Field of an entry of `rests_on` -> what it holds.
RESTS_ON_FIELDS: Mapping[str, str] = {
    "name": "column or name of the measure, name of the topic, or words of the opening",
    "share": "its part of all that pushes that way, 0..1",
    "value": "the account's value; of a topic or opening the share of its prompts",
    "ordinary_low": f"lower end of {_RANGE}; null for topics and openings",
    "ordinary_median": "their median; null likewise",
    "ordinary_high": "upper end of that range; null likewise",
    "unit": "how the value is written: `count`, `percent`, `times`, `log_times` (natural logarithm of a "
    "factor), `deviations`, `number` or `share_of_prompts` (of an opening)",
    "percentile": "estimated percent of ordinary accounts of its size with a smaller value; null likewise",
}

_ACCOUNTS = (
    _required("account_id", pa.large_string(), "the account"),
    _PROMPTS,
    _required("first_seen", UTC_MICROSECONDS, "time of its first prompt that was judged, UTC"),
    _required("last_seen", UTC_MICROSECONDS, "time of its last prompt that was judged, UTC"),
    _required("end_users", pa.int64(), "distinct end users named; 0 = none named"),
    _required("sessions", pa.int64(), "distinct sessions named; 0 = none named"),
    _required(
        "instructions",
        pa.int64(),
        "different constant instructions that its prompts are wrapped in (openings and endings that many of "
        "its prompts share); 0 = none",
    ),
    _required("wrapped_share", pa.float64(), "share of its prompts that are wrapped in an instruction, 0..1"),
    _SCORE,
    _P_VALUE,
    Column(
        "style_points",
        pa.float64(),
        "what the style of the prompts adds to the score's log-odds, any sign; null as for score",
    ),
    Column("wording_points", pa.float64(), "the same of the prompts' opening words; null as for score"),
    _VERDICT,
    _ARCHETYPE,
    _ARCHETYPE_PROBABILITY,
    *_EVIDENCE,
    _CAMPAIGN,
    _REASONS,
    _required(
        "reason_details",
        REASON_DETAILS,
        "the same of each kind of evidence that moved the score, as data; empty where no scorecard fits the "
        "atlas. Its fields are listed below",
    ),
    _required(
        "atlas_id",
        pa.string(),
        "hash of the atlas that every number of the row was made with: one for all accounts, two in a "
        "cascade",
    ),
    *[
        Column(name, pa.float64(), f"{measure.definition}; null where not defined (too few prompts)")
        for name, measure in MEASURES.items()
    ],
    *[
        Column(name, pa.float64(), f"{measure.definition}; null where it can't be told. No score uses it")
        for name, measure in BEHAVIOUR.items()
    ],
)
#: One account a row, by account_id.
ACCOUNTS = _schema(_ACCOUNTS)

_LEVEL = _required("level", pa.string(), "coarse, middle or fine")
_NULL_WORDS = {
    "own": "cells to expect of its own prompts in random order",
    "reference": "cells to expect of ordinary traffic",
    "uniform": "cells to expect of a uniform sweep",
}
_CURVES = (
    _required("account_id", pa.large_string(), "the account"),
    _LEVEL,
    _required("n", pa.int64(), "prompts sent so far"),
    _required("distinct", pa.int64(), "different cells reached by then"),
    *[
        _required(f"{null}_{part}", pa.float64(), f"{words}: {end}")
        for null, words in _NULL_WORDS.items()
        for part, end in (
            ("mean", "mean"),
            ("low", "lower end of the 95% band"),
            ("high", "upper end of the 95% band"),
        )
    ],
)
#: Growth curves on a grid of n, with the three nulls as mean and 95% band.
CURVES = _schema(_CURVES)

_CELLS = (
    _required("account_id", pa.large_string(), "the account"),
    _LEVEL,
    _required("cell", pa.int64(), "number of the cell in the atlas"),
    _required("label", pa.string(), "name of the cell, for people"),
    _required("prompts", pa.int64(), "the account's prompts in it"),
    _required("share", pa.float64(), "the same as a share of the account's prompts, 0..1"),
    _required("reference_share", pa.float64(), "share of ordinary traffic in it, 0..1"),
)
#: The cells that an account stands out in: most prompts above what ordinary traffic would send there.
CELLS = _schema(_CELLS)

_TRACE = (
    _required("atlas_id", pa.string(), "hash of the atlas"),
    _required("encoder_id", pa.string(), "hash of the encoder"),
    _required("model_id", pa.string(), "hash of the scorecard"),
    _required("config_id", pa.string(), "hash of the parts of the config that the numbers depend on"),
)
#: Field of an entry of `first_visits` -> what it holds.
FIRST_VISITS_FIELDS: Mapping[str, str] = {
    "cell": "number of the fine cell in the atlas of the row",
    "prompt": "which of its prompts reached the cell first, from 1",
    "prompts": "its prompts in the cell",
}
FIRST_VISITS = pa.list_(
    _told(
        "item",
        pa.struct([_told("cell", pa.int32()), _told("prompt", pa.int64()), _told("prompts", pa.int64())]),
    )
)
_FLAGS = (
    _required("account_id", pa.large_string(), "the account"),
    _VERDICT,
    _ARCHETYPE,
    _PROMPTS,
    _SCORE,
    _P_VALUE,
    _ARCHETYPE_PROBABILITY,
    *_EVIDENCE,
    _CAMPAIGN,
    _REASONS,
    Column(
        "first_visits",
        FIRST_VISITS,
        "the fine cells that it reached, in that order: its way over the map. Null for an account that is "
        "flagged for its campaign alone. Its fields are listed below",
    ),
    *_TRACE,
)
#: One account that a person should look at a row, with all that its evidence came from.
FLAGS = _schema(_FLAGS)

_CAMPAIGNS = (
    _required("campaign", pa.string(), "name of the campaign: a hash of its members"),
    _required(
        "verdict",
        pa.string(),
        "review, watch or inconclusive: what a person should do about it. Groups that are clear have no row",
    ),
    _required("accounts", pa.int64(), "how many accounts are members"),
    _required(
        "accounts_at_least",
        pa.int64(),
        "how many of them are truly alike, with 95% confidence (closed testing of `member_p`)",
    ),
    _required("prompts", pa.int64(), "prompts of all members"),
    _required("first_seen", UTC_MICROSECONDS, "time of their first prompt, UTC"),
    _required("last_seen", UTC_MICROSECONDS, "time of their last prompt, UTC"),
    Column(
        "score",
        pa.float64(),
        "score of all their prompts as one account, 0..1, higher = more like harvesting; of some of the "
        "prompts where they are more than any account of the calibration has. Null where no scorecard fits",
    ),
    Column("p_value", pa.float64(), "its conformal p-value, 0..1: against ordinary customers of that size"),
    Column(
        "q_value",
        pa.float64(),
        "p-value adjusted for how many linked groups the run judged (Benjamini-Hochberg)",
    ),
    _required("archetype", pa.string(), "likeliest explanation of all their prompts as one account"),
    Column("archetype_probability", pa.float64(), "the model's probability of `archetype`, 0..1"),
    _required(
        "overlap",
        pa.float64(),
        "how alike two members ask on average, in the half of the prompts that had no part in finding them: "
        "1 = shares of one source, 0 = nothing in common beyond the traffic; clipped to -1..1",
    ),
    _required("content_overlap", pa.float64(), "the same of what the prompts are about"),
    _required("opening_overlap", pa.float64(), "the same of the words that they open with"),
    _required(
        "link_p",
        pa.float64(),
        "share of random groups of as many accounts with as large an `overlap`, 0..1; of accounts of the run "
        "with prompts enough to be in a group",
    ),
    _required(
        "shared_texts", pa.float64(), "share of their different texts that more than one member sent, 0..1"
    ),
    Column(
        "cell_ratio",
        pa.float64(),
        "how often prompts of two members share a narrow topic, over how often two prompts of one member do: "
        "1 = dealt at random, below 1 = each keeps to ground of its own. Null where no two prompts do",
    ),
    _required(
        "meetings_z",
        pa.float64(),
        "pairs of prompts of two members on one narrow topic, in standard deviations from ordinary customers "
        "with the same topics",
    ),
    _required("cells_reached", pa.int64(), "narrow topics that they reached together"),
    _required("cells_expected", pa.float64(), "those that as many prompts of ordinary traffic would reach"),
    _required(
        "reasons",
        pa.list_(pa.field("item", pa.string(), nullable=False)),
        "what links them, and why the verdict, in sentences",
    ),
    *_TRACE,
)
#: One campaign a row, the gravest first.
CAMPAIGNS = _schema(_CAMPAIGNS)

_MEMBERS = (
    _required("campaign", pa.string(), "the campaign"),
    _required("account_id", pa.large_string(), "the account; in one campaign at most"),
    _required("prompts", pa.int64(), "its prompts"),
    _required("share", pa.float64(), "the same as a share of the campaign's, 0..1"),
    _required("overlap", pa.float64(), "how alike it and the other members ask on average"),
    _required(
        "member_p",
        pa.float64(),
        "share of the accounts outside that ask as much like the members, 0..1; small = truly one of them",
    ),
    _required("own_ground", pa.float64(), "share of its narrow topics that no other member reached, 0..1"),
    _required("first_seen", UTC_MICROSECONDS, "time of its first prompt, UTC"),
    _required("last_seen", UTC_MICROSECONDS, "time of its last prompt, UTC"),
)
#: One member of a campaign a row, by campaign and account.
MEMBERS = _schema(_MEMBERS)

_COLUMNS = {
    "traffic": _TRAFFIC,
    "accounts": _ACCOUNTS,
    "curves": _CURVES,
    "cells": _CELLS,
    "flags": _FLAGS,
    "campaigns": _CAMPAIGNS,
    "members": _MEMBERS,
    "quarantine": _QUARANTINE,
}


def describe_columns(table: str) -> tuple[Column, ...]:
    """Name, type and meaning of each column of a table, in order.

    Parameters
    ----------
    table : str
        "traffic" (what a run reads), "accounts", "curves", "cells", "flags", "campaigns", "members" or
        "quarantine".

    Raises
    ------
    KeyError
        There is no table of that name.
    """
    return _COLUMNS[table]


def meaning(table: str, column: str) -> str:
    """What a column of a table holds, in one line."""
    return next(found.meaning for found in describe_columns(table) if found.name == column)


def _always(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _list(kind: pa.DataType) -> pa.DataType:
    # Delta Lake's own name for what a list holds; large, so that no list of all prompts is too long.
    return pa.large_list(pa.field("element", kind, nullable=False))


#: Version of a state table. 2: `STATES` has `prompts`. 3: counted files are found by content. 4: instruction
#: and content are told apart. 5: sums of half the prompts, and tokens. Older days can't be brought up,
#: since their prompts are gone.
STATES_VERSION = 5

#: What is kept of one account's prompts of one day, by account_id: `coverage_lab.accounts.AccountStates` with
#: its ragged arrays as lists. Hashes are stored as the int64 of the same bits: Delta Lake has no uint64.
STATES = pa.schema(
    [
        _always("account_id", pa.large_string()),
        pa.field("prompts", pa.int64()),  # since version 2; nullable because columns are added so
        _always("timestamps", _list(UTC_MICROSECONDS)),
        _always("digests", _list(pa.int64())),
        *[_always(f"cells_{level}", _list(pa.int32())) for level in LEVELS],
        _always("novelty", _list(pa.float32())),  # NaN for the day's first prompt
        _always("vector_sums", _list(pa.float64())),
        _always("content_sums", _list(pa.float64())),
        _always("content_squares", _list(pa.float64())),
        _always("instruction_sums", _list(pa.float64())),
        _always("wrapping_sums", _list(pa.float64())),
        _always("token_sums", _list(pa.float64())),
        _always("structure_sums", _list(pa.float64())),
        _always("structure_squares", _list(pa.float64())),
        # hashed opening words: the columns that are not 0, and their sums
        _always("opening_columns", _list(pa.int16())),
        _always("opening_sums", _list(pa.float64())),
        _always("content_opening_columns", _list(pa.int16())),
        _always("content_opening_sums", _list(pa.float64())),
        # of the prompts with an even digest alone
        _always("first_half_content_sums", _list(pa.float64())),
        _always("first_half_opening_columns", _list(pa.int16())),
        _always("first_half_opening_sums", _list(pa.float64())),
        _always("end_users", _list(pa.int64())),
        _always("sessions", _list(pa.int64())),
        _always("templates", _list(pa.int64())),
        # what this day's look saw (`coverage_lab.detect.trajectory`): by which scorecard, how many sizes of
        # its ladder were passed, and how high the account stood; null where the look did not count. Since
        # version 2.
        pa.field("look_model", pa.string()),
        pa.field("look", pa.int64()),
        pa.field("standing", pa.float64()),
    ]
)

#: How a state table is parted: the day, and the run that counted it (a day has one).
STATE_PARTITIONS = pa.schema([_always("day", pa.date32()), _always("run", pa.string())])
