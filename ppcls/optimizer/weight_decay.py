"""Which parameters decay, and decay that is added to the gradient."""

from dataclasses import dataclass
from typing import Any, Optional

import paddle
from paddle.regularizer import L1Decay, L2Decay, WeightDecayRegularizer

from ppcls.errors import ConfigError
from ppcls.optimizer.options import OptimizerOptions, Regularizer


@dataclass(frozen=True)
class WeightDecay:
    """The weight decay of one optimizer.

    Attributes:
        strength: `weight_decay`; None when not set.
        exempt: names (`parameter.name`) of the parameters that do not decay.
    """

    strength: Optional[float]
    exempt: "frozenset[str]"

    def applies_to(self, name: str) -> bool:
        """Whether the parameter called `name` decays; a master copy follows its parameter."""
        return name.partition("_fp32_master")[0] not in self.exempt

    def in_gradient(
        self, regularizer: "Optional[dict[str, Any]]"
    ) -> Optional[WeightDecayRegularizer]:
        """Decay as a term of the gradient, of `weight_decay` or else of `regularizer`.

        Raises:
            ConfigError: both are set.
        """
        if regularizer is None:
            if not self.strength:
                return None
            term: WeightDecayRegularizer = L2Decay(self.strength)
        else:
            if self.strength is not None:
                raise ConfigError(
                    "Optimizer.weight_decay and Optimizer.regularizer both set a decay; keep one"
                )
            options = Regularizer(**regularizer)
            term = {"L1": L1Decay, "L2": L2Decay}[options.name](options.coeff)
        # Momentum has a fused kernel for a plain L2Decay.
        return SelectiveDecay(term, self) if self.exempt else term


class SelectiveDecay(WeightDecayRegularizer):
    """The term of another regularizer for the parameters that decay, zero for the others.

    Paddle's parameter groups would do the same but clip the gradients of each group on their own.
    """

    def __init__(self, term: WeightDecayRegularizer, decay: WeightDecay):
        super().__init__()
        self.term = term
        self.decay = decay

    def __call__(self, param: paddle.Tensor, grad: paddle.Tensor, block: Any) -> paddle.Tensor:
        if self.decay.applies_to(param.name):
            return self.term(param, grad, block)
        return paddle.zeros_like(grad)

    def __str__(self) -> str:
        return f"{self.term}, except for {len(self.decay.exempt)} parameters"


def exempt_parameters(model: paddle.nn.Layer, options: OptimizerOptions) -> "frozenset[str]":
    """Names (`parameter.name`) of the parameters that do not decay.

    They are those whose name in the model contains a piece of `no_weight_decay_name`, those with
    at most one dimension if `one_dim_param_no_weight_decay`, and those that the model lists: its
    method `no_weight_decay()`, where there is one, returns names as in its state dict.
    """
    pieces = (options.no_weight_decay_name or "").split()
    listed = set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()
    return frozenset(
        parameter.name
        for name, parameter in model.named_parameters()
        if name in listed
        or any(piece in name for piece in pieces)
        or (options.one_dim_param_no_weight_decay and parameter.ndim <= 1)
    )
