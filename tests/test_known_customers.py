"""The protocol of known customers: how corpora are cut, what is adapted to, and that it runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.commands import call
from support.traced import labelled_accounts
from support.written_corpora import collection, write_corpora

from coverage_lab.evaluate.corpora import Corpus
from coverage_lab.evaluate.known_customers import _own, half_of


def test_halves_share_no_prompt_and_no_person() -> None:
    texts = tuple(f"prompt {letter}" for letter in "abcdefgh")
    people = ("ann", "ann", "bob", None, "cid", "ann", "bob", None)
    corpus = Corpus("E_chat", "E", texts, people, "en")
    first, second = (half_of(corpus, second=second) for second in (False, True))
    assert set(first.prompts).isdisjoint(second.prompts)
    assert sorted(first.prompts + second.prompts) == sorted(texts)
    assert set(first.people) - {None} == {"ann", "cid"}
    assert set(second.people) - {None} == {"bob"}
    assert (first.name, first.kind, first.language) == ("E_chat", "E", "en")


def test_a_text_that_comes_again_is_in_one_half() -> None:
    texts = ("a", "b", "c", "a", "b", "d", "a")
    corpus = Corpus("A_again", "A", texts, (None,) * len(texts))
    first, second = (half_of(corpus, second=second).prompts for second in (False, True))
    assert set(first).isdisjoint(second)
    assert sorted(first + second) == ["a", "b", "c", "d"]


def test_a_corpus_of_one_prompt_has_one_half() -> None:
    corpus = Corpus("A_one", "A", ("only",), (None,))
    assert half_of(corpus, second=False).prompts == ("only",)
    assert half_of(corpus, second=True).prompts == ()


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1])
def test_own_accounts_have_the_share_of_harvests_that_is_asked_for(share: float) -> None:
    past = labelled_accounts()
    own = _own(past, share, np.random.default_rng(1))
    assert own.ordinary.sum() == past.ordinary.sum()
    assert own.harvest.sum() == round(past.ordinary.sum() * share / (1 - share))
    assert set(own.kind.tolist()) <= {"harvest", *past.kind[past.ordinary].tolist()}


@pytest.mark.slow
def test_too_few_accounts_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_corpora(tmp_path / "corpora", collection())
    small = ("--folds", 3, "--accounts", 30, "--longest", 100)
    code, _, err = call(capsys, "evaluate", folder, tmp_path / "out", "--known-customers", *small)
    assert code == 2
    assert "at least 100 are needed; give more traffic" in err


@pytest.mark.slow
def test_every_row_is_there_and_customers_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, place = write_corpora(tmp_path / "corpora", collection()), tmp_path / "out"
    options = ("--folds", 2, "--accounts", 300, "--longest", 100, "--judge", "50,100")
    code, said, err = call(capsys, "evaluate", folder, place, "--known-customers", *options)
    assert code == 0, err
    assert "Harvests that no score has seen, against customers" in said
    rows = json.loads((place / "known_customers.json").read_text())["rows"]
    assert [(row["size"], row["contamination"]) for row in rows] == [
        (size, share) for size in (None, 50, 100) for share in (None, 0, 0.02, 0.05, 0.1)
    ]
    for row in rows:
        assert 0.5 <= row["auroc"] <= 1
        assert 0 <= row["caught"][0] <= row["caught"][1] <= 1
        assert row["ordinary_at_p"][0] <= row["ordinary_at_p"][1]
        assert row["ordinary_accounts_at_p"][0] <= row["ordinary_accounts_at_p"][1]
    assert f"Page: {place / 'known_customers.html'}" in said
    code, _, err = call(capsys, "evaluate", folder, place, "--known-customers", *options)
    assert code == 5
    assert "--overwrite" in err
