"""Instruction and content told apart: in every script, at either end, for several templates at once."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverage_lab.accounts import templates
from coverage_lab.accounts.templates import LEAST_PROMPTS, find_templates, part_prompts

TOPICS = (
    "the tides of the Atlantic coast",
    "why bread rises in a warm room",
    "how a violin is tuned",
    "a tax form for two jobs",
    "glaciers that move at night",
    "nurses on a long shift",
    "chess endings with one rook",
    "lanterns in an old harbour",
    "orchids on a window sill",
    "what a kernel in a computer does",
    "river boats of the last century",
    "sonnets about machines",
)


def wrapped(around: str, contents=TOPICS) -> list[str]:
    return [around.replace("{}", content) for content in contents]


@pytest.mark.parametrize(
    "around",
    [
        "You are the assistant of a pharmacy. Answer in one sentence.\nCustomer: {}",
        "{}\n\nGive this ticket one of these labels: billing, delivery, defect, other.",
        "Translate the text below into English, names unchanged.\n---\n{}\n---\nTranslation into English:",
        "请把以下内容翻译成英文,并且保留所有的专有名词:{}",
        "次の文章を三行で要約してください。専門用語は残してください。{}",
        "다음 문의를 배송, 환불, 결제, 기타 중 하나로 분류하세요. {}",
        "จัดประเภทความคิดเห็นต่อไปนี้เป็น บวก ลบ หรือ กลาง {}",
        "Определи тональность отзыва: положительная или отрицательная. {}",
        "صنف الرسالة التالية: شكوى أو استفسار أو اقتراح. {}",
    ],
)
def test_one_instruction_is_cut_off_in_any_script(around):
    texts = wrapped(around)
    parted = part_prompts(texts, np.array([0, len(texts)]))
    assert parted.content == list(TOPICS)
    assert len(set(parted.instruction)) == 1
    head, tail = around.split("{}")
    assert parted.instruction[0] == f"{head.strip()} {tail.strip()}".strip()
    assert (parted.constant >= len(parted.instruction[0]) - 1).all()


def test_prompts_without_anything_in_common_are_their_own_content():
    parted = part_prompts(TOPICS, np.array([0, len(TOPICS)]))
    assert parted.content == list(TOPICS)
    assert parted.instruction == [""] * len(TOPICS)
    assert parted.constant.tolist() == [0] * len(TOPICS)


def test_several_instructions_of_one_account_are_told_apart():
    first = "Summarise what follows for the weekly digest of our firm: {}"
    second = "Write three subject lines for a newsletter on this: {}"
    texts = [*wrapped(first), *TOPICS, *wrapped(second)]
    parted = part_prompts(texts, np.array([0, len(texts)]))
    assert parted.content == [*TOPICS, *TOPICS, *TOPICS]
    assert [bool(said) for said in parted.instruction] == [True] * 12 + [False] * 12 + [True] * 12
    assert len(set(parted.instruction)) == 3


def test_one_beginning_that_goes_on_in_two_ways_is_two_instructions():
    common = "You are the helpful assistant of a library in a small town. "
    texts = wrapped(common + "Translate this title for the catalogue: {}")
    texts += wrapped(common + "Suggest a shelf for a book that is about: {}")
    parted = part_prompts(texts, np.array([0, len(texts)]))
    assert parted.content == [*TOPICS, *TOPICS]
    assert len(set(parted.instruction)) == 2


def test_a_few_that_deviate_do_not_hide_the_instruction_of_the_rest():
    around = "Rate how angry the caller is from one to ten, with a reason: {}"
    texts = [*wrapped(around), "Rate how hard this was"]
    parted = part_prompts(texts, np.array([0, len(texts)]))
    assert parted.content == [*TOPICS, "Rate how hard this was"]


def test_numbers_in_an_instruction_do_not_part_it():
    texts = [f"Question {i} of the written exam in biology, part {i % 3}: {t}" for i, t in enumerate(TOPICS)]
    short = [text for i, text in enumerate(texts) if i < 10]  # one digit each: the same length
    parted = part_prompts(short, np.array([0, len(short)]))
    assert parted.content == list(TOPICS[:10])
    assert len(set(parted.instruction)) == 1


def test_where_only_numbers_differ_the_numbers_are_the_content():
    texts = [
        f"Please look up the state of the order with the number {1000 + i * 7919 % 8999}" for i in range(40)
    ]
    parted = part_prompts(texts, np.array([0, 40]))
    assert parted.content == [text.rsplit(" ", 1)[1] for text in texts]
    assert len(set(parted.instruction)) == 1


def test_short_common_words_are_content():
    texts = [f"What is {topic}?" for topic in TOPICS]
    assert part_prompts(texts, np.array([0, len(texts)])).content == texts


def test_prompts_that_are_constant_as_a_whole_stay_whole():
    texts = ["Count to three and tell me whether the service is alive, please"] * 40
    parted = part_prompts(texts, np.array([0, 40]))
    assert parted.content == texts
    assert parted.instruction == [""] * 40


def test_too_few_prompts_have_no_instruction():
    texts = wrapped("Summarise what follows for the weekly digest: {}", TOPICS[: LEAST_PROMPTS - 1])
    assert part_prompts(texts, np.array([0, len(texts)])).content == texts


def test_accounts_are_parted_by_themselves_and_in_any_order():
    ours = wrapped("Summarise what follows for the weekly digest: {}")
    texts = [*TOPICS, *ours]
    parted = part_prompts(texts, np.array([0, 12, 24]))
    assert parted.content == [*TOPICS, *TOPICS]
    assert parted.instruction[:12] == [""] * 12
    backwards = part_prompts(ours[::-1], np.array([0, 12]))
    assert backwards.content[::-1] == parted.content[12:]
    assert backwards.instruction[0] == parted.instruction[12]


def test_words_are_not_cut_into():
    stems = ("water", "watch", "wagon", "walnut", "wall", "waltz", "want", "war", "warm", "wasp")
    texts = [f"Write a short definition for pupils of the word wa{stem[2:]}" for stem in stems]
    assert part_prompts(texts, np.array([0, len(texts)])).content == list(stems)


@given(st.lists(st.text(max_size=60), max_size=40), st.text(max_size=40))
def test_any_text_is_parted_without_loss(texts, around):
    texts = [around + text for text in texts]
    parted = part_prompts(texts, np.array([0, len(texts)]))
    for text, content, said, constant in zip(
        texts, parted.content, parted.instruction, parted.constant, strict=True
    ):
        assert content in text
        assert bool(said) == (constant > 0)
        assert content or not text
        assert len(content) + constant <= len(text)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_the_longest_agreed_beginning_is_found_as_by_trying_every_window(lengths):
    shared = np.array(lengths)
    size = len(shared) + 1
    window = max(math.ceil(templates.AGREEMENT * size) - 1, 1)
    best = max(int(shared[i : i + window].min()) for i in range(len(shared) - window + 1))
    (low, high), reach = templates._agreed(shared, size)
    assert reach == best
    assert high - low - 1 >= window
    assert shared[low : high - 1].min() >= reach


@given(st.text(alphabet="ab", max_size=80), st.text(alphabet="ab", max_size=80))
def test_common_beginnings_are_those_of_the_standard_library(one, other):
    assert templates._common(one, other) == len(os.path.commonprefix([one, other]))  # noqa: RUF071
    assert templates._common(one + other, one) == len(one)


def test_start_and_stop_bound_the_content():
    around = "Decide whether the claim is supported by our policy. Claim: {}"
    texts = wrapped(around)
    found = find_templates(texts)
    assert [text[a:b].strip() for text, a, b in zip(texts, found.start, found.stop, strict=True)] == list(
        TOPICS
    )
    assert found.wrapped.all()
