"""Which parameters decay and how strongly, in the gradient or apart from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
        own: strengths of single parameters, by those names, in place of `strength`.
    """

    strength: Optional[float]
    exempt: "frozenset[str]"
    own: "Mapping[str, float]" = field(default_factory=dict)

    def applies_to(self, name: str) -> bool:
        """Whether the parameter called `name` decays; a master copy follows its parameter."""
        return _plain(name) not in self.exempt

    def strength_of(self, name: str) -> float:
        """How strongly the parameter called `name` decays."""
        return self.own.get(_plain(name), self.strength or 0.0) if self.applies_to(name) else 0.0

    def in_gradient(
        self, regularizer: "Optional[dict[str, Any]]"
    ) -> Optional[WeightDecayRegularizer]:
        """Decay as a term of the gradient, of `weight_decay` or else of `regularizer`.

        Raises:
            ConfigError: both are set.
        """
        if regularizer is None:
            decay, kind = self, L2Decay
        else:
            if self.strength is not None:
                raise ConfigError(
                    "Optimizer.weight_decay and Optimizer.regularizer both set a decay; keep one"
                )
            if self.own:
                raise ConfigError(
                    "Optimizer.groups with a weight_decay of their own need "
                    "Optimizer.weight_decay in place of Optimizer.regularizer"
                )
            options = Regularizer(**regularizer)
            decay = replace(self, strength=options.coeff)
            kind = {"L1": L1Decay, "L2": L2Decay}[options.name]
        if decay.own or (decay.exempt and decay.strength):
            return SelectiveDecay(kind, decay)
        # Momentum has a fused kernel for a plain L2Decay.
        return kind(decay.strength) if decay.strength else None


class SelectiveDecay(WeightDecayRegularizer):
    """The term of another kind of regularizer, for each parameter with its own strength.

    Paddle's parameter groups would do the same but clip the gradients of each group on their own.

    Args:
        kind: `L1Decay` or `L2Decay`.
        decay: strengths.
    """

    def __init__(self, kind: "type[WeightDecayRegularizer]", decay: WeightDecay):
        super().__init__()
        self.kind = kind
        self.decay = decay

    def __call__(self, param: paddle.Tensor, grad: paddle.Tensor, block: Any) -> paddle.Tensor:
        strength = self.decay.strength_of(param.name)
        if strength:
            return self.kind(strength)(param, grad, block)
        return paddle.zeros_like(grad)

    def __str__(self) -> str:
        others = len(self.decay.exempt) + len(self.decay.own)
        return f"{self.kind.__name__}, {self.decay.strength} except for {others} parameters"


class _DecayByParameter:
    """Mixed into an optimizer of Paddle, gives its decay a strength for each parameter.

    Args:
        decay: strengths.
        arguments: those of the optimizer, less `keyword`.
    """

    #: Paddle's argument for the one strength it has, which every update reads from `_<keyword>`.
    keyword: str

    def __init__(self, decay: WeightDecay, **arguments: Any):
        super().__init__(**{self.keyword: 0.0}, **arguments)
        self._decay = decay

    def _append_optimize_op(self, block: Any, param_and_grad: Any) -> None:
        setattr(self, f"_{self.keyword}", self._decay.strength_of(param_and_grad[0].name))
        return super()._append_optimize_op(block, param_and_grad)


class AdamWByParameter(_DecayByParameter, paddle.optimizer.AdamW):
    """AdamW whose decay has a strength for each parameter."""

    keyword = "weight_decay"


class LambByParameter(_DecayByParameter, paddle.optimizer.Lamb):
    """Lamb whose decay has a strength for each parameter."""

    keyword = "lamb_weight_decay"


def _plain(name: str) -> str:
    """The name of the parameter that a master copy called `name` is of."""
    return name.partition("_fp32_master")[0]


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
