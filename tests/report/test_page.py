import re
import xml.etree.ElementTree as ET

import pytest
from given.comparison import HOSTILE
from given.page import made

from moesift.report.page import clock


@pytest.fixture(scope="module")
def small():
    return made()


def test_the_page_is_well_formed_and_shows_hostile_text_as_text(small):
    root = ET.fromstring(small.split("<!doctype html>")[1])
    text = "".join(root.itertext())
    assert f"{HOSTILE} 0" in text
    assert "$b$ <& (40%)" in text  # the name of a source, in a figure
    assert not list(root.iter("script"))
    ids = re.findall(r'\bid="([^"]*)"', small)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'<a href="#([^"]*)"', small)) <= set(ids)


def test_the_page_loads_nothing(small):
    assert not re.search(r'\bsrc=|<link|<script|<iframe|@import|url\((?!#)|\bhref="(?!#)', small)


def test_the_page_repeats_to_the_byte(small):
    assert made() == small


def test_one_seed_is_said_to_have_no_interval(small):
    assert "One seed says nothing about another." in small
    assert "There is one seed, so nothing here is called better or worse" in small
    assert "examples [-0.400, -0.133]" in small
    assert "seeds [" not in small
    assert "Mean over seeds" not in small


def test_several_seeds_have_both_intervals():
    html = made(seeds=(0, 1, 2))
    assert "Mean over seeds" in html
    assert "one seed" not in html.lower()
    assert re.search(r'class="better">-0.189 better</span><small>seeds \[.*</small><small>examples \[', html)


def test_a_pool_without_labels_says_nothing_of_corruption():
    html = made(corrupted=False)
    assert "spoiled on purpose" not in html
    assert 'id="figure-auroc"' not in html
    assert 'id="figure-histograms"' in html


def test_a_grid_without_random_selection_claims_nothing_against_it():
    html = made(methods=["router"])
    assert "Nothing was selected at random, so nothing here is shown to be better than that." in html
    assert "no method here has been shown to be better" in html
    assert 'id="figure-random"' not in html


def test_what_the_jobs_took_is_told(small):
    row = re.search(r"<tr><td>train_adapter</td>.*?</tr>", small, re.S)[0]
    cells = ["train_adapter", "2", "1 min 30 s", "45 s", "1.5", "1 min 20 s", ""]
    assert re.findall(r"<td>(.*?)</td>", row) == cells


@pytest.mark.parametrize(
    ("seconds", "read"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (18420, "5 h 07 min"),
        (4e6, "1,111 h 06 min"),
    ],
)
def test_a_duration_is_written_as_one_reads_it(seconds, read):
    assert clock(seconds) == read
