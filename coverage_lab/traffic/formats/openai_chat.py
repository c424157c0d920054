"""Chat completions of OpenAI's API, and of all servers that copy it, with or without their answers."""

from collections.abc import Iterator

from coverage_lab.traffic.formats.anthropic_messages import is_anthropic
from coverage_lab.traffic.formats.format import Format, Record, Row, answer_of, body_of, exchange


def _recognises(record: Record) -> bool:
    body = body_of(record, "messages")
    return body is not None and isinstance(body["messages"], list | str) and not is_anthropic(record, body)


def _rows(record: Record) -> Iterator[Row]:
    body = body_of(record, "messages") or body_of(record, "prompt") or record
    yield exchange(record, body, answer_of(record))


FORMAT = Format(
    name="openai-chat",
    title="OpenAI chat completions",
    documented="https://platform.openai.com/docs/api-reference/chat/create",
    recognises=_recognises,
    rows=_rows,
)
