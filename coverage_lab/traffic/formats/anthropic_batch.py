"""Requests of Anthropic's Message Batches API: a line a request, or the list under `requests`."""

from collections.abc import Iterator, Mapping

from coverage_lab.traffic.formats.format import Format, Record, Row, asked, first, has


def _recognises(record: Record) -> bool:
    return has(record, "custom_id", "params") and isinstance(record["params"], Mapping)


def _rows(record: Record) -> Iterator[Row]:
    body = record.get("params")
    yield {
        "account_id": first(body, "metadata.user_id"),
        "timestamp": first(record, "created_at", "timestamp"),
        "prompt": asked(body),
        "request_id": record.get("custom_id"),
    }


FORMAT = Format(
    name="anthropic-batch",
    title="an Anthropic message batch",
    documented="https://docs.anthropic.com/en/api/creating-message-batches",
    recognises=_recognises,
    rows=_rows,
)
