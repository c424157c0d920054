"""Kong's log of requests through its AI plugins (`log_payloads` on)."""

from collections.abc import Iterator, Mapping
from typing import Any

from coverage_lab.traffic.formats.format import Format, Record, Row, asked, first


def _plugins(record: Record) -> list[Mapping[str, Any]]:
    """What each AI plugin logged: `ai.proxy`, before Kong 3.7 `ai.ai-proxy`."""
    ai = record.get("ai")
    return [one for one in ai.values() if isinstance(one, Mapping)] if isinstance(ai, Mapping) else []


def _recognises(record: Record) -> bool:
    return "started_at" in record and bool(_plugins(record))


def _rows(record: Record) -> Iterator[Row]:
    for plugin in _plugins(record):
        payload = first(plugin, "payload.request")
        if payload is None:
            continue
        yield {
            "account_id": first(record, "consumer.id", "consumer.username", "authenticated_entity.id"),
            "timestamp": record.get("started_at"),
            "prompt": asked(payload) or payload,
            "request_id": first(record, "request.id", "request.headers.x-request-id"),
            "tokens_in": first(plugin, "usage.prompt_tokens"),
            "tokens_out": first(plugin, "usage.completion_tokens"),
        }
        return


FORMAT = Format(
    name="kong",
    title="Kong's AI log",
    documented="https://developer.konghq.com/ai-gateway/ai-audit-log-reference/",
    recognises=_recognises,
    rows=_rows,
)
