"""An encoder whose model takes token ids: no text is computed twice, no model waits for tokens."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from coverage_lab.encoders.cache import VectorCache
from coverage_lab.encoders.encoder import Engine, Precision
from coverage_lab.encoders.packaged import MAX_CHARACTERS
from coverage_lab.encoders.packed.recognise import BertShape
from coverage_lab.encoders.tokenizer import Tokenizer
from coverage_lab.encoders.tokens import Tokens, ahead
from coverage_lab.encoders.windows import spans, to_host

#: Texts that are tokenized, sorted by length and searched for duplicates together.
WINDOW = {"cpu": 1_024, "cuda": 8_192}


class Runner(Protocol):
    """A model that turns token ids into unit vectors.

    Attributes
    ----------
    engine, device, precision
        What it is, where it runs and how.
    shape
        Sizes of the model.
    own_text_only
        Whether a vector depends on its own text only, to the last bit.
    """

    @property
    def engine(self) -> Engine:
        """What it is."""
        ...

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where it runs."""
        ...

    @property
    def precision(self) -> Precision:
        """Of the layers."""
        ...

    @property
    def shape(self) -> BertShape:
        """Sizes of the model."""
        ...

    @property
    def own_text_only(self) -> bool:
        """Whether a vector depends on its own text only, to the last bit."""
        ...

    def run(self, tokens: Tokens) -> torch.Tensor:
        """Return unit rows, ``(len(tokens), width)`` float32, of texts that ascend in length; not empty."""
        ...


class TokenEncoder:
    """A `Runner` as an `Encoder`.

    A prompt is cut to its first 4,000 characters, then to the model's window of tokens. Equal token ids are
    computed once among 1,024 texts (8,192 on CUDA), and not at all while a bounded cache has their vector. A
    thread tokenizes ahead of the model.

    The same texts give the same bytes. With the packed engine on a CPU a vector depends on its own text only,
    so neither other texts, nor their order, nor the cache can change a bit. Elsewhere another mix of texts
    may change the last bits (1e-6 in float32, 1e-3 in bfloat16), so there the cache is emptied at the start
    of each call.

    `id` names model and recipe, not engine or precision, which agree to cosine 0.999
    (`atlas.check_encoder` looks on the machine itself).

    Parameters
    ----------
    runner, tokenizer
        Of the same model.
    name, identity
        The encoder's name and id.
    cache_bytes
        Most memory of the cache, on the model's device; 0 keeps nothing.

    Attributes
    ----------
    engine, precision : str
        Of the runner.
    tokenizer : str
        Which library finds the tokens: ``nanotoken`` or ``tokenizers``.
    encoded : int
        Texts that the model itself has computed so far; the others were duplicates.
    """

    def __init__(
        self, runner: Runner, tokenizer: Tokenizer, *, name: str, identity: str, cache_bytes: int = 0
    ) -> None:
        self.name, self.id, self.device, self.dim = name, identity, runner.device, runner.shape.width
        self.engine, self.precision, self.shape = runner.engine, runner.precision, runner.shape
        self.tokenizer = tokenizer.name
        self.encoded = 0
        self._runner, self._tokenizer = runner, tokenizer
        self._window = WINDOW[runner.device]
        self._cache = VectorCache(cache_bytes, dim=self.dim, device=self.device)
        self._turn = threading.Lock()

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return the token ids of the texts, cut to the model's window."""
        return self._tokenizer.tokenize([text[:MAX_CHARACTERS] for text in texts])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, shape ``(len(texts), dim)``."""
        return to_host(self.encode_windows(texts), rows=len(texts), dim=self.dim)

    def encode_windows(self, texts: Sequence[str]) -> Iterator[tuple[range, torch.Tensor]]:
        """Yield ``(rows, their unit rows as float32 on the device)`` window by window, in order.

        A thread tokenizes up to two windows ahead; it ends with the iterator.
        """
        self._forget_unless_exact()
        windows = spans(len(texts), self._window)
        for span, tokens in ahead(lambda span: self.tokenize(texts[span.start : span.stop]), windows):
            yield span, self._encode(tokens)

    def encode_tensor(self, tokens: Tokens) -> torch.Tensor:
        """Return unit rows, ``(len(tokens), dim)`` float32, on the device that made them.

        Parameters
        ----------
        tokens
            Of `tokenize`, or made alike.

        Raises
        ------
        ValueError
            A text has no token, or more than the model's window.
        """
        lengths, window = tokens.lengths, self.shape.window
        if len(lengths) and not (lengths.min() > 0 and lengths.max() <= window):
            raise ValueError(
                f"tokens: expected 1 to {window} of each text, got {lengths.min()} to {lengths.max()}"
            )
        self._forget_unless_exact()
        windows = [
            self._encode(tokens.take(np.arange(span.start, span.stop)))
            for span in spans(len(tokens), self._window)
        ]
        return torch.cat(windows) if windows else torch.empty((0, self.dim), device=self.device)

    def _forget_unless_exact(self) -> None:
        if not self._runner.own_text_only:
            self._cache.clear()

    def _encode(self, tokens: Tokens) -> torch.Tensor:
        place: dict[bytes, int] = {}
        inverse = [place.setdefault(digest, len(place)) for digest in tokens.digests()]
        distinct = list(place)
        row_of = np.unique(np.array(inverse, dtype=np.int64), return_index=True)[1]
        lengths = tokens.lengths[row_of]
        vectors = torch.empty((len(distinct), self.dim), dtype=torch.float32, device=self.device)
        with self._turn, torch.inference_mode():
            known = self._cache.known(distinct)
            if known:
                vectors[self._index(known)] = self._cache.read([distinct[index] for index in known])
            missing = _ascending(distinct, lengths, known)
            if missing:
                new = self._runner.run(tokens.take(row_of[missing]))
                vectors[self._index(missing)] = new
                self._cache.write([distinct[index] for index in missing], new)
                self.encoded += len(missing)
            return vectors[self._index(inverse)]

    def _index(self, rows: Sequence[int]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.int64).to(self.device, non_blocking=True)


def _ascending(digests: Sequence[bytes], lengths: NDArray[np.int64], known: Sequence[int]) -> list[int]:
    """Return the indices that are not known by length, then digest.

    A total order: the batches are the same whatever order the texts come in.
    """
    halves = np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0], lengths))
    missing = np.ones(len(digests), dtype=bool)
    missing[known] = False
    rows: list[int] = order[missing[order]].tolist()
    return rows
