"""A static model: one vector per token, distilled once from the packaged MiniLM, kept in a cache folder.

Distillation is model2vec's (MinishLab, https://github.com/MinishLab/model2vec): MiniLM's output for every
token of its vocabulary, reduced by PCA, weighted by smooth inverse frequency (Arora et al. 2017). A prompt's
vector is the mean of its tokens' vectors, scaled to unit norm.

Almost all of the time goes into finding the tokens, so that is left to the fastest exact tokenizer that is
installed (`coverage_lab.encoders.tokenizer`); the means of a window of prompts are one sparse product,
(prompts × tokens) · (tokens × dimensions).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coverage_lab.encoders.packaged import MAX_CHARACTERS, WEIGHTS_SHA256, file_sha256, packaged_minilm
from coverage_lab.encoders.tokenizer import Tokenizer, TokenizerName, limit_tokenizer_threads, load_tokenizer
from coverage_lab.encoders.transformer import quiet_transformers
from coverage_lab.encoders.unit import unit_rows
from coverage_lab.errors import ConfigError, MissingExtraError
from coverage_lab.progress import Progress, silent

_log = logging.getLogger(__name__)

_PURPOSE = "the static encoder"
_UNKNOWN_TOKEN = "[UNK]"
_VECTORS, _TOKENIZER, _MANIFEST = "vectors.npy", "tokenizer.json", "manifest.json"

#: Prompts whose tokens are held at once by a thread: 60 MB if each of their characters is one.
_WINDOW = 1024
#: Fewer prompts than this are not worth a second thread.
_LEAST_FOR_A_THREAD = 256

#: Everything that the vectors follow from. The library's version and the CPU move them in the last bits
#: only, which `atlas.check_encoder` guards.
_DISTILLATION = {
    "pca_dims": 256,
    "sif_coefficient": 1e-4,
    "token_remove_pattern": r"\[unused\d+\]",
    "pooling": "mean",
    "quantize_to": "float32",
}
_RECIPE = {
    "teacher": WEIGHTS_SHA256,
    "distillation": _DISTILLATION,
    "text": f"first {MAX_CHARACTERS} characters; unknown tokens left out unless there is no other",
}
RECIPE_ID = hashlib.sha256(json.dumps(_RECIPE, sort_keys=True).encode()).hexdigest()


class StaticEncoder:
    """Mean of token vectors as an `Encoder`; CPU, float32.

    A prompt is cut to its first 4,000 characters. Tokens outside the vocabulary are left out; a prompt with
    no known token at all takes the vector of the unknown token, so that all such prompts share one
    direction. A vector depends on its own text only, to the last bit, whichever tokenizer finds the tokens
    and however many threads work.

    Attributes
    ----------
    tokenizer : str
        Which library finds the tokens: ``nanotoken`` or ``tokenizers``.
    """

    name = "static"
    id = RECIPE_ID
    device = "cpu"
    precision = "float32"

    def __init__(self, tokenizer: Tokenizer, vectors: NDArray[np.float32], *, threads: int) -> None:
        self._tokenizer = tokenizer
        self._vectors = vectors
        self._unknown = tokenizer.id_of(_UNKNOWN_TOKEN)
        # A tokenizer with threads of its own would be given the same cores twice.
        self._threads = 1 if tokenizer.own_threads else threads
        self.tokenizer = tokenizer.name
        self.dim = int(vectors.shape[1])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, shape ``(len(texts), dim)``."""
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        threads = min(self._threads, max(len(texts) // _LEAST_FOR_A_THREAD, 1))
        step = min(_WINDOW, max(-(-len(texts) // threads), 1))

        def window(start: int) -> None:
            rows = slice(start, start + step)
            vectors[rows] = self._window([text[:MAX_CHARACTERS] for text in texts[rows]])

        starts = range(0, len(texts), step)
        if threads == 1:
            for start in starts:
                window(start)
        else:
            with ThreadPoolExecutor(threads) as pool:
                # Asked for its results, so that what a thread raised is raised here.
                list(pool.map(window, starts))
        return vectors

    def _window(self, texts: Sequence[str]) -> NDArray[np.float32]:
        # SciPy takes longer to import than the command line takes to print its help.
        from scipy.sparse import csr_array

        tokens = self._tokenizer.tokenize(texts)
        known = (tokens.ids != self._unknown).astype(np.float32)
        counts = csr_array((known, tokens.ids, tokens.offsets), shape=(len(texts), len(self._vectors)))
        sums: NDArray[np.float32] = counts @ self._vectors
        sums[counts.sum(axis=1) == 0] = self._vectors[self._unknown]
        return unit_rows(sums)


def load_static(
    *,
    threads: int | None = None,
    tokenizer: TokenizerName = "auto",
    progress: Progress = silent,
) -> StaticEncoder:
    """Load the static encoder from the cache folder, distilling it first where it is not there.

    The cache is ``$COVERAGE_LAB_CACHE``, else ``$XDG_CACHE_HOME/coverage_lab``, else
    ``~/.cache/coverage_lab``. It is written to the side and renamed into place, so processes may race.
    A cached model whose files don't match their recorded SHA-256 is distilled again, with one warning in
    the log.

    Parameters
    ----------
    threads
        CPU threads; all cores when None.
    tokenizer : {"auto", "tokenizers", "nanotoken"}
        As `coverage_lab.encoders.tokenizer.load_tokenizer`; the vectors are the same.
    progress
        Told about the distillation.

    Raises
    ------
    ConfigError
        The cache can't be written, or the packaged weights are not the ones expected.
    MissingExtraError
        model2vec, the packaged MiniLM or the tokenizer asked for is not installed.
    """
    if threads is not None:
        limit_tokenizer_threads(threads)
    recipe, vectors = cached_model(threads, progress=progress)
    made = load_tokenizer(tokenizer, recipe, special_tokens=False, own_threads=False)
    return StaticEncoder(made, vectors, threads=os.cpu_count() or 1 if threads is None else threads)


def cache_folder() -> Path:
    """Return the folder that distilled models are kept in; it need not exist."""
    if own := os.environ.get("COVERAGE_LAB_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "coverage_lab"
    return Path.home() / ".cache" / "coverage_lab"


def cached_model(
    threads: int | None = None, *, progress: Progress = silent
) -> tuple[str, NDArray[np.float32]]:
    """Return the tokenizer as JSON and the token vectors, as `load_static` finds or makes them."""
    folder = cache_folder() / f"static-{RECIPE_ID[:16]}"
    if folder.exists():
        try:
            return _read(folder)
        except ConfigError as damage:
            _log.warning("static encoder: %s; distilling it again", damage)
            _remove(folder)
    _distil_into(folder, threads=threads, progress=progress)
    return _read(folder)


def _read(folder: Path) -> tuple[str, NDArray[np.float32]]:
    try:
        recorded = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]
        for name in (_VECTORS, _TOKENIZER):
            if file_sha256(folder / name) != recorded[name]:
                raise ConfigError(f"{folder / name} does not match its recorded sha256")
        vectors = np.load(folder / _VECTORS, allow_pickle=False)
        return (folder / _TOKENIZER).read_text(encoding="utf-8"), vectors
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder} is damaged ({type(error).__name__})") from error


def _remove(folder: Path) -> None:
    """Move the folder away before emptying it, so that another process never reads half of one."""
    try:
        aside = tempfile.mkdtemp(prefix="damaged-", dir=folder.parent)
        folder.rename(Path(aside) / folder.name)
        shutil.rmtree(aside)
    except FileNotFoundError:
        return  # another process was faster
    except OSError as error:
        raise ConfigError(f"cache folder {folder}: can't be replaced ({error.strerror})") from error


def _distil_into(folder: Path, *, threads: int | None, progress: Progress) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="distilling-", dir=folder.parent))
    except OSError as error:
        raise ConfigError(
            f"cache folder {folder.parent}: can't be written ({error.strerror}); set COVERAGE_LAB_CACHE"
        ) from error
    try:
        progress("distil the static encoder", 0, 1)
        vectors, tokenizer = _distil(threads)
        np.save(work / _VECTORS, vectors, allow_pickle=False)
        (work / _TOKENIZER).write_text(tokenizer, encoding="utf-8")
        manifest = {
            "recipe": _RECIPE,
            "model2vec": importlib.metadata.version("model2vec"),
            "files": {name: file_sha256(work / name) for name in (_VECTORS, _TOKENIZER)},
        }
        (work / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        try:
            work.rename(folder)
        except OSError as error:
            # Another process has put its own there; both then read that one.
            if not (folder / _MANIFEST).exists():
                raise ConfigError(f"cache folder {folder}: can't be written ({error.strerror})") from error
        progress("distil the static encoder", 1, 1)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _distil(threads: int | None) -> tuple[NDArray[np.float32], str]:
    """Return the token vectors, float32 ``(tokens, 256)``, and the tokenizer as JSON."""
    teacher = packaged_minilm()
    try:
        import torch
        from model2vec.distill import distill
    except ImportError as error:
        raise MissingExtraError("model2vec[distill]", "encoders", _PURPOSE) from error
    if threads is not None:
        torch.set_num_threads(threads)
    # model2vec's token bar can't be switched off; what it would print is of no use to the user.
    with quiet_transformers(), redirect_stderr(io.StringIO()):
        model = distill(str(teacher), device="cpu", trust_remote_code=False, **_DISTILLATION)
    return np.ascontiguousarray(model.embedding, dtype=np.float32), str(model.tokenizer.to_str())
