"""Corpora that are alike are never parted, however they were found to be alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverage_lab.errors import ConfigError
from coverage_lab.evaluate.corpora import KINDS, Corpus
from coverage_lab.evaluate.folds import clusters_of, folds_of, load_together


def corpus(name: str, texts) -> Corpus:
    return Corpus(name, name[0], tuple(texts), (None,) * len(texts))


def distinct(name: str, count: int = 100) -> list[str]:
    return [f"{name} says {i}" for i in range(count)]


def test_shared_prompts_make_a_cluster_named_after_its_first():
    bank = distinct("bank")
    made = [
        corpus("D_b", bank[:6] + distinct("b", 94)),
        corpus("A_c", bank),
        corpus("D_d", bank[:4] + distinct("d", 96)),
        corpus("B_e", distinct("e")),
    ]
    # 6 of 100 are shared, 4 of 100 are not enough.
    assert clusters_of(made) == {"D_b": "A_c", "A_c": "A_c", "D_d": "D_d", "B_e": "B_e"}


def test_shares_are_of_the_smaller_corpus_and_of_distinct_prompts():
    bank = distinct("bank", 1000)
    small = corpus("C_small", bank[:1] + distinct("s", 9))
    assert clusters_of([corpus("A_bank", bank), small])["C_small"] == "A_bank"
    # Ten distinct prompts, one of them shared, told in a hundred ways of writing.
    told = [("  " * i + text.upper()) for i in range(10) for text in bank[:1] + distinct("t", 9)]
    assert clusters_of([corpus("A_bank", bank), corpus("C_told", told)])["C_told"] == "A_bank"


def test_clusters_by_list_and_through_one_another(tmp_path):
    made = [corpus(name, distinct(name)) for name in ("A_a", "A_b", "B_c", "D_d", "E_e")]
    path = tmp_path / "together.txt"
    path.write_text("# origins\nE_e B_c A_gone # comment\n\nB_c A_b\n", encoding="utf-8")
    together = load_together(path)
    assert together == [("E_e", "B_c", "A_gone"), ("B_c", "A_b")]
    assert clusters_of(made, together=together) == {
        "A_a": "A_a", "A_b": "A_b", "B_c": "A_b", "D_d": "D_d", "E_e": "A_b",
    }  # fmt: skip


@pytest.mark.parametrize("content", [b"A_a A_b\nA_c\n", b"\xff\xfe", None])
def test_lists_that_can_not_be_used(tmp_path, content):
    path = tmp_path / "together.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="together") as refused:
        load_together(path)
    assert "\n" not in str(refused.value)
    assert ("line 2" in str(refused.value)) == (content == b"A_a A_b\nA_c\n")


@st.composite
def collections(draw):
    """Corpora of any kind with random pairs that share a bank, and a number of folds."""
    count = draw(st.integers(2, 25))
    names = [f"{draw(st.sampled_from(KINDS))}_{i}" for i in range(count)]
    pairs = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=8))
    listed = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=4))
    texts = {name: distinct(name, 20) for name in names}
    for i, (one, other) in enumerate(pairs):
        shared = distinct(f"shared {i}", 10)
        texts[names[one]] += shared
        texts[names[other]] += shared
    made = [corpus(name, texts[name]) for name in names]
    return made, [(names[a], names[b]) for a, b in pairs], [(names[a], names[b]) for a, b in listed if a != b]


@given(drawn=collections(), folds=st.integers(2, 6), seed=st.integers(0, 5))
def test_nothing_alike_is_parted(drawn, folds, seed):
    made, shared, listed = drawn
    cluster = clusters_of(made, together=listed)
    count = len(set(cluster.values()))
    if folds > count:
        with pytest.raises(ConfigError, match=f"folds: expected 2 to {count}"):
            folds_of(made, cluster, folds=folds, seed=seed)
        return
    fold = folds_of(made, cluster, folds=folds, seed=seed)
    for one, other in shared + listed:
        assert cluster[one] == cluster[other]
        assert fold[one] == fold[other]
    assert set(fold) == {c.name for c in made}
    assert set(fold.values()) == set(range(folds))
    order = np.random.default_rng(seed).permutation(len(made))
    moved = [made[i] for i in order]
    assert clusters_of(moved, together=listed) == cluster
    assert folds_of(moved, cluster, folds=folds, seed=seed) == fold


def test_each_kind_is_spread_over_the_folds():
    made = [corpus(f"{kind}_{i}", distinct(f"{kind}{i}", 5)) for kind in KINDS for i in range(10)]
    cluster = clusters_of(made)
    fold = folds_of(made, cluster, folds=5, seed=3)
    for kind in KINDS:
        assert np.bincount([fold[c.name] for c in made if c.kind == kind]).tolist() == [2] * 5
    assert folds_of(made, cluster, folds=5, seed=3) == fold
    assert folds_of(made, cluster, folds=5, seed=4) != fold
