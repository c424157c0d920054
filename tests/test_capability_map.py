"""The map of an atlas: its layout, what is drawn on it, its page and its command."""

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright
from support.commands import call, some_traffic, write
from support.report_fixture import HOSTILE_IDS
from support.traced import tiny_atlas

import coverage_lab as cl
from coverage_lab.atlas import default_atlas, lay_out, load_atlas, save_atlas, save_layout
from coverage_lab.atlas.layout import on_grid
from coverage_lab.errors import AtlasError, CoverageLabError, TrafficError
from coverage_lab.plotting.capability_map import capability_map, map_page
from coverage_lab.plotting.map_tiles import SCALE


@pytest.fixture(scope="module")
def laid():
    """The tests' atlas of 32 cells with its layout."""
    atlas = tiny_atlas()
    return replace(atlas, layout=lay_out(atlas))


@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_every_point_gets_a_tile_of_its_own(count, seed):
    tiles = on_grid(np.random.default_rng(seed).normal(size=(count, 2)))
    rows = int(np.ceil(np.sqrt(count)))
    assert len(np.unique(tiles, axis=0)) == count
    assert tiles.min() == 0
    assert (tiles < [rows, -(-count // rows)]).all()


def test_points_on_a_grid_keep_their_places():
    row, column = np.divmod(np.arange(64), 8)
    shuffled = np.random.default_rng(2).permutation(64)
    points = np.column_stack([column * 3.0 + 0.1, row * 2.0])[shuffled]
    assert on_grid(points).tolist() == np.column_stack([row, column])[shuffled].tolist()


def test_the_same_atlas_gives_the_same_layout(laid):
    assert np.array_equal(lay_out(tiny_atlas()), laid.layout)
    assert not np.array_equal(lay_out(tiny_atlas(), seed=1), laid.layout)
    with pytest.raises(AtlasError, match="expected 4 fine cells or more to lay out, got 2"):
        lay_out(replace(tiny_atlas(), centroids=tiny_atlas().centroids[:2]))


def neighbours_alike(atlas):
    """Share of neighbouring tiles of one broad topic."""
    side = atlas.layout.max(axis=0) + 1
    topic = np.full(side, -1)
    topic[tuple(atlas.layout.T)] = atlas.parents[0]
    pairs = [(topic[1:], topic[:-1]), (topic[:, 1:], topic[:, :-1])]
    same = np.concatenate([(one == other).ravel() for one, other in pairs])
    return same.mean()


@pytest.mark.parametrize("encoder", ["static", "minilm"])
def test_shipped_atlases_are_laid_out_with_topics_together(encoder):
    atlas = default_atlas(encoder)
    chance = ((np.bincount(atlas.parents[0]) / 4096) ** 2).sum()
    assert chance < 0.05
    assert neighbours_alike(atlas) > 0.8


def test_layout_is_kept_beside_the_atlas_which_keeps_its_id(laid, tmp_path):
    save_atlas(tiny_atlas(), tmp_path / "atlas")
    assert load_atlas(tmp_path / "atlas").layout is None
    save_layout(laid, tmp_path / "atlas")
    loaded = load_atlas(tmp_path / "atlas")
    assert np.array_equal(loaded.layout, laid.layout)
    assert loaded.id == tiny_atlas().id
    save_atlas(loaded, tmp_path / "copy")
    assert np.array_equal(load_atlas(tmp_path / "copy").layout, laid.layout)
    with pytest.raises(AtlasError, match="expected one with a layout, got one without"):
        save_layout(tiny_atlas(), tmp_path / "atlas")


def damage_tiles(folder):
    raw = bytearray((folder / "layout.npy").read_bytes())
    raw[-1] ^= 1
    (folder / "layout.npy").write_bytes(raw)


def another_atlas(folder):
    head = json.loads((folder / "layout.json").read_text())
    (folder / "layout.json").write_text(json.dumps(head | {"atlas_id": "0" * 64}))


def not_json(folder):
    (folder / "layout.json").write_text("{")


@pytest.mark.parametrize("damage", [damage_tiles, another_atlas, not_json])
def test_a_damaged_layout_or_anothers_is_refused(laid, tmp_path, damage):
    save_atlas(laid, tmp_path)
    damage(tmp_path)
    with pytest.raises(AtlasError, match="layout"):
        load_atlas(tmp_path)


def test_two_cells_on_one_tile_are_refused(laid, tmp_path):
    tiles = laid.layout.copy()
    tiles[1] = tiles[0]
    save_atlas(replace(laid, layout=tiles), tmp_path)
    with pytest.raises(AtlasError, match=r"layout\.npy: expected a tile of its own for each of 32 cells"):
        load_atlas(tmp_path)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_tiles_that_were_reached_are_coloured_and_no_others(laid, theme):
    picture = capability_map(laid, {"one": [3, 3, 7, 3], "other": [0]}, theme=theme)
    picture.draw_without_rendering()
    image = picture.axes[0].images[0].get_array()
    grey = {tuple(tile) for tile in np.argwhere(np.ptp(image, axis=2) < 0.12).tolist()}
    coloured = [cell for cell, tile in enumerate(laid.layout.tolist()) if tuple(tile) not in grey]
    assert coloured == [3, 7]
    assert "one: 2 of 32 tiles in 4 prompts" in picture.alt
    share = laid.masses[-1][[3, 7]].sum()
    assert f"where {share:.0%} of ordinary traffic goes" in picture.alt


def data_of(page):
    return json.loads(re.search(r'id="page-data">(.*?)</script>', page, re.S)[1])


def test_page_holds_first_visits_in_order_and_fetches_nothing(laid):
    page = map_page(laid, {"one": [3, 3, 7, 3, 0]})
    (account,) = data_of(page)["accounts"]
    assert (account["cells"], account["first"], account["visits"]) == ([3, 7, 0], [1, 3, 5], [3, 1, 1])
    assert "default-src 'none'" in unescape(page)
    assert map_page(laid, {"one": [3, 3, 7, 3, 0]}) == page


def test_names_of_tiles_on_the_page_are_whole(laid):
    names = (*laid.labels[:2], (*(f"broad {cell % 3} · part {cell}" for cell in range(31)), "alone"))
    data = data_of(map_page(replace(laid, labels=names), {"one": [3]}))
    whole = [data["starts"][start] + rest for start, rest in zip(data["start"], data["rests"], strict=True)]
    assert tuple(whole) == names[2]


def test_colours_of_pages_are_those_of_pictures():
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    assert [to_hex(colormaps["plasma"](0.02 + 0.9 * at)) for at in np.linspace(0, 1, 12)] == list(SCALE)


def test_names_on_the_page_stay_text(laid):
    page = map_page(laid, {name: [1] for name in HOSTILE_IDS})
    body = page.split('<script type="application/json"')[0]
    for text in ("<script>alert", "<img", "\u202e"):
        assert text not in body.split("<body>")[1]


def test_page_of_the_shipped_atlas_is_small():
    atlas = default_atlas("static")
    cells = np.random.default_rng(0).permutation(4096)
    assert len(map_page(atlas, {"a sweep": cells}).encode()) < 1_500_000


@pytest.mark.parametrize(
    ("accounts", "said"),
    [
        ({}, "accounts: expected 1 to 4, got 0"),
        ({"a": []}, r"accounts\['a'\]: expected a fine cell a prompt"),
        ({"a": [0.5]}, r"accounts\['a'\]: expected a fine cell a prompt, whole numbers"),
        ({"a": [32]}, r"accounts\['a'\]: expected cells 0 to 31, got 32 to 32; was it traced on another"),
    ],
)
def test_what_cannot_be_drawn_is_said(laid, accounts, said):
    with pytest.raises(CoverageLabError, match=said):
        capability_map(laid, accounts)


def test_an_atlas_without_a_layout_is_said():
    with pytest.raises(CoverageLabError, match="coverage-lab atlas lay-out adds it"):
        map_page(tiny_atlas(), {"a": [0]})


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    return write(some_traffic(), tmp_path_factory.mktemp("day") / "traffic.parquet")


def test_trace_gives_the_cells_that_a_run_counts(day):
    run = cl.analyze(str(day))
    traced = cl.trace(str(day), ["acct-3", "acct-1"])
    assert list(traced) == ["acct-3", "acct-1"]
    rows = {row["account_id"]: row for row in run.accounts.to_pylist()}
    for name, cells in traced.items():
        assert cells.shape == (60, 3)
        reached = [len(set(cells[:, level].tolist())) for level in range(3)]
        assert reached == [rows[name][f"distinct_{level}"] for level in ("coarse", "middle", "fine")]
    with pytest.raises(TrafficError, match=r"accounts: expected accounts with a usable prompt .*'nobody'"):
        cl.trace(str(day), ["acct-1", "nobody"])


def test_command_writes_page_and_picture(day, tmp_path, capsys):
    for name, start in (("map.html", b"<!doctype html>"), ("map.svg", b"<?xml"), ("map.png", b"\x89PNG")):
        code, printed, _ = call(capsys, "map", day, tmp_path / name, "--account", "acct-1")
        assert (code, (tmp_path / name).read_bytes()[: len(start)]) == (0, start)
        assert "of 4,096 narrow topics in 60 prompts" in printed
    code, _, error = call(capsys, "map", day, tmp_path / "map.pdf", "--account", "acct-1")
    assert (code, "expected a name that ends with .html, .png or .svg" in error) == (2, True)


def test_command_lays_an_atlas_out(laid, tmp_path, capsys):
    save_atlas(tiny_atlas(), tmp_path / "atlas")
    code, printed, _ = call(capsys, "atlas", "lay-out", tmp_path / "atlas")
    assert (code, "32 cells laid out" in printed) == (0, True)
    assert np.array_equal(load_atlas(tmp_path / "atlas").layout, laid.layout)


@pytest.mark.slow
@pytest.mark.browser
def test_slider_moves_through_time_in_a_browser(laid, tmp_path):
    (tmp_path / "map.html").write_text(map_page(laid, {"one": [3, 3, 7, 3, 0], "<b>": [5]}), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        problems = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto((tmp_path / "map.html").as_uri())
        assert "After 5 of 5 prompts: 3 of 32 tiles" in page.locator("#state").inner_text()
        page.locator("#time").fill("2")
        assert "After 2 of 5 prompts: 1 of 32 tiles" in page.locator("#state").inner_text()
        assert page.evaluate("document.getElementById('map').data[1].x.length") == 1
        page.locator("#account").select_option("1")
        assert "After 1 of 1 prompts: 1 of 32 tiles" in page.locator("#state").inner_text()
        assert problems == []
        browser.close()
