"""What a change reruns: exactly what depends on it."""

import re

import pytest
import yaml

AFTER_SELECTION = {"train_adapter", "evaluate_adapter"}
CARDS = {"selection_cards": 1, "adapter_cards": 1}

pytestmark = pytest.mark.slow


def test_nothing_is_left_to_do(finished):
    assert finished.planned("--configfile", "tiny.yaml") == {}


def test_another_ratio_reruns_selection_training_and_evaluation_of_that_ratio(finished):
    changed = finished.configured("ratio", select={"ratio": 0.25})
    assert finished.planned("--configfile", changed) == {
        "select_ratio": 4,
        "train_adapter": 4,
        "evaluate_adapter": 4,
        **CARDS,
        "report": 1,
    }


def test_one_more_epoch_runs_that_epoch_and_what_reads_the_last(finished):
    changed = finished.configured("epochs", warmup={"epochs": 3})
    assert finished.planned("--configfile", changed) == {
        "warmup_epoch": 1,
        "measure_epochs": 2,
        "merge_shards": 1,
        "score_method": 1,
        "select_ratio": 1,
        "train_adapter": 1,
        "evaluate_adapter": 1,
        **CARDS,
        "report": 1,
    }


def test_another_trash_ratio_reruns_the_warm_up_and_what_scores_with_it(finished):
    changed = finished.configured("trash", warmup={"trash_ratio": 0.5})
    assert finished.planned("--configfile", changed) == {
        "warmup_start": 1,
        "warmup_epoch": 2,
        "measure_epochs": 2,  # of the first epoch and the last, each shard by one job
        "merge_shards": 1,
        "score_method": 2,
        "select_ratio": 2,
        "train_adapter": 2,
        "evaluate_adapter": 2,
        **CARDS,
        "report": 1,
    }


def test_other_layers_are_scored_from_what_was_measured(finished):
    changed = finished.configured("layers", score={"layers": [0]})
    assert finished.planned("score", "--configfile", changed) == {"score_method": 2, "score": 1}


def test_another_method_measures_only_what_no_other_has(finished):
    changed = finished.configured("methods", methods=["router", "random", "nll", "ifd"])
    assert finished.planned("select", "--configfile", changed) == {
        "measure_selector": 2,  # the loss with and without the instruction, once for both methods
        "merge_shards": 1,
        "score_method": 2,
        "select_ratio": 2,
        "selection_cards": 1,
        "select": 1,
    }


def test_other_tokens_are_measured_of_the_signals_alone(finished):
    changed = finished.configured("tokens", score={"tokens": "all"})
    assert finished.planned("score", "--configfile", changed) == {
        "measure_epochs": 2,
        "merge_shards": 1,
        "score_method": 2,
        "score": 1,
    }


def test_what_was_begun_is_gone_on_with(checkout):
    """Shards of a measurement that a killed run left are no waste when a method is added, unless one is taken away."""
    begun = checkout.folder / "results/tiny/measured/selector/nats.shards"
    begun.mkdir(parents=True)
    try:
        more = checkout.configured("more", methods=["nll", "likelihood_pmi"])
        dry = checkout.snakemake("-n", "score", "--configfile", more).stdout
        assert "measured/selector/nats.parquet" in dry
        assert "measured/selector/nats_alone.parquet" in dry
        other = checkout.configured("other", methods=["random"])
        dry = checkout.snakemake("-n", "score", "--configfile", other).stdout
        assert "measured/selector/tokens.parquet" in dry
    finally:
        begun.rmdir()


@pytest.mark.parametrize("begun", ["nats+nats_alone+nats_end", "tokens"])
def test_what_a_method_alone_reads_has_a_rule(checkout, begun):
    shards = checkout.folder / f"results/tiny/measured/selector/{begun}.shards"
    shards.mkdir(parents=True)
    try:
        more = checkout.configured("more", methods=["typical_pmi", "typical_inputs", "random"])
        dry = checkout.snakemake("-n", "score", "--configfile", more).stdout
        missing = {"tokens": "nats+nats_alone+nats_end+sketch"}.get(begun, "sketch")
        assert f"measured/selector/{missing}.parquet" in dry
    finally:
        shards.rmdir()


def test_a_plan_grows_by_shards_and_seeds_and_not_by_methods(checkout):
    """A thousand shards of five seeds are planned in seconds as long as one job measures all that is asked of its."""
    methods = ["router", "router_untrained", "expert_gain", "reducible", "nll", "ifd", "length", "random"]
    large = {"methods": methods, "seeds": [0, 1, 2], "throughput": {"shards": 50}}
    jobs = checkout.planned("score", "--configfile", checkout.configured("large", **large))
    assert jobs["measure_epochs"] == 3 * 50
    assert jobs["measure_selector"] == 50
    assert jobs["merge_shards"] == 3 + 1
    fewer = checkout.planned("score", "--configfile", checkout.configured("large", **large | {"methods": ["router"]}))
    assert fewer["measure_epochs"] == 3 * 50


def test_the_untrained_routers_wait_for_the_pool(checkout):
    """Their epoch is made of the selector alone, so that nothing else would make them wait."""
    changed = checkout.configured("untrained", methods=["router_untrained", "random"])
    dry = checkout.snakemake("-n", "score", "--configfile", changed).stdout
    (job,) = re.findall(r"rule measure_epochs:\n    input: (.*)\n", dry)[:1]
    assert job == "results/tiny/warmup/seed-0/epoch-0, results/tiny/data/pool.parquet"


def test_methods_of_the_selector_alone_need_no_warm_up(checkout):
    changed = checkout.configured("no_warm_up", methods=["ifd", "random"])
    assert not any("warmup" in rule for rule in checkout.planned("train", "--configfile", changed))


@pytest.mark.parametrize(
    ("select", "more"),
    [
        ({"drop_top": 0.1}, {}),
        ({"quota": "equal"}, {}),
        ({"near_duplicates": 0.7}, {"near_duplicates": 1}),
        ({"decontaminate": 13}, {"contaminated": 1}),
        ({"diversity": 2}, {"measure_epochs": 2, "merge_shards": 1}),
    ],
)
def test_what_a_selection_looks_at_is_made_once_for_all_methods(finished, select, more):
    changed = finished.configured("set_aware", select=select)
    assert finished.planned("select", "--configfile", changed) == {
        "select_ratio": 4,
        "selection_cards": 1,
        "select": 1,
        **more,
    }


def test_a_limit_of_the_evaluation_retrains_nothing(finished):
    """Decontamination reads every test question, whatever the limit."""
    one, other = (
        finished.configured(
            f"limit_{limit}", select={"decontaminate": 12}, evaluate={"tasks": [{"name": "arc_easy", "limit": limit}]}
        )
        for limit in (4, 5)
    )
    finished.snakemake("results/tiny/data/contaminated.parquet", "--cores", "1", "--configfile", one)
    assert "contaminated" not in finished.planned("select", "--configfile", other)


def test_a_dense_selector_is_upcycled_once(checkout):
    dense = {"model": "smollm2", "upcycle": {"experts": 4, "experts_per_token": 1, "seed": 0}}
    jobs = checkout.planned("warmup", "--configfile", checkout.configured("upcycled", selector=dense))
    assert jobs == {
        "check_models": 1, "smollm2": 1, "upcycle": 1, "prepare": 1, "warmup_start": 1, "warmup_epoch": 2, "warmup": 1
    }  # fmt: skip


def test_throughput_reruns_nothing(finished):
    changed = finished.configured(
        "throughput",
        throughput={
            "score_tokens": 999,
            "micro_batch": 3,
            "eval_batch_size": 5,
            "threads": 2,
            "activations": "recompute",
            "live": None,
        },
    )
    assert finished.planned("--configfile", changed) == {}


@pytest.mark.parametrize(
    ("module", "jobs"),
    [
        (
            "scoring/methods",
            {"score_method": 4, "select_ratio": 4, "train_adapter": 4, "evaluate_adapter": 4, **CARDS, "report": 1},
        ),
        ("report/page", {"report": 1}),
        ("progress", {}),  # what is shown changes no result
        ("live", {}),
    ],
)
def test_edited_code_reruns_its_stage(finished, module, jobs):
    path = finished.folder / "src" / "moesift" / f"{module}.py"
    code = path.read_text()
    try:
        path.write_text(code + "\n# a comment\n")
        assert finished.planned("--configfile", "tiny.yaml") == {}
        path.write_text(code + "\nEDITED = True\n")
        assert finished.planned("--configfile", "tiny.yaml") == jobs
    finally:
        path.write_text(code)


@pytest.mark.parametrize(
    ("target", "last"),
    [
        ("warmup", "warmup_epoch"),
        ("score", "score_method"),
        ("select", "select_ratio"),
        ("train", "train_adapter"),
        ("evaluate", "evaluate_adapter"),
    ],
)
def test_each_stage_can_be_asked_for_alone(checkout, target, last):
    jobs = checkout.snakemake("-n", target, "--configfile", checkout.configured("tiny")).stdout
    assert f"rule {last}:" in jobs
    assert "rule report:" not in jobs


@pytest.mark.parametrize("variant", [[], ["config/olmoe_less_qwen.yaml"]])
def test_the_full_size_configuration_builds_its_dag_without_the_hub(checkout, variant):
    planned = checkout.planned("--configfile", "config/olmoe_less.yaml", *variant)
    assert planned == {
        "check_models": 1,
        "prepare": 1,
        "warmup_start": 3,
        "warmup_epoch": 6,
        # Of 3 seeds, signals and nats of the first epoch and the last and nats with the gates open and shut; nats, nats
        # alone and tokens of the selector as it came; 8 shards each.
        "measure_epochs": 3 * 8,
        "measure_selector": 8,
        "merge_shards": 3 + 1,
        "score_method": 8 * 3,
        "select_ratio": 8 * 3,
        "train_adapter": 8 * 3,
        "evaluate_base": 1,
        "evaluate_adapter": 8 * 3,
        **CARDS,
        "report": 1,
    }


def test_a_check_needs_no_pool_and_no_model_but_a_tokenizer_that_is_made_here(checkout):
    assert checkout.planned("check", "--configfile", "config/olmoe_less.yaml") == {"check": 1}
    made_here = {"check_models": 1, "pretrain_tokenizer": 1, "check": 1}
    assert checkout.planned("check", "--configfile", checkout.configured("tiny")) == made_here


def test_a_check_without_the_hub_says_all_that_cannot_be_had(checkout):
    words = ("check", "--cores", "1", "--configfile", "config/olmoe_less.yaml")
    done = checkout.snakemake(*words, "--set-resources", "train_adapter:gpu=4", check=False)
    assert done.returncode != 0
    said = done.stderr.partition("moesift: error: ")[2]
    assert said.startswith(
        "5 of what was looked at would stop this run:\n  1. selector.model: allenai/OLMoE-1B-7B-0125"
    )
    assert "\n  2. target.model: meta-llama/Llama-2-7b-hf is neither a local directory nor a model on the hub" in said
    assert "less-data.zip cannot be had from the hub" in said
    assert "\n  4. throughput.gpus: 1 for each job, but 0 can be seen here" in said
    assert "\n  5. train_adapter: its accelerate file asks for processes: 1, and the rule for GPUs: 4" in said
    assert "Traceback" not in done.stderr


def test_a_changed_estimate_reruns_no_result(finished):
    changed = finished.configured("cheaper", estimate={"utilisation": 0.1})
    assert finished.planned("--configfile", changed) == {}


def test_a_licence_makes_the_cards_anew_and_nothing_else(finished):
    wheel, own = yaml.safe_load((finished.folder / "tiny.yaml").read_text())["data"]["sources"]
    changed = finished.configured("licensed", data={"sources": [wheel, own | {"license": "cc-by-4.0"}]})
    assert finished.planned("--configfile", changed) == CARDS


def test_the_seeds_of_a_ratio_share_a_card(checkout):
    planned = checkout.planned("archive", "--configfile", checkout.configured("two_seeds", seeds=[0, 1]))
    assert planned["select_ratio"] == planned["train_adapter"] == 8
    assert planned | CARDS | {"report": 1, "archive": 1} == planned
