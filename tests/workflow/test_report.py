"""The page that the workflow makes, by itself and within Snakemake's own report, in a browser without a network."""

import base64

import pytest
from given.browser import CHROMIUM, Browser

pytestmark = pytest.mark.slow


@pytest.fixture
def browser(tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    started = Browser(tmp_path / "profile")
    yield started
    started.close()


def test_the_page_of_the_workflow_shows_all_its_figures(finished, browser):
    browser.open(finished.folder / "results/tiny/report/index.html")
    names = browser.evaluate("[...document.querySelectorAll('figure')].map(figure => figure.id)")
    assert {"figure-random", "figure-kept", "figure-warmup"} <= set(names)
    heights = browser.evaluate("[...document.querySelectorAll('figure svg')].map(svg => svg.clientHeight)")
    assert min(heights) > 80
    assert browser.evaluate("document.documentElement.scrollWidth") == 1200
    assert [address[:7] for address in browser.requests] == ["file://"]
    assert browser.errors == []


def test_the_page_opens_within_snakemakes_own_report(finished, browser):
    finished.snakemake("--report", "report.html", "--configfile", "tiny.yaml")
    browser.open(finished.folder / "report.html")
    browser.until("[...document.querySelectorAll('a')].some(link => link.textContent == 'Results')")
    browser.evaluate("[...document.querySelectorAll('a')].find(link => link.textContent == 'Results').click()")
    browser.until("document.body.innerText.includes('results/tiny/report/index.html')")
    browser.evaluate("document.querySelector('a[iconname=eye]').click()")
    browser.until("document.querySelector('iframe')")
    shown = browser.evaluate("document.querySelector('iframe').src")
    page = (finished.folder / "results/tiny/report/index.html").read_bytes()
    assert base64.b64decode(shown.partition("base64,")[2]) == page
    assert {address.partition(":")[0] for address in browser.requests} == {"file", "data"}
    # Snakemake's page has a warning of its own: Tailwind, which it is drawn with, should be built before.
    assert set(browser.errors) <= {"console.warning"}
