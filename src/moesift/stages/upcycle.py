"""Upcycle a dense model to a Mixture-of-Experts model of the same function, so that it can be the selector."""

from pathlib import Path

import torch

from moesift import config, flags
from moesift.errors import UserError
from moesift.files import atomic_write
from moesift.models.loading import load_model
from moesift.models.upcycling import largest_difference, upcycled

# Largest allowed difference, as a share of the largest logit. The two models may differ by rounding only: by the sum of
# the K experts' weights, and by the order in which products are computed.
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


def main(model: str, out: Path, upcycle: config.Upcycle, dtype: config.Dtype | None = None) -> None:
    """Read a dense model, write the MoE model.

    Args:
        model: the dense model: a directory or a name on the hub.
        out: folder of the MoE model to write.
        upcycle: the whole section.
        dtype: precision of the dense model and of the MoE; unless given, that of the dense model's files.
    """
    dense, tokenizer = load_model(model, dtype)
    moe = upcycled(dense, upcycle.experts, upcycle.experts_per_token, upcycle.seed)
    difference = largest_difference(dense, moe, upcycle.seed)
    if not difference < ROUNDING[dense.dtype]:
        raise UserError(
            f"selector.upcycle: {model} and its upcycled model differ by {difference:.2g} of the largest logit, more "
            "than rounding explains: a part of its architecture is not carried over"
        )
    with atomic_write(out) as part:
        moe.save_pretrained(part)
        tokenizer.save_pretrained(part)
    dense_size, moe_size = (sum(parameter.numel() for parameter in each.parameters()) for each in (dense, moe))
    print(f"{dense_size:,} parameters upcycled to {moe_size:,}; logits differ by {difference:.2g} of the largest")


if __name__ == "__main__":
    flags.run(main)
