"""Trash-can experts on any Mixture-of-Experts model: the one module that knows transformers' MoE internals.

Trash-can experts are called null or zero experts in the literature. transformers (pinned) has one contract for all of
its MoE families: the class that the model names as the source of `router_logits` is a module whose forward returns
`(logits (N, E), weights (N, K), experts (N, K))`, where N counts tokens, E experts, and K the experts that run for a
token. `weights` multiply the experts' outputs. So a forward hook on the router can gate the experts of any family.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from moesift.errors import UserError

Reading = TypeVar("Reading")
Role = Literal["appended", "partition"]
Gate = Literal["learned", "open", "shut"]

TRASH_ROWS = "trash_weight"  # the parameter of a router that holds its appended rows, (T, D)


@dataclass(frozen=True)
class Roles:
    """Which experts are quality experts and which are trash cans, by index.

    `appended`: all E experts of the model are quality experts, and T trash rows (E ... E + T - 1) are added to the
    router. `partition`: the last T of the model's own experts become trash cans, with their output set to zero.
    """

    role: Role
    quality: range
    trash: range


@dataclass(frozen=True)
class Routing:
    """The decisions of one layer's router on N tokens in the last forward pass."""

    quality_logits: Tensor  # (N, number of quality experts) float32
    log_odds: Tensor  # (N,) float32, of the quality experts against the trash cans; see `log_odds`
    experts: Tensor  # (N, K) int64, the model's own experts that ran
    router_inputs: Tensor  # (N, D) float32


def log_odds(quality_logits: Tensor, trash_logits: Tensor) -> Tensor:
    """Return s = LSE(z) - LSE(u), the log odds that a token goes to a quality expert rather than to a trash can.

    It is unbounded and does not change when all logits shift by a constant; sigmoid(s) is the keep share.

    Args:
        quality_logits: z, (..., E) float32.
        trash_logits: u, (..., T) float32.

    Returns:
        (...,) float32, in nats.
    """
    return torch.logsumexp(quality_logits, dim=-1) - torch.logsumexp(trash_logits, dim=-1)


def expert_roles(experts: int, trash_ratio: float, role: Role) -> Roles:
    """Divide `experts` experts into quality and trash-can experts by ratio.

    Raises:
        UserError: a partition would have no trash-can expert or no quality expert.
    """
    if role == "appended":
        count = max(1, round(trash_ratio * experts))
        return Roles(role, range(experts), range(experts, experts + count))
    count = int(trash_ratio * experts)
    if not 0 < count < experts:
        raise UserError(f"warmup.trash_ratio: {trash_ratio:g} of {experts} experts makes {count} trash-can experts")
    return Roles(role, range(experts - count), range(experts - count, experts))


def has_routers(config: PretrainedConfig) -> bool:
    """Return whether a causal language model of this configuration has routers; no model is built.

    Raises:
        UserError: transformers has no causal language model for the configuration.
    """
    try:
        model_class: Any = AutoModelForCausalLM._model_mapping[type(config)]
    except KeyError:
        raise UserError(
            f"{config.name_or_path}: transformers knows no causal language model {config.model_type}"
        ) from None
    return "router_logits" in (model_class._can_record_outputs or {})


def find_routers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the routers of a model by module name, first layer first. Layers without a router do not appear.

    Raises:
        UserError: the model has no router.
    """
    recorded: Any = (model._can_record_outputs or {}).get("router_logits")
    router_class: Any = getattr(recorded, "target_class", recorded)
    modules = model.named_modules() if router_class else ()
    routers = {name: module for name, module in modules if isinstance(module, router_class)}
    if not routers:
        named = f"{type(model).__name__} ({model.name_or_path or 'no path'})"
        raise UserError(f"{named} has no routers: take a Mixture-of-Experts model, or set selector.upcycle")
    return routers


def expert_blocks(model: PreTrainedModel) -> list[nn.Module]:
    """Return the modules that call a router and the experts that it chooses, first layer first.

    Raises:
        UserError: the model has no router.
    """
    return [model.get_submodule(name.rpartition(".")[0]) for name in find_routers(model)]


class ForwardEnded(Exception):
    """Raised by a hook to end a forward pass whose remaining results are not needed."""


def read_routers(
    body: nn.Module, routers: Mapping[str, nn.Module], ids: Tensor, read: Callable[[str, Tensor], Reading]
) -> list[Reading]:
    """Run a model up to its last router, and return what `read` returns for each of them, in order.

    The head and the last layer's experts do not run, and nothing else of a layer is kept.

    Args:
        body: the model without its head.
        routers: all of its routers, by name.
        ids: (B, T) int64, padded on the right.
        read: called with the name of a router and its logits of N = B * T tokens, (N, E), once it has run.
    """
    readings: list[Reading] = []

    def reading(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
            readings.append(read(name, output[0]))
            if len(readings) == len(routers):
                raise ForwardEnded

        return hook

    handles = [router.register_forward_hook(reading(name)) for name, router in routers.items()]
    try:
        with suppress(ForwardEnded):
            body(ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    if len(readings) < len(routers):
        raise RuntimeError(f"{type(body).__name__}: {len(readings)} of {len(routers)} routers ran")
    return readings


class TrashCan:
    """Trash-can experts attached to a model, with the decisions of its routers in the last forward pass.

    Attributes:
        routers: the routers by module name.
        roles: which experts are quality experts and which are trash cans, the same in every layer.
        gate: the share of the routed experts' output that is kept: the keep share (`learned`), all of it (`open`, the
            model as it was before trash cans were attached) or none (`shut`). It does not change `routing`.
        routing: by router name, set by each forward pass of the model. The recomputation of gradient checkpointing sets
            it again, so read it between forward and backward.
    """

    def __init__(
        self, model: PreTrainedModel, trash_ratio: float, role: Role, seed: int, gate: Gate = "learned"
    ) -> None:
        """Attach to `model`, in place. New trash rows are drawn with the standard deviation of the router's own rows.

        So u is distributed like z before any training, and the keep share starts near E / (E + T).
        """
        self.routers = find_routers(model)
        self.gate = gate
        self.routing: dict[str, Routing] = {}
        self._body = model.base_model
        generator = torch.Generator().manual_seed(seed)
        sizes = {router.get_parameter("weight").shape[0] for router in self.routers.values()}
        if len(sizes) > 1:
            raise UserError(f"{type(model).__name__}: its layers have different numbers of experts ({sizes})")
        self.roles = expert_roles(sizes.pop(), trash_ratio, role)
        for name, router in self.routers.items():
            # Router arithmetic is float32 in a bf16 model too, where small updates would be lost to rounding.
            router.float()
            router.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(), *inputs[1:]))
            if role == "appended":
                weight = router.get_parameter("weight").detach()  # (E, D)
                rows = torch.randn(len(self.roles.trash), weight.shape[1], generator=generator)  # (T, D)
                rows *= weight.std().cpu()
                router.register_parameter(TRASH_ROWS, nn.Parameter(rows.to(weight.device)))
            router.register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        def hook(router: nn.Module, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor, Tensor]):
            logits, weights, experts = output  # (N, E), (N, K), (N, K)
            hidden = inputs[0].reshape(len(logits), -1)  # (N, D)
            if self.roles.role == "appended":
                quality_logits = logits.float()  # (N, E)
                odds = log_odds(quality_logits, F.linear(hidden, router.get_parameter(TRASH_ROWS)))  # (N,)
                # Scaling the K weights by the keep share scales the sum over the experts' outputs by it.
                kept = weights * torch.sigmoid(odds).unsqueeze(-1)  # (N, K)
            else:
                first = self.roles.trash.start
                quality_logits = logits.float()[:, :first]  # (N, E - T)
                odds = log_odds(quality_logits, logits.float()[:, first:])  # (N,)
                kept = weights.masked_fill(experts >= first, 0.0)  # (N, K)
            self.routing[name] = Routing(quality_logits, odds, experts, hidden)
            gated = {"learned": kept, "open": weights, "shut": torch.zeros_like(weights)}[self.gate]
            return logits, gated, experts

        return hook

    def read(self, ids: Tensor, read: Callable[[Routing], Reading]) -> list[Reading]:
        """Do as `read_routers`, with `read` called with the routing of each layer; none of it is kept."""
        return read_routers(self._body, self.routers, ids, lambda name, _: read(self.routing.pop(name)))

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return every parameter of the routers, with trash rows, by its name in the model."""
        return {
            f"{name}.{key}": parameter
            for name, router in self.routers.items()
            for key, parameter in router.named_parameters()
        }

    def trash_rows(self) -> dict[str, nn.Parameter]:
        """Return the appended router rows by their names in the model; none if the role is `partition`."""
        return {name: parameter for name, parameter in self.parameters().items() if name.endswith(TRASH_ROWS)}

    def log_odds(self, shape: torch.Size) -> Tensor:
        """Return the log odds of the last forward pass, (L, *shape) float32, layers in model order."""
        return torch.stack([self.routing[name].log_odds.view(shape) for name in self.routers])


def freeze_all_but(model: nn.Module, trained: dict[str, nn.Parameter]) -> None:
    """Let only the given parameters have gradients."""
    model.requires_grad_(False)
    for parameter in trained.values():
        parameter.requires_grad_(True)
