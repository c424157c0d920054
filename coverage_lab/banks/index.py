"""Prompt banks as vectors on disk: no text of a bank is kept."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coverage_lab.encoders import Encoder, encode_distinct
from coverage_lab.errors import OutputError, TrafficError
from coverage_lab.files.atomic import disk_errors
from coverage_lab.progress import Progress, silent
from coverage_lab.untrusted.text import shortened, visible

FORMAT = 1
_HEAD, _VECTORS, _ROWS = "banks.json", "vectors.npy", "rows.npy"
#: Endings of files that are read as banks.
ENDINGS = (".txt", ".jsonl", ".csv", ".parquet")
#: Characters of a prompt that count.
_READ_CHARACTERS = 20_000


@dataclass(frozen=True, eq=False)
class Bank:
    """One bank, in the order of its file.

    Attributes
    ----------
    name : str
        Of the file, without its ending.
    vectors : float16 (n, d)
        Unit rows of its different prompts.
    rows : int64 (n,)
        Row of the file, from 1, where each prompt is first.
    """

    name: str
    vectors: NDArray[np.float16]
    rows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Banks:
    """Banks that were indexed with one encoder."""

    encoder_id: str
    encoder_name: str
    banks: tuple[Bank, ...]


def build_banks(
    folder: Path, out: Path, *, encoder: Encoder, column: str = "prompt", progress: Progress = silent
) -> Banks:
    """Index every bank in a folder: one file a bank, one prompt a row.

    Parameters
    ----------
    folder : Path
        With files that end in ``.txt`` (a prompt a line), ``.jsonl``, ``.csv`` or ``.parquet``. The order of
        rows counts: whether an account walks a bank from its beginning is told by it.
    out : Path
        Folder for the index; must not exist. It holds vectors, not text, but a prompt that someone guesses
        can be found again by them.
    encoder : Encoder
        Accounts are matched with the same.
    column : str
        Where the prompts are, in files with columns.
    progress : Progress, optional
        Told how far encoding is.

    Returns
    -------
    Banks
        Sorted by name. Blank prompts and repeats in a bank are left out.

    Raises
    ------
    TrafficError
        The folder has no bank, two have one name, or one can't be read or has no prompt.
    OutputError
        `out` exists or can't be written.
    """
    if out.exists():
        raise OutputError(f"--out {out}: exists already; give a new folder")
    files = sorted(file for file in folder.glob("*") if file.suffix in ENDINGS and file.is_file())
    if not files:
        raise TrafficError(
            f"FOLDER {folder}: expected files that end with {', '.join(ENDINGS)}, got none; a file is a bank"
        )
    banks: list[Bank] = []
    for file in files:
        if banks and banks[-1].name == file.stem:
            raise TrafficError(
                f"bank {_shown(file)}: another file has the name {file.stem!r:.60}; rename one"
            )
        first: dict[str, int] = {}
        for row, text in enumerate(_prompts(file, column), start=1):
            if text and text.strip():
                first.setdefault(text[:_READ_CHARACTERS], row)
        if not first:
            raise TrafficError(f"bank {_shown(file)}: expected prompts, got none that is not blank")
        vectors = encode_distinct(encoder, list(first), progress=progress, stage=f"encode {file.stem:.40}")
        banks.append(Bank(file.stem, vectors.astype(np.float16), np.array(list(first.values()), np.int64)))
    made = Banks(encoder.id, encoder.name, tuple(banks))
    _save(made, out)
    return made


def _prompts(file: Path, column: str) -> list[str | None]:
    """Prompts of a bank's file, in order."""
    if file.suffix == ".txt":
        try:
            return list(file.read_text(encoding="utf-8-sig").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise TrafficError(f"bank {_shown(file)}: not a readable text file") from error
    try:
        if file.suffix == ".parquet":
            table = pq.read_table(file, columns=None)
        elif file.suffix == ".csv":
            lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
            table = pyarrow.csv.read_csv(file, parse_options=lines)
        else:
            table = pyarrow.json.read_json(file)
    except (OSError, pa.ArrowException) as error:
        raise TrafficError(f"bank {_shown(file)}: can't be read ({type(error).__name__})") from error
    if column not in table.column_names:
        raise TrafficError(
            f"bank {_shown(file)}: expected a column {column!r:.60}, got "
            f"{', '.join(visible(name) for name in table.column_names)[:120]}; name it by --column"
        )
    try:
        found: list[str | None] = table[column].cast(pa.large_string()).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise TrafficError(f"bank {_shown(file)}: column {column!r:.60} is not text") from error
    return found


def _shown(file: Path) -> str:
    return shortened(visible(file.name), 80)


def _save(made: Banks, out: Path) -> None:
    contents = {
        _VECTORS: _npy(np.concatenate([bank.vectors for bank in made.banks])),
        _ROWS: _npy(np.concatenate([bank.rows for bank in made.banks])),
    }
    head = {
        "format": FORMAT,
        "encoder_id": made.encoder_id,
        "encoder_name": made.encoder_name,
        "banks": [{"name": bank.name, "prompts": len(bank.rows)} for bank in made.banks],
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    with disk_errors(out):
        out.mkdir(parents=True)
        for name, data in contents.items():
            (out / name).write_bytes(data)
        (out / _HEAD).write_text(json.dumps(head, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def load_banks(folder: Path) -> Banks:
    """Read an index that `build_banks` wrote, checking its hashes and shapes.

    Raises
    ------
    TrafficError
        Something is missing, damaged or of another format.
    """
    try:
        head: Any = json.loads((folder / _HEAD).read_bytes())
        data = {name: (folder / name).read_bytes() for name in (_VECTORS, _ROWS)}
    except (OSError, ValueError, RecursionError) as error:
        raise TrafficError(
            f"banks {folder}: can't be read ({type(error).__name__}); "
            "coverage-lab banks build makes a folder of banks"
        ) from error
    hashes = {name: hashlib.sha256(raw).hexdigest() for name, raw in data.items()}
    if not isinstance(head, dict) or head.get("format") != FORMAT or head.get("sha256") != hashes:
        raise TrafficError(f"banks {folder}: damaged or of another version; build it again")
    vectors, rows = (np.load(io.BytesIO(data[name]), allow_pickle=False) for name in (_VECTORS, _ROWS))
    sizes = [bank["prompts"] for bank in head["banks"]]
    cuts = np.cumsum([0, *sizes])
    if vectors.ndim != 2 or not len(vectors) == len(rows) == cuts[-1]:
        raise TrafficError(f"banks {folder}: damaged: its files differ in length; build it again")
    return Banks(
        head["encoder_id"],
        head["encoder_name"],
        tuple(
            Bank(bank["name"], vectors[start:stop], rows[start:stop])
            for bank, start, stop in zip(head["banks"], cuts[:-1], cuts[1:], strict=True)
        ),
    )
