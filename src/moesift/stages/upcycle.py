"""Upcycle a dense model to a Mixture-of-Experts model of the same function, so that it can be the selector."""

import argparse
from pathlib import Path

import torch

from moesift import config, flags
from moesift.errors import UserError, run
from moesift.files import atomic_write
from moesift.models.loading import load_model
from moesift.models.upcycling import largest_difference, upcycled

# Share of the largest logit. Rounding is the only difference that there may be: the sum of the K weights, and products
# in another order.
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


def main() -> None:
    """Read a dense model, write the MoE model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the dense model: a directory or a name on the hub")
    parser.add_argument("--out", type=Path, required=True, help="directory of the MoE model")
    flags.add(parser, config.Upcycle, "experts", "experts_per_token", "seed", "dtype")
    args = parser.parse_args()

    dense, tokenizer = load_model(args.model)
    if args.dtype is not None:
        dense = dense.to(getattr(torch, args.dtype))
    moe = upcycled(dense, args.experts, args.experts_per_token, args.seed)
    difference = largest_difference(dense, moe, args.seed)
    if not difference < ROUNDING[dense.dtype]:
        raise UserError(
            f"selector.upcycle: {args.model} and its upcycled model differ by {difference:.2g} of the largest logit, "
            "more than rounding explains: something of its architecture is not carried over"
        )
    with atomic_write(args.out) as part:
        moe.save_pretrained(part)
        tokenizer.save_pretrained(part)
    dense_size, moe_size = (sum(parameter.numel() for parameter in model.parameters()) for model in (dense, moe))
    print(f"{dense_size:,} parameters upcycled to {moe_size:,}; logits differ by {difference:.2g} of the largest")


if __name__ == "__main__":
    run(main)
