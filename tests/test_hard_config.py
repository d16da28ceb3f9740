"""Configurations as people write them: each file of the table is refused in lines that name the key, or accepted."""

import copy
import json
import shlex
import time

import pytest
import yaml
from given.plans import DEFAULT
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from moesift import flags
from moesift.config import Config, Data
from moesift.fields import WILDCARD, ConfigError
from moesift.plan import planned
from moesift.validation import repeated_keys, validated

NOT_YAML = "Config file is not valid JSON or YAML"
NO_KEYS = "Config file must be given as JSON or YAML with keys at top level"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(9 * [f'*{before}'])}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

# A file, and how one of the lines of the error begins.
REFUSED = {
    "an empty file": ("", NO_KEYS),
    "a tag that runs a command": ("experiment: !!python/object/apply:os.mkdir [{trace}]\n", NOT_YAML),
    "a tag that makes an object": ("experiment: !!python/object/new:os.mkdir [{trace}]\n", NOT_YAML),
    "a tag of one's own": ("experiment: !secret x\n", NOT_YAML),
    "a tag that names a function": ("experiment: !!python/name:os.mkdir\n", "experiment: this is refused: input"),
    "a tuple": ("seeds: !!python/tuple [0, 0]\n", "seeds: 0 is listed more than once"),
    "an alias of an alias of ...": (BOMB + "experiment: *i\nseeds: *i\n", "experiment: this is refused: input should"),
    "a list in itself": ("seeds: &a [*a]\n", "seeds"),
    "a section that is null": ("warmup:\n", "warmup: is null, but must be a section with keys"),
    "a section that is a list": ("data: [1, 2]\n", "data: is this, but must be a section with keys"),
    "a key that is null": ("warmup: {epochs: null}\n", "warmup.epochs: null is refused: input should be a"),
    "an unknown key": ("train: {lora_rnak: 8}\n", "train.lora_rnak: unknown key; did you mean lora_rank?"),
    "a key that is a number": ("warmup: {1: 2}\n", "warmup: 1 is refused: keys should be strings"),
    "a section as a number": ("1: {}\n", "1: 1 is refused: keys should be strings"),
    "a negative count": ("warmup: {epochs: -1}\n", "warmup.epochs: -1 is refused: input"),
    "a huge seed": ("seeds: [99999999999999999999999]\n", "seeds: 99999999999999999999999 is"),
    "a huge fraction": (f"select: {{ratio: 1{'0' * 400}}}\n", "select.ratio: "),
    "a number without end": ("train: {learning_rate: .inf}\n", "train.learning_rate: inf is refused"),
    "no number": ("select: {ratio: .nan}\n", "select.ratio: nan is not in (0, 1]"),
    "yes for a number": ("warmup: {epochs: yes}\n", "warmup.epochs: is true or false, which it does not take"),
    "true in a list": ("seeds: [true, 2]\n", "seeds: is true or false, which it does not take"),
    "a date for a name": ("experiment: 2026-11-23\n", "experiment: 2026-11-23 is refused"),
    "ratio 0": ("select: {ratio: 0}\n", "select.ratio: 0 is not in (0, 1]"),
    "a ratio in per cent": ("select: {ratio: 10%}\n", "select.ratio: 10% is refused: input should be a valid number"),
    "no ratio": ("select: {ratio: []}\n", "select.ratio: is empty, and so is tokens"),
    "one ratio twice": ("select: {ratio: [0.1, 0.10]}\n", "select.ratio: 0.1 is listed more than once"),
    "no seeds": ("seeds: []\n", "seeds: this is refused: list should have at least 1 item"),
    "no sources": ("data: {sources: []}\n", "data.sources: this is refused: list should have at least 1 item"),
    "a source that is a word": ("data: {sources: [arc_easy]}\n", "data.sources.0: is arc_easy, but must be a section"),
    "a source of nothing": ("data: {sources: [{name: a}]}\n", "data.sources.0: give exactly one of"),
    "a source that leads out": (
        "data: {sources: [{name: a, hub: b/c, file: ../../x.jsonl}]}\n",
        "data.sources.0.file: ../../x.jsonl points",
    ),
    "half a surrogate pair": ('experiment: "\\ud800"\n', "experiment: has half a surrogate pair"),
    "a path with braces": (
        "data: {sources: [{name: a, path: 'x {y}.jsonl'}]}\n",
        "data.sources.0.path: has '{y}', which",
    ),
    "a name in braces": ("experiment: '{seed}'\n", "experiment: has '{seed}', which Snakemake would take"),
    "a model in braces": ('target: {model: "./{ a_b }"}\n', "target.model: has '{ a_b }', which Snakemake would take"),
    "a wildcard with a constraint": ('train: {accelerate: "{a,.*}.yaml"}\n', "train.accelerate: has '{a,', which"),
    "braces in a list": (
        "select: {decontaminate: {words: 13, ignore: ['a', 'is {answer} right']}}\n",
        "select.decontaminate.ignore: has '{answer}', which Snakemake would take for a wildcard",
    ),
    "a model with NUL": ('target: {model: "./a\\0"}\n', "target.model: ./a\0 is neither a directory nor a name"),
    "a long model": (f"target: {{model: ./{'x' * 5000}}}\n", "target.model: ./xxx"),
    "a long path": (f"data: {{sources: [{{name: a, path: {'x' * 5000}}}]}}\n", "data.sources.0.path: xxx"),
    "shares that are no sum": ("select: {quota: {arc_easy: 0.5}}\n", "select.quota: the shares must sum to 1"),
    "a share that is negative": ("select: {quota: {arc_easy: -1, piqa: 2}}\n", "select.quota"),
    "a section of the first edition": ("score: {layers: all}\n", "score: unknown key"),
    "no methods": ("methods: []\n", "methods: this is refused: list should have at least 1 item"),
    "a method without its colon": ("methods: [{router, nll}]\n", "methods.0: must be a name, or one label"),
}

NAMES = ("a/b", "..", "", "-rf", "a b", "~x", "a\n", "{s-d}", "$(reboot)", "größe", "a\0", 101 * "x", 1_000_000 * "x")
REFUSED |= {
    f"the name {name[:20]!r} of {len(name)}": (yaml.safe_dump({"experiment": name}), f"experiment: {name[:9]!r}"[:-1])
    for name in NAMES
}

# A file, and what one of its keys is then.
ACCEPTED = {
    "text for a number": ("warmup: {epochs: '3'}\n", lambda config: config.warmup.epochs == 3),
    "an exponent, which is text to YAML": ("warmup: {balance: 1e-4}\n", lambda config: config.warmup.balance == 1e-4),
    "JSON": ('{"seeds": [4]}', lambda config: config.seeds == [4]),
    "a method with settings": (
        "methods:\n  - nll\n  - low:\n      method: bottom\n      of: nll\n",
        lambda config: [(entry.label, entry.method, entry.parameters) for entry in config.methods]
        == [("nll", "nll", {}), ("low", "bottom", {"of": "nll"})],
    ),
    "one budget in tokens": ("select: {tokens: 2e4}\n", lambda config: config.select.tokens == [20000]),
    "a section of nothing": ("warmup: {}\n", lambda config: config.warmup.epochs == DEFAULT["warmup"]["epochs"]),
    "a word that is null": ("experiment: 'null'\n", lambda config: config.experiment == "null"),
    "a name of 100 letters": (f"experiment: {'x' * 100}\n", lambda config: len(config.experiment) == 100),
}  # fmt: skip


def configured(folder, text) -> Config:
    """Do with a file what Snakemake and the Snakefile do: read it, merge it over the default, validate it."""
    (folder / "mine.yaml").write_text(text, newline="", encoding="utf-8")
    merged = copy.deepcopy(DEFAULT)
    update_config(merged, load_configfile(str(folder / "mine.yaml")))
    config = validated(merged)
    planned(config)
    return config


@pytest.mark.parametrize(("text", "line"), REFUSED.values(), ids=REFUSED)
def test_a_configuration_is_refused_by_its_key(tmp_path, text, line):
    trace, started = tmp_path / "ran", time.process_time()
    with pytest.raises((ConfigError, WorkflowError)) as error:
        configured(tmp_path, text.replace("{trace}", str(trace)))
    said = str(error.value).splitlines()
    assert [found for found in said if found.startswith(line)], said
    assert all(len(found) < 6000 for found in said)
    assert not trace.exists()
    assert time.process_time() - started < 5


@pytest.mark.parametrize(("text", "holds"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_configuration_is_accepted_for_what_it_says(tmp_path, text, holds):
    assert holds(configured(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("seeds: [0]\nwarmup:\n  epochs: 2\n  damping: 1\n  epochs: 3\n", ["line 3: epochs", "line 5: epochs"]),
        ("seeds: [0]\nseeds: [0]\n", ["line 1: seeds", "line 2: seeds"]),
        ("data:\n  sources:\n  - {name: a, name: b}\n", ["line 3: name", "line 3: name"]),
        ("warmup: {epochs: 2}\ntrain: {epochs: 2}\n", []),
        ("a: &a {x: 1}\nb: *a\nc: [*a, *a]\n", []),
        (BOMB, []),
        ("a: &a [*a]\n", []),
        ("", []),
        ('{\n\t"seeds": [4]\n}', []),
    ],
)
def test_duplicate_keys_of_a_section_are_found(text, found):
    assert sorted(repeated_keys(text)) == found


# Properties.

PLACES = [(section, key) for section, values in DEFAULT.items() if isinstance(values, dict) for key in values] + [
    (section,) for section in DEFAULT
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**30, max_value=10**31)
    | st.floats()
    | st.text(max_size=6)
    | st.dates()
    | st.sampled_from(["embedded", "all", "auto", "../x", "-x", "\ud800", 10**400])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | SCALARS, inner, max_size=3),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_at_any_place_is_accepted_or_named(place, value):
    changed = copy.deepcopy(DEFAULT)
    *sections, key = place
    (changed[sections[0]] if sections else changed)[key] = value
    try:
        config = validated(changed)
        planned(config)
    except ConfigError as error:
        said = str(error)
    else:
        # What is accepted stays what it is on its way to a stage.
        assert validated(json.loads(config.model_dump_json())) == config
        return
    assert any(line.startswith(place[0]) for line in said.splitlines()), said


PATH = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=12)
PATH = PATH.filter(lambda name: not WILDCARD.search(name))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(PATH.map(lambda name: f"owner/{name}"))
def test_any_text_survives_the_command_line(name):
    source = {"name": "a", "hub": name, "split": name}
    data = Data(sources=[source], heldout=1, corrupt=0, corruptions=[], seed=0, max_length=64)

    def main(data: Data) -> None:
        """Have one flag."""

    given = flags.parsed(main, ["--data", *shlex.split(shlex.quote(flags.keys(data, "sources")))])
    assert given["data"].sources == data.sources


@pytest.mark.parametrize("text", ["[", "{a: b: c}", "!!python/object/apply:os.getcwd []", "\x07", "[" * 100_000])
def test_a_flag_that_is_no_value_is_one_error(text, capsys):
    def main(seed: int) -> None:
        """Have one flag."""

    with pytest.raises(SystemExit):
        flags.parsed(main, [f"--seed={text}"])
    assert "argument --seed: " in capsys.readouterr().err
