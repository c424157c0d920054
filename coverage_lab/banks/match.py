"""Which accounts send prompts of known banks: how many, beyond chance or not, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import kendalltau

from coverage_lab.banks.index import Bank, Banks
from coverage_lab.encoders import Encoder, encode_unique
from coverage_lab.errors import ConfigError, TrafficError
from coverage_lab.progress import Progress, silent

#: Cosine similarity from which on a prompt counts as one of the bank's, perhaps edited.
THRESHOLD = 0.85
#: Different prompts that an account needs to give a chance level; fewer say too little.
ENOUGH = 20
#: Matches from which on their order is told.
_ORDERED = 5
#: Examples of an account and bank.
EXAMPLES = 5

#: A match of an account with a bank a row.
MATCHES = pa.schema(
    [
        pa.field("account_id", pa.large_string(), nullable=False),
        pa.field("bank", pa.string(), nullable=False),
        pa.field("prompts", pa.int64(), nullable=False),
        pa.field("matched", pa.int64(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
        pa.field("chance_median", pa.float64()),
        pa.field("chance_high", pa.float64()),
        pa.field("p_value", pa.float64()),
        pa.field("bank_prompts", pa.int64(), nullable=False),
        pa.field("bank_share", pa.float64(), nullable=False),
        pa.field("first_row", pa.int64(), nullable=False),
        pa.field("last_row", pa.int64(), nullable=False),
        pa.field("order", pa.float64()),
        pa.field("order_p", pa.float64()),
        pa.field(
            "examples",
            pa.list_(pa.struct([("prompt", pa.int64()), ("row", pa.int64()), ("similarity", pa.float64())])),
            nullable=False,
        ),
    ]
)


def match_texts(
    accounts: Mapping[str, Sequence[str]],
    banks: Banks,
    *,
    encoder: Encoder,
    ordinary: Mapping[str, Sequence[str]] | None = None,
    threshold: float = THRESHOLD,
    progress: Progress = silent,
) -> pa.Table:
    """Match accounts with banks.

    A prompt matches a bank when its vector has a cosine similarity of `threshold` or more with one of the
    bank's. Of each account the share of its different prompts that match is compared with the same share of
    ordinary accounts: ``p = (1 + #{ordinary share ≥ its share}) / (1 + #ordinary)``, one for each pair of
    account and bank, so that many pairs bring some small p-values by chance. `order` is Kendall's τ between
    the order in which an account sent the prompts that match and their rows in the bank, with a one-sided
    p-value: 1 = it walks the bank from its beginning, 0 = in no order.

    Parameters
    ----------
    accounts : mapping of account → texts
        Prompts in the order in which they were sent.
    banks : Banks
        From `build_banks` or `load_banks`.
    encoder : Encoder
        That of the banks.
    ordinary : mapping of account → texts, optional
        Accounts that give the chance level; those of them with fewer than 20 different prompts don't count.
        When not given, the other accounts, which puts the level too high where many of them harvest.
    threshold : float
        0.5 to 1. Lower finds more edited prompts and more prompts that are only alike.
    progress : Progress, optional
        Told how far encoding is.

    Returns
    -------
    pyarrow.Table
        Schema `MATCHES`, a row for each account and bank with a match, by account and falling share.
        `prompts` counts different prompts, `prompt` of an example is a place in the account, from 1, and
        `row` one in the bank's file. Chance is null without an ordinary account, order with fewer than 5
        matches.

    Raises
    ------
    ConfigError
        The encoder is another than the banks', or the threshold is out of range.
    TrafficError
        The banks' vectors have another width than the encoder's.
    """
    if encoder.id != banks.encoder_id:
        raise ConfigError(
            f"encoder: expected the banks' {banks.encoder_name} {banks.encoder_id[:12]}, got {encoder.name} "
            f"{encoder.id[:12]}; build the banks again with it"
        )
    width = next(
        (bank.vectors.shape[1] for bank in banks.banks if bank.vectors.shape[1] != encoder.dim), None
    )
    if width is not None:
        raise TrafficError(
            f"banks: damaged: expected vectors of width {encoder.dim}, got {width}; build them again"
        )
    if not 0.5 <= threshold <= 1:
        raise ConfigError(f"threshold: expected 0.5 to 1, got {threshold:g}")
    found = _found(accounts, banks, encoder, threshold, progress)
    usual = None if ordinary is None else _found(ordinary, banks, encoder, threshold, progress)
    level = found if usual is None else usual
    names = [name for name, one in level.items() if one.prompts >= ENOUGH]
    shares = [
        np.array([level[name].share(place, threshold) for name in names]) for place in range(len(banks.banks))
    ]
    own = {name: at for at, name in enumerate(names)} if usual is None else {}
    rows = []
    for account_id, mine in found.items():
        told: list[tuple[float, str, dict[str, object]]] = []
        for place, bank in enumerate(banks.banks):
            matched = np.flatnonzero(mine.similarity[place] >= threshold)
            if not len(matched):
                continue
            others = shares[place]
            if account_id in own:
                others = np.delete(others, own[account_id])
            row = _row(account_id, mine, place, bank, matched, others)
            told.append((-mine.share(place, threshold), bank.name, row))
        rows += [row for *_, row in sorted(told, key=lambda entry: entry[:2])]
    return pa.Table.from_pylist(rows, schema=MATCHES)


class _Found:
    """The nearest prompt of each bank to each different prompt of an account.

    Attributes
    ----------
    place : int64 (n,)
        Where the account first sent the prompt, from 1.
    similarity, nearest : (banks, n)
    """

    def __init__(
        self, place: NDArray[np.int64], similarity: NDArray[np.float32], nearest: NDArray[np.int64]
    ) -> None:
        self.place = place
        self.similarity = similarity
        self.nearest = nearest

    @property
    def prompts(self) -> int:
        return len(self.place)

    def share(self, bank: int, threshold: float) -> float:
        return float((self.similarity[bank] >= threshold).mean())


def _found(
    accounts: Mapping[str, Sequence[str]],
    banks: Banks,
    encoder: Encoder,
    threshold: float,
    progress: Progress,
) -> dict[str, _Found]:
    texts = [text for sent in accounts.values() for text in sent]
    vectors, which = encode_unique(encoder, texts, progress=progress)
    similarity = np.empty((len(banks.banks), len(vectors)), np.float32)
    nearest = np.empty((len(banks.banks), len(vectors)), np.int64)
    for place, bank in enumerate(banks.banks):
        index = faiss.IndexFlatIP(bank.vectors.shape[1])
        index.add(np.ascontiguousarray(bank.vectors, np.float32))
        if len(vectors):
            best, row = index.search(np.ascontiguousarray(vectors, np.float32), 1)
            similarity[place], nearest[place] = best[:, 0], row[:, 0]
        progress("match", place + 1, len(banks.banks))
    cuts = np.cumsum([0, *(len(sent) for sent in accounts.values())])
    made = {}
    for name, start, stop in zip(accounts, cuts[:-1], cuts[1:], strict=True):
        if stop > start:
            distinct, first = np.unique(which[start:stop], return_index=True)
            order = np.argsort(first)
            mine = distinct[order]
            made[name] = _Found(first[order] + 1, similarity[:, mine], nearest[:, mine])
    return made


def _row(
    account_id: str,
    mine: _Found,
    place: int,
    bank: Bank,
    matched: NDArray[np.int64],
    others: NDArray[np.float64],
) -> dict[str, object]:
    share = len(matched) / mine.prompts
    similarity, nearest = mine.similarity[place, matched], mine.nearest[place, matched]
    rows = bank.rows[nearest]
    order = order_p = None
    if len(np.unique(rows)) >= _ORDERED:
        tau = kendalltau(matched, rows, alternative="greater")
        order, order_p = float(tau.statistic), float(tau.pvalue)
    best = np.argsort(-similarity, kind="stable")[:EXAMPLES]
    return {
        "account_id": account_id,
        "bank": bank.name,
        "prompts": mine.prompts,
        "matched": len(matched),
        "share": share,
        "chance_median": float(np.median(others)) if len(others) else None,
        "chance_high": float(np.quantile(others, 0.95)) if len(others) else None,
        "p_value": (1 + int((others >= share).sum())) / (1 + len(others)) if len(others) else None,
        "bank_prompts": len(bank.rows),
        "bank_share": len(np.unique(nearest)) / len(bank.rows),
        "first_row": int(rows.min()),
        "last_row": int(rows.max()),
        "order": order,
        "order_p": order_p,
        "examples": [
            {
                "prompt": int(mine.place[matched[i]]),
                "row": int(rows[i]),
                "similarity": round(min(float(similarity[i]), 1.0), 4),
            }
            for i in best
        ],
    }
