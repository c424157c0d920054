"""LMSYS-Chat's conversations: a row holds all turns of one, without account or time."""

from collections.abc import Iterator

from coverage_lab.traffic.chat import conversation_of
from coverage_lab.traffic.formats.format import Format, Record, Row, first, has


def _recognises(record: Record) -> bool:
    return has(record, "conversation", "conversation_id")


def _rows(record: Record) -> Iterator[Row]:
    for request in conversation_of(record.get("conversation")):
        yield {
            "account_id": first(record, "user_id", "account_id"),
            "timestamp": first(record, "timestamp", "tstamp"),
            "prompt": request,
            "session": record.get("conversation_id"),
        }


FORMAT = Format(
    name="lmsys",
    title="LMSYS-Chat conversations",
    documented="https://huggingface.co/datasets/lmsys/lmsys-chat-1m",
    recognises=_recognises,
    rows=_rows,
)
