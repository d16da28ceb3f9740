import json
from pathlib import Path

import polars as pl
import pytest
import yaml

from moesift.fields import ConfigError
from moesift.plan import planned
from moesift.report.costs import SCHEMA
from moesift.validation import validated
from study.experiments import merged, read_study
from study.targets import MEAN, compared, costs, evidence, losses, main, overlap, own_share

DEFAULTS, FULL, VALIDATION, VALIDATION_SMOLLM2, SMOLLM2, EXAMPLES, CHOICES, FIFTH, SELECTOR, GRADIENTS, GPU = (
    yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for path in (
        "config/config.yaml",
        "study/targets.yaml",
        "study/targets_validation.yaml",
        "study/targets_validation_smollm2.yaml",
        "study/targets_smollm2.yaml",
        "study/targets_smollm2_examples.yaml",
        "study/targets_choices.yaml",
        "study/targets_fifth.yaml",
        "study/targets_selector.yaml",
        "study/targets_gradients.yaml",
        "study/targets_gpu.yaml",
    )
)
RAW = FULL | {
    "name": "tiny",
    "seeds": [1, 2],
    "pools": {
        "whole": {"sources": ["arc_easy", "piqa"], "targets": ["arc_easy", "piqa"]},
        "half": {"sources": ["piqa"], "targets": ["arc_easy"]},
    },
    "draws": 2,
    "drawn": ["random"],
    "claim": {"method": "rds", "setting": "absent", "budget": "tokens-0.05"},
    "pairs": [("rds", "full")],
}
STUDY = read_study(RAW)
# By pool, target and method, of each seed.
NLL = {
    ("whole", "arc_easy"): {"random": (5.0, 6.0), "random_1": (5.2, 6.2), "rds": (4.1, 5.0), "full": (4.0, 5.2)},
    ("whole", "piqa"): {"random": (3.0, 3.0), "random_1": (3.0, 3.2), "rds": (2.5, 2.9), "full": (2.0, 2.4)},
    ("half", "arc_easy"): {"random": (7.0, 7.0), "random_1": (7.0, 7.0), "rds": (6.9, 6.8), "full": (6.0, 6.0)},
}


def outcome_rows(pool, seed):
    for (name, target), by_method in NLL.items():
        for method, values in by_method.items():
            if name == pool:
                budget = "ratio-1" if method == "full" else "tokens-0.05"
                yield method, budget, 0.1, seed, f"heldout:{target}", "nll", False, values[seed - 1], 0.1
    yield "base", None, None, seed, "heldout:arc_easy", "nll", False, 9.0, 0.1
    yield "random", "tokens-0.05", 0.1, seed, "heldout", "nll", False, 1.0, 0.1  # not of a target


COLUMNS = ["method", "budget", "ratio", "seed", "outcome", "metric", "higher_is_better", "value", "stderr"]


def numbers():
    rows = [(*row, pool) for pool in STUDY.pools for seed in (1, 2) for row in outcome_rows(pool, seed)]
    return losses(pl.DataFrame(rows, schema=[*COLUMNS, "pool"], orient="row"), STUDY)


def test_a_target_is_present_where_its_source_is_and_draws_are_averaged():
    found = numbers().filter(seed=1, method="random").sort("setting", "target")
    assert found.select("setting", "target", "value").rows() == [
        ("absent", "arc_easy", pytest.approx(7.0)),
        ("present", "arc_easy", pytest.approx(5.1)),
        ("present", "piqa", pytest.approx(3.0)),
    ]


def test_differences_are_paired_by_seed_and_averaged_over_targets():
    found = compared(numbers(), STUDY)
    table = {tuple(row[:3]): row[3:] for row in found["differences"].select(
        "setting", "target", "method", "value", "low", "high", "seeds").rows()}  # fmt: skip
    # arc_easy -1.0 and -1.1, piqa -0.5 and -0.2: the means of the seeds are -0.75 and -0.65; t(1) at 97.5% is 12.706.
    mean, low, high, seeds = table["present", MEAN, "rds"]
    assert (mean, seeds) == (pytest.approx(-0.7), 2)
    assert (low, high) == (
        pytest.approx(-0.7 - 12.7062 * 0.05, abs=1e-4),
        pytest.approx(-0.7 + 12.7062 * 0.05, abs=1e-4),
    )
    assert table["absent", "arc_easy", "rds"][0] == pytest.approx(-0.15)
    assert table["present", "arc_easy", "full"][0] == pytest.approx((-1.1 - 0.9) / 2)
    assert table["absent", "arc_easy", "base"][0] == pytest.approx(2.0)
    assert table["present", MEAN, "base"][0] is None  # measured on one of the two targets
    to_full = found["to_full"].filter(setting="present", target="piqa", method="rds")
    assert to_full["value"].item() == pytest.approx(0.5)
    (pair,) = found["pairs"].filter(setting="present", target="arc_easy").to_dicts()
    assert (pair["method"], pair["budget"]) == ("rds minus full", "tokens-0.05")
    assert pair["value"] == pytest.approx((0.1 - 0.2) / 2)
    (claim,) = found["claim"].to_dicts()
    assert (claim["value"], claim["holds"]) == (pytest.approx(-0.15), False)


def test_the_share_of_the_own_source_is_of_pools_that_have_it():
    rows = [
        (1, "whole", "rds.arc_easy", "arc_easy", "arc_easy", 3), (1, "whole", "rds.arc_easy", "arc_easy", "piqa", 1),
        (2, "whole", "rds.arc_easy", "arc_easy", "arc_easy", 1), (2, "whole", "rds.arc_easy", "arc_easy", "piqa", 1),
        (1, "half", "rds.arc_easy", "arc_easy", "piqa", 9),
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["seed", "pool", "method", "target", "source", "examples"], orient="row")
    found = own_share(frame.with_columns(budget=pl.lit("tokens-0.05")), STUDY).filter(target="arc_easy")
    assert found.select("method", "value", "seeds").rows() == [("rds", pytest.approx(0.625), 2)]


def test_costs_are_means_over_seeds_and_draws_in_the_largest_pool():
    rows = [
        ("whole", "random", "tokens-0.05", 1, 1.0, 6.0, 1), ("whole", "random_1", "tokens-0.05", 1, 3.0, 8.0, 1),
        ("whole", "rds", "tokens-0.05", 1, 42.0, 7.0, 1), ("whole", "rds", "tokens-0.05", 2, 44.0, 7.0, 1),
        ("whole", "full", "ratio-1", 1, 1.0, 100.0, 1), ("half", "rds", "tokens-0.05", 1, 999.0, 999.0, 1),
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["pool", *SCHEMA], orient="row")
    assert costs(frame, STUDY).rows() == [
        ("random", "tokens-0.05", 2.0, 7.0, 100.0),
        ("rds", "tokens-0.05", 43.0, 7.0, 100.0),
        ("full", "ratio-1", 1.0, 100.0, 100.0),
    ]


def test_what_two_draws_have_in_common_is_what_chance_gives():
    rows = [
        ("whole", 1, "random", "random", 1.0), ("whole", 1, "random_1", "random", 0.1),
        ("whole", 1, "random", "random_1", 0.2), ("whole", 1, "rds", "random", 0.3),
        ("whole", 1, "rds", "random_1", 0.1), ("whole", 2, "rds", "random", 0.4), ("half", 1, "rds", "random", 0.9),
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["pool", "seed", "method", "other", "shared"], orient="row")
    found = overlap(frame.with_columns(budget=pl.lit("tokens-0.05")), STUDY)
    assert found.select("method", "other", "value").rows() == [
        ("random", "random", pytest.approx(0.15)),
        ("rds", "random", pytest.approx(0.3)),
    ]


@pytest.fixture
def folders(tmp_path):
    """The tables of all experiments."""
    made = {}
    for seed in STUDY.seeds:
        for pool in STUDY.pools:
            tables = tmp_path / f"results/tiny-{pool}-seed-{seed}/tables"
            tables.mkdir(parents=True)
            outcomes = pl.DataFrame([*outcome_rows(pool, seed)], schema=COLUMNS, orient="row")
            outcomes.write_parquet(tables / "outcomes.parquet")
            taken = {"method": "rds.arc_easy", "budget": "tokens-0.05", "target": "arc_easy", "source": "piqa"}
            pl.DataFrame([taken | {"seed": seed, "examples": 2}]).write_parquet(tables / "taken.parquet")
            took = [("rds", "tokens-0.05", seed, 42.0, 7.0, 1), ("full", "ratio-1", seed, 1.0, 100.0, 1)]
            pl.DataFrame(took, schema=SCHEMA, orient="row").write_parquet(tables / "costs.parquet")
            shared = [("rds", "random", "tokens-0.05", 0.25), ("random_1", "random", "tokens-0.05", 0.1)]
            schema = ["method", "other", "budget", "shared"]
            pl.DataFrame(shared, schema=schema, orient="row").write_parquet(tables / "overlap.parquet")
            made[tables] = seed
    return made


@pytest.mark.parametrize("whole", [True, False])
def test_the_comparison_is_a_page_with_its_tables(folders, tmp_path, whole):
    for tables in folders if not whole else ():
        for name in ("outcomes", "costs"):
            table = pl.read_parquet(tables / f"{name}.parquet")
            table.filter(pl.col("method") != "full").write_parquet(tables / f"{name}.parquet")
    main(STUDY.model_dump_json(), list(folders), list(folders.values()), tmp_path / "out")
    page = (tmp_path / "out/README.md").read_text()
    assert "-0.700 [-1.335, -0.065]" in page
    assert "| rds    | 25%    |" in page
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"present.png", "absent.png", "claim.parquet"}


@pytest.mark.parametrize(
    "files",
    [
        [FULL],
        [FULL, VALIDATION],
        [FULL, SMOLLM2, VALIDATION, VALIDATION_SMOLLM2],
        [FULL, SMOLLM2],
        [FULL, SMOLLM2, EXAMPLES],
        [FULL, CHOICES],
        [FULL, FIFTH],
        [FULL, SELECTOR],
        [FULL, GRADIENTS],
        [GPU],
    ],
    ids=[
        "full",
        "validation",
        "validation_smollm2",
        "smollm2",
        "examples",
        "choices",
        "fifth",
        "selector",
        "gradients",
        "gpu",
    ],
)
def test_every_experiment_is_a_configuration_that_the_workflow_accepts(files):
    study = read_study(merged(*files))
    for settings in study.experiments(DEFAULTS):
        config = validated(settings)
        labels = planned(config).methods
        sources, targets = ({one.name for one in part} for part in (config.data.sources, config.targets))
        (pool,) = [p for p in study.pools.values() if ({*p.sources}, {*p.targets}) == (sources, targets)]
        assert {f"{study.claim.method}.{name}" for name in pool.targets} <= labels.keys()
        assert f"random_{study.draws - 1}" in labels


def test_validation_shares_no_target_and_no_seed_with_what_is_reported():
    reported, validation = FULL, merged(FULL, VALIDATION)
    targets = [{t for pool in raw["pools"].values() for t in pool["targets"]} for raw in (reported, validation)]
    assert not targets[0] & targets[1]
    assert not {*reported["seeds"]} & {*validation["seeds"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pools": {"a": {"sources": ["nowhere"], "targets": ["piqa"]}}}, "nowhere is none of the sources in settings"),
        ({"drawn": ["random", "lot"]}, "settings.methods: lacks lot"),
        ({"kind": "other"}, "kind: other: name the file of a study"),
        ({"pools": dict.fromkeys(RAW["pools"])}, "pools: Dictionary should have at least 1 item"),
        ({"pools": ["whole"]}, "pools: Input should be a valid dictionary"),
    ],
)
def test_a_study_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        read_study(RAW | change)
    assert json.loads(STUDY.model_dump_json())["kind"] == "targets"


def test_budgets_in_examples_and_in_tokens_stand_beside_each_other():
    rows = [
        ("absent", MEAN, "rds", f"{kind}-0.05", value, None, None) for kind, value in (("ratio", -1), ("tokens", -2))
    ]
    schema = dict.fromkeys(("setting", "target", "method", "budget"), pl.String)
    schema |= dict.fromkeys(("value", "low", "high"), pl.Float64)
    head, _, row = evidence(pl.DataFrame(rows, schema=schema, orient="row")).splitlines()
    assert head == "| method | absent, 5% of the examples | absent, 5% of the tokens |"
    assert row.split() == ["|", "rds", "|", "-1.000", "|", "-2.000", "|"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("README.md", "targets"),
        ("README.zh-CN.md", "targets"),
        ("docs/results.md", "targets"),
        ("docs/results.md", "smollm2"),
        ("docs/results.md", "smollm2_examples"),
        ("docs/results.md", "fifth"),
        ("docs/results.md", "selector"),
        ("docs/results.md", "validation"),
        ("docs/results.md", "gradients"),
    ],
)
def test_the_evidence_that_is_quoted_is_that_of_its_seeds(name, file):
    overlays = {
        "targets": [],
        "smollm2": [SMOLLM2],
        "smollm2_examples": [SMOLLM2, EXAMPLES],
        "fifth": [FIFTH],
        "selector": [SELECTOR],
        "validation": [VALIDATION],
        "gradients": [GRADIENTS],
    }
    study = read_study(merged(FULL, *overlays[file]))
    assert rows_of(compared(by_seed(file), study)["differences"]) in Path(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "docs/results.md"])
def test_what_is_quoted_of_training_on_the_queries_too_is_that_of_the_seeds(name):
    text = Path(name).read_text(encoding="utf-8")
    whole = by_seed("targets")
    to_full = compared(by_seed("fifth"), read_study(merged(FULL, FIFTH)))["to_full"]
    to_full = to_full.filter(target=MEAN, method="dsir_and_queries")
    quoted = to_full.select("value", "low", "high").rows()
    without, alone = whole.filter(pl.col("target") != "mmlu"), whole.filter(target="mmlu")
    both = ("queries_only", "random_and_queries")
    for setting, numbers, others in (("present", whole, both), ("absent", without, both), ("absent", alone, both[:1])):
        pairs = compared(numbers, read_study(FULL))["pairs"].filter(setting=setting, target=MEAN)
        wanted = [f"dsir_and_queries minus {other}" for other in others]
        quoted += pairs.filter(pl.col("method").is_in(wanted)).select("value", "low", "high").rows()
    assert len(quoted) == 6
    for value, low, high in quoted:
        above, below = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]", f"{-value:.3f} [{-high:.3f}, {-low:.3f}]"
        assert any(form in text for form in (above, below, above.replace("+", "")))


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "docs/results.md"])
def test_what_is_quoted_of_a_real_model_is_that_of_its_seeds(name):
    text = Path(name).read_text(encoding="utf-8")
    found = compared(by_seed("smollm2"), read_study(merged(FULL, SMOLLM2)))
    differences, pairs = (found[table].filter(target=MEAN) for table in ("differences", "pairs"))
    quoted = differences.filter(setting="present").filter(~pl.col("method").is_in(["base", "random_and_queries"]))
    quoted = [quoted, differences.filter(pl.col("method").is_in(["rds_middle", "queries_only"]), setting="absent")]
    numbers = pl.concat(quoted).select("value", "low", "high").rows()
    assert len(numbers) == 7
    assert all(f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" in text for value, low, high in numbers)
    claimed = pairs.filter(setting="present", method="dsir_and_queries minus random_and_queries")
    ((value, low, high),) = claimed.select("value", "low", "high").rows()
    assert high < 0
    assert f"{-value:.3f} [{-high:.3f}, {-low:.3f}]" in text


def test_the_recommended_method_follows_from_its_rule():
    """`dsir`, unless `rds_middle` is lower by an interval, with either model, in either setting at 5%."""
    models = {"validation": [VALIDATION], "validation_smollm2": [SMOLLM2, VALIDATION, VALIDATION_SMOLLM2]}
    text = Path("docs/results.md").read_text(encoding="utf-8")
    for name, overlays in models.items():
        pairs = compared(by_seed(name), read_study(merged(FULL, *overlays)))["pairs"]
        of_rule = pairs.filter(target=MEAN, budget="tokens-0.05", method="rds_middle minus dsir")
        assert of_rule.height == 2
        assert of_rule["seeds"].to_list() == [3, 3]
        for value, low, high in of_rule.select("value", "low", "high").rows():
            assert high > 0
            assert f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" in text


def test_the_evidence_on_what_decides_is_that_of_the_study():
    """This file is the `differences.csv` that the study wrote."""
    assert rows_of(pl.read_csv("docs/evidence/choices.csv")) in Path("docs/results.md").read_text(encoding="utf-8")


def by_seed(name):
    """Read the `by_seed.csv` that a study wrote."""
    return pl.read_csv(f"docs/evidence/{name}.csv", schema_overrides={"budget": pl.String})


def rows_of(differences):
    return "\n".join(evidence(differences).splitlines()[2:])
