"""Models in numbers of parameters, a pool, and configurations to count the costs of."""

import dataclasses

import torch
from given.plans import DEFAULT, changed

from moesift.check.costs import Pool
from moesift.config import Config
from moesift.models.lora_weights import LoraWeight
from moesift.models.shapes import Shape

# Numbers that are easy to count with, of no real model.
MOE = Shape(
    total=5000,
    active=2000,
    body=1000,
    head=500,
    norms=40,
    hidden=10,
    layers=4,
    experts=8,
    running=2,
    routed=4,
    dtype=torch.bfloat16,
)
DENSE = dataclasses.replace(
    MOE,
    total=3000,
    active=3000,
    body=2000,
    experts=0,
    running=0,
    routed=0,
    dtype=torch.float16,
    lora=(LoraWeight("q_proj", "weight", 10, 10, experts=1, beside=True),) * 4,
)
POOL = Pool(examples=1000, selector_tokens=20.0, target_tokens=25.0, response_tokens=5.0, bytes=200.0)


def configured(**sections) -> Config:
    """Return the default configuration with two seeds, the methods router and nll, and other changes."""
    few = {"seeds": [0, 1], "methods": ["router", "nll"], "select": {"ratio": [0.1], "reject": None}}
    return Config.model_validate(changed(changed(DEFAULT, few), sections))
