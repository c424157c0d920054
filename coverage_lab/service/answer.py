"""What is answered; the words and numbers are those of `coverage_lab.schema`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, Final, Literal, cast

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, create_model

from coverage_lab import __version__
from coverage_lab.schema import (
    ACCOUNTS,
    BEHAVIOUR_COLUMNS,
    FIRST_VISITS,
    FIRST_VISITS_FIELDS,
    MEASURE_COLUMNS,
    REASON_DETAILS,
    REASON_FIELDS,
    RESTS_ON_FIELDS,
    UTC_MICROSECONDS,
    describe_columns,
    meaning,
)

#: Of an account of a run, what a lookup of many tells.
SHORT_COLUMNS: Final = (
    "account_id",
    "prompts",
    "first_seen",
    "last_seen",
    "score",
    "p_value",
    "q_value",
    "verdict",
    "archetype",
    "campaign",
)
_MEASURES_SAID: Final = "Every measure by name; null where it is not defined (too few prompts)."
_BEHAVIOUR_SAID: Final = (
    "How the account behaves beside what it asks, by name; null where it can't be told. No score uses it."
)


class _Answered(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _column(table: str, name: str) -> Any:
    """A field that is a column of a run's table, with the words that the schema has for it."""
    return _said(meaning(table, name))


def _field(meanings: Mapping[str, str], name: str) -> Any:
    """A field of an entry of `reason_details`, with the words that the schema has for it."""
    return _said(meanings[name])


def _said(words: str) -> Any:
    return Field(description=f"{words[:1].upper()}{words[1:]}.")


class TopCell(_Answered):
    """A cell that an account stands out in."""

    level: str = _column("cells", "level")
    cell: int = _column("cells", "cell")
    label: str = _column("cells", "label")
    prompts: int = _column("cells", "prompts")
    share: float = _column("cells", "share")
    reference_share: float = _column("cells", "reference_share")


class RestsOn(_Answered):
    """What a reason rests on: a measure, a topic or an opening."""

    name: str = _field(RESTS_ON_FIELDS, "name")
    share: float = _field(RESTS_ON_FIELDS, "share")
    value: float = _field(RESTS_ON_FIELDS, "value")
    ordinary_low: float | None = _field(RESTS_ON_FIELDS, "ordinary_low")
    ordinary_median: float | None = _field(RESTS_ON_FIELDS, "ordinary_median")
    ordinary_high: float | None = _field(RESTS_ON_FIELDS, "ordinary_high")
    unit: str = _field(RESTS_ON_FIELDS, "unit")
    percentile: float | None = _field(RESTS_ON_FIELDS, "percentile")


class ReasonDetail(_Answered):
    """A kind of evidence that moved the score."""

    evidence: str = _field(REASON_FIELDS, "evidence")
    direction: str = _field(REASON_FIELDS, "direction")
    effect: str = _field(REASON_FIELDS, "effect")
    points: float = _field(REASON_FIELDS, "points")
    value: float = _field(REASON_FIELDS, "value")
    ordinary_low: float = _field(REASON_FIELDS, "ordinary_low")
    ordinary_median: float = _field(REASON_FIELDS, "ordinary_median")
    ordinary_high: float = _field(REASON_FIELDS, "ordinary_high")
    unit: str = _field(REASON_FIELDS, "unit")
    percentile: float = _field(REASON_FIELDS, "percentile")
    pushing: int | None = _field(REASON_FIELDS, "pushing")
    carrying: int | None = _field(REASON_FIELDS, "carrying")
    rests_on: list[RestsOn] = _field(REASON_FIELDS, "rests_on")
    sentence: str = _field(REASON_FIELDS, "sentence")


class AccountScore(_Answered):
    """What `coverage-lab run` says of an account with these prompts."""

    account_id: str = _column("accounts", "account_id")
    prompts: int = _column("accounts", "prompts")
    first_seen: datetime = _column("accounts", "first_seen")
    last_seen: datetime = _column("accounts", "last_seen")
    end_users: int = _column("accounts", "end_users")
    sessions: int = _column("accounts", "sessions")
    instructions: int = _column("accounts", "instructions")
    wrapped_share: float = _column("accounts", "wrapped_share")
    score: float | None = _column("accounts", "score")
    p_value: float | None = _column("accounts", "p_value")
    style_points: float | None = _column("accounts", "style_points")
    wording_points: float | None = _column("accounts", "wording_points")
    verdict: str = _column("accounts", "verdict")
    archetype: str = _column("accounts", "archetype")
    archetype_probability: float | None = _column("accounts", "archetype_probability")
    p_today: None = Field(
        description="Always null here: a request is one look, and `p_value` is that look's. A run with state "
        "has both."
    )
    q_value: None = Field(
        description="Always null here: a p-value is adjusted among all accounts of a run, and a request has "
        "only some. Adjust those of a day together (Benjamini-Hochberg), or use `coverage-lab run`."
    )
    campaign: None = Field(
        description="Always null here: campaigns are found among all accounts of a run, "
        "by `coverage-lab run`."
    )
    harvested_share: float | None = _column("accounts", "harvested_share")
    harvested_share_low: float | None = _column("accounts", "harvested_share_low")
    harvested_share_high: float | None = _column("accounts", "harvested_share_high")
    score_without_top_cells: float | None = _column("accounts", "score_without_top_cells")
    reasons: list[str] = _column("accounts", "reasons")
    reason_details: list[ReasonDetail] = _column("accounts", "reason_details")
    atlas_id: str = _column("accounts", "atlas_id")
    measures: dict[str, float | None] = Field(description=_MEASURES_SAID)
    behaviour: dict[str, float | None] = Field(description=_BEHAVIOUR_SAID)
    top_cells: list[TopCell] = Field(
        description="The cells it stands out in: most prompts above what ordinary traffic would send there."
    )


class QuarantinedPrompt(_Answered):
    """A prompt that could not be used."""

    account_id: str = Field(description="The account.")
    index: int = Field(description="Place among the account's prompts in the request, from 0.")
    reason: str = Field(description="One of the reason codes of quarantine.parquet.")
    detail: str = Field(description="For people; never repeats prompt text.")


class Stage(_Answered):
    """What the second stage of a cascade judges with."""

    encoder: str
    encoder_id: str
    atlas_id: str = Field(description="An account whose `atlas_id` is this one was judged by this stage.")
    model_id: str = Field(description="Of the scorecard.")
    escalate_p: float = Field(
        description="Accounts to which the first stage gives a p-value of at most this are judged again."
    )


_SECOND = "Of a cascade: who judges again what the first stage can't clear; null where there is one stage."


class ScoreResponse(_Answered):
    """Answers, and what they came from."""

    accounts: list[AccountScore] = Field(
        description="In the request's order; an account without a single usable prompt is not among them, "
        "all its prompts are in `quarantined`."
    )
    quarantined: list[QuarantinedPrompt] = Field(description="In the request's order.")
    atlas_id: str
    encoder_id: str
    model_id: str | None = Field(description="Of the scorecard; null where none fits the atlas.")
    second: Stage | None = Field(description=_SECOND)
    config_id: str = Field(description="Digest of the service's config.")
    version: str = Field(description="Of coverage-lab.")


class FirstVisit(_Answered):
    """A narrow topic that a flagged account reached, in the order in which it did."""

    cell: int = _field(FIRST_VISITS_FIELDS, "cell")
    prompt: int = _field(FIRST_VISITS_FIELDS, "prompt")
    prompts: int = _field(FIRST_VISITS_FIELDS, "prompts")


#: Types of columns -> how they are answered. One that is not here fails at import.
_KINDS: Final[dict[pa.DataType, Any]] = {
    pa.string(): str,
    pa.large_string(): str,
    pa.int64(): int,
    pa.float64(): float,
    UTC_MICROSECONDS: datetime,
    REASON_DETAILS: list[ReasonDetail],
    FIRST_VISITS: list[FirstVisit],
    pa.list_(pa.field("item", pa.string(), nullable=False)): list[str],
}


def _of_table(name: str, table: str, said: str, columns: Iterable[str], **more: Any) -> type[BaseModel]:
    """A model with columns of a run's table, and what is said of them in the schema."""
    of_table = {column.name: column for column in describe_columns(table)}
    fields = {column: (_KINDS[of_table[column].kind], _column(table, column)) for column in columns}
    nullable = {
        column: (kind | None if of_table[column].nullable else kind, field)
        for column, (kind, field) in fields.items()
    }
    made = cast(Any, create_model)(name, __base__=_Answered, __doc__=said, **nullable, **more)
    return cast(type[BaseModel], made)


def _columns(table: str) -> list[str]:
    return [column.name for column in describe_columns(table)]


Standing = _of_table(
    "Standing",
    "accounts",
    "What the last run says of an account: its row of accounts.parquet.",
    [name for name in ACCOUNTS.names if name not in (*MEASURE_COLUMNS, *BEHAVIOUR_COLUMNS)],
    measures=(dict[str, float | None], Field(description=_MEASURES_SAID)),
    behaviour=(dict[str, float | None], Field(description=_BEHAVIOUR_SAID)),
)
ShortStanding = _of_table(
    "ShortStanding", "accounts", "The same in short, for lookups of many accounts.", SHORT_COLUMNS
)
Flag = _of_table(
    "Flag",
    "flags",
    "An account that a person should look at, with where its evidence came from: a row of flags.parquet.",
    _columns("flags"),
)
Campaign = _of_table(
    "Campaign",
    "campaigns",
    "Accounts that are evidence together: a row of campaigns.parquet.",
    _columns("campaigns"),
)
Member = _of_table(
    "Member", "members", "An account of a campaign: a row of members.parquet.", _columns("members")
)


class LastRun(_Answered):
    """The run that an answer was read from."""

    run_id: str = Field(description="Digest of everything that its tables depend on.")
    created: str = Field(description="When its tables were finished, ISO 8601 in UTC.")
    day: date | None = Field(description="The day that it counted; null for a run without state.")
    config_id: str = Field(description="Digest of its config.")


class StandingResponse(_Answered):
    """The standing of one account."""

    run: LastRun
    account: Standing  # type: ignore[valid-type]


class LookupResponse(_Answered):
    """The standing of many accounts."""

    run: LastRun
    accounts: list[ShortStanding] = Field(description="Each once, by account_id.")  # type: ignore[valid-type]
    unknown: list[str] = Field(description="Ids that the run judged no account of, in the request's order.")


class FlagsResponse(_Answered):
    """Flags after a cursor."""

    run: LastRun
    flags: list[Flag] = Field(description="By account_id.")  # type: ignore[valid-type]
    cursor: str = Field(
        description="Give it as `since` the next time. After a newer run, its flags come from the first on."
    )
    left: int = Field(description="Flags after these.")


class CampaignsResponse(_Answered):
    """All campaigns of the last run."""

    run: LastRun
    campaigns: list[Campaign] = Field(description="The gravest first.")  # type: ignore[valid-type]


class CampaignResponse(_Answered):
    """A campaign with its members."""

    run: LastRun
    campaign: Campaign  # type: ignore[valid-type]
    members: list[Member] = Field(description="By account_id.")  # type: ignore[valid-type]


class Readiness(_Answered):
    """That requests may be sent here."""

    status: Literal["ready"]


class Health(_Answered):
    """That the service is up, and what it judges with."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "version": __version__,
                    "encoder": "static",
                    "encoder_id": "9f2c…",
                    "atlas_id": "41ab…",
                    "model_id": "d07e…",
                    "second": None,
                    "config_id": "5be1…",
                }
            ]
        }
    )

    status: Literal["ok"]
    version: str
    encoder: str
    encoder_id: str
    atlas_id: str
    model_id: str | None
    second: Stage | None = Field(description=_SECOND)
    config_id: str
