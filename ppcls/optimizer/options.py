"""The keys that all optimizers, and all schedules, share; `build_optimizer` handles them."""

from dataclasses import dataclass
from typing import Literal, Optional

from ppcls.config.types import Component, NonNegativeFloat, PositiveFloat, PositiveInt


@dataclass(frozen=True)
class OptimizerOptions:
    """Schedule, weight decay and gradient clipping."""

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
