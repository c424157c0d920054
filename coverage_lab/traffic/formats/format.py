"""What a format is, and how it gets at values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from coverage_lab.traffic.chat import Request, parsed, request_of

Record = Mapping[str, Any]
#: Our column names to raw values; `prompt` is text or a `Request`. What is absent is null.
Row = dict[str, object]


@dataclass(frozen=True)
class Format:
    """One logged shape of requests.

    Attributes
    ----------
    name : str
        As `traffic.format` has it.
    title : str
        Whose log it is, for people.
    documented : str
        Where the shape is described.
    recognises : callable
        Whether a record can be of this shape.
    rows : callable
        The prompts of a record; none where it is no request for text (a span of another kind, an embedding).
    """

    name: str
    title: str
    documented: str
    recognises: Callable[[Record], bool]
    rows: Callable[[Record], Iterable[Row]]


@cache
def _keys(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def at(record: object, path: str) -> Any:
    """Value at dotted keys; JSON text on the way is looked into; None where nothing is."""
    value: Any = record
    for key in _keys(path):
        if type(value) is not dict:
            value = parsed(value)
            if not isinstance(value, dict):
                return None
        value = value.get(key)
        if value is None:
            return None
    return value


def first(record: object, *paths: str) -> Any:
    """Value at the first path that has one; blank text is none."""
    if type(record) is not dict:
        record = parsed(record)
        if not isinstance(record, dict):
            return None
    for path in paths:
        keys = _keys(path)
        value = record.get(keys[0])
        if value is not None and len(keys) > 1:  # most keys of most records are absent
            value = at(record, path)
        if value is not None and value != "":
            return value
    return None


def has(record: Record, *names: str) -> bool:
    """Whether a record has all these keys."""
    return all(name in record for name in names)


def asked(body: object, *, system: object = None) -> Request | str | None:
    """What a request body asks: its messages, or the text of an old completion."""
    found = request_of(body, system=system)
    if found is not None:
        return found
    prompt = first(body, "prompt")
    return prompt if isinstance(prompt, str) else None


#: Where bodies and wrappers name their user, time, id and tokens.
USERS = ("user", "safety_identifier", "metadata.user_id", "user_id", "userId", "account_id")
TIMES = ("created", "created_at", "createdAt", "timestamp", "time", "ts", "request_time", "start_time")
TOKENS_IN = ("usage.prompt_tokens", "usage.input_tokens", "prompt_tokens", "input_tokens")
TOKENS_OUT = ("usage.completion_tokens", "usage.output_tokens", "completion_tokens", "output_tokens")
SESSIONS = (
    "session_id",
    "sessionId",
    "conversation_id",
    "conversation.id",
    "thread_id",
    "metadata.session_id",
)


def exchange(record: Record, request: object, response: object) -> Row:
    """Row of a request and its response, either of which may be the record itself."""

    asked_first, told_first = (request, record, response), (response, request, record)

    def found(*paths: str, response_first: bool = False) -> Any:
        for place in told_first if response_first else asked_first:
            if (value := first(place, *paths)) is not None:
                return value
        return None

    return {
        "account_id": found(*USERS),
        "timestamp": first(record, *TIMES) or found(*TIMES, response_first=True),
        "prompt": asked(request),
        "request_id": found("id", "request_id", "requestId", response_first=True),
        "session": found(*SESSIONS),
        "tokens_in": found(*TOKENS_IN, response_first=True),
        "tokens_out": found(*TOKENS_OUT, response_first=True),
    }


#: Keys under which logs keep the two halves of an exchange.
REQUESTS = (
    "request.body",
    "request",
    "request_body",
    "requestBody",
    "req.body",
    "req",
    "body",
    "input",
    "kwargs",
)
RESPONSES = (
    "response.body",
    "response",
    "response_body",
    "responseBody",
    "res.body",
    "res",
    "output",
    "result",
)


def body_of(record: Record, *keys: str) -> Record | None:
    """The request's body: the record itself, or what lies under one of `REQUESTS`, with all of these keys."""
    if has(record, *keys):
        return record
    for path in REQUESTS:
        candidate = parsed(first(record, path))
        if isinstance(candidate, dict) and has(candidate, *keys):
            return candidate
    return None


def answer_of(record: Record) -> Record:
    """The response's body; the record itself where it has none apart."""
    for path in RESPONSES:
        found = parsed(first(record, path))
        if isinstance(found, dict):
            return found
    return record
