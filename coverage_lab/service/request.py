"""What is asked: bytes → a checked request, refusing what can't be one without repeating what it says.

Structure is checked here (422). The values of a prompt's row are checked by the code that `run` checks
rows with, so that a bad row is quarantined with the same reason on both ways.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, NoReturn

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from coverage_lab.service.limits import Limits
from coverage_lab.service.refusal import RefusalError

_Text = Annotated[object, WithJsonSchema({"type": "string"})]
_OptionalText = Annotated[object, WithJsonSchema({"type": ["string", "null"], "default": None})]
_OptionalCount = Annotated[
    object, WithJsonSchema({"type": ["integer", "null"], "minimum": 0, "default": None})
]

#: pydantic's problems in the words of JSON; its own are of Python and may change.
_WORDS: Final = {
    "missing": "is required",
    "model_type": "expected an object",
    "tuple_type": "expected a list",
    "too_short": "expected at least one item",
    "string_type": "expected text",
    "string_too_short": "expected text that is not empty",
    "string_unicode": "expected text, got half a surrogate pair",
}
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: object) -> object:
        # Stops at the first, where `extra` would collect millions of a hostile body's, and names it only
        # where it looks like the name of a field: a key could be text.
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    named = f" '{key}'" if isinstance(key, str) and _PLAIN_NAME.fullmatch(key) else ""
                    known = ", ".join(cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key{named}; known are {known}",
                        {"named": named, "known": known},
                    )
        return value


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


class PromptRow(_Asked):
    """One prompt. A row with an unusable value comes back in `quarantined`; the others are scored."""

    model_config = ConfigDict(json_schema_extra={"required": ["prompt", "timestamp"]})

    # Required to be usable, not to be asked: a row without is quarantined, as `run` does it.
    prompt: _Text = Field(default=None, description="The request's text.", json_schema_extra=_without_default)
    timestamp: _Text = Field(
        default=None,
        description="ISO 8601 with a time zone; not in the future.",
        json_schema_extra=_without_default,
    )
    request_id: _OptionalText = Field(
        default=None,
        description="A row that repeats an earlier request_id of its account (by timestamp, then by place) "
        "is quarantined.",
    )
    session: _OptionalText = Field(default=None, description="Session that the prompt belongs to.")
    end_user: _OptionalText = Field(
        default=None, description="The account's own user; many of them make an account multi-tenant."
    )
    tokens_in: _OptionalCount = Field(default=None, description="Tokens of the prompt.")
    tokens_out: _OptionalCount = Field(default=None, description="Tokens of the answer.")
    network_hash: _OptionalText = Field(default=None, description="Hashed network.")
    payment_hash: _OptionalText = Field(default=None, description="Hashed means of payment.")
    system_prompt_hash: _OptionalText = Field(default=None, description="Hashed system prompt.")


class AccountPrompts(_Asked):
    """An account with all prompts that it is to be judged by."""

    account_id: str = Field(min_length=1, description="Unique within the request.")
    prompts: tuple[PromptRow, ...] = Field(min_length=1, description="In any order.")


class ScoreRequest(_Asked):
    """Accounts to score. What is answered for one does not depend on the others."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accounts": [
                        {
                            "account_id": "acct-0042",
                            "prompts": [
                                {
                                    "prompt": "Summarise this invoice in one sentence.",
                                    "timestamp": "2026-01-15T10:00:00Z",
                                    "request_id": "r-1",
                                },
                                {
                                    "prompt": "Which currency is this invoice in?",
                                    "timestamp": "2026-01-15T10:02:30+01:00",
                                    "session": "s-7",
                                    "tokens_in": 9,
                                },
                            ],
                        }
                    ]
                }
            ]
        }
    )

    accounts: tuple[AccountPrompts, ...] = Field(min_length=1)

    @field_validator("accounts")
    @classmethod
    def _unique(cls, accounts: tuple[AccountPrompts, ...]) -> tuple[AccountPrompts, ...]:
        first: dict[str, int] = {}
        for position, account in enumerate(accounts):
            earlier = first.setdefault(account.account_id, position)
            if earlier != position:
                raise PydanticCustomError(
                    "repeated_account",
                    "account_id of number {position} is that of number {earlier}; give each account once",
                    {"position": position, "earlier": earlier},
                )
        return accounts


def parse_request(body: bytes, limits: Limits) -> ScoreRequest:
    """Turn a body into a request.

    Raises
    ------
    RefusalError
        400: not UTF-8 or not JSON. 413: too many accounts or prompts. 422: another structure, a key that
        nobody asked for, an account given twice.
    """
    raw = _parsed(body)
    _check_counts(raw, limits)
    try:
        return ScoreRequest.model_validate(raw)
    except ValidationError as error:
        raise RefusalError(422, "invalid_request", _first_problem(error)) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        problem = f"body is not UTF-8 (byte {error.start})"
    except json.JSONDecodeError as error:
        problem = f"body is not JSON (line {error.lineno}, column {error.colno})"
    except ValueError:
        problem = "body is not JSON (NaN and infinities are not, nor are numbers of thousands of digits)"
    except RecursionError:
        problem = "body is nested too deeply"
    raise RefusalError(400, "invalid_json", problem)


def _check_counts(raw: object, limits: Limits) -> None:
    """Count before models are made of it; what is no list is left for the models to refuse."""
    accounts = raw.get("accounts") if isinstance(raw, dict) else None
    if not isinstance(accounts, list):
        return
    if len(accounts) > limits.max_accounts:
        raise RefusalError(
            413, "too_many_accounts", f"expected at most {limits.max_accounts} accounts, got {len(accounts)}"
        )
    prompts = sum(len(rows) for rows in map(_rows, accounts) if rows is not None)
    if prompts > limits.max_prompts:
        raise RefusalError(
            413, "too_many_prompts", f"expected at most {limits.max_prompts} prompts, got {prompts}"
        )


def _rows(account: object) -> Sequence[object] | None:
    rows = account.get("prompts") if isinstance(account, dict) else None
    return rows if isinstance(rows, list) else None


def _first_problem(error: ValidationError) -> str:
    """Where the first problem is and what it is; `input` is left out, since it may be text."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return f"{where}: {_WORDS.get(first['type'], first['msg'])}"
