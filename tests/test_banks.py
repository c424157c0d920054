"""Known prompt banks: indexing, matching, chance, order, and the commands."""

import hashlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.commands import call
from support.traced import HashEncoder, said

import coverage_lab as cl
from coverage_lab.banks import Bank, build_banks, load_banks, match_texts
from coverage_lab.errors import ConfigError, OutputError, TrafficError

BANK = [f"{said(number)} {said(number + 7)} tasks" for number in range(40)]
OTHER = [f"{said(number)} other things" for number in range(1000, 1030)]


@pytest.fixture
def banks(tmp_path):
    """Two banks in files of two kinds; the first has a blank and a repeated prompt."""
    folder = tmp_path / "banks"
    folder.mkdir()
    (folder / "first.txt").write_text("\n".join([*BANK[:10], "", BANK[0], *BANK[10:]]), encoding="utf-8")
    pq.write_table(pa.table({"prompt": OTHER}), folder / "second.parquet")
    return build_banks(folder, tmp_path / "index", encoder=HashEncoder())


def own(number, count=30):
    return [f"{said(7000 + 100 * number + i)} of my own" for i in range(count)]


def rows(found):
    return {(row["account_id"], row["bank"]): row for row in found.to_pylist()}


def test_an_index_is_what_was_built_and_holds_no_text(banks, tmp_path):
    loaded = load_banks(tmp_path / "index")
    assert [bank.name for bank in loaded.banks] == ["first", "second"]
    assert loaded.banks[0].rows.tolist() == [*range(1, 11), *range(13, 43)]
    for one, other in zip(loaded.banks, banks.banks, strict=True):
        assert np.array_equal(one.vectors, other.vectors)
    text = BANK[3].encode()
    assert not any(text in file.read_bytes() for file in (tmp_path / "index").iterdir())


def test_shares_chance_and_order_are_those_of_a_count_by_hand(banks):
    accounts = {
        "replay": [*BANK[:20], *own(1, 5)],
        "backwards": BANK[20:30][::-1] + own(2, 30),
        "half": [own(3)[0], BANK[5], own(3)[0], *own(3)],
        **{f"plain {i}": own(10 + i) for i in range(7)},
    }
    found = rows(match_texts(accounts, banks, encoder=HashEncoder()))
    assert set(found) == {("replay", "first"), ("backwards", "first"), ("half", "first")}
    replay = found["replay", "first"]
    assert (replay["prompts"], replay["matched"], replay["share"]) == (25, 20, 0.8)
    assert (replay["bank_prompts"], replay["bank_share"]) == (40, 0.5)
    assert (replay["first_row"], replay["last_row"], replay["order"]) == (1, 22, pytest.approx(1))
    assert replay["order_p"] < 1e-9
    # Nine others, of which none has as large a share.
    assert replay["p_value"] == 1 / 10
    assert replay["chance_median"] == 0
    backwards = found["backwards", "first"]
    assert (backwards["order"], backwards["p_value"]) == (pytest.approx(-1), 2 / 10)
    assert backwards["order_p"] > 0.99
    half = found["half", "first"]
    assert (half["prompts"], half["matched"], half["order"]) == (31, 1, None)
    assert half["examples"] == [{"prompt": 2, "row": 6, "similarity": 1.0}]


def test_ordinary_accounts_set_the_chance_and_small_ones_do_not_count(banks):
    accounts = {"a": [*BANK[:3], *own(1, 27)]}
    assert rows(match_texts(accounts, banks, encoder=HashEncoder()))["a", "first"]["p_value"] is None
    ordinary = {
        "two in thirty": [*BANK[5:7], *own(2, 28)],
        "five in thirty": [*BANK[5:10], *own(3, 25)],
        "small": BANK[:5],
        **{str(i): own(4 + i) for i in range(2)},
    }
    row = rows(match_texts(accounts, banks, encoder=HashEncoder(), ordinary=ordinary))["a", "first"]
    assert row["p_value"] == (1 + 1) / (1 + 4)
    assert row["chance_median"] == pytest.approx(1 / 30)


def test_the_threshold_is_heeded(banks):
    """Oracle: all similarities by hand."""
    accounts = {"a": own(1, 200)}
    vectors = HashEncoder().encode(accounts["a"])
    best = (vectors @ banks.banks[0].vectors.astype(np.float32).T).max(axis=1)
    for threshold in (0.5, 0.6):
        found = rows(match_texts(accounts, banks, encoder=HashEncoder(), threshold=threshold))
        assert found["a", "first"]["matched"] == (best >= threshold).sum()
    with pytest.raises(ConfigError, match=r"threshold: expected 0\.5 to 1, got 0\.4"):
        match_texts(accounts, banks, encoder=HashEncoder(), threshold=0.4)


def test_another_encoder_is_refused(banks):
    other = HashEncoder()
    other.id = "0" * 64
    with pytest.raises(ConfigError, match="build the banks again with it"):
        match_texts({"a": BANK}, banks, encoder=other)


@pytest.mark.parametrize(
    ("name", "content", "said_of_it"),
    [
        ("a.md", b"x", "expected files that end with"),
        ("a.txt", b"\xff\xfe\xff", "not a readable text file"),
        ("a.txt", b" \n\n", "expected prompts, got none"),
        ("a.csv", b"text\nhello\n", "expected a column 'prompt', got text; name it by --column"),
        ("a.parquet", b"PAR1", "can't be read"),
        ("a.jsonl", b"{", "line 1 can't be read"),
        ("a.jsonl", b'\n["x"]', "line 2: expected an object"),
        ("a.jsonl", b'{"prompt": 7}', "line 1: column 'prompt' is not text, got int"),
        ("a.jsonl", b'{"text": "x"}', "expected a column 'prompt', got text; name it by --column"),
        ("a.csv", b"prompt\n\xff\n", "can't be read"),
        ("a.csv", b"prompt,prompt\na,b\n", "expected one column 'prompt', got several; rename one"),
    ],
)
def test_what_is_no_bank_is_said(tmp_path, name, content, said_of_it):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(content)
    with pytest.raises(TrafficError, match=said_of_it):
        build_banks(tmp_path / "in", tmp_path / "out", encoder=HashEncoder())
    assert not (tmp_path / "out").exists()


PLAIN = ["007", "1e3", "true", "2026-01-15", "NA", "a\u2028b\x85c\vd", "x" * 2**21]


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "a.csv", "a.jsonl"])
def test_prompts_are_the_text_that_the_file_holds(tmp_path, name):
    (tmp_path / "in").mkdir()
    lines = [*PLAIN, "", "last"]
    if name == "a.csv":
        lines = ["n,prompt", *(f'{row},"{text}"' for row, text in enumerate(lines))]
    elif name == "a.jsonl":
        lines = [json.dumps({"n": row, "prompt": text or None}) for row, text in enumerate(lines)]
    content = "\r\n".join(lines) + "\r\n"
    (tmp_path / "in" / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    made = build_banks(tmp_path / "in", tmp_path / "out", encoder=HashEncoder()).banks[0]
    expected = HashEncoder().encode([text[:20_000] for text in [*PLAIN, "last"]]).astype(np.float16)
    assert made.name == "a"
    assert made.rows.tolist() == [1, 2, 3, 4, 5, 6, 7, 9]
    assert np.array_equal(made.vectors, expected)


@pytest.mark.parametrize(
    ("names", "said_of_it"),
    [
        (["a.csv", "a.d.txt", "a.txt"], "bank a.txt: a.csv has the same name 'a'; rename one"),
        (
            ["a.txt", "notes.md"],
            "bank notes.md: expected files that end with .*, got another ending; take it",
        ),
        (["a.txt", "more/b.txt"], "bank more: expected files that end with .*, got no file; take it"),
    ],
)
def test_what_would_be_left_out_is_refused(tmp_path, names, said_of_it):
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text("prompt\nhello\n")
    with pytest.raises(TrafficError, match=said_of_it):
        build_banks(tmp_path / "in", tmp_path / "out", encoder=HashEncoder())


def test_names_that_are_marked_are_left_out_and_odd_ones_are_kept(tmp_path):
    (tmp_path / "in").mkdir()
    for name in (b"_notes.md", b".hidden", b"b\xff.txt"):
        with open(os.fsencode(tmp_path / "in") + b"/" + name, "w") as file:
            file.write("hello\n")
    build_banks(tmp_path / "in", tmp_path / "out", encoder=HashEncoder())
    assert [bank.name for bank in load_banks(tmp_path / "out").banks] == ["b\\xff"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in", "out"]


def test_an_index_that_could_not_be_written_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("hello\n")
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(OutputError):
        build_banks(tmp_path / "in", tmp_path / "out", encoder=HashEncoder())
    assert [file.name for file in tmp_path.iterdir()] == ["in"]


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vectors.npy", b"PK\x03\x04"),
        ("vectors.npy", npy(np.ones((70, 64), np.float16))[:-1]),
        ("vectors.npy", npy(np.ones((70, 64), np.float64))),
        ("vectors.npy", npy(np.full((70, 64), np.nan, np.float16))),
        ("vectors.npy", npy(np.ones((70, 0), np.float16))),
        ("vectors.npy", npy(np.ones((69, 64), np.float16))),
        ("rows.npy", npy(np.ones(70, np.int32))),
        ("rows.npy", npy(np.ones((70, 1), np.int64))),
        ("rows.npy", b""),
    ],
)
def test_vectors_of_another_kind_are_damage(banks, tmp_path, name, content):
    head = json.loads((tmp_path / "index" / "banks.json").read_text())
    head["sha256"][name] = hashlib.sha256(content).hexdigest()
    (tmp_path / "index" / "banks.json").write_text(json.dumps(head))
    (tmp_path / "index" / name).write_bytes(content)
    with pytest.raises(TrafficError, match=r"damaged.*; build it again"):
        load_banks(tmp_path / "index")


@pytest.mark.parametrize("change", ["banks", "encoder_id", "encoder_name", "name", "prompts", "[", "[]", "2"])
def test_a_damaged_head_is_said(banks, tmp_path, change):
    head = json.loads((tmp_path / "index" / "banks.json").read_text())
    if change == "2":
        head["format"] = 2
    elif change in head:
        del head[change]
    else:
        head["banks"][0].pop(change, None)
    text = change if change.startswith("[") else json.dumps(head)
    (tmp_path / "index" / "banks.json").write_text(text)
    with pytest.raises(TrafficError, match="damaged or of another version; build it again"):
        load_banks(tmp_path / "index")


def test_vectors_of_another_width_than_the_encoders_are_damage(banks):
    narrow = [Bank(bank.name, bank.vectors[:, 1:], bank.rows) for bank in banks.banks]
    with pytest.raises(TrafficError, match="expected vectors of width"):
        match_texts({"a": BANK}, replace(banks, banks=tuple(narrow)), encoder=HashEncoder())


def test_damage_and_an_index_that_exists_are_said(banks, tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        build_banks(tmp_path / "banks", tmp_path / "index", encoder=HashEncoder())
    raw = bytearray((tmp_path / "index" / "vectors.npy").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "index" / "vectors.npy").write_bytes(raw)
    with pytest.raises(TrafficError, match="damaged or of another version; build it again"):
        load_banks(tmp_path / "index")
    with pytest.raises(TrafficError, match="coverage-lab banks build makes a folder of banks"):
        load_banks(tmp_path / "nothing")


QUESTIONS = [
    f"How do I {verb} {thing}?"
    for verb in ("repair", "paint", "sell", "clean")
    for thing in ("a bicycle", "an old piano", "the kitchen floor", "my neighbour's fence", "a sailing boat")
]


def test_commands_find_a_replay_and_show_text_only_when_asked(tmp_path, capsys):
    folder = tmp_path / "banks"
    folder.mkdir()
    pyarrow.csv.write_csv(pa.table({"question": QUESTIONS}), folder / "home.csv")
    code, printed, _ = call(
        capsys, "banks", "build", folder, "--out", tmp_path / "index", "--column", "question"
    )
    assert (code, "home: 20 prompts" in printed) == (0, True)
    sent = {
        "[red]one": QUESTIONS[:12],
        "two": [f"Write a poem on {said(i)} and {said(i + 90)}" for i in range(25)],
    }
    lines = [
        json.dumps({"account_id": name, "timestamp": f"2026-01-05T10:{i:02d}:00Z", "prompt": text})
        for name, texts in sent.items()
        for i, text in enumerate(texts)
    ]
    (tmp_path / "day.jsonl").write_text("\n".join(lines))
    arguments = ("banks", "match", tmp_path / "day.jsonl", "--banks", tmp_path / "index")
    code, printed, _ = call(capsys, *arguments, "--to", tmp_path / "matches.parquet")
    assert code == 0
    assert "[red]one" in printed
    assert "bicycle" not in printed
    assert "100.0%" in printed
    (row,) = pq.read_table(tmp_path / "matches.parquet").to_pylist()
    assert (row["account_id"], row["matched"], row["first_row"], row["order"]) == (
        "[red]one",
        12,
        1,
        pytest.approx(1),
    )
    code, printed, _ = call(capsys, *arguments, "--show-text")
    assert "prompt 1 ~ home, row 1: How do I repair a bicycle?" in " ".join(printed.split())
    assert cl.match_banks(tmp_path / "day.jsonl", tmp_path / "index").to_pylist() == [row]
    code, _, error = call(capsys, *arguments, "--to", "matches.xlsx")
    assert (code, "expected a name that ends with .parquet" in error) == (2, True)


def test_faiss_finds_the_lowest_row_of_equal_prompts():
    """What examples rely on, where a bank has two prompts with one vector."""
    index = faiss.IndexFlatIP(2)
    index.add(np.array([[0, 1], [1, 0], [1, 0]], np.float32))
    assert index.search(np.array([[1, 0]], np.float32), 1)[1].tolist() == [[1]]
