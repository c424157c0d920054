"""Arize Phoenix' spans (OpenInference), flat columns (`attributes.llm.input_messages`) or nested."""

from collections.abc import Iterator

from coverage_lab.traffic.chat import request_of
from coverage_lab.traffic.formats.format import Format, Record, Row, asked, at


def _recognises(record: Record) -> bool:
    return _at(record, "span_kind") is not None and (
        _at(record, "attributes.llm.input_messages") is not None
        or _at(record, "attributes.input.value") is not None
    )


def _at(record: Record, path: str) -> object:
    """Value of the column of this name, or at this path."""
    return record[path] if path in record else at(record, path)


def _rows(record: Record) -> Iterator[Row]:
    if str(_at(record, "span_kind")).upper() != "LLM":
        return
    value = _at(record, "attributes.input.value")
    messages = request_of(_at(record, "attributes.llm.input_messages"))
    yield {
        "account_id": _at(record, "attributes.user.id"),
        "timestamp": _at(record, "start_time"),
        "prompt": messages or asked(value) or value,
        "request_id": _at(record, "context.span_id"),
        "session": _at(record, "attributes.session.id"),
        "tokens_in": _at(record, "attributes.llm.token_count.prompt"),
        "tokens_out": _at(record, "attributes.llm.token_count.completion"),
    }


FORMAT = Format(
    name="phoenix",
    title="Arize Phoenix spans",
    documented="https://arize-ai.github.io/openinference/spec/semantic_conventions.html",
    recognises=_recognises,
    rows=_rows,
)
