"""Reading a folder of corpora: what is kept, what is refused with one line, and how long ones are thinned."""

import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.written_corpora import collection, write_corpora

from coverage_lab.errors import TrafficError
from coverage_lab.evaluate.corpora import Corpus, load_corpora, thinned

SECRET = "my own secret words"


def put(folder: Path, name: str, **columns: object) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / name)
    return folder


def test_a_folder_comes_back_as_it_was_written(tmp_path):
    written = collection()
    for read, meant in zip(load_corpora(write_corpora(tmp_path, written)), written, strict=True):
        assert (read.name, read.kind, read.language) == (meant.name, meant.kind, meant.language)
        assert read.prompts == meant.prompts
        assert read.people == meant.people


def test_blank_prompts_and_nameless_people(tmp_path):
    put(
        tmp_path,
        "D_a.parquet",
        prompt=["one", None, "  \n", "", "two"],
        user=["ann", "bob", "bob", "bob", " "],
    )
    put(tmp_path, "E_b.parquet", prompt=["one"], user=pa.array([7], pa.int64()), label=["x"])
    put(tmp_path, "A_c.parquet", prompt=pa.array(["one", "one"]).dictionary_encode())
    put(tmp_path, "F_none.parquet", prompt=["no such kind"])
    put(tmp_path, "notes.parquet", prompt=["no kind"])
    (tmp_path / "A_folder.parquet").mkdir()
    c, a, b = load_corpora(tmp_path)
    assert (a.prompts, a.people) == (("one", "two"), ("ann", None))
    assert (b.prompts, b.people, b.language) == (("one",), ("7",), "")
    assert (c.prompts, c.people) == (("one", "one"), (None, None))


def test_folders_with_names_like_hive_partitions_add_nothing(tmp_path):
    folder = tmp_path / "user=mallory"
    put(folder, "D_a.parquet", prompt=["one"])
    assert load_corpora(folder)[0].people == (None,)


def test_languages_are_the_catalogues(tmp_path):
    said = {
        "A_a": ("en", "en"),
        "A_b": ("mostly en", "en"),
        "A_c": ('"en,zh"', ""),
        "A_d": ("zh + code", "zh"),
        "A_e": ('"mostly en, some es"', ""),
        "A_f": ("", ""),
    }
    for name in said:
        put(tmp_path, f"{name}.parquet", prompt=["one"])
    lines = ["file,language", *(f"{name}.parquet,{words}" for name, (words, _) in said.items())]
    (tmp_path / "CATALOG.csv").write_text("\ufeff" + "\n".join(lines[:-1]) + "\n", encoding="utf-8")
    assert {c.name: c.language for c in load_corpora(tmp_path)} == {n: code for n, (_, code) in said.items()}


def hostile(folder: Path, case: str) -> None:
    if case == "no prompt column":
        put(folder, "A_x.parquet", text=[SECRET])
    elif case == "prompts are numbers":
        put(folder, "A_x.parquet", prompt=[1, 2])
    elif case == "prompts are bytes":
        put(folder, "A_x.parquet", prompt=[SECRET.encode()])
    elif case == "users are lists":
        put(folder, "A_x.parquet", prompt=[SECRET], user=[["a"]])
    elif case == "not UTF-8":
        bad = pa.array([b"\xff\xfe" + SECRET.encode()], pa.binary())
        column = pa.StringArray.from_buffers(1, bad.buffers()[1], bad.buffers()[2])
        put(folder, "A_x.parquet", prompt=column)
    elif case == "not Parquet":
        (folder / "A_x.parquet").write_text(SECRET)
    elif case == "cut off":
        put(folder, "A_x.parquet", prompt=[SECRET] * 50)
        whole = (folder / "A_x.parquet").read_bytes()
        (folder / "A_x.parquet").write_bytes(whole[: len(whole) // 2])
    elif case == "nothing but blanks":
        put(folder, "A_x.parquet", prompt=["", "  "])
    elif case == "a catalogue without columns":
        put(folder, "A_x.parquet", prompt=[SECRET])
        (folder / "CATALOG.csv").write_text("name\nA_x.parquet\n")
    elif case == "a catalogue of bytes":
        put(folder, "A_x.parquet", prompt=[SECRET])
        (folder / "CATALOG.csv").write_bytes(b"file,language\n\xff\xfe,en\n")


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("empty folder", "no file named <kind>_<name>.parquet"),
        ("no prompt column", "A_x.parquet: no column 'prompt'"),
        ("prompts are numbers", "A_x.parquet: expected text in column 'prompt', got int64"),
        ("prompts are bytes", "A_x.parquet: expected text in column 'prompt', got binary"),
        ("users are lists", "A_x.parquet: not a readable"),
        ("not UTF-8", "A_x.parquet: not a readable"),
        ("not Parquet", "A_x.parquet: not a readable"),
        ("cut off", "A_x.parquet: not a readable"),
        ("nothing but blanks", "A_x.parquet: expected prompts"),
        ("a catalogue without columns", "CATALOG.csv: expected columns 'file' and 'language'"),
        ("a catalogue of bytes", "CATALOG.csv: not a readable CSV"),
    ],
)
def test_hostile_folders_are_refused_in_one_line_without_text(tmp_path, case, told):
    hostile(tmp_path, case)
    with pytest.raises(TrafficError) as refused:
        load_corpora(tmp_path)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


@given(total=st.integers(1, 200), rows=st.integers(1, 210), stretches=st.integers(1, 5))
def test_thinned_keeps_exactly_so_many_in_order(total, rows, stretches):
    corpus = Corpus("A_x", "A", tuple(map(str, range(total))), tuple(map(str, range(total))), "en")
    kept = thinned(corpus, rows=rows, stretches=stretches)
    places = [int(text) for text in kept.prompts]
    assert len(places) == min(rows, total)
    assert places == sorted(set(places))
    assert kept.people == kept.prompts
    assert (kept.name, kept.kind, kept.language) == ("A_x", "A", "en")
    assert places[0] == 0
    assert places[-1] == total - 1 or stretches == 1 or rows == 1
    jumps = sum(b - a > 1 for a, b in itertools.pairwise(places))
    assert jumps < stretches


def test_thinned_by_hand():
    corpus = Corpus("A_x", "A", tuple("0123456789"), (None,) * 10)
    assert "".join(thinned(corpus, rows=6).prompts) == "014589"
    assert "".join(thinned(corpus, rows=7).prompts) == "0124589"
    assert thinned(corpus, rows=10) is corpus
