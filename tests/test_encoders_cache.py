"""The bounded cache of vectors against a dictionary kept in order of use."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coverage_lab.encoders.cache import VectorCache

DIM = 10
#: 4 bytes a number, and what a key takes.
SLOT = 4 * DIM + 160


def vector(key: int) -> torch.Tensor:
    return torch.full((DIM,), float(key))


@given(
    st.integers(0, 5), st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=7, unique=True), max_size=12)
)
def test_keeps_the_most_recently_used(slots: int, windows: list[list[int]]) -> None:
    cache = VectorCache(slots * SLOT + SLOT - 1, dim=DIM, device="cpu")
    order: list[int] = []
    for window in windows:
        digests = [key.to_bytes(16, "big") for key in window]
        known = cache.known(digests)
        assert known == [place for place, key in enumerate(window) if key in order]
        order = [key for key in order if key not in window] + [key for key in window if key in order]
        if known:
            got = cache.read([digests[place] for place in known])
            assert torch.equal(got, torch.stack([vector(window[place]) for place in known]))
        new = [key for key in window if key not in order]
        if new:
            cache.write([key.to_bytes(16, "big") for key in new], torch.stack([vector(key) for key in new]))
        order = (order + new)[-slots:] if slots else []
        assert len(cache) == len(order) <= slots


def test_forgets_everything_and_starts_again() -> None:
    cache = VectorCache(2 * SLOT, dim=DIM, device="cpu")
    cache.write([b"a", b"b"], torch.stack([vector(1), vector(2)]))
    cache.clear()
    assert cache.known([b"a", b"b"]) == []
    with pytest.raises(KeyError):
        cache.read([b"a"])
    cache.write([b"b"], vector(3)[None])
    assert torch.equal(cache.read([b"b"]), vector(3)[None])


def test_what_was_read_is_a_copy() -> None:
    cache = VectorCache(SLOT, dim=DIM, device="cpu")
    cache.write([b"a"], vector(1)[None])
    got = cache.read([b"a"])
    cache.write([b"b"], vector(2)[None])
    assert torch.equal(got, vector(1)[None])
