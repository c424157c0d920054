"""Valid files with some bytes changed are read or refused: no crash, no row lost, bounded memory.

    python tests/test_traffic_fuzzed.py 600

does the same for as many seconds, from seeds that no run had before, and prints the seed of what fails.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import ConfigError, TrafficError
from coverage_lab.traffic import check_sources, find_sources, read_traffic

AS_OF = datetime(2027, 1, 1, tzinfo=UTC)
RECORDED = Path(__file__).parent / "recorded"
ROWS = [
    {
        "account_id": f"a{at % 3}",
        "timestamp": f"2026-01-15T00:00:{at:02}Z",
        "prompt": f"née 🌱 {at}\n",
        "tokens_in": at,
    }
    for at in range(40)
]
LINES = "".join(json.dumps(row, ensure_ascii=bool(row["tokens_in"] % 2)) + "\n" for row in ROWS).encode()
#: Bytes that mean something to one of the readers.
SIGNS = b'{}[]",:\\\n\r\t\0\x1e\xff\xed\xa0 eE-+.0123456789nutf/'
#: What a file may take beside what the process has: the decoders' buffers and a batch.
MOST_BYTES = 1_500_000_000


def _columnar(write: Callable[[pa.Table, str], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(pa.Table.from_pylist(ROWS), f"{folder}/x")
        return Path(folder, "x").read_bytes()


def originals() -> dict[str, bytes]:
    """Valid files by their name."""
    csv = "account_id,timestamp,prompt\n" + "".join(
        f'{row["account_id"]},{row["timestamp"]},"{row["prompt"]}"\n' for row in ROWS
    )
    log = "".join(
        f"INFO 01-15 00:01:{at:02} [logger.py:39] Received request r{at}: prompt: 'said {at}', params: x\n"
        for at in range(20)
    )
    return {
        "lines.jsonl": LINES,
        "array.json": json.dumps(ROWS).encode(),
        "pretty.json": json.dumps(ROWS, indent=1).encode(),
        "wrapped.json": json.dumps({"data": ROWS}).encode(),
        "marked.jsonl": b"".join(b"\x1e" + line + b"\n" for line in LINES.splitlines()),
        "gzip.jsonl.gz": gzip.compress(LINES),
        "zstd.jsonl.zst": pa.compress(LINES, "zstd", asbytes=True),
        "bzip2.jsonl.bz2": bz2.compress(LINES),
        "xz.jsonl.xz": lzma.compress(LINES),
        "table.csv": csv.encode(),
        "vllm.log": log.encode(),
        "a.parquet": _columnar(pq.write_table),
        "b.feather": _columnar(pa.feather.write_feather),
        **{path.name: path.read_bytes() for path in sorted(RECORDED.glob("*.json*"))},
    }


def changed(content: bytes, pick: random.Random) -> bytes:
    """Content with one to eight changes of the kinds that disks, tools and people make."""
    data = bytearray(content)
    for _ in range(pick.randint(1, 8)):
        at = pick.randrange(len(data) + 1)
        match pick.randrange(6):
            case 0:
                data[at : at + 1] = bytes([pick.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([pick.choice(SIGNS)])
            case 2:
                data[at:at] = bytes(pick.choices(SIGNS, k=pick.randint(1, 6)))
            case 3:
                del data[at : at + pick.randint(1, 40)]
            case 4:  # a piece comes twice
                data[at:at] = data[at : at + pick.randint(1, 200)]
            case _:
                if pick.random() < 0.2:  # the end is missing
                    del data[at:]
    return bytes(data)


def read(path: Path) -> None:
    """Read a file as a run does; raises what a user may not see."""
    refused = "refused"
    config = TrafficConfig(constants={"timestamp": "2026-01-15T00:00:00Z", "account_id": "given"})
    try:
        sources = check_sources(find_sources(path), config).sources
        for batch in read_traffic(sources, config, as_of=AS_OF):
            # That rows add up, TrafficBatch itself holds.
            batch.good.validate(full=True)
            batch.quarantined.validate(full=True)
    except (TrafficError, ConfigError) as error:
        refused = str(error)
    assert refused
    assert "\n" not in refused


def fuzz(name: str, content: bytes, seeds: range, folder: Path) -> None:
    for seed in seeds:
        path = folder / name
        path.write_bytes(changed(content, random.Random(f"{name} {seed}")))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read(path)
        except BaseException as error:
            error.add_note(f"{name}, seed {seed}")
            raise
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (
            1 if sys.platform == "darwin" else 1024
        )
        assert grown < MOST_BYTES, f"{name}, seed {seed}: took {grown} bytes"


@pytest.mark.parametrize("name", list(originals()))
def test_changed_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    fuzz(name, originals()[name], range(12), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(originals()))
def test_many_changed_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    fuzz(name, originals()[name], range(12, 300), tmp_path)


def main(seconds: float) -> None:
    """Go on with new seeds until the time is over."""
    end, seed, found = time.monotonic() + seconds, random.SystemRandom().randrange(2**40), originals()
    tried = 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            for name, content in found.items():
                fuzz(name, content, range(seed, seed + 10), Path(folder))
                tried += 10
            seed += 10
    print(f"{tried} files read or refused")


if __name__ == "__main__":
    main(float(sys.argv[1]))
