"""Arrow schemas of every table: names, units, nullability, version.

`TRAFFIC` and `QUARANTINE` are what `traffic` yields; the others are what a run writes.
No table but `TRAFFIC` (which never leaves the run's work folder) holds prompt text.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 3

#: The nested levels of an atlas, coarsest first.
LEVELS = ("coarse", "middle", "fine")

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


#: One validated prompt a row.
TRAFFIC = pa.schema(
    [
        _required("account_id", pa.large_string()),
        _required("timestamp", UTC_MICROSECONDS),
        _required("prompt", pa.large_string()),
        pa.field("request_id", pa.large_string()),
        pa.field("session", pa.large_string()),
        pa.field("end_user", pa.large_string()),
        pa.field("tokens_in", pa.int64()),
        pa.field("tokens_out", pa.int64()),
        pa.field("network_hash", pa.large_string()),
        pa.field("payment_hash", pa.large_string()),
        pa.field("system_prompt_hash", pa.large_string()),
        _required("source", pa.int32()),  # position of the file among the input's sorted files
        _required("row", pa.int64()),  # position of the row in that file, from 0
    ]
)

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

#: One unusable row a row. `detail` never repeats prompt text.
QUARANTINE = pa.schema(
    [
        _required("source", pa.large_string()),  # file name, relative to the input
        _required("row", pa.int64()),
        pa.field("account_id", pa.large_string()),
        _required("reason", pa.string()),  # one of QUARANTINE_REASONS
        _required("detail", pa.string()),
    ]
)

#: Reason code -> what it means, for people.
QUARANTINE_REASONS = {
    "missing_account": "account_id is null or empty",
    "missing_timestamp": "timestamp is null",
    "missing_prompt": "prompt is null",
    "empty_prompt": "prompt is empty or only white space",
    "prompt_too_long": "prompt is longer than traffic.max_prompt_bytes",
    "invalid_utf8": "a text column is not valid UTF-8",
    "wrong_type": "a value has another type or form than its column should have, or an id is too long",
    "unparsable_timestamp": "timestamp text is not ISO 8601, or names a local time that does not exist",
    "timestamp_without_zone": "timestamp has no time zone and traffic.timezone is not set",
    "timestamp_out_of_range": "timestamp is before 2000 or beyond what microseconds can hold",
    "timestamp_in_future": "timestamp is after the run's 'now' and its tolerance",
    "unparsable_row": "the line is not a JSON object",
    "duplicate_request": "the account already has a row with this request_id",
}

#: Per level, the measures of an account; see `coverage_lab.measures`.
LEVEL_MEASURES = {
    "distinct": "cells reached",
    "sample_coverage": "estimated share of the account's own distribution already seen, 0..1",
    "new_slope": "f1/K: share of the reached cells seen exactly once, 0..1",
    "collision_ratio": "same-cell pairs, observed over expected of ordinary traffic; 0 = none",
    "collision_z": "the same as standard deviations from ordinary traffic",
    "growth_vs_reference": "ln of cells reached over those expected of ordinary traffic",
    "growth_vs_uniform": "cells reached over those expected of a uniform sweep, 0 and up",
    "order_z": "mean standardised gap of first visits to their exchangeable expectation; > 0 = sooner",
    "return_z": "prompts in the cell of the one before, in sd of a random order; < 0 = seldom stays",
    "evenness": "how evenly the reached cells are used, 0..1; 1 = all alike",
    "dispersion_z": "scatter of the counts about ordinary traffic's shares, in sd; < 0 = more even",
    "discount": "Pitman-Yor discount, -1..1; near 1 = new cells without end, < 0 = a limited ground, swept",
}

#: Measures that no level belongs to.
ACCOUNT_MEASURES = {
    "novelty_mean": "mean of 1 - largest cosine to an earlier prompt of the account, 0..2",
    "novelty_p10": "10th percentile of novelty",
    "novelty_median": "median of novelty",
    "novelty_low_share": "share of prompts with novelty below 0.1, 0..1",
    "novelty_hole": "ln of near repeats over those that the ring around them lets expect; < 0 = cut off",
    "repeat_share": "share of prompts that repeat an earlier one to the letter, 0..1",
}

#: Names of all measure columns of `ACCOUNTS`, in order.
MEASURE_COLUMNS = tuple(f"{name}_{level}" for level in LEVELS for name in LEVEL_MEASURES) + tuple(
    ACCOUNT_MEASURES
)

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
    # the p-value of this look alone; null in a run without state, where p_value is just that
    pa.field("p_today", pa.float64()),
    # Benjamini-Hochberg adjusted p-value among the run's accounts that were judged (a p-value and at least
    # detect.min_prompts prompts); null for the others, and in the service, which sees one request only
    pa.field("q_value", pa.float64()),
    # 0..1 of the account's prompts, with a 90% interval; null where no scorecard can tell
    pa.field("harvested_share", pa.float64()),
    pa.field("harvested_share_low", pa.float64()),
    pa.field("harvested_share_high", pa.float64()),
    # the score if the prompts in its three top fine cells had not been sent; null unless p <= detect.watch_p
    # and at least detect.min_prompts prompts are left
    pa.field("score_without_top_cells", pa.float64()),
)

#: One account a row, by account_id. A measure that is not defined (too few prompts) is null.
ACCOUNTS = pa.schema(
    [
        _required("account_id", pa.large_string()),
        _required("prompts", pa.int64()),
        _required("first_seen", UTC_MICROSECONDS),
        _required("last_seen", UTC_MICROSECONDS),
        _required("end_users", pa.int64()),  # distinct end users named; 0 = none named
        _required("sessions", pa.int64()),  # distinct sessions named; 0 = none named
        # 0..1, higher = more like harvesting; score and p-value are null where no scorecard fits the atlas
        pa.field("score", pa.float64()),
        # conformal, against benign accounts of similar size; in a run with state of the highest standing over
        # all days that the account was looked at, against benign accounts as they grew
        pa.field("p_value", pa.float64()),
        pa.field("style_points", pa.float64()),  # log-odds of the score that prompt style adds, any sign
        pa.field("wording_points", pa.float64()),  # the same of the prompts' opening words
        _required("verdict", pa.string()),
        _required("archetype", pa.string()),
        # 0..1, the model's for `archetype`; null where unknown, or where named end users decide it
        pa.field("archetype_probability", pa.float64()),
        *_EVIDENCE,
        _required("reasons", pa.list_(pa.field("item", pa.string(), nullable=False))),
        # whose cells every number of the row was made with: one for all accounts, two in a cascade
        _required("atlas_id", pa.string()),
        *[pa.field(name, pa.float64()) for name in MEASURE_COLUMNS],
    ]
)

#: Growth curves on a grid of n, with the three nulls as mean and 95% band.
CURVES = pa.schema(
    [
        _required("account_id", pa.large_string()),
        _required("level", pa.string()),
        _required("n", pa.int64()),
        _required("distinct", pa.int64()),
        *[
            _required(f"{null}_{part}", pa.float64())
            for null in ("own", "reference", "uniform")
            for part in ("mean", "low", "high")
        ],
    ]
)

#: The cells that an account stands out in: most prompts above what ordinary traffic would send there.
CELLS = pa.schema(
    [
        _required("account_id", pa.large_string()),
        _required("level", pa.string()),
        _required("cell", pa.int64()),
        _required("label", pa.string()),
        _required("prompts", pa.int64()),
        _required("share", pa.float64()),  # of the account's prompts
        _required("reference_share", pa.float64()),  # of ordinary traffic
    ]
)

#: One account that a person should look at a row, with all that its evidence came from.
FLAGS = pa.schema(
    [
        _required("account_id", pa.large_string()),
        _required("verdict", pa.string()),
        _required("archetype", pa.string()),
        _required("prompts", pa.int64()),
        pa.field("score", pa.float64()),
        pa.field("p_value", pa.float64()),
        pa.field("archetype_probability", pa.float64()),
        *_EVIDENCE,
        _required("reasons", pa.list_(pa.field("item", pa.string(), nullable=False))),
        _required("atlas_id", pa.string()),
        _required("encoder_id", pa.string()),
        _required("model_id", pa.string()),
        _required("config_id", pa.string()),
    ]
)


def _list(kind: pa.DataType) -> pa.DataType:
    # Delta Lake's own name for what a list holds; large, so that no list of all prompts is too long.
    return pa.large_list(pa.field("element", kind, nullable=False))


#: Version of a state table; an older one is brought up by `coverage-lab state migrate`. 2: `STATES` has
#: `prompts`. 3: counted files are found by content.
STATES_VERSION = 3

#: What is kept of one account's prompts of one day, by account_id: `coverage_lab.accounts.AccountStates` with
#: its ragged arrays as lists. Hashes are stored as the int64 of the same bits: Delta Lake has no uint64.
STATES = pa.schema(
    [
        _required("account_id", pa.large_string()),
        pa.field("prompts", pa.int64()),  # since version 2; nullable because columns are added so
        _required("timestamps", _list(UTC_MICROSECONDS)),
        _required("digests", _list(pa.int64())),
        *[_required(f"cells_{level}", _list(pa.int32())) for level in LEVELS],
        _required("novelty", _list(pa.float32())),  # NaN for the day's first prompt
        _required("vector_sums", _list(pa.float64())),
        _required("structure_sums", _list(pa.float64())),
        _required("structure_squares", _list(pa.float64())),
        # hashed opening words: the columns that are not 0, and their sums
        _required("opening_columns", _list(pa.int16())),
        _required("opening_sums", _list(pa.float64())),
        _required("end_users", _list(pa.int64())),
        _required("sessions", _list(pa.int64())),
        # what this day's look saw (`coverage_lab.detect.trajectory`): by which scorecard, how many sizes of
        # its ladder were passed, and how high the account stood; null where the look did not count. Since
        # version 2.
        pa.field("look_model", pa.string()),
        pa.field("look", pa.int64()),
        pa.field("standing", pa.float64()),
    ]
)

#: How a state table is parted: the day, and the run that counted it (a day has one).
STATE_PARTITIONS = pa.schema([_required("day", pa.date32()), _required("run", pa.string())])
