"""WildChat's conversations: a row holds all turns of one; each user turn is a prompt."""

from collections.abc import Iterator, Mapping

from coverage_lab.traffic.chat import conversation_of, parsed
from coverage_lab.traffic.formats.format import Format, Record, Row, first, has


def _recognises(record: Record) -> bool:
    return has(record, "conversation", "conversation_hash")


def _rows(record: Record) -> Iterator[Row]:
    inner = parsed(record.get("conversation"))
    turns = [turn for turn in inner if isinstance(turn, Mapping)] if isinstance(inner, list) else []
    theirs = [turn for turn in turns if turn.get("role") == "user"]
    asked = conversation_of(turns)
    for at, request in enumerate(asked):
        turn = theirs[at] if len(theirs) == len(asked) else {}
        yield {
            "account_id": first(turn, "hashed_ip") or first(record, "hashed_ip"),
            "timestamp": first(turn, "timestamp") or first(record, "timestamp"),
            "prompt": request,
            "session": record.get("conversation_hash"),
        }


FORMAT = Format(
    name="wildchat",
    title="WildChat conversations",
    documented="https://huggingface.co/datasets/allenai/WildChat-1M",
    recognises=_recognises,
    rows=_rows,
)
