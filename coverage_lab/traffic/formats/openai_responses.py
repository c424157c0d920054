"""OpenAI's Responses API, with or without its answers."""

from collections.abc import Iterator

from coverage_lab.traffic.formats.format import Format, Record, Row, answer_of, body_of, exchange, first


def _recognises(record: Record) -> bool:
    body = body_of(record, "input", "model")
    return body is not None and "messages" not in body and "type" not in body


def _rows(record: Record) -> Iterator[Row]:
    body = body_of(record, "input") or record
    row = exchange(record, body, answer_of(record))
    yield row | {"session": row.get("session") or first(body, "conversation")}


FORMAT = Format(
    name="openai-responses",
    title="OpenAI responses",
    documented="https://platform.openai.com/docs/api-reference/responses/create",
    recognises=_recognises,
    rows=_rows,
)
