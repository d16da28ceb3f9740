"""What a change reruns: exactly what depends on it."""

import re

import polars as pl
import pytest
import yaml
from transformers import LlamaConfig, LlamaForSequenceClassification

from moesift.models.loading import load_tokenizer

SELECTED = {"select_run": 1, "train_adapter": 1, "evaluate_run": 1, "cards": 1, "report": 1}  # what one selection makes


def of(methods: int, **more: int) -> dict[str, int]:
    """Return the jobs of so many changed selections, and others."""
    jobs = {rule: count if rule in ("cards", "report") else methods for rule, count in SELECTED.items()}
    return jobs | more


def test_nothing_is_left_to_do(finished):
    assert finished.planned("--configfile", "tiny.yaml") == {}


def test_another_ratio_reruns_selection_training_and_evaluation_of_that_ratio(finished):
    assert finished.planned("--configfile", finished.configured("ratio", select={"ratio": 0.2})) == of(4)


def test_a_budget_in_tokens_reads_the_targets_tokens_once(finished):
    changed = finished.configured("tokens", select={"ratio": [], "tokens": [100, 0.2]})
    assert finished.planned("--configfile", changed) == of(8, run_pass=2, merge_pass=1)


def test_one_more_epoch_runs_that_epoch_and_what_reads_the_last(finished):
    changed = finished.configured("epochs", warmup={"epochs": 3})
    assert finished.planned("--configfile", changed) == of(1, warmup_epoch=1, run_pass=2, merge_pass=1, score_method=1)


def test_another_trash_ratio_reruns_the_warm_up_and_what_scores_with_it(finished):
    changed = finished.configured("trash", warmup={"trash_ratio": 0.5})
    assert finished.planned("--configfile", changed) == of(
        2, warmup_start=1, warmup_epoch=2, run_pass=4, merge_pass=2, score_method=2
    )


def test_parameters_of_a_method_rescore_it_from_what_was_read(finished):
    methods = [{"router": {"layers": [0], "tokens": "all"}}, "random"]
    assert finished.planned("score", "--configfile", finished.configured("layers", methods=methods)) == {
        "score_method": 1,
        "score": 1,
    }


def test_another_method_reads_only_what_no_other_has(finished):
    """`nll`, `ifd` and `bottom` read the pass that `typical_inputs` has read; `expert_gain` needs its own."""
    methods = ["router", "random", "nll", "ifd", {"bottom": {"of": "nll"}}, "expert_gain"]
    assert finished.planned("select", "--configfile", finished.configured("methods", methods=methods)) == {
        "run_pass": 2,
        "merge_pass": 1,
        "score_method": 4,
        "select_run": 4,
        "select": 1,
    }


def test_a_changed_file_of_scores_scores_again(finished):
    file = finished.folder / "mine.csv"
    pool = pl.read_parquet(finished.folder / "results/tiny/data/pool.parquet", columns=["id"])
    pool.with_columns(score=pl.int_range(pl.len())).write_csv(file)
    changed = finished.configured("external", methods=[{"mine": {"method": "external", "path": "mine.csv"}}])
    asked = (
        "results/tiny/scores/mine/seed-0.parquet",
        "--configfile",
        changed,
    )  # the look at the models stays as it is
    finished.snakemake(*asked, "--cores", "1")
    scores = pl.read_parquet(finished.folder / "results/tiny/scores/mine/seed-0.parquet").drop_nulls("score")
    assert scores.height > 0.9 * pool.height  # all but those without a response
    assert scores["score"].to_list() == pl.Series(pool["id"].index_of(id) for id in scores["id"]).to_list()
    assert finished.planned(*asked) == {}
    file.write_text(file.read_text().replace(",3\n", ",300\n"))
    assert finished.planned(*asked) == {"score_method": 1}


@pytest.mark.parametrize("file", [None, "train.jsonl"])
def test_a_changed_file_of_a_folder_like_a_data_set_makes_the_pool_anew(checkout, file):
    experiment = f"folder_{'whole' if file is None else 'file'}"
    folder = checkout.folder / experiment
    folder.mkdir()
    rows = "".join(f'{{"instruction": "Say {word}.", "output": "{word}"}}\n' for word in range(20))
    (folder / "train.jsonl").write_text(rows)
    source = {"name": "own", "hub": experiment} | ({} if file is None else {"file": file})
    changed = checkout.configured(experiment, experiment=experiment, data={"sources": [source], "heldout": 2})
    asked = (f"results/{experiment}/data/pool.parquet", "--configfile", changed)
    checkout.snakemake(*asked, "--cores", "1")
    assert checkout.planned(*asked) == {}
    (folder / "train.jsonl").write_text(rows.replace("Say", "Write"))
    assert checkout.planned(*asked) == {"prepare": 1}


def test_a_reward_model_reads_the_pool_once_for_all_of_its_labels(finished):
    folder = finished.folder / "reward model"
    tokenizer = load_tokenizer(str(finished.folder / "results/tiny/embedded/tokenizer"))
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    names = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    LlamaForSequenceClassification(LlamaConfig(vocab_size=len(tokenizer), **shape, **names)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    methods = [{"good": {"method": "reward", "label": "good"}}, {"bad": {"method": "reward", "label": 0}}]
    changed = finished.configured("reward", methods=methods, reward={"model": "reward model"})
    files = [f"results/tiny/scores/{name}/seed-0.parquet" for name in ("good", "bad")]
    asked = (*files, "--configfile", changed)  # the look at the models stays as it is
    assert finished.planned(*asked) == {"run_pass": 2, "merge_pass": 1, "score_method": 2}
    finished.snakemake(*asked, "--cores", "2")
    good, bad = (pl.read_parquet(finished.folder / file) for file in files)
    both = good.join(bad, on="id").drop_nulls("score")
    assert both.height > 50
    assert (both["score"].exp() + both["score_right"].exp()).to_list() == pytest.approx([1.0] * both.height, abs=1e-6)
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text() + "\n")  # a changed file of the model reads the pool again
    assert finished.planned(*asked)["run_pass"] == 2


def test_the_plan_does_not_depend_on_what_lies_in_results(checkout):
    folder = checkout.folder / "results/tiny/passes/selector/likelihood.shards"
    folder.mkdir(parents=True)
    try:
        jobs = checkout.planned("score", "--configfile", checkout.configured("begun"))
        assert (jobs["run_pass"], jobs["merge_pass"]) == (8, 4)  # tokens, likelihood and routing of two states
    finally:
        folder.rmdir()


@pytest.mark.parametrize(
    ("select", "more"),
    [
        ({"drop_top": 0.1}, {}),
        ({"quota": "equal"}, {}),
        ({"near_duplicates": 0.7}, {"near_duplicates": 1}),
        ({"near_duplicates": {"cosine": 0.99}}, {"semantic_duplicates": 1, "run_pass": 2, "merge_pass": 1}),
        ({"per_instruction": 1}, {"instructions": 1}),
        ({"decontaminate": 13}, {"contaminated": 1}),
        ({"decontaminate": {"words": 13, "ignore": ["the 'best' answer"]}}, {"contaminated": 1}),
        ({"diversity": 2}, {"run_pass": 2, "merge_pass": 1}),
    ],
)
def test_what_a_selection_looks_at_is_made_once_for_all_methods(finished, select, more):
    changed = finished.configured("set_aware", select=select)
    assert finished.planned("select", "--configfile", changed) == {"select_run": 4, "select": 1, **more}


def test_the_whole_pool_keeps_all_answers_to_an_instruction(checkout):
    changed = checkout.configured("answers", methods=["random", "full"], select={"per_instruction": 2})
    commands = checkout.snakemake("-n", "-p", "select", "--configfile", changed).stdout.splitlines()
    limited = {
        "selected/full/" in one: "--per-instruction 2" in one for one in commands if "moesift.stages.select " in one
    }
    assert limited == {True: False, False: True}


def test_what_is_looked_at_again_hides_no_other_change(finished):
    """Snakemake sees nothing else of a job that has an `ancient` input which is made anew."""
    changed = finished.configured("q_proj", train={"epochs": 1, "lora_targets": ["q_proj"]})
    planned = finished.planned("--configfile", changed)
    assert (planned["check_models"], planned["train_adapter"], planned["evaluate_run"]) == (1, 4, 4)


def test_the_filter_of_one_method_changes_its_selection_alone(finished):
    methods = ["router", {"router_untrained": {"reject": None}}, "random"]
    changed = finished.configured("ranked", methods=methods)
    assert finished.planned("select", "--configfile", changed) == {"select_run": 1, "select": 1}


@pytest.mark.slow
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
        "check_models": 1, "smollm2": 1, "upcycle": 1, "prepare": 1, "warmup_examples": 1, "warmup_start": 1,
        "warmup_epoch": 2, "warmup": 1,
    }  # fmt: skip


def test_another_precision_reruns_what_reads_the_weights(finished):
    """Not the tokens, nor what another model has read."""
    target = {"model": "embedded", "dtype": "bfloat16"}
    jobs = finished.planned("evaluate", "--configfile", finished.configured("target_dtype", target=target))
    assert jobs == {"train_adapter": 4, "evaluate_run": 5, "evaluate": 1}
    selector = {"model": "embedded", "dtype": "bfloat16"}
    jobs = finished.planned("score", "--configfile", finished.configured("selector_dtype", selector=selector))
    assert jobs == {
        "warmup_start": 1, "warmup_epoch": 2, "run_pass": 6, "merge_pass": 3, "score_method": 3, "score": 1,
    }  # fmt: skip


def test_throughput_reruns_nothing(finished):
    settings = {"score_tokens": 999, "micro_batch": 3, "eval_batch_size": 5, "threads": 2, "activations": "recompute"}
    changed = finished.configured("throughput", throughput={**settings, "live": None})
    assert finished.planned("--configfile", changed) == {}


@pytest.mark.parametrize(
    ("module", "jobs"),
    [
        ("methods/baselines", of(2, score_method=2)),  # `typical_inputs` imports a name of it
        ("methods/routers", of(2, score_method=2)),
        ("methods/declaration", {}),  # a declaration comes with the code of its method
        ("report/page", {"report": 1, "cards": 1}),
        ("progress", {}),  # what is shown changes no result
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
        ("select", "select_run"),
        ("train", "train_adapter"),
        ("evaluate", "evaluate_run"),
    ],
)
def test_each_stage_can_be_asked_for_alone(checkout, target, last):
    jobs = checkout.snakemake("-n", target, "--configfile", checkout.configured("tiny")).stdout
    assert f"rule {last}:" in jobs
    assert "rule report:" not in jobs


@pytest.mark.parametrize("variant", [[], ["config/olmoe_less_qwen.yaml"]])
def test_the_full_size_configuration_builds_its_plan_without_the_hub(checkout, variant):
    assert checkout.planned("--configfile", "config/olmoe_less.yaml", *variant) == {
        "check_models": 1,
        "prepare": 1,
        "warmup_examples": 3,
        "warmup_start": 3,
        "warmup_epoch": 6,
        "run_pass": (2 + 3 * 5) * 8,
        "merge_pass": 2 + 3 * 5,
        "score_method": 8 * 3,
        "select_run": 8 * 3,
        "train_adapter": 8 * 3,
        "evaluate_run": 8 * 3 + 1,
        "cards": 1,
        "report": 1,
    }


def test_a_check_needs_no_pool_and_no_model_but_a_tokenizer_that_is_made_here(checkout):
    assert checkout.planned("check", "--configfile", "config/olmoe_less.yaml") == {"check": 1}
    made_here = {"pretrain_tokenizer": 1, "check": 1}
    assert checkout.planned("check", "--configfile", checkout.configured("tiny")) == made_here


@pytest.mark.slow
def test_a_check_without_the_hub_lists_all_that_is_missing(checkout):
    words = ("check", "--cores", "1", "--configfile", "config/olmoe_less.yaml")
    done = checkout.snakemake(*words, "--set-resources", "train_adapter:gpu=4", check=False)
    assert done.returncode != 0
    message = done.stderr.partition("moesift: error: ")[2]
    for problem in (
        "selector.model: allenai/OLMoE-1B-7B-0125",
        "target.model: meta-llama/Llama-2-7b-hf",
        "less-data.zip cannot be downloaded from the hub",
        "throughput.gpus: 1 for each job",
        "train_adapter: ",
    ):
        assert re.search(rf"^  \d\. .*{re.escape(problem)}", message, re.M), problem
    assert "Traceback" not in done.stderr


def test_an_estimate_reruns_no_result(finished):
    assert finished.planned("--configfile", finished.configured("cheaper", estimate={"utilisation": 0.1})) == {}


def test_another_format_selects_and_trains_nothing_anew(finished):
    changed = finished.configured("exported", select={"format": ["jsonl", "axolotl"]})
    assert finished.planned("select", "--configfile", changed) == {"export_run": 4, "select": 1}
    assert finished.planned("--configfile", changed) == {"export_run": 4, "cards": 1, "report": 1}


def test_a_licence_makes_the_cards_anew_and_nothing_else(finished):
    wheel, own = yaml.safe_load((finished.folder / "tiny.yaml").read_text())["data"]["sources"]
    changed = finished.configured("licensed", data={"sources": [wheel, own | {"license": "cc-by-4.0"}]})
    assert finished.planned("--configfile", changed) == {"cards": 1}
