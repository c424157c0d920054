"""Labels of cells: which words may be shown, and which are typical."""

from __future__ import annotations

import re
from collections import Counter
from math import log1p
from typing import Any

import numpy as np
import pytest

from coverage_lab.atlas import default_atlas
from coverage_lab.atlas.label import MIN_PROMPTS, WITHHELD, label_cells, words_of

ONE_OF_EACH = np.zeros((3, 1), dtype=np.int32)


def _label(
    texts: list[str],
    *,
    accounts: list[int] | None = None,
    fine: list[int] | None = None,
    parents: Any = ONE_OF_EACH,
    min_accounts: int = 3,
) -> tuple[tuple[str, ...], ...]:
    rows = len(texts)
    parents = np.asarray(parents, dtype=np.int32)
    return label_cells(
        texts,
        np.array(accounts if accounts is not None else range(rows)),
        np.array(fine if fine is not None else [0] * rows, dtype=np.int32),
        parents,
        tuple(int(row.max()) + 1 for row in parents),
        min_accounts=min_accounts,
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Bake bread, bake BREAD!", ["bake", "bread", "bake", "bread"]),
        ("the of an ox", []),
        ("key sk_live_abcdef abc123def x9y tel0", ["key"]),
        ("a" * 21, []),
        ("a" * 20, ["a" * 20]),
        ("don't sort users' lists", ["sort", "users", "lists"]),
        ("don’t répète jamais ça", ["répète", "jamais"]),
        ("Составь список", ["составь", "список"]),
        ("मौसम हिन्दी", ["मौसम", "हिन्दी"]),
        ("مدينة ساحلية", ["مدينة", "ساحلية"]),
        ("한국어로 번역해 줘", ["한국어로", "번역해"]),
        ("天气预报", ["天气", "气预", "预报"]),
        ("写Python代码", ["python", "代码"]),
        ("電車の時刻", ["電車", "車の", "の時", "時刻"]),
        ("コーヒー", ["コー", "ーヒ", "ヒー"]),
        ("好，吗", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_only_the_beginning_is_read() -> None:
    assert words_of("x " * 1_000 + "zebra") == []
    assert words_of("x " * 990 + "zebra") == ["zebra"]


def test_words_of_few_accounts_or_few_prompts_are_not_published() -> None:
    texts = ["garden secretive"] * 40 + ["garden"] * 10 + ["garden scarcely"] * 4
    accounts = [i % 2 for i in range(40)] + list(range(10)) + [20, 21, 22, 23]
    coarse, middle, fine = _label(texts, accounts=accounts)
    assert coarse == middle == fine == ("garden",)


@pytest.mark.parametrize(("accounts", "prompts", "shown"), [(3, 5, True), (2, 5, False), (4, 4, False)])
def test_the_bounds_are_exact(accounts: int, prompts: int, shown: bool) -> None:
    assert MIN_PROMPTS == 5
    texts = ["orchid"] * prompts
    label = _label(texts, accounts=[i % accounts for i in range(prompts)])[0][0]
    assert (label == "orchid") is shown


def test_min_accounts_is_heeded() -> None:
    texts, accounts = ["orchid"] * 12, [i % 4 for i in range(12)]
    assert _label(texts, accounts=accounts, min_accounts=4)[0] == ("orchid",)
    assert _label(texts, accounts=accounts, min_accounts=5)[0] == ("cell 0",)


def test_a_prompt_that_repeats_a_word_counts_once() -> None:
    texts = ["orchid " * 50] * 4 + ["fern moss"] * 6
    assert _label(texts)[0] == ("fern, moss",)


def test_chinese_shows_pairs_only_and_no_overlapping_ones() -> None:
    label = _label(["请告诉我天气预报"] * 8)[0][0]
    pairs = label.split(", ")
    assert len(pairs) >= 2
    assert all(len(pair) == 2 for pair in pairs)
    assert not any(a[1] == b[0] for a in pairs for b in pairs)


def test_a_cell_without_words_takes_its_parent_s_label_and_its_number() -> None:
    parents = [[0, 0, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]]
    texts = ["garden plants"] * 6 + ["?"] * 6 + ["!"] * 6
    labels = _label(texts, fine=[0] * 6 + [1] * 6 + [2] * 6, parents=parents)
    assert labels[0] == ("garden, plants", "cell 1")
    assert labels[1] == ("garden, plants", "garden, plants · 1", "cell 1 · 2")
    assert labels[2] == (
        "garden, plants",
        "garden, plants · 1 · 1",
        "cell 1 · 2 · 2",
        "cell 1 · 2 · 3",
    )


def test_texts_without_a_word_are_numbered() -> None:
    assert _label(["?", "12"])[0] == ("cell 0",)


def test_keywords_are_those_of_class_based_tf_idf() -> None:
    """Oracle: the formula, word by word, with counters."""
    rng = np.random.default_rng(4)
    vocabulary = [
        a + b for a in ("kelp", "moss", "fern", "reed", "vine") for b in ("ing", "ful", "ness", "ish")
    ]
    cells = rng.integers(0, 3, 300)
    texts = [
        " ".join(rng.choice(np.roll(vocabulary, 4 * cell), size=6, p=np.arange(20, 0, -1) / 210))
        for cell in cells
    ]
    per_cell = [
        Counter(w for t, c in zip(texts, cells, strict=True) if c == k for w in set(t.split()))
        for k in range(3)
    ]
    total = sum(per_cell, Counter())
    mean_words = total.total() / 3
    expected = []
    for count in per_cell:
        score = {w: n / count.total() * log1p(mean_words / total[w]) for w, n in count.items()}
        expected.append(", ".join(sorted(score, key=lambda w: (-score[w], w))[:4]))
    fine = [0, 1, 2]
    labels = _label(texts, fine=cells.tolist(), parents=[fine, fine, fine])
    assert list(labels[2]) == expected
    assert labels[0] == labels[2]


def test_swear_words_are_never_shown():
    assert words_of("What the fuck is a bitchy review? Shitty café!") == ["review", "café"]


@pytest.mark.parametrize("encoder", ["static", "minilm"])
def test_shipped_labels_hold_no_withheld_word(encoder):
    for labels in default_atlas(encoder).labels:
        for label in labels:
            assert not any(WITHHELD.match(word) for word in re.split(r"[ ,]+", label)), label
