"""Which texts have nothing to be read: marks of redaction, hashes and ciphertext in all their spellings."""

from __future__ import annotations

import base64
import hashlib
import uuid

import numpy as np
import pyarrow as pa
import pytest
from support.traced import said

from coverage_lab.accounts.readable import unreadable

BYTES = np.random.default_rng(7).bytes(120)
HASH = hashlib.sha256(BYTES).hexdigest()
UNREADABLE = {
    "in brackets": [
        "[REDACTED]",
        "<redacted by masking policy>",
        "{{MASKED}}",
        "${prompt}",
        "<PERSON> <EMAIL_ADDRESS>",
    ],
    "in other languages": [
        "[SUPPRIMÉ]",
        "[已删除]",
        "【非公開】",
        "［削除済み］",
        "<已脱敏>",
        "[удалено]",
        "[محجوب]",
        "[삭제됨]",
    ],
    "bare": [
        "redacted",
        "geschwärzt",
        "已删除",
        "redacted by litellm. litellm.turn_off_message_logging=True",
    ],
    "hashes": [HASH, f"sha256:{HASH}", HASH.upper(), f"{HASH} {HASH}", "0x" + BYTES[:20].hex()],
    "hex": [BYTES[:30].hex(" "), BYTES[:30].hex(":").upper()],
    "UUIDs": [str(uuid.UUID(bytes=BYTES[:16])), f"urn:uuid:{uuid.UUID(bytes=BYTES[:16])}"],
    "base32": [
        base64.b32encode(BYTES).decode(),
        base64.b32encode(BYTES).decode().lower(),
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ],
    "base64": [base64.b64encode(BYTES).decode(), base64.encodebytes(BYTES).decode()],
    "ciphertext": [
        f"ENC[AES256_GCM,data:{base64.b64encode(BYTES).decode()}]",
        f"vault:v1:{base64.b64encode(BYTES).decode()}",
    ],
    "passwords": ["$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW"],
    "addresses of objects": ["s3://bucket/prompts/2026/ab12.json", "gs://b/p/7"],
    "bytes as text": [BYTES.decode("latin-1"), BYTES.decode("utf-8", "replace")],
}
READABLE = [
    said(3),
    "hi",
    "如何修理门?",
    "「如何修理门」",
    "What does [REDACTED] mean in court documents?",
    f"What is the password behind {HASH}?",
    "Decode this base64: aGVsbG8gd29ybGQ=",
    "Fill {name} in the letter to {city} with kindness",
    "https://example.com/page",
    "Donaudampfschifffahrtsgesellschaft",
    "THISISALONGWORDINCAPITALS",
    "for i in range(3):\n\tprint(i)\r\n",
    "👩‍👩‍👧 who are they?",
]


@pytest.mark.parametrize("kind", UNREADABLE)
def test_texts_without_a_wish_are_unreadable(kind: str) -> None:
    texts = UNREADABLE[kind]
    found = unreadable(pa.chunked_array([texts]))
    assert [text for text, is_one in zip(texts, found.tolist(), strict=True) if not is_one] == []


def test_texts_of_people_are_readable() -> None:
    found = unreadable(pa.chunked_array([READABLE]))
    assert [text for text, is_one in zip(READABLE, found.tolist(), strict=True) if is_one] == []
