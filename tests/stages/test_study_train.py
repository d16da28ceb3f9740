"""The study's tunings on a tiny Llama with random weights."""

import json
import math

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from moesift.data.pool import MESSAGES
from moesift.errors import UserError
from moesift.models.adapters import add_lora
from moesift.models.batches import shuffled_batches
from moesift.models.chat import Encoded, encode
from moesift.models.loading import load_model
from moesift.scoring import losses
from moesift.stages import study_train

ANSWERS = ["iron", "the cat", "a mat on the mat", "no", "which is a metal?", "sat on the cat and on the mat"]
TOKENS = 1500
LONGEST = 64  # tokens, data.max_length


@pytest.fixture(scope="module")
def case(tmp_path_factory, tokenizer):
    """A target, 40 examples of which 10 are spoilt and one has no end, and seven held-out ones, two without choices."""
    folder = tmp_path_factory.mktemp("case")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    target = AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=320, **shape, **ends), dtype=torch.float32)
    target.save_pretrained(folder / "target")
    tokenizer.save_pretrained(folder / "target")

    def talks(numbers):
        return [
            [{"role": "user", "content": f"which {n % 7 * 'the '}?"}, {"role": "assistant", "content": ANSWERS[n % 6]}]
            for n in numbers
        ]

    ids = [f"{n:02}" for n in range(40)]
    pl.DataFrame(
        {
            "id": ids,
            "source": ["a", "b"] * 20,
            "messages": talks(range(40)),
            "choices": [None] * 40,
            "corruption": ["truncated" if n % 4 == 0 else "clean" for n in range(40)],
            "finished": [n != 4 for n in range(40)],
        },
        schema_overrides={"messages": MESSAGES, "choices": pl.List(pl.String)},
    ).write_parquet(folder / "pool.parquet")
    (folder / "scores").mkdir()
    for method, score in (("router", [float(n % 4) for n in range(40)]), ("nll", [float(n) for n in range(40)])):
        pl.DataFrame({"id": ids, "score": score}).write_parquet(folder / "scores" / f"{method}.parquet")
    choices = [ANSWERS, None, ANSWERS[:3], ANSWERS[3:], ["which is a metal?"], ANSWERS, ["iron", "no", "iron"]]
    pl.DataFrame(
        {
            "id": [f"h{n}" for n in range(7)],
            "source": ["a", "b", "a", "b", "a", "b", "a"],
            "messages": talks(range(7)),
            "choices": choices,
        },
        schema_overrides={"messages": MESSAGES},
    ).write_parquet(folder / "heldout.parquet")
    return folder


def trained(case, out, monkeypatch, arms, ratios="[0.1, 0.5]", methods=("router", "nll"), seed=0, **settings):
    values = {
        "model": case / "target",
        "pool": case / "pool.parquet",
        "heldout": case / "heldout.parquet",
        "out": out / "out.parquet",
        "log": out / "log.json",
        "seed": seed,
        "threads": 1,
        "token-budget": 200,
        "arms": f"[{', '.join(arms)}]",
        "default": "router",
        "reject": 0.5,
        "ratios": ratios,
        "tokens": TOKENS,
        "max-length": 64,
        "learning-rate": 0.01,
        "warmup-ratio": 0.1,
        "batch-size": 4,
        "lora-rank": 4,
        "lora-alpha": 8,
        "lora-dropout": 0.2,
        "lora-targets": "[q_proj, down_proj]",
    } | {name.replace("_", "-"): value for name, value in settings.items()}
    words = [str(word) for name, value in values.items() for word in (f"--{name}", value)]
    words += ["--scores", *(str(case / "scores" / f"{method}.parquet") for method in methods)]
    monkeypatch.setattr("sys.argv", ["study_train", *words])
    study_train.main()
    return pl.read_parquet(out / "out.parquet"), json.loads((out / "log.json").read_text())["runs"]


@pytest.fixture(scope="module")
def four(case, tmp_path_factory):
    """Four arms and two ratios, and the untuned target."""
    with pytest.MonkeyPatch.context() as patch:
        return trained(case, tmp_path_factory.mktemp("four"), patch, ["router", "random", "oracle", "full"])


def of(found, arm, ratio):
    return found.filter(pl.col("arm") == arm, pl.col("ratio").eq_missing(pl.lit(ratio)))


def test_every_arm_sees_as_many_tokens(four):
    found, runs = four
    grid = [(arm, ratio) for arm in ("router", "random", "oracle") for ratio in (0.1, 0.5)]
    grid = [("base", None), *grid, ("full", 1.0)]
    assert [(made["arm"], made["ratio"]) for made in runs] == grid
    assert found.select("arm", "ratio").unique(maintain_order=True).rows() == grid
    tuned = runs[1:]
    assert all(TOKENS <= made["tokens"] < TOKENS + LONGEST for made in tuned)
    assert [made["examples"] for made in tuned] == [4, 20, 4, 20, 4, 20, 40]
    assert [made["kept_corrupted"] for made in (tuned[0], tuned[4], tuned[6])] == [0.0, 0.0, 0.25]


def test_rows_are_the_held_out_examples_of_every_run(four):
    found, _ = four
    assert found.columns == ["id", "source", "nats", "tokens", "right", "arm", "ratio"]
    for part in found.partition_by("arm", "ratio"):
        assert part["id"].to_list() == [f"h{n}" for n in range(7)]
        assert part["right"].is_null().to_list() == [False, True, False, False, True, False, False]
        assert part["nats"].sum() < of(found, "base", None)["nats"].sum() or part["arm"][0] == "base"


def test_the_base_is_the_target_as_it_came_and_the_right_choice_is_the_likeliest_token_by_token(case, four):
    model, tokenizer = load_model(str(case / "target"))
    heldout = pl.read_parquet(case / "heldout.parquet")

    def means(talks):
        examples = encode(talks, tokenizer, 64)
        nats = losses.nats(model, tokenizer.pad_token_id, examples, 1000)
        return nats, [example.predicted for example in examples]

    base = of(four[0], "base", None)
    nats, tokens = means(heldout["messages"].to_list())
    assert base["nats"].to_list() == pytest.approx(nats, abs=1e-4)
    assert base["tokens"].to_list() == tokens
    for row, (messages, choices) in enumerate(heldout.select("messages", "choices").iter_rows()):
        if base["right"][row] is not None:
            wrong = [choice for choice in choices if choice != messages[1]["content"]]
            of_wrong = zip(*means([[messages[0], {**messages[1], "content": choice}] for choice in wrong]), strict=True)
            lowest = min(value / count for value, count in of_wrong)
            assert base["right"][row] == (nats[row] / tokens[row] < lowest)


def test_an_arm_does_not_depend_on_the_arms_before_it(case, four, tmp_path, monkeypatch):
    found, _ = four
    turned, _ = trained(case, tmp_path, monkeypatch, ["full", "oracle", "nll", "router"], ratios="[0.5, 0.1]")
    for arm, ratio in (
        ("base", None),
        ("oracle", 0.1),
        ("oracle", 0.5),
        ("router", 0.1),
        ("router", 0.5),
        ("full", 1.0),
    ):
        assert of(turned, arm, ratio).equals(of(found, arm, ratio)), (arm, ratio)
    assert of(found, "router", 0.1)["nats"].to_list() != of(found, "oracle", 0.1)["nats"].to_list()


def test_a_seed_gives_the_same_numbers(case, four, tmp_path, monkeypatch):
    again, _ = trained(case, tmp_path, monkeypatch, ["router", "random", "oracle", "full"])
    assert again.equals(four[0])
    other, _ = trained(case, tmp_path, monkeypatch, ["router"], seed=1)
    assert of(other, "router", 0.5)["nats"].to_list() != of(again, "router", 0.5)["nats"].to_list()


def test_the_first_step_is_of_the_untuned_target_and_each_response_token_weighs_the_same(case, four):
    model, tokenizer = load_model(str(case / "target"))
    pool = pl.read_parquet(case / "pool.parquet")
    examples = encode(pool["messages"].to_list(), tokenizer, 64, pool["finished"].to_list())
    first = [examples[index] for index in shuffled_batches(40, 4, seed=0, epoch=0)[0]]
    nats = losses.nats(model, tokenizer.pad_token_id, first, 1000)
    full = four[1][-1]
    assert full["first_nats"] == pytest.approx(sum(nats) / sum(example.predicted for example in first), abs=1e-5)


def test_how_a_step_is_divided_into_passes_changes_nothing(case, tmp_path, monkeypatch):
    whole, runs = trained(case, tmp_path, monkeypatch, ["full"], lora_dropout=0)
    monkeypatch.setattr(study_train, "MICRO_BATCH", 1)
    divided, again = trained(case, tmp_path, monkeypatch, ["full"], lora_dropout=0)
    assert divided["nats"].to_list() == pytest.approx(whole["nats"].to_list(), abs=1e-3)
    assert again[1]["last_nats"] == pytest.approx(runs[1]["last_nats"], abs=1e-4)


def test_a_response_without_an_end_is_learnt_without_one(case, tmp_path, monkeypatch):
    found = {}
    for finished in (True, False):
        pool = pl.read_parquet(case / "pool.parquet").with_columns(finished=pl.lit(finished))
        pool.write_parquet(tmp_path / "pool.parquet")
        settings = {"pool": tmp_path / "pool.parquet", "tokens": 1}
        (_, (_, found[finished])) = trained(case, tmp_path, monkeypatch, ["router"], ratios="[0.1]", **settings)
    # A budget of one token is one example, and one end token.
    assert found[True]["tokens"] - found[False]["tokens"] == 1


def test_equally_likely_answers_are_wrong(case):
    model, tokenizer = load_model(str(case / "target"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model = add_lora(model, 4, 8, 0.0, ["q_proj"])
    asked = pl.DataFrame({"id": ["x"], "source": ["a"]})
    own, other = (Encoded([2, token, 0], [False, True, True], cut=False) for token in (5, 6))
    found = study_train.measured(model, asked, [(0, True, own), (0, False, other)], tokenizer.pad_token_id, 10)
    assert found["nats"].item() == pytest.approx(2 * math.log(320), abs=1e-5)
    assert found["right"].to_list() == [False]


def test_what_cannot_be_run_is_said_before_anything_is_trained(case, tmp_path, monkeypatch, capsys):
    with pytest.raises(
        UserError, match=r"study\.arms: ifd needs the scores of ifd, but there are those of nll, router"
    ):
        trained(case, tmp_path, monkeypatch, ["full", "ifd"])
    with pytest.raises(UserError, match=r"study\.arms: bottom needs the scores of router, but there are those of nll$"):
        trained(case, tmp_path, monkeypatch, ["bottom"], methods=["nll"])
    monkeypatch.setattr(study_train, "tune", lambda *given: pytest.fail("was trained"))
    pool = pl.read_parquet(case / "pool.parquet")
    unscored = pool.head(4).with_columns(id=pl.format("more-{}", "id"))
    pl.concat([pool, unscored]).write_parquet(tmp_path / "pool.parquet")
    with pytest.raises(UserError, match="router has scores of 40 examples, and 44 are to be kept"):
        trained(case, tmp_path, monkeypatch, ["random", "router"], ratios="[0.1, 1.0]", pool=tmp_path / "pool.parquet")
    with pytest.raises(SystemExit):
        trained(case, tmp_path, monkeypatch, ["ruoter"])
    assert "argument --arms: [ruoter]" in capsys.readouterr().err
    assert not (tmp_path / "out.parquet").exists()
