"""Files that real SDKs wrote (`tests/recorded/record.py`) all give the same accounts and prompts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from coverage_lab.config import TrafficConfig
from coverage_lab.traffic import check_sources, drop_repeated_requests, find_sources, read_traffic

RECORDED = Path(__file__).parent / "recorded"
AS_OF = datetime(2027, 1, 1, tzinfo=UTC)
#: Format -> what its file lacks, as people would say it in the config.
FILES = {
    "openai-chat": TrafficConfig(),
    "openai-responses": TrafficConfig(),
    "anthropic-messages": TrafficConfig(),
    "openai-batch": TrafficConfig(constants={"timestamp": "2026-11-27T00:00:00Z"}),
    "otel-genai": TrafficConfig(),
    "langfuse": TrafficConfig(),
}
#: Two turns an account; the third request only brings a tool's answer.
PROMPTS = [
    ("ann", "rodiqi sufo mabe tilu?"),
    ("ann", "jedi muta cetaxo gufo, please"),
    ("bob", "gudilo hagu tadita mudi"),
    ("bob", "vepeki foha rokina kice!"),
]


@pytest.mark.parametrize("name", FILES)
def test_what_a_real_sdk_wrote_is_recognised_and_read(name: str) -> None:
    config = FILES[name]
    (path,) = RECORDED.glob(f"{name}.json*")
    checked = check_sources(find_sources(path), config)
    assert checked.format == name
    batches = list(read_traffic(checked.sources, config, as_of=AS_OF))
    assert sum(batch.rows_in for batch in batches) == 6
    assert [batch.quarantined.num_rows for batch in batches] == [0]
    asked, repeated = drop_repeated_requests(pa.concat_tables([batch.good for batch in batches]), [path.name])
    assert repeated.num_rows == 0
    rows = asked.to_pylist()
    assert sorted((row["account_id"], row["prompt"]) for row in rows) == sorted(PROMPTS)
    assert len({row["session"] for row in rows}) == 2
    assert len({row["system_prompt_hash"] for row in rows} - {None}) == 1
    if name != "openai-batch":  # a request alone knows neither its answer nor when it was sent
        assert {row["tokens_in"] for row in rows} == {7}
        assert {row["tokens_out"] for row in rows} == {3}
        assert {row["timestamp"].year for row in rows} == {2026}
