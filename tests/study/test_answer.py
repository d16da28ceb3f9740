import re

from given.study import interval, part, study

from moesift.study.answer import headline, human_answer, left_out, training_answer, verdict


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
        "the whole interval below 0.5, `length` prefers spoilt examples to clean ones. Supervised probes of the "
        "routers' inputs: `probe_kind` 0.900 [0.880, 0.920], `probe_source` 0.800 [0.780, 0.820]."
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
        "With more and with less noise, minus a random part, in nats per response token: 70% spoilt: `filtered` -0.200 "
        "[-0.250, -0.150] (20% kept)."
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


def test_what_no_mean_has_is_said():
    given = study(part([1, 2]))
    given["made"]["sanity"] = ["gibberish"]
    assert left_out(given) == (
        "`perturbed_instruction`, the control, and `gibberish`, which any score should see, are left out"
    )


def test_what_experts_preferred_is_said_beside_the_method_that_sees_it_best():
    given = study(part([1, 2]))
    assert human_answer(given) == []
    methods = [
        {"method": "router", "agreement": interval(0.487, 0.056)},
        {"method": "length", "agreement": interval(0.84, 0.035)},
        {"method": "nll", "agreement": None},
    ]
    given["human"] = {"pairs": 300, "methods": methods}
    assert human_answer(given) == [
        "What is not spoilt is not yet good: of 300 pairs that an expert revised, `router` prefers the revised side in "
        "48.7% [43.1%, 54.3%], `length`, the most of all, in 84.0% [80.5%, 87.5%]; chance is 50%."
    ]


def test_where_no_oracle_is_told_from_random_nothing_can_be_shown_to_gain():
    told = training_answer(study(part([1, 2])), part([1, 2]))[0]
    assert "oracle itself" not in told
    lost = part([1, 2])
    next(row for row in lost["training"] if row["arm"] == "oracle")["against_random"] = interval(-0.02, 0.03)
    assert "**At no ratio is the oracle itself told from random**" in training_answer(study(lost), lost)[0]
