"""Helicone's export of requests."""

from collections.abc import Iterator

from coverage_lab.traffic.formats.format import Format, Record, Row, asked, first, has


def _recognises(record: Record) -> bool:
    return has(record, "request_created_at", "request_body")


def _rows(record: Record) -> Iterator[Row]:
    yield {
        "account_id": first(record, "request_user_id", "user_id", "request_auth_hash"),
        "timestamp": first(record, "request_created_at"),
        "prompt": asked(record.get("request_body")),
        "request_id": record.get("request_id"),
        "session": first(record, "request_properties.Helicone-Session-Id", "request_session_id"),
        "tokens_in": record.get("prompt_tokens"),
        "tokens_out": record.get("completion_tokens"),
    }


FORMAT = Format(
    name="helicone",
    title="Helicone's request export",
    documented="https://docs.helicone.ai/rest/request/post-v1requestquery",
    recognises=_recognises,
    rows=_rows,
)
