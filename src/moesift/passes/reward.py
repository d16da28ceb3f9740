"""What a sequence classifier makes of a conversation: a reward model, or a classifier of quality."""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from moesift.models.batches import Batch, per_example
from moesift.models.chat import Encoded
from moesift.passes.reader import Reader, Values


@torch.inference_mode()
def read(reader: Reader, examples: Sequence[Encoded], token_budget: int) -> Values:
    """Return the columns of the pass, from one forward pass."""
    model = reader.model
    config: Any = model.config
    with padding(model, examples) as pad_id:

        def measure(batch: Batch) -> list[list[float]]:
            logits = model(input_ids=batch.ids, attention_mask=batch.real).logits.float()  # (B, labels)
            return of_labels(logits, config.problem_type).tolist()

        scores = per_example(measure, examples, pad_id, token_budget, model.device, "reward")
    labels = json.dumps([str(config.id2label[label]) for label in range(config.num_labels)])
    return {"scores": scores, "labels": [labels] * len(examples)}


def of_labels(logits: Tensor, problem_type: str | None) -> Tensor:
    """Return the logit of a single label, or of a regression; else the log-probability of each label, (B, labels)."""
    if logits.shape[1] == 1 or problem_type == "regression":
        return logits
    return F.logsigmoid(logits) if problem_type == "multi_label_classification" else logits.log_softmax(dim=1)


@contextmanager
def padding(model: PreTrainedModel, examples: Sequence[Encoded]) -> Generator[int]:
    """Yield the token to pad with, which a decoder takes for padding meanwhile, so that a batch changes no score.

    A decoder judges by the last token that its own configuration does not call padding; the tokenizer may call another
    one so. One that names none judges by the last token, and takes no batch: then it is one that no example ends with.
    """
    config = model.config.get_text_config()
    own, ends = config.pad_token_id, {example.ids[-1] for example in examples}
    pad_id = own if own is not None else next(id for id in range(config.vocab_size) if id not in ends)
    config.pad_token_id = pad_id
    try:
        yield pad_id
    finally:
        config.pad_token_id = own
