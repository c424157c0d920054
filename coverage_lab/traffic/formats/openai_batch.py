"""Input files of OpenAI's Batch API: a line a request; account and time are not in them."""

from collections.abc import Iterator, Mapping

from coverage_lab.traffic.formats.format import USERS, Format, Record, Row, asked, first, has


def _recognises(record: Record) -> bool:
    return has(record, "custom_id", "body") and isinstance(record["body"], Mapping)


def _rows(record: Record) -> Iterator[Row]:
    body = record.get("body")
    if "embeddings" in str(record.get("url")) or "moderations" in str(record.get("url")):
        return
    yield {
        "account_id": first(body, *USERS),
        "timestamp": first(record, "created_at", "timestamp"),
        "prompt": asked(body),
        "request_id": record.get("custom_id"),
    }


FORMAT = Format(
    name="openai-batch",
    title="an OpenAI batch input file",
    documented="https://platform.openai.com/docs/guides/batch",
    recognises=_recognises,
    rows=_rows,
)
