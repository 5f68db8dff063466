"""The page as readers meet it, in a browser without a network."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.report_runs import FIRST, SECOND, STOCK
from tfx_feeder.pipeline.report.pages import compare_page, run_page
from tfx_feeder.pipeline.report.render import render

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

CHROMIUM = next(
    (path for name in ("chromium", "google-chrome") if (path := Path("/usr/bin", name)).exists()),
    None,
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
SECTIONS = {
    "summary": "Summary",
    "pipeline": "Pipeline",
    "training": "Training",
    "input": "Input and throughput",
    "strategy": "Strategy",
    "evaluation": "Evaluation",
    "data": "Data",
    "lineage": "Lineage",
    "versions": "Versions",
    "reproduce": "Reproduce",
}
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(facts_of, lineage, tmp_path_factory) -> dict[str, Path]:
    """The files: a page for each run, and one for all of them."""
    folder = tmp_path_factory.mktemp("pages")
    facts = {run_id: facts_of(run_id) for run_id in lineage.run_ids()}
    failed = next(run_id for run_id in facts if run_id not in (FIRST, SECOND, STOCK))
    texts = {name: render(run_page(f)) for name, f in facts.items()}
    texts = {"failed" if name == failed else name: text for name, text in texts.items()}
    texts["compared"] = render(compare_page(list(facts.values())))
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.fixture
def open_page(browser, pages) -> Iterator:
    """Returns a function that opens a page and draws it to its end.

    Whatever the page asks for, and whatever it complains about, makes the test fail.
    """
    said: list[str] = []
    opened = []

    def opening(name: str, size=WIDE, scheme="light"):
        context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        address = pages[name].as_uri()
        page.on("request", lambda r: said.append(r.url) if r.url != address else None)
        page.goto(address)
        for chart in page.locator("[data-chart]:visible").all():
            chart.scroll_into_view_if_needed()
            chart.locator("svg").wait_for()
        opened.append(context)
        return page

    yield opening
    for context in opened:
        context.close()
    assert said == []


def test_all_sections_are_there_in_order(open_page):
    page = open_page(FIRST)
    ids = page.locator("main > section").evaluate_all("all => all.map(one => one.id)")
    assert ids == list(SECTIONS)
    for id_, title in SECTIONS.items():
        assert page.locator(f"#{id_} h2").inner_text() == title
        assert page.locator(f'nav a[href="#{id_}"]').inner_text() == title


def test_every_chart_is_drawn_with_its_marks(open_page):
    page = open_page(SECOND)
    charts = page.locator("[data-chart]:visible")
    drawn = charts.evaluate_all(
        "all => all.map(one => [one.dataset.chart, one.querySelectorAll('.mark-line path,"
        " .mark-symbol path, .mark-rule line, .mark-area path, .mark-rect path').length])"
    )
    names = {name for name, _ in drawn}
    expected = {"metric-0", "metric-1", "rate", "batch", "speed", "wait", "step", "candidates"}
    assert expected | {"slices-0", "versions", "feature-0"} <= names
    assert [name for name, marks in drawn if marks == 0] == []


@pytest.mark.parametrize("name", [STOCK, "failed", "compared"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_pages_of_all_kinds_open_without_errors(open_page, name, size):
    page = open_page(name, size)
    assert page.locator("main > section").count() >= 5
    assert page.locator(".note.missing").count() > 0


def test_failed_run_shows_its_error(open_page):
    page = open_page("failed")
    assert "The disk is full: </script><script>alert" in page.locator("#pipeline").inner_text()
    assert page.locator(".badge").first.inner_text() == "failed"


def test_tables_sort_by_mouse_and_by_keyboard(open_page):
    page = open_page(SECOND)
    table = page.locator("#evaluation table").first
    values = "rows => rows.map(row => Number(row.cells[2].dataset.value))"
    heading = table.locator("thead th").nth(2)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert table.locator("tbody tr").evaluate_all(values) == [0.5, 0.9, 0.95, 1.0]
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert table.locator("tbody tr").evaluate_all(values) == [1.0, 0.95, 0.9, 0.5]
    table.locator("thead button").first.click()
    assert heading.get_attribute("aria-sort") is None
    assert table.locator("tbody th").first.inner_text() == "all examples"


def test_empty_cells_stay_at_the_end(open_page):
    page = open_page(FIRST)
    table = page.locator("#strategy table")
    button = table.locator("thead button", has_text=re.compile("^predicted$"))
    for _ in range(2):
        button.click()
        assert table.locator("tbody th").last.inner_text() == "multi_worker"


def test_keyboard_skips_to_the_content(open_page):
    page = open_page(FIRST)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_theme_changes_page_and_charts(open_page):
    page = open_page(FIRST)
    colors = (
        "() => [getComputedStyle(document.body).backgroundColor,"
        " document.querySelector('[data-chart=rate] .mark-line path').getAttribute('stroke')]"
    )
    light = page.evaluate(colors)
    page.get_by_role("button", name="Switch to the dark theme").click()
    page.wait_for_function(f"before => ({colors})()[1] !== before", arg=light[1])
    assert all(one != other for one, other in zip(light, page.evaluate(colors), strict=True))
    page.get_by_role("button", name="Switch to the light theme").wait_for()


def test_hovering_shows_the_values(open_page):
    page = open_page(FIRST)
    chart = page.locator("[data-chart=metric-1]")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] / 2)
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "0.65" in tooltip.inner_text()  # Of the last epoch's validation.


@pytest.mark.parametrize(
    ("name", "size", "scheme"),
    [
        (SECOND, WIDE, "light"),
        (SECOND, PHONE, "dark"),
        ("failed", WIDE, "dark"),
        ("compared", PHONE, "light"),
    ],
)
def test_page_is_accessible(open_page, name, size, scheme):
    page = open_page(name, size, scheme)
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]})
    assert found.response["violations"] == [], found.generate_report()


@pytest.mark.parametrize("name", [SECOND, "failed", "compared"])
def test_nothing_is_wider_than_a_phone(open_page, name):
    page = open_page(name, PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_screenshots_show_a_drawn_page(open_page, size, tmp_path):
    page = open_page(SECOND, size)
    image = page.screenshot(full_page=True, path=str(tmp_path / "page.png"))
    assert image[:4] == b"\x89PNG"
    assert len(image) > 100_000
