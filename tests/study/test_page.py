import copy
import re

import pytest
from given.study import dose, interval, nulled, part, study

from moesift.study.figures import drawn
from moesift.study.page import page, wrapped


def flat(text):
    return re.sub(r"\s+", " ", text)


def test_the_page_has_its_tables_and_links():
    text = page(study(part([1, 2]), part([0], held=False)))
    for row in (
        "| mean over kinds | 0.70 [0.68, 0.72] | 0.60 [0.58, 0.62] | 0.50 [0.48, 0.52] | 0.40 [0.38, 0.42] "
        "| 0.90 [0.88, 0.92] | 0.80 [0.78, 0.82] |",
        "| `wrong_choice` | 0.65 | 0.55 | 0.45 | 0.35 |",
        "| `router` | `wrong_choice` | 0.700 [0.680, 0.720] | 0.700 [0.690, 0.710] | **+0.100 [+0.090, +0.110]** "
        "| 0.250 | 0.125 | < 0.001 | 0.031 | 400 | 80 |",
        "| mean over kinds | `nll` | **+0.100 [+0.070, +0.130]** | **-0.200 [-0.230, -0.170]** "
        "| **-0.200 [-0.230, -0.170]** |",
        "| `router` | 87.5% | 87.5% | 50.0% | 50.0% |",
        "| `router` | 25.0% | 37.5% [35.0%, 40.0%] | 12.5% |",
        "| `router` | -0.50 | 0.12 |",
        "| `wrong_choice` | -0.25 |",
        "| – | `base` | 4.700 [4.690, 4.710] | 0.300 [0.280, 0.320] | 25.0% | – | – |",
        "| 20% | `router` | 3.400 [3.390, 3.410] | 0.300 [0.280, 0.320] | 25.0% | **-0.100 [-0.120, -0.080]** "
        "| 0.50 [0.25, 0.75] |",
        "| 100% | `full` | 3.450 [3.440, 3.460] | 0.300 [0.280, 0.320] | 25.0% | – | – |",
    ):
        assert row in text.splitlines()
    assert re.findall(r"\(study-(\w+)\.png\)", text) == ["auroc", "training", "layers"]
    assert text.index("test seeds") < text.index("## Validation seeds") < text.index("## How each number is computed")
    assert "Goals of the project that are reached on the test seeds: 1 of 2." in text
    assert "- Missed: half of the oracle gap closed. Found: 0.40." in text
    assert "`snakemake study --cores 2` at commit `b2f6925`, 2026-11-23, on two cores. Run time: 1 h 12 min" in flat(
        text
    )
    assert "could have been made of" in flat(text)
    for source in ("Hanley & McNeil 1982", "Efron & Tibshirani 1993", "Holm (1979", "Burges et al. 2005"):
        assert source in flat(text)


def test_several_noises_and_human_pairs_have_their_tables():
    numbers = part([1, 2])
    numbers["doses"] += [dose(0.5, 0.65, 0.625)]
    numbers["doses"][0]["without"] = ["wrong_number"]
    whole = study(numbers)
    whole["human"] = {
        "pairs": 150,
        "methods": [
            {"method": "nll", "agreement": interval(0.6, 0.05)},
            {"method": "ifd", "agreement": interval(0.4, 0.05)},
            {"method": "router", "agreement": interval(0.5, 0.05)},
        ],
    }
    whole["duplicates"] = [
        {"replaced": 0.05, "threshold": 0.7, "copies": 300, "found": interval(0.25, 0.05), "others": 0.0125}
    ]
    lines = page(whole).splitlines()
    assert "Mean AUROC over kinds but `wrong_number`, which" in " ".join(lines)
    assert "30% spoilt over the seeds 1, 2; 50% spoilt over the seeds 1, 2." in " ".join(lines)
    assert "| 5% | 0.70 | 300 | 25.0% [20.0%, 30.0%] | 1.25% |" in lines
    assert "| `router` | 0.700 [0.680, 0.720] | 0.650 [0.630, 0.670] | 75.0% | 62.5% |" in lines
    assert "| `nll` | 0.600 [0.550, 0.650] | above chance |" in lines
    assert "| `ifd` | 0.400 [0.350, 0.450] | below chance |" in lines
    assert "| `router` | 0.500 [0.450, 0.550] | holds chance |" in lines
    assert "![AUROC over the share of noise](study-doses.png)" in lines


@pytest.mark.parametrize("parts", [{}, {"test": [1]}, {"validation": [0]}, {"test": [1], "validation": [0]}])
def test_nulls_are_dashes_or_words_and_prose_is_wrapped(parts):
    full = study(**{name: part(seeds) for name, seeds in parts.items()})
    empty = nulled(full)
    for name in parts:
        empty["parts"][name]["goals"][0]["found"] = None
    bare = copy.deepcopy(full)
    bare["made"]["commit"] = None
    del bare["made"]["command"]
    for name in parts:
        lists = [key for key, value in bare["parts"][name].items() if isinstance(value, list) and key != "seeds"]
        bare["parts"][name] |= {key: [] for key in lists}
        bare["parts"][name]["claim"] = {"kinds": [], "held": None}
    for numbers in (full, empty, bare):
        text = page(numbers)
        assert not re.search(r"\bNone\b|\bnan\b|\bNaN\b|\bnull\b", text)
        prose = [line for line in text.splitlines() if not line.startswith(("|", "!["))]
        assert max(map(len, prose)) <= 120
        assert all(drawn(found) is not None for found in numbers["parts"].values() if found is not None)
        assert not [line for line in prose if line.startswith(("- R)", "+ "))]
    assert "commit that is not known" in flat(page(bare))


def test_without_the_contrastive_objective_nothing_is_said_of_twins():
    numbers = study(part([1, 2]))
    numbers["made"]["objective"] = "budget"
    assert "twin" not in page(numbers)
    assert "RankNet" not in page(numbers)


def test_code_is_not_broken_over_lines():
    text = wrapped("x" * 115 + " `S - R` and more")
    assert text.splitlines() == ["x" * 115, "`S - R` and more"]
