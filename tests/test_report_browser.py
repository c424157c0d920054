"""The report's page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from support.report_fixture import HOSTILE_IDS, Run

from coverage_lab.report import write_report
from coverage_lab.report.accounts_view import anchor_of
from coverage_lab.untrusted.text import visible

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: run scripts/test, or apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("browser") / "report.html"
    write_report(path, **Run(ordinary=80, flagged=8).arguments())
    return path


class Watched:
    """A page and all that it must never do."""

    def __init__(self, page: Page, report: Path) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.problems.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(report.as_uri())

    def open(self, account_id: str) -> None:
        self.page.locator(f"#{anchor_of(account_id)} > summary").click()

    def names(self) -> list[str]:
        return self.page.locator("#flags tbody tr:visible .col-name").all_inner_texts()

    def wait_until_it_fits(self) -> None:
        # Plots follow a resize in a later frame.
        self.page.wait_for_function(
            "() => document.documentElement.scrollWidth <= window.innerWidth", timeout=5_000
        )


@pytest.fixture
def watched(browser: Browser, report: Path) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page, report)
    yield watched
    page.close()
    assert watched.problems == []
    assert [url for url in watched.requests if not url.startswith(("file://", "data:"))] == []
    assert sum(url.startswith("file://") for url in watched.requests) == 1


def test_loads_in_silence_and_draws_the_overview(watched: Watched) -> None:
    watched.page.locator("#overview .scatterlayer .point").first.wait_for()
    assert watched.page.locator("#overview .scatterlayer .point").count() == 88
    assert watched.page.locator("details[open]").count() == 0
    assert watched.page.locator("[data-plot=growth][data-drawn]").count() == 0


def test_opening_an_account_draws_its_curves(watched: Watched) -> None:
    watched.open(HOSTILE_IDS[1])
    section = watched.page.locator(f"#{anchor_of(HOSTILE_IDS[1])}")
    for index in range(3):
        plot = section.locator("[data-plot=growth]").nth(index)
        plot.scroll_into_view_if_needed()
        plot.locator(".scatterlayer path.js-line").nth(3).wait_for(state="attached")
        drawn = plot.locator(".scatterlayer path.js-line").evaluate_all(
            "lines => lines.filter(line => line.getAttribute('d').length > 50).length"
        )
        assert drawn >= 4
    section.locator("[data-plot=score]").scroll_into_view_if_needed()
    section.locator("[data-plot=score] .annotation-text").wait_for()
    assert watched.page.locator("[data-plot=growth][data-drawn]").count() == 3


def test_the_slider_moves_along_the_way_and_tiles_tell_their_names(watched: Watched) -> None:
    watched.open(HOSTILE_IDS[1])
    plot = watched.page.locator(f"#{anchor_of(HOSTILE_IDS[1])} [data-plot=map]")
    plot.scroll_into_view_if_needed()
    expect(plot.locator(".state")).to_contain_text("of 4,096 tiles")
    plot.locator("input").fill("4")
    expect(plot.locator(".state")).to_contain_text("After 4 of")
    expect(plot.locator(".state")).to_contain_text("2 of 4,096 tiles")
    # The first cell of the way, where the page itself puts it.
    at = plot.evaluate(
        """plot => {
          const page = JSON.parse(document.getElementById("page-data").textContent);
          const map = page.maps[plot.dataset.atlas];
          const data = document.getElementById(`data-${plot.dataset.account}`).textContent;
          const cell = JSON.parse(data).way.cell[0];
          const tile = plot.querySelector("canvas").clientWidth / (Math.max(...map.columns) + 1);
          return [(map.columns[cell] + 0.5) * tile, (map.rows[cell] + 0.5) * tile];
        }"""
    )
    plot.locator("canvas").hover(position={"x": at[0], "y": at[1]})
    expect(plot.locator(".state")).to_contain_text("first at prompt 1, 1 in all")


def test_log_axes_toggle_is_announced_and_changes_the_axes(watched: Watched) -> None:
    watched.open(HOSTILE_IDS[0])
    section = watched.page.locator(f"#{anchor_of(HOSTILE_IDS[0])}")
    section.locator("[data-plot=growth][data-drawn]").first.wait_for()
    kind = f"document.querySelector('#{anchor_of(HOSTILE_IDS[0])} [data-plot=growth]')._fullLayout.xaxis.type"
    assert watched.page.evaluate(kind) == "linear"
    button = section.get_by_role("button", name="Logarithmic axes")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert watched.page.evaluate(kind) == "log"


def test_filter_narrows_the_table_and_says_so(watched: Watched) -> None:
    watched.page.get_by_label("Filter").fill("WATCH")
    assert len(watched.names()) == 2
    assert watched.page.locator("#filter-count").inner_text() == "2 of 8 accounts"
    watched.page.get_by_label("Filter").fill("<img onerror")
    assert watched.names() == [HOSTILE_IDS[1]]
    watched.page.get_by_label("Filter").fill("")
    assert len(watched.names()) == 8


def test_sorting_by_keyboard_keeps_unknown_values_last(watched: Watched) -> None:
    def column(name: str) -> list[str]:
        return watched.page.locator(f"#flags tbody .col-{name}").evaluate_all(
            "c => c.map(x => x.dataset.value)"
        )

    header = watched.page.locator("#flags thead .col-p")
    header.get_by_role("button").focus()
    watched.page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    ascending = [float(value) for value in column("p") if value]
    assert ascending == sorted(ascending)
    assert column("p")[-2:] == ["", ""]
    watched.page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert [float(value) for value in column("p") if value] == ascending[::-1]
    assert column("p")[-2:] == ["", ""]
    watched.page.locator("#flags thead .col-score button").click()
    assert header.get_attribute("aria-sort") is None
    assert column("score") == sorted(column("score"), key=float)


def test_hostile_ids_are_shown_and_never_run(watched: Watched) -> None:
    watched.page.locator("#open-all").click()
    watched.page.wait_for_timeout(300)
    assert set(map(visible, HOSTILE_IDS)) <= set(watched.names())
    assert watched.page.locator("img").count() == 0
    # The hover label goes through Plotly's own small HTML; it must read as the id, to the letter.
    for account_id in HOSTILE_IDS[:2]:
        watched.page.evaluate(
            """(name) => {
                const plot = document.querySelector('#overview');
                const curve = plot.data.findIndex((trace) => trace.text.includes(name));
                const point = plot.data[curve].text.indexOf(name);
                Plotly.Fx.hover(plot, [{curveNumber: curve, pointNumber: point}]);
            }""",
            account_id.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        )
        expect(watched.page.locator("#overview .hoverlayer .nums")).to_contain_text(account_id)


def test_link_and_mark_lead_to_the_account(watched: Watched) -> None:
    anchor = anchor_of(HOSTILE_IDS[0])
    watched.page.locator(f"#flags a[href='#{anchor}']").click()
    watched.page.locator(f"#{anchor}[open]").wait_for()
    focused = watched.page.evaluate("document.activeElement.parentElement.id")
    assert focused == anchor
    other = anchor_of(HOSTILE_IDS[1])
    watched.page.evaluate(
        """(anchor) => {
            const plot = document.querySelector('#overview');
            for (const trace of plot.data) {
                const index = trace.customdata.findIndex((entry) => entry[0] === anchor);
                if (index >= 0) {
                    plot.emit('plotly_click', {points: [
                        {customdata: trace.customdata[index], data: trace, text: trace.text[index]}]});
                }
            }
        }""",
        other,
    )
    watched.page.locator(f"#{other}[open]").wait_for()


def test_an_unflagged_mark_says_what_it_is(watched: Watched) -> None:
    watched.page.locator("#overview .scatterlayer .point").first.wait_for()
    watched.page.evaluate(
        """() => {
            const plot = document.querySelector('#overview');
            const trace = plot.data.find((each) => each.name === 'clear');
            const point = {customdata: trace.customdata[0], data: trace, text: trace.text[0]};
            plot.emit('plotly_click', {points: [{...point, x: trace.x[0], y: trace.y[0]}]});
        }"""
    )
    assert "acct_0000: clear" in watched.page.locator("#chosen").inner_text()


def test_no_sideways_scrolling(watched: Watched) -> None:
    watched.open(HOSTILE_IDS[0])
    section = watched.page.locator(f"#{anchor_of(HOSTILE_IDS[0])}")
    section.locator("[data-plot=growth] .main-svg").first.wait_for()
    for width in (360, 768, 1100, 1190, 1280, 1920):
        watched.page.set_viewport_size({"width": width, "height": 800})
        watched.wait_until_it_fits()
        inside = section.evaluate("s => s.querySelector('.case-body').scrollWidth <= s.clientWidth")
        assert inside, width


def test_dark_theme_reaches_plots_and_paper_stays_light(watched: Watched) -> None:
    page = watched.page
    page.locator("#overview .scatterlayer .point").first.wait_for()
    colour = "document.querySelector('#overview')._fullLayout.font.color"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"() => {colour} !== '{light}'")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(colour) == light
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(colour) != light


def test_an_address_with_an_anchor_opens_that_account(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    page.goto(f"{report.as_uri()}#{anchor_of(HOSTILE_IDS[2])}")
    page.locator(f"#{anchor_of(HOSTILE_IDS[2])}[open]").wait_for()
    page.close()


def test_copying_gives_the_id_to_the_letter(watched: Watched) -> None:
    account_id = HOSTILE_IDS[2]
    watched.page.evaluate(
        """() => Object.defineProperty(navigator, 'clipboard', {
            value: {writeText: async (text) => { window.taken = text; }}})"""
    )
    watched.open(account_id)
    watched.page.locator(f"#{anchor_of(account_id)}").get_by_text("copy whole id").click()
    watched.page.wait_for_function("() => window.taken !== undefined")
    assert watched.page.evaluate("window.taken") == account_id
