"""Names of `lora_targets` on models of every kind; on the meta device, as `check` looks at them."""

import pytest
import torch
import transformers
from given.models import FAMILIES, SMALL
from transformers import AutoModelForCausalLM

from moesift.errors import UserError
from moesift.models.lora_weights import LoraWeight, lora_weights

DENSE = {"intermediate_size": 48, "n_inner": 48}
EXPERTS = ["gate_proj", "up_proj", "down_proj"]


def empty(family, **settings):
    config = getattr(transformers, f"{family}Config")(**(SMALL | FAMILIES.get(family, DENSE) | settings))
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def test_modules_and_experts_with_their_sizes():
    of_llama = lora_weights(empty("Llama", num_hidden_layers=1), ["self_attn.k_proj", "down_proj"], 0.1)
    assert of_llama == [
        LoraWeight("model.layers.0.self_attn.k_proj", "weight", 32, 16, experts=1, beside=True),
        LoraWeight("model.layers.0.mlp.down_proj", "weight", 48, 32, experts=1, beside=True),
    ]
    # What is called like a part of its experts is tuned like them; gpt-oss has inputs and outputs the other way round.
    of_qwen = lora_weights(empty("Qwen2Moe", num_hidden_layers=1), ["o_proj", "down_proj"], 0.0)
    assert of_qwen == [
        LoraWeight("model.layers.0.self_attn.o_proj", "weight", 32, 32, experts=1, beside=True),
        LoraWeight("model.layers.0.mlp.experts", "down_proj", 16, 32, experts=4, beside=False),
        LoraWeight("model.layers.0.mlp.shared_expert.down_proj", "weight", 16, 32, experts=1, beside=False),
    ]
    (of_gpt_oss,) = lora_weights(empty("GptOss", num_hidden_layers=1), ["down_proj"], 0.0)
    assert of_gpt_oss == LoraWeight("model.layers.0.mlp.experts", "down_proj", 16, 32, experts=4, beside=False)
    (of_gpt2,) = lora_weights(empty("GPT2", num_hidden_layers=1), ["c_attn"], 0.0)
    assert of_gpt2 == LoraWeight("transformer.h.0.attn.c_attn", "weight", 32, 96, experts=1, beside=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_are_found_in_every_family_and_routers_are_not(family):
    found = lora_weights(empty(family), EXPERTS, 0.0)
    routed = [weight.parameter for weight in found if weight.experts == 4]
    assert routed == ["gate_up_proj", "down_proj"] * (1 if family.startswith("Deepseek") else 2)
    for router in ("router", "mlp.gate"):
        with pytest.raises(UserError, match=f"has no module called {router} that LoRA can tune"):
            lora_weights(empty(family), [router], 0.0)


TIED = {"tie_word_embeddings": True}
NOT_TIED = {"tie_word_embeddings": False}
REFUSED = {
    "a misspelt name beside a right one": ("Llama", {}, ["q_proj", "v_porj"], 0, "called v_porj that .* v_proj, o_pr"),
    "names of another family": ("Phi3", {}, ["q_proj", "o_proj"], 0, "called q_proj that .* qkv_proj, gate_up_proj"),
    "a shorthand of peft": ("Llama", {}, ["all-linear"], 0, "no module called all-linear"),
    "a pattern": ("Llama", {}, [".*q_proj"], 0, r"no module called \.\*q_proj"),
    "a part of a name": ("Llama", {}, ["proj"], 0, "no module called proj"),
    "a layer that is not there": ("Llama", {}, ["layers.2.self_attn.q_proj"], 0, "no module called layers.2"),
    "a module of other modules": ("Llama", {}, ["mlp"], 0, "no module called mlp"),
    "a norm": ("Llama", {}, ["input_layernorm"], 0, "no module called input_layernorm"),
    "a tied head": ("Llama", TIED, ["q_proj", "lm_head"], 0, r"lm_head is tied to model\.embed_tokens\.weight"),
    "tied embeddings": ("Llama", TIED, ["embed_tokens"], 0, r"model\.embed_tokens is tied to lm_head\.weight"),
    "tied embeddings of another name": ("GPT2", {}, ["wte"], 0, r"transformer\.wte is tied to lm_head\.weight"),
    "half a weight": ("Olmoe", {}, ["up_proj"], 0, "experts.up_proj is a half .* both of gate_proj and up_proj"),
    "dropout on experts": ("Mixtral", {}, EXPERTS, 0.1, "0.1 cannot be applied to down_proj, gate_proj, gate_up_proj"),
}


@pytest.mark.parametrize(("family", "settings", "targets", "dropout", "message"), REFUSED.values(), ids=REFUSED)
def test_what_would_have_no_effect_or_another_one_is_refused(family, settings, targets, dropout, message):
    with pytest.raises(UserError, match=f"^train.lora_(targets|dropout): .*{message}"):
        lora_weights(empty(family, **settings), targets, dropout)


def test_a_head_of_its_own_can_be_tuned():
    (head,) = lora_weights(empty("Llama", **NOT_TIED), ["lm_head"], 0.1)
    assert (head.inputs, head.outputs) == (32, 320)
