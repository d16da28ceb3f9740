"""The page in a real browser: it is drawn, whole, within the window, and asks the network for nothing."""

import io
import math

import numpy as np
import pytest
from given.browser import CHROMIUM, Browser
from given.comparison import made
from PIL import Image

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

WIDTH = 1200
FIGURES = {"random", "targets", "auroc", "kept", "overlap", "warmup"}
METHODS = ("router", "rds", "random", "full", "queries_only")


@pytest.fixture(scope="module", params=["light", "dark"])
def opened(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    given = made(folder / "a", seeds=(0, 1, 2), methods=METHODS, targets=("a", "b", "c", "d"))
    path = (given / "page.html").rename(folder / "a page.html")
    browser = Browser(folder / "profile", width=WIDTH, dark=request.param == "dark")
    browser.open(path)
    yield browser
    browser.close()


def test_nothing_but_the_file_is_fetched_and_nothing_goes_wrong(opened):
    assert [address.partition(":")[0] for address in opened.requests] == ["file"]
    assert opened.errors == []


def test_nothing_is_wider_than_the_window(opened):
    assert opened.evaluate("document.documentElement.scrollWidth") == WIDTH
    # What is wider than the page may be scrolled to, within itself; text and figures are not.
    wider = """[...document.querySelectorAll("p, li, figure, svg, pre")]
        .filter(element => element.getBoundingClientRect().right > document.body.getBoundingClientRect().right)
        .map(element => element.outerHTML.slice(0, 80))"""
    assert opened.evaluate(wider) == []


def test_every_figure_shows(opened):
    boxes = opened.evaluate("""Object.fromEntries([...document.querySelectorAll("figure svg")].map(svg => {
        const {x, y, width, height} = svg.getBoundingClientRect();
        return [svg.parentElement.id, {x, y: y + scrollY, width, height}]}))""")
    assert set(boxes) == {f"figure-{name}" for name in FIGURES}
    for name, box in boxes.items():
        assert box["width"] > 900, name
        assert box["height"] > 80, name
        pixels = np.asarray(Image.open(io.BytesIO(opened.screenshot(box))).convert("L"), dtype=int)  # (height, width)
        ground = np.median(pixels)
        inked = np.abs(pixels - ground) > 60
        assert inked.mean() > 0.003, name
        # Its ink is spread over it: a figure that fell apart would have it in a corner.
        rows, columns = np.nonzero(inked)
        assert np.ptp(columns) > 0.6 * pixels.shape[1], name
        assert np.ptp(rows) > 0.6 * pixels.shape[0], name


def test_text_of_figures_can_be_read(opened):
    """No text is below 11 pixels high, or hardly darker or lighter than the page."""
    heights = opened.evaluate("""[...document.querySelectorAll("figure svg text")].map(text =>
        parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a)""")
    assert min(heights) > 11
    ink, ground = (
        opened.evaluate(f"getComputedStyle(document.body).{what}.match(/\\d+/g).map(Number)")
        for what in ("color", "backgroundColor")
    )
    assert math.dist(ink, ground) > 300
    assert (sum(ground) < 100) == opened.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


def test_what_is_folded_can_be_opened_and_fits_as_well(opened):
    opened.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert opened.evaluate("document.documentElement.scrollWidth") == WIDTH
    assert opened.evaluate("[...document.querySelectorAll('table')].every(table => table.offsetHeight > 0)")


def test_a_page_that_fetches_and_fails_is_found_out(tmp_path):
    """What the tests above look at would have seen it."""
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/a.png'/><script>console.warn(1); throw new Error('x')</script>")
    browser = Browser(tmp_path / "profile")
    browser.open(bad)
    assert browser.requests == [bad.as_uri(), "http://127.0.0.1:9/a.png"]
    assert {"console.warning", "Uncaught"} <= set(browser.errors)
    browser.close()
