"""Which prompts have readable text, and how many different texts an account sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: Two letters in a row, or one of a script whose letters are words or syllables. A text without has no word.
_WORD: Final = r"\p{L}\p{M}*\p{L}|\p{Lo}"
_MARKS: Final = (
    r"redact(?:ed|ion)|masked|removed|deleted|hidden|filtered|omitted|scrubbed|sanitized|anonymi[sz]ed|"
    r"encrypted|pii|confidential|not[ _-](?:logged|stored|available|recorded)|"
    r"supprimée?|masquée?|caviardée?|gelöscht|geschwärzt|entfernt|censurad[oa]|eliminad[oa]|removid[oa]|ocult[oa]|"
    r"oscurat[oa]|rimoss[oa]|verwijderd|usunięto|удалено|скрыто|已删除|已脱敏|已隐藏|削除済み|非公開|삭제됨|비공개|"
    r"محذوف|محجوب"
)
#: What stands where a text was taken out, as the whole prompt.
_PLACEHOLDER: Final = (
    r"(?i)^\s*(?:(?:\$?[\[<({【［〈]{1,3}[\p{L}\p{M}\p{N}_ .:/#-]{0,60}[\])>}】］〉]{1,3}\s*)+"
    rf"|[*_~]*(?:(?:prompt|content|text|message|input|data|body|pii)[ _-])?(?:is[ _-])?(?:{_MARKS})[*_~.!]*"
    r"|redacted[ _:-](?:by|for|due)[ _:-][\w ._=-]{1,60}|x{3,})\s*$"
)
_ENCODED: Final = (
    r"^\s*data:[\w.+-]*/?[\w.+-]*;base64,",  # an image or a file
    r"(?i)^\s*(?:(?:[\w-]{1,12}[:=$(-])?[0-9a-f]{16,}\)?[\s,;|]*)+$",  # hashes
    r"(?i)^\s*(?:0x)?[0-9a-f]{2}(?:[ :-](?:0x)?[0-9a-f]{2}){11,}\s*$",  # bytes in hex
    r"(?i)^\s*(?:urn:uuid:|\{)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\}?\s*$",  # a UUID
    r"^\s*[\w-]{16,}(?:\.[\w-]*){2,4}\s*$",  # a token of JSON's own cryptography
    r"^\s*-----BEGIN [A-Z ]+-----",
    r"^\s*(?:\w{1,12}[:({]){1,4}[A-Za-z0-9+/_-]{20,}={0,2}[)}]?\s*$",  # ENC(…), vault:v1:…
    r"^\s*\w{1,12}\[\w+,[^\]\s]{20,}\]\s*$",  # ENC[AES256_GCM,…]
    r"^\s*\$\w{1,10}\$\S{16,}\s*$",  # a hash of a password
    r"^\s*(?:s3a?|gs|gcs|az|abfss?|wasbs?|minio|file)://\S+\s*$",  # where a text is kept
)
#: One word of capitals or of small letters with digits in it: base32, ULIDs, addresses of contents.
_ONE_CASE: Final = (r"^\s*[A-Z0-9]{16,}={0,6}\s*$", r"^\s*[a-z0-9]{24,}={0,6}\s*$")
_DIGIT: Final = r"[0-9]"
#: Signs that no text has many of: bytes that were read as text.
_RAW: Final = r"[^\P{C}\p{Co}\p{Cf}\t\n\r\v\f]|\x{FFFD}"
_RAW_SHARE: Final = 0.1
#: Words of base64 only. Long words are of this form too, but do not mix digits and both cases.
_BASE64: Final = r"^\s*(?:[A-Za-z0-9+/_-]{20,}={0,2}\s*)+(?:\n[A-Za-z0-9+/_-]{1,19}={0,2}\s*)?$"
_MIXED: Final = (r"[A-Z]", r"[a-z]", r"[0-9+/=]")
_FOLDED: Final = r"[\p{N}\s\p{P}]+"


def unreadable(prompts: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Tell which prompts have no readable text.

    These are texts without a word (emoji, punctuation, digits, control characters), and whole texts that are
    a mark of redaction, hashes, a UUID, ciphertext, base32 or base64, the address of an object, or bytes that
    were read as text.

    Parameters
    ----------
    prompts
        (n,) text without nulls.

    Returns
    -------
    (n,) bool
    """
    text = prompts.combine_chunks() if isinstance(prompts, pa.ChunkedArray) else prompts
    result = ~_matches(text, _WORD) | _matches(text, _PLACEHOLDER)
    for pattern in _ENCODED:
        result |= _matches(text, pattern)
    one_case = _matches(text, _ONE_CASE[0]) | _matches(text, _ONE_CASE[1])
    if one_case.any():
        result |= one_case & _matches(text, _DIGIT)
    raw = pc.count_substring_regex(text, _RAW).to_numpy(zero_copy_only=False)
    if raw.any():
        result |= raw > _RAW_SHARE * pc.utf8_length(text).to_numpy(zero_copy_only=False)
    encoded = _matches(text, _BASE64)
    for pattern in _MIXED:
        if encoded.any():
            encoded &= _matches(text, pattern)
    return result | encoded


def _matches(text: pa.Array, pattern: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False)
    return found


@dataclass(frozen=True, eq=False)
class TextFacts:
    """What is told of each account's texts before they become vectors.

    Attributes
    ----------
    account_ids : (A,) large_string
    prompts : (A,)
        Prompts that were looked at.
    unreadable : (A,)
        Those without readable text.
    distinct : (A,)
        Different texts among them, apart from digits, punctuation, case and white space.
    """

    account_ids: pa.Array
    prompts: NDArray[np.int64]
    unreadable: NDArray[np.int64]
    distinct: NDArray[np.int64]

    def of(self, account_ids: pa.Array) -> TextFacts:
        """Facts of these accounts, in this order; zeros where nothing was looked at."""
        where = pc.index_in(account_ids, value_set=self.account_ids)
        known = where.is_valid().to_numpy(zero_copy_only=False)
        at = where.fill_null(0).to_numpy()

        def taken(values: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.where(known, values[at], 0) if len(values) else np.zeros(len(at), np.int64)

        return TextFacts(account_ids, taken(self.prompts), taken(self.unreadable), taken(self.distinct))


def text_facts(traffic: pa.Table) -> TextFacts:
    """Look at the texts of whole accounts.

    Parameters
    ----------
    traffic
        `coverage_lab.schema.TRAFFIC`.
    """
    folded = pc.replace_substring_regex(pc.utf8_lower(traffic["prompt"]), _FOLDED, "")
    table = pa.table(
        {
            "account_id": traffic["account_id"],
            "unreadable": pa.array(unreadable(traffic["prompt"]).astype(np.int64)),
            "folded": folded,
        }
    )
    grouped = table.group_by("account_id", use_threads=False).aggregate(
        [("unreadable", "count"), ("unreadable", "sum"), ("folded", "count_distinct")]
    )
    return TextFacts(
        grouped["account_id"].combine_chunks(),
        grouped["unreadable_count"].to_numpy().astype(np.int64),
        grouped["unreadable_sum"].to_numpy().astype(np.int64),
        grouped["folded_count_distinct"].to_numpy().astype(np.int64),
    )
