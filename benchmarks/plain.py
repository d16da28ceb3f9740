"""The code that a competent person would write first with transformers: the baseline of every ratio.

Batches in file order, padded to the longest; the causal language model's forward with `output_router_logits=True`;
means over its outputs afterwards.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from moesift.models.chat import Encoded
from moesift.models.checkpoints import Selector


def padded(examples: Sequence[Encoded], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, attention mask and response mask, (B, T) each."""
    width = max(len(example.ids) for example in examples)
    ids = torch.tensor([example.ids + [pad_id] * (width - len(example.ids)) for example in examples])
    attention = torch.tensor([[1] * len(e.ids) + [0] * (width - len(e.ids)) for e in examples])
    response = torch.tensor([e.response + [False] * (width - len(e.ids)) for e in examples])
    return ids.to(device), attention.to(device), response.to(device)


@torch.no_grad()
def scores(selector: Selector, examples: Sequence[Encoded], batch_size: int) -> list[list[float]]:
    """Return each routed layer's mean log odds of each example."""
    scores: list[list[float]] = []
    for start in range(0, len(examples), batch_size):
        ids, attention, response = padded(examples[start : start + batch_size], 1, selector.model.device)
        selector.model(ids, attention_mask=attention, output_router_logits=True)
        odds = selector.trash_can.log_odds(ids.shape)  # (L, B, T)
        means = (odds * response).sum(dim=2) / response.sum(dim=1)  # (L, B)
        scores += means.T.tolist()
    return scores


@torch.no_grad()
def representations(model: PreTrainedModel, examples: Sequence[Encoded], batch_size: int, middle: bool) -> Tensor:
    """Return each example's weighted mean of the last hidden states, or of a block's input, of length 1, (N, D)."""
    recorded: dict[str, Tensor] = {}
    norm = model.model.layers[len(model.model.layers) // 2].post_attention_layernorm
    handle = norm.register_forward_hook(lambda _, __, output: recorded.update(states=output))
    rows = []
    for start in range(0, len(examples), batch_size):
        ids, attention, _ = padded(examples[start : start + batch_size], 1, model.device)
        output = model(ids, attention_mask=attention, output_hidden_states=True)
        states = recorded["states"] if middle else output.hidden_states[-1]  # (B, T, D)
        weights = attention.cumsum(dim=1) * attention  # (B, T)
        rows.append(F.normalize((states.float() * weights.unsqueeze(-1)).sum(dim=1), dim=1))
    handle.remove()
    return torch.cat(rows)


def tokens(
    conversations: Sequence[list[dict[str, str]]], tokenizer: PreTrainedTokenizerFast, longest: int
) -> list[tuple[list[int], list[bool]]]:
    """Return each conversation's ids and which of them an assistant wrote, by tokenising it turn by turn."""

    def ids(messages: list[dict[str, str]], prompt: bool = False) -> list[int]:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    examples = []
    for messages in conversations:
        whole: list[int] = []
        response: list[bool] = []
        for turn, message in enumerate(messages):
            if message["role"] == "assistant":
                before, whole = ids(messages[:turn], prompt=True), ids(messages[: turn + 1])
                response += [False] * (len(before) - len(response)) + [True] * (len(whole) - len(before))
        examples.append((whole[:longest], response[:longest]))
    return examples


def training_step(model: PreTrainedModel, examples: Sequence[Encoded], micro_batch: int) -> float:
    """Accumulate the gradients of an epoch; return the loss in nats per response token."""
    count = sum(example.predicted for example in examples)
    nll = 0.0
    for start in range(0, len(examples), micro_batch):
        part = examples[start : start + micro_batch]
        ids, attention, response = padded(part, 1, model.device)
        labels = ids.masked_fill(~response, -100)
        predicted = (labels[:, 1:] != -100).sum()
        loss = model(ids, attention_mask=attention, labels=labels).loss * predicted / count
        loss.backward()
        nll += loss.item()
    return nll


def gradients(
    model: PreTrainedModel, examples: Sequence[Encoded], moments: tuple[Tensor, Tensor], places: Tensor, dimension: int
) -> Tensor:
    """Return the gradient and the step of Adam of each example, one after the other, projected, (N, 2, k).

    Args:
        model: whose LoRA matrices alone require gradients.
        examples: N of them.
        moments: Adam's, of all numbers of the LoRA matrices, (n,) each.
        places: where each number is added, (n,), as in `moesift.models.sketch`.
        dimension: k.
    """
    rows = []
    matrices = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for example in examples:
        ids, attention, response = padded([example], 1, model.device)
        loss = model(ids, attention_mask=attention, labels=ids.masked_fill(~response, -100)).loss
        gradient = torch.cat([one.flatten() for one in torch.autograd.grad(loss, matrices)])  # (n,)
        first, second = 0.9 * moments[0] + 0.1 * gradient, 0.999 * moments[1] + 0.001 * gradient**2
        both = torch.stack([gradient, first / torch.sqrt(second + 1e-8)])  # (2, n)
        sums = both.new_zeros(2, 2 * dimension).index_add_(1, places, both)
        rows.append(F.normalize(sums[:, :dimension] - sums[:, dimension:], dim=1))
    return torch.stack(rows)


def warmup_step(
    selector: Selector, examples: Sequence[Encoded], micro_batch: int, balance: float, penalty: float
) -> tuple[float, Tensor]:
    """Accumulate the gradients of one optimizer step; return the loss in nats per token and the trash shares, (L,)."""
    tokens = sum(example.predicted for example in examples)
    nll, shares = 0.0, torch.zeros(len(selector.trash_can.routers))
    for start in range(0, len(examples), micro_batch):
        part = examples[start : start + micro_batch]
        ids, attention, response = padded(part, 1, selector.model.device)
        output = selector.model(ids, attention_mask=attention)
        labels = ids.masked_fill(~response, -100)
        loss = F.cross_entropy(
            output.logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
        )
        odds = selector.trash_can.log_odds(ids.shape)  # (L, B, T)
        counted = response.clone()
        counted[:, 0] = False
        share = (torch.sigmoid(-odds) * counted).sum(dim=(1, 2)) / tokens  # (L,)
        layers = selector.trash_can.routing.values()
        load = torch.stack([load_balance(layer.quality_logits, layer.experts, attention) for layer in layers])  # (L, B)
        whole = loss / tokens + balance * load.mean(dim=0).sum() / len(examples) + penalty * share.sum()
        whole.backward()
        nll += loss.item() / tokens
        shares += share.detach().cpu()
    return nll, shares


def load_balance(logits: Tensor, experts: Tensor, attention: Tensor) -> Tensor:
    """Return DeepSeek-V3's sequence-wise balance of one layer, (B,).

    The `aux_loss` of transformers is another term: of whole batches with their padding, and of all layers at once.
    """
    count = logits.shape[-1]
    real = attention.unsqueeze(-1)  # (B, T, 1)
    dispatches = F.one_hot(experts, count).sum(dim=1).view(*attention.shape, count) * real  # (B, T, E)
    load = count * dispatches.sum(dim=1) / dispatches.sum(dim=(1, 2)).unsqueeze(1)  # (B, E)
    mean = (logits.softmax(dim=-1).view(*attention.shape, count) * real).sum(dim=1) / real.sum(dim=1)  # (B, E)
    return (load * mean).sum(dim=-1)
