"""The whole workflow, run once, and every artefact of the contract looked at."""

import json
import re
import shutil
from dataclasses import replace

import polars as pl
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM

METHODS = ("router", "router_untrained", "typical_inputs", "random")


@pytest.fixture
def results(finished):
    return finished.folder / "results" / "tiny"


def test_the_warm_up_moves_routers_only(results):
    first, last = (
        AutoModelForCausalLM.from_pretrained(results / f"warmup/seed-0/epoch-{epoch}").state_dict() for epoch in (0, 2)
    )
    moved = {name for name in first if not first[name].equal(last[name])}
    assert moved == {f"model.layers.{layer}.mlp.gate.weight" for layer in range(4)}


def test_the_second_epoch_goes_on_from_the_first(results):
    curves = [
        [json.loads(line) for line in (results / f"warmup/seed-0/epoch-{n}.jsonl").read_text().splitlines()]
        for n in (1, 2)
    ]
    assert [record["step"] for curve in curves for record in curve] == list(range(8))  # 32 examples in steps of 8
    # The multipliers are dual ascent's, carried over the boundary: mu' = mu + eta * (share - rho).
    before, after = curves[0][-1], curves[1][0]
    expected = [m + 0.05 * (s - 0.3) for m, s in zip(before["multipliers"], before["trash_shares"], strict=True)]
    assert after["multipliers"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_scores_and_selection(results, method):
    pool = pl.read_parquet(results / "data/pool.parquet")
    scores = pl.read_parquet(results / f"scores/{method}/seed-0.parquet")
    assert scores.columns == ["id", "source", "score", "n_tokens", "reason"]
    assert sorted(scores["id"]) == sorted(pool["id"])
    assert (scores["score"].is_null() == scores["reason"].is_not_null()).all()
    selected = pl.read_parquet(results / f"selected/{method}/ratio-0.25/seed-0.parquet")
    assert selected.columns[:3] == ["id", "rank", "score"]
    assert selected["rank"].to_list() == list(range(1, round(pool.height / 4) + 1))
    text = dict(zip(pool["id"], pool["messages"].to_list(), strict=True))
    assert all(text[row["id"]] == row["messages"] for row in selected.iter_rows(named=True))
    # The filter: of each source the better half by score, of which the selection is drawn.
    by_source = scores.join(selected.select("id"), on="id", how="semi").group_by("source").agg(pl.col("score").min())
    for source, lowest in by_source.iter_rows():
        assert (scores.filter(source=source)["score"] >= lowest).sum() <= -(-pool.filter(source=source).height // 2)


@pytest.mark.slow
def test_every_method_scores_the_pool(finished):
    """The methods that the run above leaves out, up to their scores, on the same warm-up."""
    plain = ["expert_gain", "reducible", "nll", "ifd", "length", "balanced", "oracle", "full"]
    methods = [*plain, {"bottom": {"of": "nll"}}]
    finished.snakemake("score", "--cores", "2", "--configfile", finished.configured("all_methods", methods=methods))
    results = finished.folder / "results" / "tiny"
    pool = pl.read_parquet(results / "data/pool.parquet")
    scores = {path.parent.name: pl.read_parquet(path) for path in results.glob("scores/*/seed-0.parquet")}
    for method in (*plain, "bottom"):
        assert sorted(scores[method]["id"]) == sorted(pool["id"])
        assert (scores[method]["score"].is_null() == scores[method]["reason"].is_not_null()).all()
        # Of the 32 examples that the warm-up draws, a few are cut before their response.
        trained = scores[method]["reason"].str.contains("the warm-up trained on it").sum()
        assert (20 < trained <= 32) if method == "reducible" else trained == 0
    ifd = scores["ifd"]["score"].drop_nulls()
    assert 0 < ifd.min() <= ifd.max() < 1
    both = scores["nll"].join(scores["bottom"], on="id", suffix="_bottom").drop_nulls("score")
    assert (both["score"] + both["score_bottom"]).abs().max() == 0
    clean = scores["oracle"].join(pool, on="id").drop_nulls("score")
    assert (clean["score"] > 1).to_list() == (clean["corruption"] == "clean").to_list()


def test_evaluations_say_what_they_measured(results):
    for method in METHODS:
        measured = json.loads((results / f"eval/{method}/ratio-0.25/seed-0.json").read_text())
        assert (measured["method"], measured["budget"], measured["seed"]) == (method, "ratio-0.25", 0)
        assert measured["tasks"]["arc_easy"]["questions"] == 4
        assert measured["tasks"]["arc_easy"]["higher_is_better"]["acc"] is True
        assert 0 <= measured["tasks"]["arc_easy"]["metrics"]["acc"] <= 1
        assert measured["heldout"]["examples"] == 12
        assert measured["made_from"]["training"]["settings"]["lora_rank"] == 16
    base = json.loads((results / "eval/base.json").read_text())
    assert (base["method"], base["made_from"]["training"]) == ("base", None)
    # Tuning on a quarter of a pool like the held-out part lowers the loss, even of a model that has learnt nothing.
    tuned = json.loads((results / "eval/random/ratio-0.25/seed-0.json").read_text())
    assert tuned["heldout"]["nll"] < base["heldout"]["nll"]


def test_the_report_has_a_row_for_every_method(results):
    found = json.loads((results / "results.json").read_text())
    assert found["configuration"]["experiment"] == "tiny"
    losses = {row["method"]: row["value"] for row in found["outcomes"] if row["outcome"] == "heldout"}
    assert losses.keys() == {*METHODS, "base"}
    for method, loss in losses.items():
        file = "base.json" if method == "base" else f"{method}/ratio-0.25/seed-0.json"
        assert loss == json.loads((results / "eval" / file).read_text())["heldout"]["nll"]


def shown(run) -> dict[str, list[int]]:
    """Return the steps of each curve that TensorBoard shows of a run."""
    events = EventAccumulator(str(run)).Reload()
    return {tag: [point.step for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_the_live_view_has_each_step_of_warm_up_and_training(results):
    warmup = shown(results / "live/warmup/seed-0")
    assert set(warmup) == {
        *("loss/nll", "loss/balance", "loss/budget", "gradient norm", "learning rate", "tokens per second"),
        *(f"trash share/layer {layer:02}" for layer in range(4)),
    }
    assert all(steps == list(range(8)) for steps in warmup.values())  # both epochs, one after the other
    for method in METHODS:
        steps = len(
            json.loads((results / f"adapters/{method}/ratio-0.25/seed-0/training.json").read_text())["nll_per_step"]
        )
        run = shown(results / f"live/adapters/{method}/ratio-0.25/seed-0")
        assert run == {key: list(range(steps)) for key in ("nll per token", "learning rate", "tokens per second")}


def test_a_check_finds_nothing_and_predicts_what_is_written(finished, results):
    said = finished.snakemake("check", "--cores", "1", "--configfile", "tiny.yaml").stdout
    assert "Nothing was found that would stop this run." in said
    units = {"KiB": 2**10, "MiB": 2**20}
    shown = re.findall(r"^  (\S.*?) +([\d.]+) (KiB|MiB)$", said.partition("\nDisk\n")[2], re.MULTILINE)
    predicted = {what: float(number) * units[unit] for what, number, unit in shown}

    def size(*patterns: str) -> int:
        return sum(file.stat().st_size for pattern in patterns for file in results.glob(pattern))

    epochs = [f"warmup/seed-0/epoch-*/{name}.safetensors" for name in ("routers", "trash_experts", "optimizer")]
    assert predicted["adapters"] == pytest.approx(size("adapters/*/*/*/adapter_model.safetensors"), rel=0.1)
    assert predicted["routers and optimizer of all epochs"] == pytest.approx(size(*epochs), rel=0.1)
    frozen = size("warmup/seed-0/epoch-0/frozen*.safetensors")
    assert predicted["frozen weights of the warm-up, shared by its epochs"] == pytest.approx(frozen, rel=0.1)
    prepared = size("data/pool.parquet", "data/heldout.parquet")
    assert predicted["pool and held-out examples"] == pytest.approx(prepared, rel=0.5)
    for name, state in (("likelihood", "selector"), ("tokens", "selector")):
        assert predicted[f"pass {name}, {state}"] == pytest.approx(size(f"passes/{state}/{name}.parquet"), rel=0.5)


def test_a_target_is_tuned_in_full_and_measured_as_a_model_by_itself(finished, results, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "moesift", symlinks=True)
    checkout = replace(finished, folder=tmp_path / "moesift")
    changed = ("--configfile", checkout.configured("full", train={"method": "full"}))
    jobs = {"check_models": 1, "train_adapter": 4, "evaluate_run": 4, "cards": 1, "report": 1}
    assert checkout.planned(*changed) == jobs
    run = "random/ratio-0.25/seed-0"
    asked = (f"results/tiny/eval/{run}.json", *changed)
    checkout.snakemake(*asked, "--cores", "1")
    tuned = checkout.folder / f"results/tiny/adapters/{run}"
    assert not (tuned / "adapter_model.safetensors").exists()  # which transformers would apply to the model beside it
    files = [folder / f"results/tiny/eval/{run}.json" for folder in (checkout.folder, finished.folder)]
    measured, by_lora, base = (json.loads(file.read_text()) for file in [*files, results / "eval/base.json"])
    assert measured["made_from"]["training"]["settings"]["method"] == "full"
    assert len({one["heldout"]["nll"] for one in (measured, by_lora, base)}) == 3
    unread = {"lora_rank": 2, "lora_alpha": 3, "lora_dropout": 0.1, "lora_targets": ["no such module"]}
    again = checkout.configured("full", train={"method": "full", **unread})
    assert checkout.planned(asked[0], "--configfile", again) == {}
