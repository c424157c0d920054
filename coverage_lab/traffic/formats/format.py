"""What a format is, and how it gets at values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
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
    return _under(record, _keys(path))


def _under(value: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
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
            value = _under(value, keys[1:])
        if value is not None and value != "":
            return value
    return None


def has(record: Record, *names: str) -> bool:
    """Whether a record has all these keys."""
    return all(map(record.__contains__, names))


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


#: One place where a value can lie: which of request, record and response; the key; keys below it.
_Candidates = tuple[tuple[int, str, tuple[str, ...]], ...]
_REQUEST, _RECORD, _RESPONSE = 0, 1, 2
_ASKED_FIRST, _TOLD_FIRST = (_REQUEST, _RECORD, _RESPONSE), (_RESPONSE, _REQUEST, _RECORD)
_OTHER_TIMES = "time of the request or the response"


@lru_cache(maxsize=1_024)
def _places(
    request: tuple[str, ...], record: tuple[str, ...], response: tuple[str, ...]
) -> tuple[tuple[str, _Candidates], ...]:
    """Where the columns can lie in an exchange with these keys, so that what is absent is not looked for."""
    present = tuple(map(frozenset, (request, record, response)))

    def candidates(order: tuple[int, ...], paths: tuple[str, ...]) -> _Candidates:
        return tuple(
            (place, keys[0], keys[1:])
            for place in order
            for keys in map(_keys, paths)
            if keys[0] in present[place]
        )

    return (
        ("account_id", candidates(_ASKED_FIRST, USERS)),
        ("timestamp", candidates((_RECORD,), TIMES)),
        (_OTHER_TIMES, candidates(_TOLD_FIRST, TIMES)),
        ("request_id", candidates(_TOLD_FIRST, ("id", "request_id", "requestId"))),
        ("session", candidates(_ASKED_FIRST, SESSIONS)),
        ("tokens_in", candidates(_TOLD_FIRST, TOKENS_IN)),
        ("tokens_out", candidates(_TOLD_FIRST, TOKENS_OUT)),
    )


def exchange(record: Record, request: Record, response: Record) -> Row:
    """Row of a request and its response, either of which may be the record itself."""
    places = request, record, response
    row: Row = {"prompt": asked(request)}
    for name, candidates in _places(tuple(request), tuple(record), tuple(response)):
        for place, key, below in candidates:
            value = places[place][key]
            if below:
                value = _under(value, below)
            if value is not None and value != "":
                row[name] = value
                break
    row["timestamp"] = row.get("timestamp") or row.get(_OTHER_TIMES)
    return row


#: Keys under which logs keep the two halves of an exchange.
REQUESTS = (
    "request.body",
    "request",
    "request_body",
    "requestBody",
    "req.body",
    "req",
    "body",
    "input.inputBodyJson",
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


_Paths = tuple[tuple[str, tuple[str, ...]], ...]


@lru_cache(maxsize=1_024)
def _among(names: tuple[str, ...]) -> tuple[_Paths, _Paths]:
    """Paths of a request and of a response that can lead somewhere in a record with these keys."""
    present = frozenset(names)
    requests, responses = (
        tuple((keys[0], keys[1:]) for keys in map(_keys, paths) if keys[0] in present)
        for paths in (REQUESTS, RESPONSES)
    )
    return requests, responses


def _object_at(record: Record, key: str, below: tuple[str, ...]) -> dict[str, Any] | None:
    value = record[key]
    if below:
        value = _under(value, below)
    if type(value) is str:
        value = parsed(value)
    return value if isinstance(value, dict) else None


def body_of(record: Record, *keys: str) -> Record | None:
    """The request's body: the record itself, or what lies under one of `REQUESTS`, with all of these keys."""
    if has(record, *keys):
        return record
    for key, below in _among(tuple(record))[0]:
        candidate = _object_at(record, key, below)
        if candidate is not None and has(candidate, *keys):
            return candidate
    return None


def answer_of(record: Record) -> Record:
    """The response's body; the record itself where it has none apart."""
    for key, below in _among(tuple(record))[1]:
        found = _object_at(record, key, below)
        if found is not None:
            return found
    return record
