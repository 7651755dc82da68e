"""The keys that all optimizers, and all schedules, share; `build_optimizer` handles them."""

from dataclasses import dataclass
from typing import Annotated, Literal, Optional

from ppcls.config.types import (
    Component,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Range,
)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are trained at a rate, or decay with a strength, of their own."""

    #: Names of layers or parameters with all below them; `blocks?.0`, `*norm*` are patterns.
    names: list[str]
    #: Their learning rate is that of the schedule times this (and times that of `layer_decay`).
    lr_mult: NonNegativeFloat = 1.0
    #: In place of `Optimizer.weight_decay`; parameters that do not decay stay so.
    weight_decay: Optional[NonNegativeFloat] = None


@dataclass(frozen=True)
class OptimizerOptions:
    """Schedule, weight decay, gradient clipping, and what holds for some parameters only."""

    lr: Component("lr")
    #: Strength of the weight decay; what it does is the optimizer's matter.
    weight_decay: Optional[NonNegativeFloat] = None
    #: Space-separated pieces of parameter names; parameters with one of them do not decay.
    no_weight_decay_name: Optional[str] = None
    #: Parameters of one dimension (biases, the scales of norms) do not decay.
    one_dim_param_no_weight_decay: bool = False
    #: Scale each parameter's gradient down to this norm.
    clip_norm: Optional[PositiveFloat] = None
    #: Scale all gradients together down to this norm.
    clip_grad: Optional[PositiveFloat] = None
    #: The learning rate of a layer is this factor times that of the layer after it; what a layer
    #: is says `ppcls.optimizer.layer_depth`. The last, the classifier, has the schedule's rate.
    layer_decay: Optional[Annotated[float, Range(0, 1, open_low=True)]] = None
    #: A parameter belongs to the first group that names it.
    groups: Optional[list[ParameterGroup]] = None
    #: Each process keeps the optimizer's state of a share of the parameters only.
    shard_state: bool = False


@dataclass(frozen=True)
class Regularizer:
    """Decay as part of the gradient: coeff * parameter (L2), coeff * sign(parameter) (L1)."""

    name: Literal["L1", "L2"]
    coeff: NonNegativeFloat


@dataclass(frozen=True)
class ScheduleOptions:
    """Adapts the rates of a recipe to another batch than it was made for."""

    #: Images per optimizer step, of all processes, that the rates of this section are for.
    base_batch_size: Optional[PositiveInt] = None
    #: Multiply all rates by images per step / `base_batch_size` (Goyal et al. 2017,
    #: https://arxiv.org/abs/1706.02677).
    auto_scale: bool = False
