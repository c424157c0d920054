"""What is answered; the words and numbers are those of `coverage_lab.schema`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from coverage_lab import __version__
from coverage_lab.schema import ARCHETYPES


class _Answered(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TopCell(_Answered):
    """A cell that an account stands out in."""

    level: str = Field(description="coarse, middle or fine.")
    cell: int
    label: str = Field(description="Words of the cell, for people.")
    prompts: int = Field(description="The account's prompts in it.")
    share: float = Field(description="The same as a share of the account's prompts, 0..1.")
    reference_share: float = Field(description="Share of ordinary traffic in it, 0..1.")


class AccountScore(_Answered):
    """What `coverage-lab run` says of an account with these prompts."""

    account_id: str
    prompts: int = Field(description="Usable prompts, the ones that were judged.")
    first_seen: datetime
    last_seen: datetime
    end_users: int = Field(description="Distinct end users named; 0 = none named.")
    sessions: int = Field(description="Distinct sessions named; 0 = none named.")
    score: float | None = Field(
        description="0..1, higher = more like harvesting; null where no scorecard fits the atlas."
    )
    p_value: float | None = Field(
        description="Conformal p-value against benign accounts of similar size; null as for score."
    )
    style_points: float | None = Field(
        description="What the style of the prompts adds to the score's log-odds, any sign; null as for score."
    )
    wording_points: float | None = Field(
        description="The same of the prompts' opening words; null as for score."
    )
    verdict: str = Field(description="clear, watch, review or inconclusive: for a person to decide on.")
    archetype: str = Field(description=f"Likeliest explanation: {', '.join(ARCHETYPES)}.")
    archetype_probability: float | None = Field(
        description="The model's probability of `archetype`, 0..1; null where it is unknown, or decided by "
        "the end users named."
    )
    p_today: None = Field(
        description="Always null here: a request is one look, and `p_value` is that look's. A run with state "
        "has both."
    )
    q_value: None = Field(
        description="Always null here: a p-value is adjusted among all accounts of a run, and a request has "
        "only some. Adjust those of a day together (Benjamini-Hochberg), or use `coverage-lab run`."
    )
    harvested_share: float | None = Field(
        description="Estimated share of the account's prompts that is harvested, 0..1; null where no "
        "scorecard can tell."
    )
    harvested_share_low: float | None = Field(description="Lower end of its 90% interval.")
    harvested_share_high: float | None = Field(description="Upper end of its 90% interval.")
    score_without_top_cells: float | None = Field(
        description="The score if the prompts in its three top fine cells had not been sent: the measures of "
        "coverage computed without them, style, wording and build as they are. Null unless the p-value is at "
        "most `watch_p` and enough prompts are left."
    )
    reasons: list[str] = Field(description="What moved the score, in sentences.")
    atlas_id: str = Field(description="Of the atlas that every number here was made with.")
    measures: dict[str, float | None] = Field(
        description="Every measure by name; null where it is not defined (too few prompts)."
    )
    top_cells: list[TopCell]


class QuarantinedPrompt(_Answered):
    """A prompt that could not be used."""

    account_id: str
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
