"""Trash-can experts on any Mixture-of-Experts model: the one place that knows transformers' MoE internals.

transformers (pinned) keeps one contract for all of its MoE families: the class that the model names as the source of
`router_logits` is a module whose forward returns `(logits (N, E), weights (N, K), experts (N, K))`, where N counts
tokens, E experts and K the experts that run. `weights` multiply the experts' outputs, whatever gate made them. So a
forward hook on the router is enough to gate the experts: nothing else of a family needs to be known.
"""

from collections.abc import Callable
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

# What to do with a selector that has no routers.
UPCYCLE = (
    "take a Mixture-of-Experts model, such as OLMoE, Mixtral or Qwen3-MoE, or have this one turned into one that "
    "computes the same, by selector.upcycle: {experts: 8, experts_per_token: 2, seed: 0}"
)


@dataclass(frozen=True)
class Roles:
    """Which experts do the work and which are trash cans, by index.

    `appended`: all E experts of the model work and T trash rows (E ... E + T - 1) are added to the router.
    `partition`: nothing is added; the last T of the model's own experts become trash cans, their output zeroed.
    """

    role: Role
    quality: range
    trash: range


@dataclass(frozen=True)
class Routing:
    """What one routed layer decided for N tokens in the last forward pass."""

    quality_logits: Tensor  # (N, number of quality experts) float32
    log_odds: Tensor  # (N,) float32, log odds of the quality experts against the trash cans; see `log_odds`
    experts: Tensor  # (N, K) int64, the model's own experts that ran
    inputs: Tensor  # (N, D) float32, what the router read


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
        UserError: a partition that would leave no trash-can expert, or none that works.
    """
    if role == "appended":
        count = max(1, round(trash_ratio * experts))
        return Roles(role, range(experts), range(experts, experts + count))
    count = int(trash_ratio * experts)
    if not 0 < count < experts:
        raise UserError(f"warmup.trash_ratio: {trash_ratio:g} of {experts} experts makes {count} trash-can experts")
    return Roles(role, range(experts - count), range(experts - count, experts))


def has_routers(config: PretrainedConfig) -> bool:
    """Say whether a causal language model of this configuration has routers, without making or loading it.

    Raises:
        UserError: transformers has no causal language model for the configuration.
    """
    try:
        kind: Any = AutoModelForCausalLM._model_mapping[type(config)]
    except KeyError:
        raise UserError(
            f"{config.name_or_path}: transformers knows no causal language model {config.model_type}"
        ) from None
    return "router_logits" in (kind._can_record_outputs or {})


def find_routers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the routers of a model by module name, first layer first. Layers without a router do not appear.

    Raises:
        UserError: the model has no router.
    """
    recorded = (model._can_record_outputs or {}).get("router_logits")
    router_class = getattr(recorded, "target_class", recorded)
    routers = (
        {name: module for name, module in model.named_modules() if isinstance(module, router_class)}
        if router_class
        else {}
    )
    if not routers:
        raise UserError(f"{type(model).__name__} ({model.name_or_path or 'no path'}) has no routers; {UPCYCLE}")
    return routers


class _Enough(Exception):
    """The last router has decided: what a forward pass would compute from here on is not asked for."""


class TrashCan:
    """Trash-can experts attached to a model, and what its routers decided in the last forward pass.

    Attributes:
        routers: the routers by module name.
        roles: which experts are quality experts and which are trash cans, the same in every layer.
        gate: whose share of the routed experts' output is kept: the `learned` keep share, all of it (`open`, the model
            as it was before trash cans were attached) or nothing (`shut`). Routing is filled alike in all three.
        routing: by router name, filled by each forward pass of the model (and filled again by the recomputation of
            gradient checkpointing: read it between forward and backward).
    """

    def __init__(
        self, model: PreTrainedModel, trash_ratio: float, role: Role, seed: int, gate: Gate = "learned"
    ) -> None:
        """Attach to `model`, in place. New trash rows are drawn with the spread of the router's own rows.

        With the same spread, u is distributed as z before any training, so the keep share starts near E / (E + T).
        """
        self.routers = find_routers(model)
        self.gate = gate
        self.routing: dict[str, Routing] = {}
        self._body = model.base_model
        self._read: Callable[[Routing], Any] | None = None
        self._readings: list[Any] = []
        generator = torch.Generator().manual_seed(seed)
        sizes = {router.get_parameter("weight").shape[0] for router in self.routers.values()}
        if len(sizes) > 1:
            raise UserError(f"{type(model).__name__}: layers with different numbers of experts ({sizes}) are unknown")
        self.roles = expert_roles(sizes.pop(), trash_ratio, role)
        for name, router in self.routers.items():
            # Router arithmetic is float32 also in a bf16 model, where small updates would round away.
            router.float()
            router.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(), *inputs[1:]))
            if role == "appended":
                own = router.get_parameter("weight").detach()  # (E, D)
                rows = torch.randn(len(self.roles.trash), own.shape[1], generator=generator) * own.std().cpu()  # (T, D)
                router.register_parameter(TRASH_ROWS, nn.Parameter(rows.to(own.device)))
            router.register_forward_hook(self._gate(name))

    def _gate(self, name: str):
        def hook(router: nn.Module, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor, Tensor]):
            logits, weights, experts = output  # (N, E), (N, K), (N, K)
            hidden = inputs[0].reshape(len(logits), -1)  # (N, D)
            if self.roles.role == "appended":
                trash_rows = router.get_parameter(TRASH_ROWS)  # (T, D)
                quality_logits, trash_logits = logits.float(), F.linear(hidden, trash_rows)  # (N, E), (N, T)
                signal = log_odds(quality_logits, trash_logits)  # (N,)
                # Scaling the K weights by the keep share scales the sum over the experts' outputs by it.
                kept = weights * torch.sigmoid(signal).unsqueeze(-1)  # (N, K)
            else:
                first = self.roles.trash.start
                quality_logits, trash_logits = logits.float()[:, :first], logits.float()[:, first:]
                signal = log_odds(quality_logits, trash_logits)  # (N,)
                kept = weights.masked_fill(experts >= first, 0.0)  # (N, K)
            routing = Routing(quality_logits, signal, experts, hidden)
            if self._read is None:
                self.routing[name] = routing
            else:
                self._readings.append(self._read(routing))
                if len(self._readings) == len(self.routers):
                    raise _Enough
            gated = {"learned": kept, "open": weights, "shut": torch.zeros_like(weights)}[self.gate]
            return logits, gated, experts

        return hook

    def read(self, ids: Tensor, of: Callable[[Routing], Reading]) -> list[Reading]:
        """Run the model as far as its last router, and return what `of` makes of each layer's routing, first to last.

        The head and the last layer's experts never run, and nothing of a layer is kept but what `of` returns.

        Args:
            ids: (B, T) int64, padded on the right.
            of: called with the routing of N = B * T tokens, layer by layer as they decide.
        """
        self._read, self._readings = of, []
        try:
            self._body(ids, use_cache=False)
        except _Enough:
            return self._readings
        finally:
            self._read = None
        raise RuntimeError(f"{type(self._body).__name__}: {len(self._readings)} of {len(self.routers)} routers ran")

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return every parameter of the routers, trash rows included, by its name in the model."""
        return {
            f"{name}.{key}": parameter
            for name, router in self.routers.items()
            for key, parameter in router.named_parameters()
        }

    def trash_rows(self) -> dict[str, nn.Parameter]:
        """Return the appended router rows alone, by their names in the model; none where the role is `partition`."""
        return {name: parameter for name, parameter in self.parameters().items() if name.endswith(TRASH_ROWS)}

    def log_odds(self, shape: torch.Size) -> Tensor:
        """Return the log odds of the last forward pass, (L, *shape) float32, layers in model order."""
        return torch.stack([self.routing[name].log_odds.view(shape) for name in self.routers])


def freeze_all_but(model: nn.Module, trained: dict[str, nn.Parameter]) -> None:
    """Let only the given parameters take gradients."""
    model.requires_grad_(False)
    for parameter in trained.values():
        parameter.requires_grad_(True)
