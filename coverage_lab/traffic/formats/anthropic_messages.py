"""Anthropic's Messages API, with or without its answers."""

from collections.abc import Iterator

from coverage_lab.traffic.formats.format import Format, Record, Row, answer_of, body_of, exchange, first


def is_anthropic(record: Record, body: Record) -> bool:
    """Whether a body with messages is for Anthropic's API rather than for OpenAI's."""
    if str(first(body, "model")).rsplit("/", 1)[-1].startswith("claude") and "max_tokens" in body:
        return True
    return "system" in body or first(answer_of(record), "type") == "message" or "anthropic_version" in body


def _recognises(record: Record) -> bool:
    body = body_of(record, "messages")
    return body is not None and isinstance(body["messages"], list | str) and is_anthropic(record, body)


def _rows(record: Record) -> Iterator[Row]:
    body = body_of(record, "messages") or record
    yield exchange(record, body, answer_of(record))


FORMAT = Format(
    name="anthropic-messages",
    title="Anthropic messages",
    documented="https://docs.anthropic.com/en/api/messages",
    recognises=_recognises,
    rows=_rows,
)
