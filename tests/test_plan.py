import copy
import re

import pytest
from given.plans import DEFAULT, TARGETS, plan_of, refused

from moesift.fields import ConfigError
from moesift.methods import METHODS, Column
from moesift.plan import TARGET_TOKENS, Run, describe, files_of, jobs_of, passes_of
from moesift.validation import validated

SCORED = {"sources": [{"name": "piqa", "wheel": "piqa", "scores": ["score", "quality"]}]}


def test_every_method_is_planned_by_name_and_by_label():
    given = {"targets": TARGETS, "data": SCORED, "reward": {"model": "owner/reward"}}
    assert set(plan_of(list(METHODS), **given).methods) == set(METHODS)
    entries = ["nll", {"router": {"layers": [2]}}, {"middle": {"method": "router", "layers": [1, 2], "reject": None}}]
    plain, changed, labelled = plan_of(entries).methods.values()
    assert (plain.label, plain.method.name, plain.reject) == ("nll", "nll", 0.5)
    assert changed.parameters.model_dump() == {"layers": [2], "tokens": "response"}
    assert (labelled.label, labelled.method.name, labelled.reject) == ("middle", "router", None)
    assert describe(labelled, 2, 4) == {
        "label": "middle",
        "method": "router",
        "caption": METHODS["router"].caption,
        "source": "moesift",
        "keeps": "budget",
        "targets": [],
        "each": None,
        "queries": None,
        "add": None,
        "jobs": [
            "passes/seed-{seed}/epoch-2/routing/*-of-4",
            "passes/selector/tokens/*-of-4",  # which each method's scores wait for
            "scores/middle/seed-{seed}",
            *(f"warmup/seed-{{seed}}/epoch-{epoch}" for epoch in (1, 2)),
        ],
        "parameters": {"layers": [1, 2], "tokens": "response"},
    }


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("rooter", "methods: unknown method rooter; did you mean router?"),
        ("zzz", "methods: unknown method zzz; known methods: random, "),
        ({"router": {"layer": [2]}}, "methods.router: layer: unknown parameter (its parameters: layers, tokens)"),
        ({"nll": {"layers": [2]}}, "methods.nll: layers: unknown parameter (its parameters: none)"),
        ({"random": {"seed": 3}}, "methods.random: seed: unknown parameter (its parameters: draw)"),
        (
            {"router": {"layers": "first"}},
            "methods.router: layers: input should be 'all' or input should be a valid list (its parameters: layers, t",
        ),
        ({"router": {"layers": [-1]}}, "methods.router: layers: input should be 'all' or input should be greater than"),
        ({"router": {"tokens": "some"}}, "methods.router: tokens: input should be 'response' or 'all'"),
        ({"bottom": {"of": "nil"}}, "methods.bottom: of: unknown method nil; known methods: "),
        ({"bottom": {"of": "bottom"}}, "methods.bottom: of: bottom has no lowest ranked part"),
        ({"bottom": {"of": 3}}, "methods.bottom: of: input should be a valid string"),
        ({"oracle": {"reject": 0.5}}, "methods.oracle: reject does not apply to oracle; remove it"),
        ({"nll": {"method": "router"}}, "methods: the label nll is the name of another method; choose a different"),
    ],
)
def test_a_method_that_cannot_be_had_is_named(entry, line):
    (said,) = refused([entry])
    assert said.startswith(line)


def test_scores_from_elsewhere_are_of_a_file_or_of_what_a_source_keeps(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text("id,score\n")
    entries = [
        {"mine": {"method": "external", "path": str(file)}},
        {"kept": {"method": "external", "column": "quality"}},
    ]
    plan = plan_of([*entries, {"low": {"method": "bottom", "of": "external"}}], data=SCORED)
    mine, kept, low = plan.methods.values()
    assert (mine.file, kept.file) == (str(file), None)
    assert [one.columns["score"] for one in (mine, kept, low)] == [
        Column("external", "score"),
        Column("pool", "score:quality"),
        Column("pool", "score:score"),
    ]
    assert passes_of(plan.columns) == [("tokens", "selector")]
    files = files_of(mine.columns.values(), "results/x", 0, 2, [], external=mine.file)
    assert files == {"external/selector": str(file)}
    assert (mine.reject, plan_of([{"external": {"reject": None}}], data=SCORED).methods["external"].reject) == (
        0.5,
        None,
    )
    (said,) = refused([{"q": {"method": "external", "column": "qualty"}}], data=SCORED)
    assert said.startswith(
        "methods: q reads the score qualty of the rows, which no source keeps: name it in `scores` of"
    )
    (said,) = refused([{"external": {"path": "nowhere.csv"}}])
    assert said.startswith("methods.external: path: nowhere.csv is not a file")
    (said,) = refused([{"external": {"path": str(tmp_path / "config.yaml")}}])
    assert "path: " in said
    (tmp_path / "scores.tsv").write_text("")
    (said,) = refused([{"external": {"path": str(tmp_path / "scores.tsv")}}])
    assert said.startswith("methods.external: path: string should match pattern")
    with pytest.raises(
        ConfigError, match=r"scores: are kept of the pool, by data.sources; of a target, name the keys in i"
    ):
        plan_of(["random"], targets=[TARGETS[0] | {"scores": ["quality"]}])


def test_a_reward_model_is_read_where_a_method_asks_for_it():
    assert not plan_of(["random"], reward={"model": "owner/reward"}).rewards
    several = ["reward", {"safe": {"method": "reward", "label": "safe"}}, {"first": {"method": "reward", "label": 0}}]
    plan = plan_of(several, reward={"model": "owner/reward"})
    assert plan.rewards
    assert passes_of(plan.columns) == [("reward", "reward"), ("tokens", "selector")]  # one reading for all labels
    assert plan.methods["first"].parameters.model_dump() == {"label": 0}
    files = files_of([Column("reward", "scores", "reward")], "results/x", 0, 2, [])
    assert files == {"reward/reward": "results/x/passes/reward/reward.parquet"}
    (said,) = refused(["reward"])
    assert said.startswith("reward.model: null is no reward model, but reward reads one; name a directory or a model")
    with pytest.raises(ConfigError, match=r"reward.model: ./nowhere is neither a directory nor a name on the hub"):
        plan_of(["reward"], reward={"model": "./nowhere"})


def test_all_mistakes_are_listed():
    assert len(refused(["rooter", {"router": {"layer": 1}}, "reducible"], warmup={"examples": None})) == 3


@pytest.mark.parametrize(
    ("entries", "labels"),
    [(["nll", "reducible"], "reducible"), ([{"low": {"method": "bottom", "of": "reducible"}}], "low")],
)
def test_what_reads_the_loss_after_the_warm_up_needs_one_that_lowers_it_and_leaves_examples(entries, labels):
    (said,) = refused(entries, warmup={"objective": "contrastive"})
    assert said.startswith(f"methods: {labels} reads the loss after the warm-up, which warmup.objective: contrastive")
    (said,) = refused(entries, warmup={"examples": None})
    assert said.startswith(f"warmup.examples: null trains on the whole pool, but {labels} scores only")


def test_gradients_are_read_of_epochs_that_are_trained():
    (said,) = refused(
        ["less", "gist"], targets=TARGETS, gradients={"train": DEFAULT["gradients"]["train"] | {"epochs": 2}}
    )
    assert said.startswith("methods: less reads lora-3, lora-4, but gradients.train.epochs is 2: train")
    assert plan_of([{"less": {"epochs": [4]}}, {"gist": {"epoch": 4}}], targets=TARGETS).routed == []
    (said,) = refused([{"less": {"epochs": [1, 1]}}], targets=TARGETS)
    assert said.startswith("methods.less: epochs: ")


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        (["nll", "router", {"low": {"method": "bottom", "of": "expert_gain"}}], "router, low need"),
        (["typical_inputs", "reducible"], "reducible need"),
    ],
)
def test_a_dense_selector_has_no_routers(tmp_path, entries, named):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    for model in ("smollm2", str(tmp_path)):
        (said,) = refused(entries, selector={"model": model})
        assert said.startswith(f"selector.model: {model} has no routers, and {named} them: ")
        upcycle = {"experts": 8, "experts_per_token": 2, "seed": 0}
        assert plan_of(entries, selector={"model": model, "upcycle": upcycle}).routed
    assert plan_of(["typical_inputs", "random"], selector={"model": str(tmp_path)}).routed == []
    (tmp_path / "config.json").write_bytes(b'{"num_local_experts": 8, "author": "\xff"}')
    for unknown in (str(tmp_path), "owner/on-the-hub", "a\0b"):  # nothing is known of these before they are loaded
        assert plan_of(entries, selector={"model": unknown}).routed == named.split(" need")[0].split(", ")


def test_a_ratio_is_compared_with_what_is_left_of_each_method():
    (said,) = refused(["nll", "ifd", {"router": {"reject": 0.2}}, "balanced"], select={"ratio": [0.1, 0.6]})
    assert said == (
        "select.ratio: 0.6 of the pool is more than the 0.5 that `reject` leaves for nll, ifd; keep less, drop less, "
        "or rank with `reject: null`"
    )
    assert plan_of([{"nll": {"reject": None}}, {"ifd": {"reject": 0.4}}, "balanced"], select={"ratio": [0.6]})
    said = refused(["nll", "balanced", "full"], select={"ratio": [0.4], "drop_top": 0.7})
    assert [one.split(";")[0] for one in said] == [
        "select.ratio: 0.4 of the pool is more than the 0.3 that `drop_top` leaves for balanced",
        "select.ratio: 0.4 of the pool is more than the 0 that `reject` and `drop_top` leaves for nll",
    ]
    assert plan_of(["nll"], select={"ratio": [0.7], "reject": 0.3})  # 1 - 0.3 is a little below 0.7


def test_budgets_are_named_without_rounding():
    select = {"ratio": [0.1, 1, 1 / 3], "tokens": [20000, 0.05, 123456789, 1e-5], "reject": None}
    plan = plan_of(["nll", "full"], select=select, seeds=[0, 3])
    names = ["ratio-0.1", "ratio-1", "ratio-0.3333333333333333"]
    names += ["tokens-20000", "tokens-0.05", "tokens-123456789", "tokens-1e-05"]
    assert plan.runs[:14] == [Run("nll", name, seed) for name in names for seed in (0, 3)]
    assert plan.runs[14:] == [Run("full", "ratio-1", 0), Run("full", "ratio-1", 3)]  # the whole pool, once
    assert [float(name.partition("-")[2]) for name in names] == [*select["ratio"], *select["tokens"]]


def test_what_is_read_follows_from_methods_and_selection():
    def passes(methods, **select):
        plan = plan_of(methods, select=select)
        return passes_of(plan.columns), plan.warmed

    tokens = ("tokens", "selector")
    assert passes(["random", "balanced"]) == ([tokens], False)
    assert passes(["nll", "typical_inputs"]) == ([("likelihood", "selector"), tokens], False)
    assert passes(["router_untrained"]) == ([("routing", "untrained"), tokens], False)
    assert passes(["nll"], diversity=2) == ([("likelihood", "selector"), ("representation", "selector"), tokens], False)
    assert passes(["random"], tokens=[100]) == ([tokens, ("tokens", "target")], False)
    gained = [("gates", "warmed"), ("likelihood", "untrained"), ("likelihood", "warmed"), tokens]
    assert passes(["expert_gain", "reducible"]) == (gained, True)


def test_where_passes_are_stored():
    columns = [
        Column("pool", "source"),
        Column("warmup", "in_warmup", "warmed"),
        Column("likelihood", "nll"),
        Column("likelihood", "nll", "untrained"),
        Column("routing", "log_odds", "warmed"),
        TARGET_TOKENS,
    ]
    assert files_of(columns, "results/x", seed=3, epochs=2, targets=[]) == {
        "pool/selector": "results/x/data/pool.parquet",
        "warmup/warmed": "results/x/warmup/seed-3/examples.parquet",
        "likelihood/selector": "results/x/passes/selector/likelihood.parquet",
        "likelihood/untrained": "results/x/passes/seed-3/epoch-0/likelihood.parquet",
        "routing/warmed": "results/x/passes/seed-3/epoch-2/routing.parquet",
        "tokens/target": "results/x/passes/target/tokens.parquet",
    }


def test_where_passes_over_queries_and_by_models_of_targets_are_stored():
    columns = [
        Column("likelihood", "nll", "warmed_on_target"),
        Column("likelihood", "nll", "lora-2_on_target"),
        Column("likelihood", "nll", "lora-2"),
        Column("pool", "messages"),
    ]
    assert files_of(columns, "results/x", seed=3, epochs=2, targets=["a", "b"]) == {
        "likelihood/warmed_on_target": [
            "results/x/passes/seed-3/on-a/epoch-2/likelihood.parquet",
            "results/x/passes/seed-3/on-b/epoch-2/likelihood.parquet",
        ],
        "likelihood/lora-2_on_target": [
            "results/x/passes/seed-3/on-a/lora-2/likelihood.parquet",
            "results/x/passes/seed-3/on-b/lora-2/likelihood.parquet",
        ],
        "likelihood/lora-2": "results/x/passes/seed-3/lora-2/likelihood.parquet",
        "pool/selector": "results/x/data/pool.parquet",
    }
    assert files_of(columns[2:], "results/x", seed=3, epochs=2, targets=["a", "b"], of="b") == {
        "likelihood/lora-2": "results/x/targets/b/passes/seed-3/lora-2/likelihood.parquet",
        "pool/selector": "results/x/targets/b/queries.parquet",
    }


def test_the_jobs_of_a_method_are_its_passes_their_warm_ups_and_its_scores():
    entries = ["router_untrained", "moore_lewis", {"gist": {"targets": ["mine"]}}]
    entries += [{"by_lora": {"method": "moore_lewis", "weights": "lora"}}]
    plan = plan_of(entries, targets=TARGETS)
    untrained, mooring, gist, by_lora = (jobs_of(chosen, 2, 4) for chosen in plan.methods.values())
    assert untrained == [
        *("passes/seed-{seed}/epoch-0/routing/*-of-4", "passes/selector/tokens/*-of-4"),
        "scores/router_untrained/seed-{seed}",
    ]
    assert {job for job in mooring if job.startswith("warmup")} == {
        f"warmup/seed-{{seed}}/{on}epoch-{epoch}" for on in ("", "on-mine/") for epoch in (1, 2)
    }
    assert set(mooring) >= {f"passes/seed-{{seed}}/{on}epoch-2/likelihood/*-of-4" for on in ("", "on-mine/")}
    assert {"gradients/seed-{seed}/lora", "passes/seed-{seed}/lora-1/gradients/*-of-4"} <= set(gist)
    assert by_lora == [
        *("gradients/seed-{seed}/lora", "gradients/seed-{seed}/on-mine/lora"),
        *("passes/seed-{seed}/lora-4/likelihood/*-of-4", "passes/seed-{seed}/on-mine/lora-4/likelihood/*-of-4"),
        *("passes/selector/tokens/*-of-4", "scores/by_lora/seed-{seed}"),
    ]


def test_a_file_of_scores_is_read_by_no_job(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text("id,score\n")
    (chosen,) = plan_of([{"external": {"path": str(file)}}]).methods.values()
    assert jobs_of(chosen, 2, 4) == ["passes/selector/tokens/*-of-4", "scores/external/seed-{seed}"]


def test_the_queries_alone_are_one_run_and_need_targets():
    assert plan_of(["queries_only"], targets=TARGETS).runs == [Run("queries_only", "queries", 0)]
    (said,) = refused(["queries_only"])
    assert said.startswith("methods.queries_only: queries_only selects for tasks, and `targets` names none; give some")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"name": "a/b", "wheel": "arc_easy", "heldout": 1}, "'a/b' is not a name"),
        ({"name": "a", "heldout": 1}, "give exactly one of wheel, path, hub and task, not none"),
        ({"name": "a", "wheel": "piqa"}, "heldout"),
    ],
)
def test_a_target_that_cannot_be_had_is_named(target, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        validated(copy.deepcopy(DEFAULT) | {"targets": [target]})


def test_the_modules_of_a_score_are_those_of_both_methods():
    low, nll = plan_of([{"bottom": {"of": "router"}}, "nll"]).methods.values()
    assert low.modules == ["methods.baselines", "methods.routers"]
    assert nll.modules == ["methods.likelihood"]
