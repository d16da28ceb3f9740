import copy
import re

import pytest
from given.study import NOTHING, interval, nulled, part, study

from moesift.study.figures import drawn
from moesift.study.page import duration, headline, number, page, shown, training_answer, verdict, wrapped


def flat(text):
    return re.sub(r"\s+", " ", text)


def test_a_claim_that_held_is_said_with_its_numbers():
    assert verdict(study(part([1, 2]), part([0]))) == (
        "**On the test seeds the claim held.** On `wrong_choice` `router` minus `nll` is +0.100 [+0.070, +0.130]: the "
        "interval excludes zero, `router` is better than `nll`. On the validation seeds it held."
    )


def test_a_claim_that_did_not_hold_is_said_as_plainly():
    lost = part([1, 2], held=False, gained=-0.1)
    assert verdict(study(lost, part([0]))) == (
        "**On the test seeds the claim did not hold.** On `wrong_choice` `router` minus `nll` is -0.100 [-0.130, "
        "-0.070]: the interval excludes zero, `router` is worse than `nll`. On the validation seeds it held."
    )
    unclear = part([1, 2], held=False, gained=0.02)
    assert "is +0.020 [-0.010, +0.050]: the interval does not exclude zero." in verdict(study(unclear))


def test_one_seed_has_no_interval_and_a_missing_part_is_said():
    single = part([0], held=False)
    single["claim"]["kinds"][0]["difference"] = interval(0.1)
    assert verdict(study(None, single)) == (
        "No test seeds were run, so nothing here is confirmed. **On the validation seeds the claim did not hold.** On "
        "`wrong_choice` `router` minus `nll` is +0.100, without an interval."
    )
    assert verdict(study()) == "**Nothing was measured**, on test seeds or on validation seeds."


def test_the_headline_of_a_method_above_the_baselines():
    assert headline(study(part([1, 2]))) == (
        "On the test seeds `router` has the highest mean AUROC over kinds, 0.700 [0.680, 0.720] "
        "(`perturbed_instruction`, the control, is left out; 0.5 is chance). Its difference to the best single "
        "baseline, `nll`, is +0.100 [+0.070, +0.130]: the interval excludes zero, `router` is better than `nll`. With "
        "the whole interval below 0.5, `length` prefers spoilt examples to clean ones. The supervised ceilings: "
        "`probe_kind` 0.900 [0.880, 0.920], `probe_source` 0.800 [0.780, 0.820]."
    )


def test_the_headline_of_a_baseline_above_all_methods():
    assert headline(study(part([1, 2], router=0.55, nll=0.6, gained=-0.05))).startswith(
        "On the test seeds `nll` has the highest mean AUROC over kinds, 0.600 [0.580, 0.620] "
        "(`perturbed_instruction`, the control, is left out; 0.5 is chance). `nll` is one of the baselines: **no other "
        "method is above the best single baseline.** The best of the others is `router` with 0.550 [0.530, 0.570]. Its "
        "difference to `nll` is -0.050 [-0.080, -0.020]: the interval excludes zero, `router` is worse than `nll`. "
        "`router`, the method of the claim, is number 2 of 4 with 0.550 [0.530, 0.570]."
    )


def test_methods_that_tie_share_the_first_place():
    tied = headline(study(part([1, 2], router=0.6, nll=0.6, gained=0.0)))
    assert "`router` and `nll` share the highest mean AUROC over kinds, 0.600" in tied
    assert "is +0.000 [-0.030, +0.030]: the interval does not exclude zero." in tied


def test_top_random_and_bottom_in_order():
    numbers = part([1, 2])
    summary, listed, other = training_answer(study(numbers), numbers)
    assert other == (
        "Where 70% are spoilt, the score as a filter: the lowest 50% of each source by `router` are rejected, and of "
        "the rest a random part is taken (`filtered`). Its loss is below that of a random part of the whole pool at 1 "
        "of 1 ratios, with the interval of the difference below zero at 1 and above at 0: 20% kept -0.200 [-0.250, "
        "-0.150] nats per response token."
    )
    assert summary == (
        "Held-out loss after training on the best by `router` (top) and on a random part of the same size: top is "
        "lower at 1 of 1 ratios, with the interval of top minus random below zero at 1 and above zero, worse than "
        "random, at 0. With the lowest scored by `router` (bottom), the order top better than random better than "
        "bottom is found at 1 of 1 ratios."
    )
    assert listed == (
        "- 20% kept: top 3.400, random 3.500, bottom 3.600, oracle 3.300 nats per response token, in the order asked "
        "for; top minus random -0.100 [-0.120, -0.080], below random; share of the oracle gap closed: 50% [25%, 75%]. "
        "The lowest loss but for the oracle's: `router`, 3.400."
    )


def test_a_top_that_is_worse_than_random():
    numbers = part([1, 2], top=3.55)
    summary, listed, _ = training_answer(study(numbers), numbers)
    assert "top is lower at 0 of 1 ratios, with the interval of top minus random below zero at 0" in summary
    assert "above zero, worse than random, at 1." in summary
    assert "is found at 0 of 1 ratios." in summary
    assert "not in the order asked for; top minus random +0.050 [+0.030, +0.070], above random" in listed
    assert "The lowest loss but for the oracle's: `random`, 3.500." in listed


def test_training_without_bottom_or_without_the_method():
    numbers = part([1, 2])
    numbers["training"] = [row for row in numbers["training"] if row["arm"] != "bottom"]
    summary, listed, _ = training_answer(study(numbers), numbers)
    assert "bottom" not in summary + listed
    assert "order" not in summary + listed
    numbers["training"] = [row for row in numbers["training"] if row["arm"] != "router"]
    assert training_answer(study(numbers), numbers) == [
        "Training on the best by `router` was not compared with training on a random part."
    ]


def test_the_page_has_its_tables_and_links():
    text = page(study(part([1, 2]), part([0], held=False)))
    for row in (
        "| mean over kinds | 0.70 [0.68, 0.72] | 0.60 [0.58, 0.62] | 0.50 [0.48, 0.52] | 0.40 [0.38, 0.42] "
        "| 0.90 [0.88, 0.92] | 0.80 [0.78, 0.82] |",
        "| `wrong_choice` | 0.65 | 0.55 | 0.45 | 0.35 |",
        "| `router` | `wrong_choice` | 0.700 [0.680, 0.720] | 0.700 [0.690, 0.710] | 0.250 | 0.125 | < 0.001 | 0.031 "
        "| 80 | 2 |",
        "| mean over kinds | `nll` | **+0.100 [+0.070, +0.130]** | **-0.200 [-0.230, -0.170]** "
        "| **-0.200 [-0.230, -0.170]** |",
        "| `router` | 87.5% | 87.5% | 50.0% | 50.0% |",
        "| `router` | 25.0% | 37.5% | 12.5% |",
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
    numbers["doses"] += [{"noise": 0.5, "method": "router", "auroc": interval(0.65, 0.02), "kept_clean": 0.625}]
    numbers["human"] = {
        "pairs": 150,
        "methods": [
            {"method": "nll", "agreement": interval(0.6, 0.05)},
            {"method": "ifd", "agreement": interval(0.4, 0.05)},
            {"method": "router", "agreement": interval(0.5, 0.05)},
        ],
    }
    lines = page(study(numbers)).splitlines()
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


def test_numbers_are_written_briefly():
    assert shown(interval(0.25, 0.125), ".2f") == "0.25 [0.12, 0.38]"
    assert shown(NOTHING, ".2f") == "not computed"
    assert number(-0.0001, ".3f") == "0.000"
    assert number(-0.0001, "+.3f") == "-0.000"  # the sign says on which side of zero it is
    assert number(-0.0, "+.3f") == "+0.000"
    assert number(None, ".3f") == "–"
    assert [duration(seconds) for seconds in (12.0, 600.0, 4321.0)] == ["12 s", "10 min", "1 h 12 min"]


def test_code_is_not_broken_over_lines():
    text = wrapped("x" * 115 + " `S - R` and more")
    assert text.splitlines() == ["x" * 115, "`S - R` and more"]
