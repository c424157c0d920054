"""Prompt banks as vectors on disk: no text of a bank is kept."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from coverage_lab.encoders import Encoder, encode_distinct
from coverage_lab.errors import OutputError, TrafficError
from coverage_lab.files.atomic import whole_folder
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
        With files that end in ``.txt`` (a prompt a line), ``.jsonl``, ``.csv`` or ``.parquet``, in either
        case. The order of rows counts: whether an account walks a bank from its beginning is told by it.
        Names that begin with ``.`` or ``_`` are left out.
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
        The folder has no bank or holds something else, two have one name, or one can't be read or has no
        prompt.
    OutputError
        `out` exists or can't be written.
    """
    if out.exists():
        raise OutputError(f"--out {out}: exists already; give a new folder")
    banks: list[Bank] = []
    for name, file in sorted(_files_of(folder).items()):
        first: dict[str, int] = {}
        for row, text in enumerate(_prompts(file, column), start=1):
            if text and text.strip():
                first.setdefault(text[:_READ_CHARACTERS], row)
        if not first:
            raise TrafficError(f"bank {_shown(file)}: expected prompts, got none that is not blank")
        vectors = encode_distinct(encoder, list(first), progress=progress, stage=f"encode {name:.40}")
        banks.append(Bank(name, vectors.astype(np.float16), np.array(list(first.values()), np.int64)))
    made = Banks(encoder.id, encoder.name, tuple(banks))
    _save(made, out)
    return made


def _files_of(folder: Path) -> dict[str, Path]:
    """Files of a folder by the names of their banks, sorted."""
    files: dict[str, Path] = {}
    for file in sorted(folder.glob("*")):
        if file.name.startswith((".", "_")):
            continue
        if file.suffix.lower() not in ENDINGS or not file.is_file():
            raise TrafficError(
                f"bank {_shown(file)}: expected files that end with {', '.join(ENDINGS)}, got "
                f"{'another ending' if file.is_file() else 'no file'}; take it out of the folder, or begin "
                "its name with _ to leave it out"
            )
        name = os.fsencode(file.stem).decode("utf-8", "backslashreplace")
        if name in files:
            raise TrafficError(
                f"bank {_shown(file)}: {_shown(files[name])} has the same name {name!r:.60}; rename one"
            )
        files[name] = file
    if not files:
        raise TrafficError(
            f"FOLDER {folder}: expected files that end with {', '.join(ENDINGS)}, got none; a file is a bank"
        )
    return files


def _prompts(file: Path, column: str) -> list[str | None]:
    """Prompts of a bank's file, in order."""
    ending = file.suffix.lower()
    try:
        if ending == ".txt":
            found = file.read_text(encoding="utf-8-sig").split("\n")  # its ends of lines are all this by now
            return list(found if found[-1] else found[:-1])
        if ending == ".jsonl":
            return _of_objects(file, column)
        table = pq.read_table(file, partitioning=None) if ending == ".parquet" else _of_csv(file, column)
    except UnicodeDecodeError as error:
        raise TrafficError(f"bank {_shown(file)}: not a readable text file") from error
    except (OSError, pa.ArrowException) as error:
        raise TrafficError(f"bank {_shown(file)}: can't be read ({type(error).__name__})") from error
    if column not in table.column_names:
        raise _without(column, table.column_names, file)
    if table.column_names.count(column) > 1:
        raise TrafficError(
            f"bank {_shown(file)}: expected one column {column!r:.60}, got several; rename one"
        )
    try:
        texts: list[str | None] = table[column].cast(pa.large_string()).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise TrafficError(f"bank {_shown(file)}: column {column!r:.60} is not text") from error
    return texts


def _of_csv(file: Path, column: str) -> pa.Table:
    """Rows of a CSV file, whose column is text as it stands. One block, so rows may be of any length."""
    return pyarrow.csv.read_csv(
        file,
        read_options=pyarrow.csv.ReadOptions(block_size=min(max(file.stat().st_size, 2**20), 2**30)),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types={column: pa.large_string()}),
    )


def _of_objects(file: Path, column: str) -> list[str | None]:
    """Prompts of lines that hold an object each."""
    texts: list[str | None] = []
    names: dict[str, None] = {}
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise TrafficError(f"bank {_shown(file)}: line {number} can't be read as JSON") from error
            if not isinstance(row, dict):
                raise TrafficError(f"bank {_shown(file)}: line {number}: expected an object of JSON")
            text = row.get(column)
            if not (text is None or isinstance(text, str)):
                raise TrafficError(
                    f"bank {_shown(file)}: line {number}: column {column!r:.60} is not text, got "
                    f"{type(text).__name__}"
                )
            names.update(dict.fromkeys(row))
            texts.append(text)
    if texts and column not in names:
        raise _without(column, list(names), file)
    return texts


def _without(column: str, names: Sequence[str], file: Path) -> TrafficError:
    return TrafficError(
        f"bank {_shown(file)}: expected a column {column!r:.60}, got "
        f"{', '.join(visible(name) for name in names)[:120]}; name it by --column"
    )


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
    with whole_folder(out) as unfinished:
        for name, data in contents.items():
            (unfinished / name).write_bytes(data)
        text = json.dumps(head, ensure_ascii=False, indent=1) + "\n"
        (unfinished / _HEAD).write_text(text, encoding="utf-8")


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


class _Entry(BaseModel):
    name: str
    prompts: PositiveInt


class _Head(BaseModel):
    """What `banks.json` holds."""

    model_config = ConfigDict(strict=True)

    format: int
    encoder_id: str
    encoder_name: str
    banks: list[_Entry]
    sha256: dict[str, str]


def load_banks(folder: Path) -> Banks:
    """Read an index that `build_banks` wrote, checking its hashes and shapes.

    Raises
    ------
    TrafficError
        Something is missing, damaged or of another format.
    """
    try:
        raw = (folder / _HEAD).read_bytes()
        data = {name: (folder / name).read_bytes() for name in (_VECTORS, _ROWS)}
    except OSError as error:
        raise TrafficError(
            f"banks {folder}: can't be read ({type(error).__name__}); "
            "coverage-lab banks build makes a folder of banks"
        ) from error
    damaged = TrafficError(f"banks {folder}: damaged or of another version; build it again")
    try:
        head = _Head.model_validate_json(raw)
    except ValidationError as error:
        raise damaged from error
    if head.format != FORMAT or head.sha256 != {
        name: hashlib.sha256(content).hexdigest() for name, content in data.items()
    }:
        raise damaged
    try:
        vectors, rows = (
            np.lib.format.read_array(io.BytesIO(data[name]), allow_pickle=False) for name in (_VECTORS, _ROWS)
        )
    except (OSError, ValueError, OverflowError, MemoryError) as error:  # also where it ends too early
        raise damaged from error
    if not (
        (vectors.ndim, rows.ndim) == (2, 1)
        and vectors.dtype == np.float16
        and rows.dtype == np.int64
        and vectors.shape[1] > 0
        and np.isfinite(vectors).all()
    ):
        raise damaged
    cuts = np.cumsum([0, *(bank.prompts for bank in head.banks)])
    if not len(vectors) == len(rows) == cuts[-1]:
        raise TrafficError(f"banks {folder}: damaged: its files differ in length; build it again")
    return Banks(
        head.encoder_id,
        head.encoder_name,
        tuple(
            Bank(bank.name, vectors[start:stop], rows[start:stop])
            for bank, start, stop in zip(head.banks, cuts[:-1], cuts[1:], strict=True)
        ),
    )
