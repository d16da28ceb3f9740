import re
import xml.etree.ElementTree as ET

import pytest
from given.comparison import made

from moesift.report.page import show

METHODS = ("router", "rds", "random", "full", "queries_only")


@pytest.fixture(scope="module", params=[(), ("a", "b")], ids=["untargeted", "targeted"])
def page(tmp_path_factory, request):
    changes = {"methods": METHODS, "targets": request.param} if request.param else {}
    return (made(tmp_path_factory.mktemp("page") / "a", seeds=(0, 1, 2), **changes) / "page.html").read_text()


def test_the_page_is_well_formed_and_shows_hostile_text_as_text(page):
    root = ET.fromstring(page.split("<!doctype html>")[1])
    text = "".join(root.itertext())
    assert text.count("$b$ <&") >= 2  # the name of a source, in a figure and in a table
    assert not list(root.iter("script"))
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_the_page_loads_nothing(page):
    assert not re.search(r'\bsrc=|<link|<script|<iframe|@import|url\((?!#)|\bhref="(?!#)', page)


def test_the_answer_is_first_and_the_verdict_in_the_table(page):
    answer = r'<p class="answer">(Held-out loss|Mean held-out loss of the targets) against random: 1 of [12] selections'
    assert re.search(answer, page).start() < page.index("<table")
    assert '<td class="text better"><bdi>better</bdi></td>' in page
    assert "over seeds" in page


def test_of_several_targets_each_has_its_figure_and_what_it_took(tmp_path):
    page = (made(tmp_path / "a", methods=METHODS, targets=("a", "b")) / "page.html").read_text()
    figures = re.findall(r'id="figure-(\w+)"', page)
    assert figures == ["random", "targets", "auroc", "kept", "overlap", "warmup"]
    took = re.search(r"<h2>What each target took</h2>.*?<figure", page, re.S)[0]
    rows = [re.findall(r"<bdi>(.*?)</bdi>", row) for row in re.findall(r"<tr>(.*?)</tr>", took)]
    assert ["a", "5", "0.500", "4", "1"] in rows  # of the sources a and $b$ <&
    assert ["b", "of b &lt;&amp;1", "0.600", "? → " + "yes no " * 8, "a", "07"] in rows
    one = (made(tmp_path / "b", methods=("rds", "random"), targets=("a",)) / "page.html").read_text()
    assert "Held-out loss of a, difference to random" in one
    assert 'id="figure-targets"' not in one


def test_scores_that_are_odd_are_named_with_the_reason(tmp_path):
    page = (made(tmp_path / "a", methods=METHODS, targets=("a",)) / "page.html").read_text()
    odd = re.search(r"<h2>Scores to look at twice</h2>.*?</table>", page, re.S)[0]
    (row,) = [re.findall(r"<bdi>(.*?)</bdi>", row) for row in re.findall(r"<tr>(.*?)</tr>", odd)][1:]
    assert row[0] == "rds"
    assert row[1].startswith(
        "It is nearly the length of the response, shortest first (rank correlation -1.00): compare"
    )
    sound = (made(tmp_path / "b", methods=("router", "random")) / "page.html").read_text()
    assert "Scores to look at twice" not in sound
    assert "What the scores are like" in sound


def test_what_is_not_there_is_not_shown(tmp_path):
    one = (made(tmp_path / "a", corrupted=False, methods=["router"]) / "page.html").read_text()
    assert "Nothing was selected at random" in one
    assert set(re.findall(r'id="figure-(\w+)"', one)) == {"kept", "warmup"}
    assert "orrupted" not in one
    assert "over seeds" not in one


def test_a_run_that_diverged_is_named_at_the_top(tmp_path):
    page = (made(tmp_path / "a", seeds=(0, 1, 2), losses={("router", 1): float("nan")}) / "page.html").read_text()
    warning = re.search(r'<div class="warning">.*?<figure', page, re.S)[0]
    assert re.findall(r"<bdi>(.*?)</bdi>", warning) == ["router", "50%", "1"]


def test_a_page_is_made_where_random_diverged(tmp_path):
    losses = {("random", 0): float("nan"), ("router", 0): float("inf")}
    page = (made(tmp_path / "a", losses=losses) / "page.html").read_text()
    assert page.count('<div class="warning">') == 1
    assert 'id="figure-random"' not in page


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (None, ".3f", ""),
        (0.04, "+.3f", "+0.040"),
        ("tokens-0.1", "budget", "10% of the tokens"),
        ([1, 2], "list", "1, 2"),
    ],
)
def test_a_value_is_shown_as_one_reads_it(value, form, shown):
    assert show(value, form) == shown
