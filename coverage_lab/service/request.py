"""What is asked: bytes → accounts with their rows, refusing what can't be that without repeating it.

Structure is checked here (422). The values of a prompt's row are checked by the code that `run` checks
rows with, so that a bad row is quarantined with the same reason on both ways.

A body is decoded into typed structs, so that one of another shape is refused where it first departs from it.
What a reader of JSON can be made to hold is bounded before: a body of millions of empty lists, objects or
texts is refused by walking it, which holds nothing and lets other threads go on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from coverage_lab.config import ServiceConfig
from coverage_lab.service.refusal import RefusalError

_T = TypeVar("_T")
_Text = Annotated[object, WithJsonSchema({"type": "string"})]
_OptionalText = Annotated[object, WithJsonSchema({"type": ["string", "null"], "default": None})]
_OptionalCount = Annotated[
    object, WithJsonSchema({"type": ["integer", "null"], "minimum": 0, "default": None})
]

#: What an account costs besides its prompts, in prompts: measuring and judging it.
ACCOUNT_COST: Final = 15
#: Accounts of one lookup.
MOST_IDS: Final = 100_000
#: Lists and objects within rows, for each prompt that a request may have: messages of a conversation.
_NESTED: Final = 2
#: Texts, for each prompt that a request may have: a row has ten names and values, a message four.
_TEXTS: Final = 64
#: Bytes of values that are lists or objects.
_NESTED_BYTES: Final = 4 * 2**20

_BOM: Final = b"\xef\xbb\xbf"
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{\[\]}]', re.S)
#: Half a surrogate pair as JSON spells it. One that an escaped backslash makes look paired is not found:
#: such a body is refused.
_HALF_A_PAIR: Final = re.compile(
    rb"((?<!\\)(?:\\\\)*+)(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_MOST_HALVES: Final = 10_000
_REPLACEMENT: Final = "\ufffd"
#: Where the decoder says that a value is; told after the client's own words, so nothing else is a place.
_PLACE: Final = re.compile(
    r" - at `\$(\.accounts(?:\[\d+\](?:\.account_id|\.prompts(?:\[\d+\](\.[a-z_]+)?)?)?)?)`\Z"
)
_UNKNOWN_KEY: Final = "Object contains unknown field `"
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_KIND: Final = {"object": "an object", "array": "a list", "str": "text"}


class PromptRow(BaseModel):
    """One prompt. A row with an unusable value comes back in `quarantined`; the others are scored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: _Text = Field(
        default=None, description="The request's text. A row without one is quarantined, as `run` does it."
    )
    timestamp: _Text = Field(
        default=None,
        description="ISO 8601 with a time zone, or seconds since 1970; not in the future. A row without one "
        "is quarantined.",
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


class AccountPrompts(BaseModel):
    """An account with all prompts that it is to be judged by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    account_id: str = Field(min_length=1, description="Unique within the request.")
    prompts: tuple[PromptRow, ...] = Field(min_length=1, description="In any order.")


class ScoreRequest(BaseModel):
    """Accounts to score. What is answered for one does not depend on the others."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
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
        },
    )

    accounts: tuple[AccountPrompts, ...] = Field(min_length=1)


class LookupRequest(BaseModel):
    """Accounts whose standing is asked for."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"account_ids": ["acct-0042", "acct-7"]}]},
    )

    account_ids: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1, max_length=MOST_IDS, description="One given twice is answered once."
    )


@dataclass(frozen=True)
class AskedAccount:
    """An account of a request.

    Attributes
    ----------
    rows : sequence of mappings
        By the names of `PromptRow`; their values may be anything.
    """

    account_id: str
    rows: Sequence[Mapping[str, object]]

    @property
    def cost(self) -> int:
        """Work that it makes, in prompts."""
        return ACCOUNT_COST + len(self.rows)


_Row = msgspec.defstruct(
    "_Row",
    [(name, str | int | float | bool | None, None) for name in PromptRow.model_fields],
    forbid_unknown_fields=True,
    gc=False,
)
#: The same with values as they were sent: read one by one where any is a list, an object or an odd number.
_RawRow = msgspec.defstruct(
    "_RawRow",
    [(name, msgspec.Raw, msgspec.Raw(b"null")) for name in PromptRow.model_fields],
    forbid_unknown_fields=True,
)
_AtLeastOne: Final = msgspec.Meta(min_length=1)


def _decoder(row: type[Any]) -> msgspec.json.Decoder[Any]:
    account = msgspec.defstruct(
        "_Account",
        [("account_id", Annotated[str, _AtLeastOne]), ("prompts", Annotated[list[row], _AtLeastOne])],  # type: ignore[valid-type]
        forbid_unknown_fields=True,
    )
    request = msgspec.defstruct(
        "_Request",
        [("accounts", Annotated[list[account], _AtLeastOne])],  # type: ignore[valid-type]
        forbid_unknown_fields=True,
    )
    return msgspec.json.Decoder(request)


_PLAIN: Final = _decoder(_Row)
_RAW: Final = _decoder(_RawRow)
_KNOWN: Final = {
    "accounts": ("accounts",),
    "prompts": ("account_id", "prompts"),
    "": tuple(PromptRow.model_fields),
}


def parse_request(body: bytes, limits: ServiceConfig) -> list[AskedAccount]:
    """Turn a body into the accounts that it asks about.

    Raises
    ------
    RefusalError
        400: not UTF-8 or not JSON. 413: too many accounts, prompts or values. 422: another structure, a key
        that nobody asked for, an account given twice.
    """
    body = body.removeprefix(_BOM)
    # Enough for any request: what has more than this may be text with many braces, or too many rows.
    if body.count(b"{") + body.count(b"[") > limits.max_prompts:
        _walk(body, limits)
    halves = False
    try:
        request = _decode(_PLAIN, body)
    except _HalfAPairError:
        body, halves = _without_halves(body), True
        try:
            request = _decode(_PLAIN, body)
        except _OddValueError:
            request = _decode(_RAW, body)
    except _OddValueError:
        try:
            request = _decode(_RAW, body)
        except _HalfAPairError:
            body, halves = _without_halves(body), True
            request = _decode(_RAW, body)
    _check(request.accounts, limits, halves=halves)
    budget = _Budget()
    return [
        AskedAccount(
            account.account_id,
            [
                msgspec.structs.asdict(row) if type(row) is _Row else _values(row, budget)
                for row in account.prompts
            ],
        )
        for account in request.accounts
    ]


class _Lookup(msgspec.Struct, forbid_unknown_fields=True):
    account_ids: Annotated[list[Annotated[str, _AtLeastOne]], _AtLeastOne]


_LOOKUP: Final = msgspec.json.Decoder(_Lookup)


def parse_lookup(body: bytes) -> list[str]:
    """Turn a body into the ids that it asks about.

    Raises
    ------
    RefusalError
        400: not UTF-8 or not JSON. 413: too many ids. 422: another structure.
    """
    body = body.removeprefix(_BOM)
    try:
        ids = _LOOKUP.decode(body).account_ids
    except UnicodeDecodeError:
        raise RefusalError(400, "invalid_json", "body is not UTF-8") from None
    except RecursionError:
        raise RefusalError(400, "invalid_json", "body is nested too deeply") from None
    except msgspec.ValidationError:
        _check_utf8(body)
        raise RefusalError(
            422,
            "invalid_request",
            'expected {"account_ids": […]}, a list of one id or more, each text that is not empty',
        ) from None
    except msgspec.DecodeError:
        _check_utf8(body)
        raise RefusalError(400, "invalid_json", "body is not JSON") from None
    if len(ids) > MOST_IDS:
        raise _too_many("accounts", MOST_IDS, f", got {len(ids)}")
    return ids


class _HalfAPairError(Exception):
    """A text has half a surrogate pair."""


class _OddValueError(Exception):
    """A row's value is a list, an object, or a number that is out of range."""


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except UnicodeDecodeError:
        pass
    except RecursionError:
        raise RefusalError(400, "invalid_json", "body is nested too deeply") from None
    except msgspec.ValidationError as error:
        told = str(error)
        _check_utf8(body)
        place = _PLACE.search(told)
        # The second decoder takes any value, so what it refuses is refused for good.
        if decoder is _PLAIN and place and place[2] and not told.startswith(_UNKNOWN_KEY):
            raise _OddValueError from None
        raise RefusalError(422, "invalid_request", _structure_problem(told)) from None
    except msgspec.DecodeError as error:
        told = str(error)
        _check_utf8(body)
        # The decoder's words for half a pair depend on where it is.
        if _HALF_A_PAIR.search(body):
            raise _HalfAPairError from None
        found = re.search(r"\(byte \d+\)$", told)
        where = found[0] if found else "(it ends too early)"
        raise RefusalError(400, "invalid_json", f"body is not JSON {where}") from None
    _check_utf8(body)
    raise RefusalError(400, "invalid_json", "body is not UTF-8")


def _check_utf8(body: bytes) -> None:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusalError(400, "invalid_json", f"body is not UTF-8 (byte {error.start})") from None


def _without_halves(body: bytes) -> bytes:
    """Put U+FFFD in the place of each half of a surrogate pair, as `run` does."""
    mended, count = _HALF_A_PAIR.subn(rb"\1\\ufffd", body, count=_MOST_HALVES)
    if not 0 < count < _MOST_HALVES:
        raise RefusalError(400, "invalid_json", "body is not JSON (halves of surrogate pairs)")
    return mended


def _structure_problem(told: str) -> str:
    """The decoder's words in ours: where, and what was expected. A key is named where it looks like one."""
    place = _PLACE.search(told)
    if place and place[2] and told.startswith(_UNKNOWN_KEY):
        place = None  # a value has no keys, so the key itself looks like a place
    said, path = (told[: place.start()], place[1]) if place else (told, "")
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", path)
    where = ".".join(name or number for name, number in steps) or "body"
    if said.startswith(_UNKNOWN_KEY):
        name = said.removeprefix(_UNKNOWN_KEY).removesuffix("`")
        named = f" '{name}'" if _PLAIN_NAME.fullmatch(name) else ""
        level = len([1 for step, _ in steps if step])
        known = ", ".join(list(_KNOWN.values())[level])
        return f"{where}: unknown key{named}; known are {known}"
    if found := re.fullmatch(r"Object missing required field `(\w+)`", said):
        return f"{where}.{found[1]}: is required" if where != "body" else f"{found[1]}: is required"
    if said.startswith("Expected `array` of length"):
        return f"{where}: expected at least one item"
    if said.startswith("Expected `str` of length"):
        return f"{where}: expected text that is not empty"
    if found := re.match(r"Expected `(\w+)`", said):
        return f"{where}: expected {_KIND.get(found[1], found[1])}"
    return f"{where}: expected an object"


def _check(accounts: Sequence[Any], limits: ServiceConfig, *, halves: bool) -> None:
    if len(accounts) > limits.max_accounts:
        raise _too_many("accounts", limits.max_accounts, f", got {len(accounts)}")
    prompts = sum(len(account.prompts) for account in accounts)
    if prompts > limits.max_prompts:
        raise _too_many("prompts", limits.max_prompts, f", got {prompts}")
    first: dict[str, int] = {}
    for position, account in enumerate(accounts):
        if halves and _REPLACEMENT in account.account_id:
            raise RefusalError(
                422,
                "invalid_request",
                f"accounts.{position}.account_id: expected text, got half a surrogate pair",
            )
        earlier = first.setdefault(account.account_id, position)
        if earlier != position:
            raise RefusalError(
                422,
                "invalid_request",
                f"accounts: account_id of number {position} is that of number {earlier}; give each account "
                "once",
            )


def _walk(body: bytes, limits: ServiceConfig) -> None:
    """Count accounts, rows and values without making any; stops at the first that is one too many."""
    depth = accounts = rows = others = texts = 0
    for found in _TOKEN.finditer(body):
        token = body[found.start()]
        if token == 0x22:  # a text
            texts += 1
            if texts > _TEXTS * (limits.max_prompts + limits.max_accounts):
                raise _too_many_values()
        elif token in b"{[":
            depth += 1
            accounts += depth == 3
            rows += depth == 5
            others += depth not in (3, 5)
            if accounts > limits.max_accounts:
                raise _too_many("accounts", limits.max_accounts)
            if rows > limits.max_prompts:
                raise _too_many("prompts", limits.max_prompts)
            if others > _NESTED * (limits.max_prompts + limits.max_accounts):
                raise _too_many_values()
        else:
            depth -= 1


def _too_many(what: str, most: int, got: str = "") -> RefusalError:
    return RefusalError(413, f"too_many_{what}", f"expected at most {most} {what}{got}")


def _too_many_values() -> RefusalError:
    return RefusalError(
        413, "too_many_values", "expected rows of plain values; these hold too many lists, objects or texts"
    )


class _Budget:
    """Bytes of lists and objects that a request may still have."""

    def __init__(self) -> None:
        self._left = _NESTED_BYTES

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _too_many_values()


def _values(row: object, budget: _Budget) -> dict[str, object]:
    return {name: _value(bytes(raw), budget) for name, raw in msgspec.structs.asdict(row).items()}  # type: ignore[arg-type]


def _value(raw: bytes, budget: _Budget) -> object:
    if raw[:1] in (b"[", b"{"):
        budget.take(len(raw))
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise RefusalError(400, "invalid_json", "body is nested too deeply") from None
    except msgspec.DecodeError:
        # Its syntax was checked: a number that is out of range, alone or within a list.
        return float(raw) if raw[:1] in b"-0123456789" else None
