"""Names of cells that people can read: what ships, and the file beside the atlas."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from babel import Locale
from support.traced import HashEncoder, said, tiny_atlas, traffic
from wordfreq import zipf_frequency

from coverage_lab.accounts import trace_prompts
from coverage_lab.accounts.measure import cells_table
from coverage_lab.atlas import default_atlas, load_atlas, save_atlas, save_names
from coverage_lab.atlas.label import WITHHELD
from coverage_lab.atlas.names import nested
from coverage_lab.errors import AtlasError


@pytest.fixture
def named():
    """The tests' atlas with names."""
    atlas = tiny_atlas()
    own = tuple(
        tuple(f"{kind} {cell}" for cell in range(size)) for kind, size in zip("abc", atlas.sizes, strict=True)
    )
    return replace(atlas, own_names=own)


def test_a_narrow_name_stands_under_its_broad_one():
    parents = np.array([[1, 1, 0], [2, 0, 1], [0, 1, 2]])
    own = [("music", "code"), ("songs", "python", "tests"), ("x", "y", "z")]
    # middle cell 0 holds fine cell 1, whose coarse cell is 1
    assert nested(own, parents) == (
        ("music", "code"),
        ("code · songs", "music · python", "code · tests"),
        ("code · x", "code · y", "music · z"),
    )


def test_names_are_kept_beside_the_atlas_which_keeps_its_id(named, tmp_path):
    save_atlas(tiny_atlas(), tmp_path / "atlas")
    assert load_atlas(tmp_path / "atlas").names == tiny_atlas().labels
    save_names(named, tmp_path / "atlas")
    loaded = load_atlas(tmp_path / "atlas")
    assert (loaded.id, loaded.labels) == (tiny_atlas().id, tiny_atlas().labels)
    assert loaded.names[0][0] == "a 0"
    assert loaded.names == named.names != loaded.labels
    save_atlas(loaded, tmp_path / "copy")
    assert load_atlas(tmp_path / "copy").names == named.names
    with pytest.raises(AtlasError, match="expected one with names, got one without"):
        save_names(tiny_atlas(), tmp_path)


def changed(key, value):
    def damage(path):
        head = json.loads(path.read_bytes())
        path.write_text(json.dumps(head | {key: value(head)}))

    return damage


def renamed(head):
    return [["other", *head["names"][0][1:]], *head["names"][1:]]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"\xff"), "can't be read"),
        (lambda path: path.write_bytes(b"[1]"), "expected a name for each of"),
        (changed("names", lambda head: head["names"][:2]), "expected a name for each of"),
        (changed("names", renamed), "expected names of this very atlas"),
        (changed("atlas_id", lambda _: "0" * 64), "expected names of this very atlas"),
        (changed("names", lambda head: [["a\x1b[31m"] * 4, *head["names"][1:]]), "printable"),
        (changed("names", lambda head: [[7] * len(head["names"][0]), *head["names"][1:]]), "printable"),
    ],
)
def test_damaged_names_or_anothers_are_refused(named, tmp_path, damage, said):
    save_atlas(named, tmp_path)
    damage(tmp_path / "names.json")
    with pytest.raises(AtlasError, match=said):
        load_atlas(tmp_path)


def test_two_cells_of_one_name_are_refused(named, tmp_path):
    coarse, *rest = named.own_names
    save_atlas(replace(named, own_names=((coarse[1], *coarse[1:]), *rest)), tmp_path)
    with pytest.raises(AtlasError, match="two cells have the same name"):
        load_atlas(tmp_path)


def test_tables_show_names(named):
    states = trace_prompts(
        traffic([("a", second, said(second), None) for second in range(9)]), HashEncoder(), named
    )
    shown = cells_table(states, named)["label"].to_pylist()
    assert shown
    assert set(shown) <= {name for level in named.names for name in level}


SHIPPED = ("static",)


@pytest.mark.parametrize("encoder", SHIPPED)
def test_shipped_names_are_unique_short_and_plain(encoder):
    for names in default_atlas(encoder).names:
        assert len(set(names)) == len(names)
        for name in names:
            assert re.fullmatch(r"[A-Za-z0-9 ,·()-]{2,90}", name), name
            assert not any(WITHHELD.search(word) for word in re.findall("[a-z]+", name)), name


@pytest.mark.parametrize("encoder", SHIPPED)
def test_shipped_names_hold_common_words_only(encoder):
    words = {
        word
        for names in default_atlas(encoder).names
        for name in names
        for word in re.findall("[A-Za-z]+", name)
    }
    languages = set(Locale("en").languages.values())
    assert {word for word in words - languages if zipf_frequency(word, "en") < 3} == set()


@pytest.mark.parametrize("encoder", SHIPPED)
def test_most_narrow_topics_have_a_name_of_words(encoder):
    """Of ordinary traffic, four fifths lie in cells that words name."""
    atlas = default_atlas(encoder)
    withheld = np.array(["mixed topics" in name for name in atlas.names[-1]])
    assert atlas.masses[-1][~withheld].sum() > 0.8
