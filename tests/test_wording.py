"""Structure and opening words of prompts: by hand, against Python's own string methods, and hashed anew."""

import math
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.utils import murmurhash3_32

from coverage_lab.accounts import OPENINGS, STRUCTURE
from coverage_lab.accounts import prompt_features as wording
from coverage_lab.accounts.prompt_features import openings, structure


def found(name: str, text: str) -> float:
    return float(structure([text])[0, STRUCTURE.index(name)])


def test_a_row_by_hand():
    text = 'Please help: my list has 12 items.\n1. What is "x"?'
    expected = {
        "length": math.log(51),
        "question": 1,
        "lines": math.log(2),
        "digits": 3 / 50,
        "colon": 1,
        "first_person": 1,
        "quotes": 1,
        "code": 0,
        "please": 1,
        "sentences": math.log(4),
        "list": 1,
    }
    assert tuple(expected) == STRUCTURE
    np.testing.assert_allclose(structure([text])[0], list(expected.values()), rtol=1e-6)


def test_a_plain_statement_has_none_of_the_marks():
    row = dict(zip(STRUCTURE, structure(["Translate this sentence into French"])[0].tolist(), strict=True))
    assert {name for name, value in row.items() if value} == {"length"}


ALPHABET = st.sampled_from(
    "aZé我天かй شम9٣ \n\t\u3000\xa0\x1f\v.!?。！？؟।:：,;\"'“”„‘’«»「」『』-+=$€{}()<>|~^`_#*\0\u200f😀\u0301"
)


@given(st.lists(st.text(ALPHABET, max_size=40), max_size=5))
def test_counts_are_those_of_python_s_own_strings(texts):
    expected = []
    for text in texts:
        kinds = [unicodedata.category(character) for character in text]
        expected.append(
            {
                "length": math.log1p(len(text)),
                "lines": math.log1p(text.count("\n")),
                "sentences": math.log1p(sum(text.count(mark) for mark in ".!?。！？؟।")),
                "digits": kinds.count("Nd") / max(len(text), 1),
                "question": float(any(mark in text for mark in "?？؟")),
                "colon": float(any(mark in text for mark in ":：")),
                "quotes": float(any(mark in text for mark in "\"'“”„‘’«»「」『』")),
            }
        )
    rows = structure(texts)
    assert rows.shape == (len(texts), len(STRUCTURE))
    assert rows.dtype == np.float32
    for row, values in zip(rows, expected, strict=True):
        for name, value in values.items():
            assert row[STRUCTURE.index(name)] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize(
    "text",
    [
        "I'm new here",
        "i’ve a problem",
        "How do I sort this",
        "can i pay later",
        "im not sure",
        "ask me.",
        "MY cat",
        "(we) agree",
        "Ich suche Hilfe",
        "gib mir Rat",
        "Je voudrais un café",
        "j'ai faim",
        "Yo quiero saber",
        "eu preciso de ajuda",
        "la mia macchina",
        "Я ищу работу",
        "помоги мне",
        "МОЯ собака",
        "我想学习",
        "私は学生です",
        "僕の本",
        "أنا أبحث عن عمل",
        "मुझे बताओ",
        "저는 학생입니다",
        "ik zoek werk",
        "benim adım",
        "už jsem zkusil vše",
        "допоможи мені",
    ],
)
def test_a_person_speaks(text):
    assert found("first_person", text) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "i",
        "for (int i = 0; i < n; i++)",
        "for i in range(10)",
        "metal, i.e. iron",
        "World War I ended",
        "i gatti e i cani",
        "Anna i Piotr",
        "født i Oslo",
        "im Haus",
        "mymy wept meme",
        "the EU and the US",
        "je moet komen",
        "私人财产",
        "семья",
        "мыло",
        "me_too my2",
        "translate: bonjour",
    ],
)
def test_no_person_speaks(text):
    assert found("first_person", text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "PLEASE stop",
        "pls help",
        "请翻译",
        "請翻譯",
        "Пожалуйста",
        "Bitte!",
        "por favor",
        "s'il vous plaît",
        "S’il te plaît",
        "お願いします",
        "教えてください",
        "من فضلك",
        "कृपया",
        "알려 주세요",
        "lütfen",
    ],
)
def test_asks_politely(text):
    assert found("please", text) == 1


@pytest.mark.parametrize("text", ["pleased to meet", "displease", "bitten", "arbitter", "申请表", "请求"])
def test_does_not_ask_politely(text):
    assert found("please", text) == 0


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("code", "```\nx\n```", 1),
        ("code", "def f", 1),
        ("code", "run();", 1),
        ("code", "<b>x</b>", 1),
        ("code", "if (x) {\n  y\n}", 1),
        ("code", "undef x", 0),
        ("code", "{x} and\n{y", 0),
        ("code", "{x}", 0),
        ("code", "} \n {", 0),
        ("list", "1. a", 1),
        ("list", "Do:\n  12) b", 1),
        ("list", "说明\n1、写", 1),
        ("list", "x\n- a", 1),
        ("list", "* a", 1),
        ("list", "• a", 1),
        ("list", "3.14 is pi", 0),
        ("list", "-5 degrees", 0),
        ("list", "**bold**", 0),
        ("list", "in 1. place", 0),
        ("list", "2024. a year", 0),
    ],
)
def test_code_and_lists(name, text, value):
    assert found(name, text) == value


def test_the_same_sign_in_another_script_or_typeface_counts_alike():
    ascii_, other = structure(['don\'t: why? "so".', "don’t： why？ “so”。"])
    np.testing.assert_array_equal(ascii_, other)


def test_letter_case_is_not_seen():
    text = "Please tell me, ich bitte dich: пожалуйста, где МОЙ кот?"
    np.testing.assert_array_equal(structure([text.upper()]), structure([text.lower()]))


def test_only_the_first_2000_characters_are_read():
    head = "я" * 2_000
    np.testing.assert_array_equal(structure([head + '? my "list": 1\n- a']), structure([head]))
    assert found("question", "я" * 1_999 + "?") == 1


def test_every_chunk_is_read(monkeypatch):
    texts = [f"{i} words?" * (i % 4) for i in range(20)]
    whole = structure(texts)
    monkeypatch.setattr(wording, "_CHUNK", 3)
    np.testing.assert_array_equal(structure(texts), whole)


HOSTILE = [
    "",
    " ",
    "\n" * 9,
    "\0\0a\0",
    "w" * 500_000,
    "😀👩‍👩‍👧‍👦",
    "\u202e\u202dابجد",
    "\ufeff",
    "{" * 3_000,
    "\U0010ffff",
]


def test_hostile_text_gives_finite_numbers():
    rows = structure(HOSTILE)
    assert np.isfinite(rows).all()
    assert (rows >= 0).all()
    assert not rows[0].any()
    assert rows[4, 0] == pytest.approx(math.log(2_001))
    lengths = [math.log1p(min(len(text), 2_000)) for text in HOSTILE]
    np.testing.assert_allclose(rows[:, 0], lengths, rtol=1e-6)
    hashed = openings(HOSTILE)
    assert hashed.shape == (len(HOSTILE), OPENINGS)
    assert np.isfinite(hashed.data).all()


def by_hand(text: str) -> np.ndarray:
    """Hash an ASCII opening of words of two or more letters, parted by single spaces."""
    words = text.lower().split(" ")[:12]
    row = np.zeros(OPENINGS)
    for token in words + [f"{words[i]} {words[i + 1]}" for i in range(len(words) - 1)]:
        code = murmurhash3_32(token.encode(), seed=0)
        row[abs(code) % OPENINGS] += 1 if code >= 0 else -1
    return row / max(np.linalg.norm(row), 1e-300)


@given(
    st.lists(
        st.lists(st.text("abAB", min_size=2, max_size=3), min_size=1, max_size=15), min_size=1, max_size=4
    )
)
def test_openings_are_hashed_words_and_pairs(rows):
    texts = [" ".join(words) for words in rows]
    hashed = openings(texts)
    assert hashed.dtype == np.float32
    np.testing.assert_allclose(hashed.toarray(), [by_hand(text) for text in texts], atol=1e-6)


def test_openings_of_any_script_are_those_of_scikit_learn():
    texts = [
        "Überprüfe die Straße, bitte!",
        "写一首诗。关于春天",
        "a b cd",
        "СОБАКА и кот",
        "x=1; y_2",
        "मौसम कैसा है",
    ]
    oracle = HashingVectorizer(n_features=OPENINGS, ngram_range=(1, 2))
    np.testing.assert_allclose(openings(texts).toarray(), oracle.transform(texts).toarray(), atol=1e-6)


def test_openings_end_after_12_words_or_300_characters():
    twelve = " ".join(f"word{i}" for i in range(12))
    long = "x" * 150
    same = openings([twelve, f"  {twelve}\n\tand more", f"{long} {long}", f"{long} {long[:149]}"]).toarray()
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[2], same[3])
    assert np.abs(same[0] - openings([twelve[:-7]]).toarray()[0]).max() > 0.01


def test_openings_without_a_token_are_zero():
    assert openings(["", "?!", "a", "我"]).nnz == 0
    assert openings([]).shape == (0, OPENINGS)
    assert structure([]).shape == (0, len(STRUCTURE))
