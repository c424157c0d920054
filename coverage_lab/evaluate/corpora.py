"""A folder of prompt corpora that nobody on this project wrote.

Corpora are Parquet files `<kind>_<name>.parquet` with a column `prompt` and, where the source has it,
`user` and `label`. Kinds: A harvest, B benchmark, C red-team research, D task use, E people talking
to chatbots.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coverage_lab.errors import TrafficError

KINDS = "ABCDE"


@dataclass(frozen=True, eq=False)
class Corpus:
    """One corpus, in file order."""

    name: str
    kind: str
    prompts: tuple[str, ...]
    people: tuple[str | None, ...]  # who spoke, as far as the source says
    language: str = ""  # "" where there are several or the catalogue does not say


def load_corpora(folder: Path) -> list[Corpus]:
    """Read every `<kind>_<name>.parquet` of a folder; languages from its CATALOG.csv, where it has one.

    Prompts that are null or blank are left out; a blank user is nobody.

    Returns
    -------
    list of Corpus
        Sorted by name.

    Raises
    ------
    TrafficError
        The folder has none, one can't be read, lacks the column `prompt` as text or has no prompt, or the
        catalogue can't be read.
    """
    files = sorted(file for file in folder.glob("?_*.parquet") if file.name[0] in KINDS and file.is_file())
    if not files:
        raise TrafficError(f"corpora {folder}: no file named <kind>_<name>.parquet with kind one of {KINDS}")
    languages = _languages(folder / "CATALOG.csv")
    return [_corpus(file, languages.get(file.name, "")) for file in files]


def _corpus(file: Path, language: str) -> Corpus:
    try:
        # Not `read_table`: it would take hive columns from the folders' names.
        with pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            if "prompt" not in schema.names:
                raise TrafficError(f"corpus {file.name}: no column 'prompt'")
            if not _is_text(schema.field("prompt").type):
                raise TrafficError(
                    f"corpus {file.name}: expected text in column 'prompt', got {schema.field('prompt').type}"
                )
            table = parquet.read(columns=[name for name in ("prompt", "user") if name in schema.names])
        prompts: list[str | None] = table["prompt"].to_pylist()
        people: list[str | None] = [None] * len(prompts)
        if "user" in table.column_names:
            people = table["user"].cast(pa.large_string()).to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise TrafficError(f"corpus {file.name}: not a readable Parquet file of text") from error
    kept = [(text, who) for text, who in zip(prompts, people, strict=True) if text and text.strip()]
    if not kept:
        raise TrafficError(f"corpus {file.name}: expected prompts, got none that is not blank")
    return Corpus(
        name=file.stem,
        kind=file.name[0],
        prompts=tuple(text for text, _ in kept),
        people=tuple(who if who and who.strip() else None for _, who in kept),
        language=language,
    )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _languages(catalogue: Path) -> dict[str, str]:
    """Language of each file after the catalogue's own words; those of several languages are left out."""
    if not catalogue.exists():
        return {}
    found = {}
    try:
        with catalogue.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrafficError(f"corpora {catalogue.name}: not a readable CSV file") from error
    if rows and not {"file", "language"} <= rows[0].keys():
        raise TrafficError(f"corpora {catalogue.name}: expected columns 'file' and 'language'")
    for row in rows:
        words = (row["language"] or "").removeprefix("mostly ").split()
        if words and "," not in words[0]:
            found[row["file"]] = words[0]
    return found


def thinned(corpus: Corpus, *, rows: int, stretches: int = 3) -> Corpus:
    """Keep evenly spaced stretches of a long corpus, so that order inside them stays the file's.

    Parameters
    ----------
    rows : int
        Prompts to keep, at least 1; a corpus that is no longer is returned as it is.
    stretches : int
        How many; the first begins where the corpus does, the last ends where it ends.

    Returns
    -------
    Corpus
        Of min(rows, length) prompts.
    """
    total = len(corpus.prompts)
    if total <= rows:
        return corpus
    lengths = [len(part) for part in np.array_split(np.arange(rows), min(stretches, rows))]
    left_out = np.linspace(0, total - rows, len(lengths)).astype(int)
    starts = left_out + np.cumsum([0, *lengths[:-1]])
    kept = [i for start, length in zip(starts, lengths, strict=True) for i in range(start, start + length)]
    return Corpus(
        corpus.name,
        corpus.kind,
        tuple(corpus.prompts[i] for i in kept),
        tuple(corpus.people[i] for i in kept),
        corpus.language,
    )
