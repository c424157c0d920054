"""Vectors on disk by the hash of their text: a benchmark that is run again encodes nothing twice."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coverage_lab.encoders import Encoder
from coverage_lab.errors import ConfigError, OutputError
from coverage_lab.files.atomic import whole_file
from coverage_lab.progress import Progress, silent

#: Prompts encoded, and written, at once.
CHUNK = 8192


class VectorStore:
    """Encodes texts, keeping float16 vectors in a folder when there is one; no text is written.

    Parts are named after the encoder's id, so vectors of another encoder are never met. A part that was
    cut off while being written has another name and is not read.
    """

    def __init__(self, encoder: Encoder, folder: Path | None) -> None:
        """Keep vectors of `encoder` in `folder`; None keeps none.

        Raises
        ------
        ConfigError
            A part of the folder is not one that this class wrote.
        """
        self._encoder = encoder
        self._folder = folder
        self._parts: list[NDArray[np.float16]] = []
        self._place: dict[bytes, tuple[int, int]] = {}
        if folder is not None:
            for part in sorted(folder.glob(f"vectors-{encoder.id[:16]}*.npz")):
                self._read(part)

    def _read(self, part: Path) -> None:
        try:
            with np.load(part, allow_pickle=False) as held:
                keys, vectors = held["keys"], held["vectors"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ConfigError(f"cache {part.name}: not a file of vectors") from error
        if vectors.shape != (len(keys), self._encoder.dim) or keys.shape[1:] != (32,):
            raise ConfigError(f"cache {part.name}: expected vectors of {self._encoder.dim} numbers")
        self._keep([bytes(key) for key in keys], vectors.astype(np.float16))

    def _keep(self, keys: Sequence[bytes], vectors: NDArray[np.float16]) -> None:
        self._place |= {key: (len(self._parts), row) for row, key in enumerate(keys)}
        self._parts.append(vectors)

    def encode(self, texts: Sequence[str], *, progress: Progress = silent) -> NDArray[np.float32]:
        """Unit vectors of texts, float32 (n, d), as float16 keeps them; each text is encoded once.

        Raises
        ------
        OutputError
            The folder can't be written.
        """
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        missing = {key: i for i, key in enumerate(keys) if key not in self._place}
        todo = list(missing.items())
        for start in range(0, len(todo), CHUNK):
            part = todo[start : start + CHUNK]
            fresh = self._encoder.encode([texts[i] for _, i in part]).astype(np.float16)
            self._keep([key for key, _ in part], fresh)
            self._write([key for key, _ in part], fresh)
            progress("encode", start + len(part), len(todo))
        vectors = np.empty((len(texts), self._encoder.dim), np.float32)
        for row, key in enumerate(keys):
            part_at, at = self._place[key]
            vectors[row] = self._parts[part_at][at]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
        return vectors

    def _write(self, keys: Sequence[bytes], vectors: NDArray[np.float16]) -> None:
        if self._folder is None:
            return
        # Named after what it holds: two runs that share a folder never write over one another.
        name = f"vectors-{self._encoder.id[:16]}-{hashlib.sha256(b''.join(keys)).hexdigest()[:16]}"
        unfinished = self._folder / f"{name}.{os.getpid()}.unfinished"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (
                whole_file(self._folder / f"{name}.npz", temporary=unfinished),
                unfinished.open("wb") as file,
            ):
                np.savez(file, keys=np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32), vectors=vectors)
        except OSError as error:
            raise OutputError(f"cache {self._folder}: can't be written ({error.strerror})") from error
