"""Model directories as they are found: each of the table is described, or ends in one error, and none runs code."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest
import transformers
from given.models import random_model

from moesift import config
from moesift.errors import UserError
from moesift.models.loading import load_model
from moesift.stages import check_models


class Writes:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def model(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("model") / "moe"
    random_model("Olmoe").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(model, tmp_path):
    """A good model directory to break, with a space in its name; code that is run makes `ran` beside it."""
    return shutil.copytree(model, tmp_path / "my model")


def written(name, content):
    def damage(folder):
        (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())

    return damage


def changed(name, **keys):
    def damage(folder):
        written(name, json.loads((folder / name).read_text()) | keys)(folder)

    return damage


def removed(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def shortened(name, by):
    return lambda folder: written(name, (folder / name).read_bytes()[:-by])(folder)


def indexed(content, name="other.safetensors"):
    def damage(folder):
        (folder / "model.safetensors").rename(folder / name)
        written("model.safetensors.index.json", content)(folder)

    return damage


def pickled(*names):
    def damage(folder):
        (folder / "model.safetensors").unlink()
        for name in names:
            written(name, pickle.dumps(Writes(folder.parent / "ran")))(folder)

    return damage


def coded(**keys):
    """Code of the repository's own for all that transformers looks for."""
    names = ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer")

    def damage(folder):
        code = f"import os\nos.mkdir({str(folder.parent / 'ran')!r})\nclass Own: pass\n"
        for name in ("modeling_own.py", "configuration_own.py", "tokenization_own.py", "__init__.py"):
            (folder / name).write_text(code)
        changed("config.json", auto_map=dict.fromkeys(names, "modeling_own.Own"), **keys)(folder)
        map_tokenizer = {"AutoTokenizer": ["tokenization_own.Own", "tokenization_own.Own"]}
        changed("tokenizer_config.json", auto_map=map_tokenizer, tokenizer_class="Own")(folder)
        (folder / "custom_generate").mkdir()
        (folder / "custom_generate" / "generate.py").write_text(code)

    return damage


NO_WEIGHTS = "my model: has neither model.safetensors nor model.safetensors.index.json, and no other weights are read"

# What `check_models` finds, before any time is spent.
FOUND = {
    "code for an unknown model": (
        coded(model_type="own"),
        "my model cannot be read: the model needs code from its own repository",
    ),
    "an unknown model": (changed("config.json", model_type="own"), "my model cannot be read: The checkpoint you are"),
    "a pickle": (
        pickled("pytorch_model.bin"),
        f"{NO_WEIGHTS}; convert pytorch_model.bin to safetensors: reading a pickle may run code",
    ),
    "a pickle in parts": (
        pickled("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"),
        f"{NO_WEIGHTS}; convert pytorch_model-00001-of-00002.bin, pytorch_model-00002-of-00002.bin to safetensors",
    ),
    "a checkpoint of torch": (pickled("consolidated.00.pth"), "convert consolidated.00.pth to safetensors"),
    "no weights": (removed("model.safetensors"), NO_WEIGHTS),
    "a pickle named safetensors": (
        lambda folder: written("model.safetensors", pickle.dumps(Writes(folder.parent / "ran")))(folder),
        "my model/model.safetensors: cannot be read as safetensors: ",
    ),
    "weights of nothing": (written("model.safetensors", b""), "model.safetensors: cannot be read as safetensors: "),
    "weights that end early": (shortened("model.safetensors", 99), "model.safetensors: cannot be read as safetensors"),
    "an index that leads nowhere": (
        indexed({"weight_map": {"a": "../../model-00001-of-00001.safetensors"}}),
        "index.json: names 1 files that are not there, such as ../../model-00001-of-00001.safetensors",
    ),
    "an index whose second file is missing": (
        indexed({"weight_map": {"a": "shard-1.safetensors", "b": "shard-2.safetensors"}}, "shard-1.safetensors"),
        "index.json: names 1 files that are not there, such as shard-2.safetensors",
    ),
    "an index that is a list": (indexed([]), "index.json: is not an index of safetensors: TypeError"),
    "an adapter beside the weights": (
        written("adapter_config.json", {"peft_type": "LORA"}),
        "my model: has adapter_config.json, and transformers would apply that adapter without a word",
    ),
    "an adapter alone": (
        lambda folder: (removed("model.safetensors")(folder), written("adapter_config.json", {})(folder)),
        "my model: has adapter_config.json",
    ),
    "a config.json that ends early": (shortened("config.json", 9), "config.json' is not a valid JSON file"),
    "a config.json that is a list": (written("config.json", []), "my model cannot be read: Unrecognized model"),
    "weights in four bits": (
        changed("config.json", quantization_config={"quant_method": "awq", "bits": 4}),
        "my model is quantized, and cannot be loaded: Loading an AWQ quantized model requires gptqmodel",
    ),
    "text for a number": (changed("config.json", hidden_size="wide"), "'hidden_size' expected int, got str"),
    "no config.json": (removed("config.json"), "selector.model: "),
    "no tokenizer": (
        removed("tokenizer.json", "tokenizer_config.json"),
        "my model: its tokenizer has no vocabulary; is tokenizer.json there?",
    ),
    "a tokenizer that ends early": (shortened("tokenizer.json", 99), "my model: its tokenizer cannot be loaded: "),
    "settings of a tokenizer in a list": (written("tokenizer_config.json", []), "its tokenizer cannot be loaded: "),
    "no end token": (changed("tokenizer_config.json", eos_token=None), "has no eos_token"),
}

# Attention to what follows: a likelihood would be read with the answer in sight.
SEES_AHEAD = {
    "bert": "an encoder (bert)",
    "bart": "an encoder (bart)",
}
FOUND |= {
    kind: (changed("config.json", model_type=kind, architectures=None), f"my model: is {what}: its tokens see what")
    for kind, what in SEES_AHEAD.items()
}
FOUND |= {
    "attention both ways": (
        changed("config.json", is_causal=False),
        "my model: is one with is_causal: false: its tokens",
    ),
    "attention both ways, as Gemma's": (
        changed("config.json", model_type="gemma2", use_bidirectional_attention=True),
        "my model: is one with use_bidirectional_attention: its tokens see",
    ),
}

# What shows when the weights are read.
SEEN_LATER = {
    "weights of fewer layers": (
        changed("config.json", num_hidden_layers=3),
        "my model: its files lack 11 of its weights, such as model.layers.2.input_layernorm.weight",
    ),
    "weights of another size": (
        changed("config.json", hidden_size=64),
        "cannot be loaded as a causal language model: ",
    ),
    "a size below 0": (changed("config.json", hidden_size=-8), "cannot be loaded as a causal language model: "),
}


@pytest.fixture(autouse=True)
def says_yes(monkeypatch):
    """Whoever is asked whether code may be run says yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))


def checked(folder):
    out = folder.parent / "models.json"
    train = config.Train.model_construct(method="lora", lora_targets=["q_proj"], lora_dropout=0.0)
    more = {"trainings": {}, "gpus": [], "tasks": [], "data": "hub"}
    check_models.main(str(folder), "embedded", False, ["router"], train, out=out, **more)
    return json.loads(out.read_text())["selector"]


@pytest.mark.parametrize(("damage", "message"), FOUND.values(), ids=FOUND)
def test_a_model_that_cannot_be_used_is_found_first(folder, damage, message):
    damage(folder)
    with pytest.raises(UserError) as error:
        checked(folder)
    assert message in str(error.value)
    assert "my model" in str(error.value)
    assert not (folder.parent / "ran").exists()


@pytest.mark.parametrize(("damage", "message"), SEEN_LATER.values(), ids=SEEN_LATER)
def test_weights_that_cannot_be_used_are_one_error(folder, damage, message):
    damage(folder)
    checked(folder)
    with pytest.raises(UserError) as error:
        load_model(str(folder))
    assert message in str(error.value)
    assert "my model" in str(error.value)
    assert not (folder.parent / "ran").exists()


def test_weights_that_are_left_out_are_said(folder, capsys):
    changed("config.json", num_hidden_layers=1)(folder)
    load_model(str(folder))
    assert (
        "my model: 11 weights of its files have no place in a causal language model, such as" in capsys.readouterr().out
    )


@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_an_encoder_is_refused_unless_it_is_made_a_decoder(folder, family):
    settings = {"vocab_size": 320, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    for is_decoder in (True, False):
        made = getattr(transformers, f"{family}Config")(**settings, intermediate_size=8, is_decoder=is_decoder)
        transformers.AutoModelForCausalLM.from_config(made).save_pretrained(folder)
        if is_decoder:
            assert load_model(str(folder))[0].config.is_decoder
            continue
        with pytest.raises(UserError, match=r"my model: is an encoder .*use a causal language model"):
            load_model(str(folder))


def test_code_beside_a_known_model_is_left_alone(folder):
    coded()(folder)
    assert checked(folder)["architecture"] == "olmoe"
    model, _ = load_model(str(folder))
    assert type(model).__module__.startswith("transformers.models.olmoe")
    assert not (folder.parent / "ran").exists()


def test_the_traps_would_have_shown(folder):
    """Both kinds of code do leave a trace where somebody runs them."""
    pickle.loads(pickle.dumps(Writes(folder.parent / "ran")))
    (folder.parent / "ran").rmdir()
    coded()(folder)
    subprocess.run([sys.executable, "modeling_own.py"], cwd=folder, check=True)
    assert (folder.parent / "ran").exists()
