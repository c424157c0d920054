"""Texts that a tokenizer may get wrong, written for the tests."""

from hypothesis import strategies as st

TEXTS = (
    "How do I repot a basil plant?",
    "",
    " ",
    "x",
    "Wie repariere ich eine tropfende Armatur?",
    "Café, naïve, Ærøskøbing, Dvořák and the façade; e\u0301 is two characters.",
    "写一首关于秋天的短诗。電車の時刻表の読み方を教えてください。",
    "한국어로 인사말을 써 주세요",
    "اكتب وصفاً قصيراً لمدينة ساحلية.",
    "कृपया पानी बचाने के तीन उपाय बताइए।",
    "👩‍👩‍👧‍👦 and 🇩🇪, then 😀😀😀",
    "a\tb\r\nc\x00d\x0be\x0cf\x1bg\u200bh\u00adi\ufeffj",
    "no\u00a0break, thin\u2009space, ideographic\u3000space",
    "pneumonoultramicroscopicsilicovolcanoconiosis" * 5,
    "z" * 3_000,
    "ΣΊΣΥΦΟΣ, İstanbul, ﬁnancial, ﷺ, ½ ² Ⅳ",
    "[CLS] and [SEP] and [MASK] and [PAD] written out; [cls] too",
    "def add(a, b):\n    return a + b  # don't!!! $%^&*()_+{}|:\"<>?~`",
    "Which trains run from the harbour to the old town on a Sunday morning? " * 40,
    "one two three " * 700,
)

#: What WordPiece's normaliser and splitter treat each in its own way.
_CHARACTERS = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from(
            "aZ09 .,'-_\t\n\r\x00\x0b\x0c\x1c\x85\xa0\u200b\u2028\u3000\ufffdßİıΣσςéè́̈ﬁ中文字한국あ😀👨‍👩🏽"
        ),
    ),
    max_size=60,
)
_WORDS = st.sampled_from(
    ["basil", "[UNK]", "[PAD]", "[CLS]", "##ing", "unaffable" * 30, "x" * 101, "x" * 100]
)
any_text = st.one_of(_CHARACTERS, st.lists(st.one_of(_WORDS, _CHARACTERS), max_size=6).map("".join))
