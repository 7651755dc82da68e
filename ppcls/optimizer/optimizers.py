"""The optimizers of the `Optimizer` section, under PaddleClas's names and keys.

The keys that they share are in `ppcls.optimizer.options`. Each function receives from
`build_optimizer`: `parameters`, the `learning_rate` schedule, `decay` (strength and exempt
parameters) and `grad_clip`. `regularizer` arrives as YAML's mapping of `Regularizer`'s keys.

In the formulas w is a parameter, g its gradient after clipping, and L2 decay in the gradient, where
there is one, has been added to g. `multi_precision` keeps a float32 copy of 16-bit parameters and
changes nothing for others.
"""

from typing import Annotated, Optional

import paddle
from paddle.nn.clip import ClipGradBase
from paddle.optimizer import Optimizer
from paddle.optimizer.lr import LRScheduler

from ppcls.config.types import NonNegativeFloat, Range
from ppcls.optimizer.options import Regularizer
from ppcls.optimizer.weight_decay import AdamWByParameter, LambByParameter, WeightDecay
from ppcls.registry import OPTIMIZERS

BelowOne = Annotated[float, Range(0, 1, open_high=True)]
Parameters = list[paddle.Tensor]


@OPTIMIZERS.register()
def SGD(
    parameters: Parameters,
    learning_rate: LRScheduler,
    decay: WeightDecay,
    grad_clip: Optional[ClipGradBase],
    regularizer: Optional[Regularizer] = None,
    multi_precision: bool = True,
) -> Optimizer:
    """w -= lr * g, with decay in the gradient."""
    return paddle.optimizer.SGD(
        learning_rate=learning_rate,
        parameters=parameters,
        weight_decay=decay.in_gradient(regularizer),
        grad_clip=grad_clip,
        multi_precision=multi_precision,
    )


@OPTIMIZERS.register()
def Momentum(
    parameters: Parameters,
    learning_rate: LRScheduler,
    decay: WeightDecay,
    grad_clip: Optional[ClipGradBase],
    momentum: NonNegativeFloat = 0.9,
    use_nesterov: bool = False,
    regularizer: Optional[Regularizer] = None,
    multi_precision: bool = True,
) -> Optimizer:
    """v = momentum * v + g; w -= lr * v, or with Nesterov w -= lr * (g + momentum * v).

    The decay is in the gradient.
    """
    return paddle.optimizer.Momentum(
        learning_rate=learning_rate,
        momentum=momentum,
        parameters=parameters,
        use_nesterov=use_nesterov,
        weight_decay=decay.in_gradient(regularizer),
        grad_clip=grad_clip,
        multi_precision=multi_precision,
    )


@OPTIMIZERS.register()
def RMSProp(
    parameters: Parameters,
    learning_rate: LRScheduler,
    decay: WeightDecay,
    grad_clip: Optional[ClipGradBase],
    momentum: NonNegativeFloat = 0.0,
    rho: BelowOne = 0.95,
    epsilon: NonNegativeFloat = 1e-6,
    regularizer: Optional[Regularizer] = None,
) -> Optimizer:
    """s = rho * s + (1 - rho) * g^2; v = momentum * v + lr * g / sqrt(s + epsilon); w -= v.

    The decay is in the gradient.
    """
    return paddle.optimizer.RMSProp(
        learning_rate=learning_rate,
        rho=rho,
        epsilon=epsilon,
        momentum=momentum,
        parameters=parameters,
        weight_decay=decay.in_gradient(regularizer),
        grad_clip=grad_clip,
    )


@OPTIMIZERS.register()
def Adam(
    parameters: Parameters,
    learning_rate: LRScheduler,
    decay: WeightDecay,
    grad_clip: Optional[ClipGradBase],
    beta1: BelowOne = 0.9,
    beta2: BelowOne = 0.999,
    epsilon: NonNegativeFloat = 1e-8,
    regularizer: Optional[Regularizer] = None,
    multi_precision: bool = True,
) -> Optimizer:
    """Kingma & Ba 2015, https://arxiv.org/abs/1412.6980, with decay in the gradient."""
    return paddle.optimizer.Adam(
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        parameters=parameters,
        weight_decay=decay.in_gradient(regularizer),
        grad_clip=grad_clip,
        multi_precision=multi_precision,
    )


@OPTIMIZERS.register()
def AdamW(
    parameters: Parameters,
    learning_rate: LRScheduler,
    decay: WeightDecay,
    grad_clip: Optional[ClipGradBase],
    beta1: BelowOne = 0.9,
    beta2: BelowOne = 0.999,
    epsilon: NonNegativeFloat = 1e-8,
    multi_precision: bool = True,
) -> Optimizer:
    """Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101.

    w *= 1 - lr * weight_decay before each step of Adam; without `weight_decay` there is none.
    """
    arguments = {
        "learning_rate": learning_rate,
        "beta1": beta1,
        "beta2": beta2,
        "epsilon": epsilon,
        "parameters": parameters,
        "apply_decay_param_fun": decay.applies_to,
        "grad_clip": grad_clip,
        "multi_precision": multi_precision,
    }
    if decay.own:
        return AdamWByParameter(decay, **arguments)
    return paddle.optimizer.AdamW(weight_decay=decay.strength or 0.0, **arguments)


@OPTIMIZERS.register()
def Lamb(
    parameters: Parameters,
    learning_rate: LRScheduler,
    decay: WeightDecay,
    grad_clip: Optional[ClipGradBase],
    beta1: BelowOne = 0.9,
    beta2: BelowOne = 0.999,
    epsilon: NonNegativeFloat = 1e-6,
    multi_precision: bool = True,
) -> Optimizer:
    """You et al. 2020, https://arxiv.org/abs/1904.00962.

    Adam's direction plus weight_decay * w, rescaled to the norm of w; parameters that do not decay
    are not rescaled.
    """
    arguments = {
        "learning_rate": learning_rate,
        "beta1": beta1,
        "beta2": beta2,
        "epsilon": epsilon,
        "parameters": parameters,
        "grad_clip": grad_clip,
        "exclude_from_weight_decay_fn": lambda parameter: not decay.applies_to(parameter.name),
        "multi_precision": multi_precision,
    }
    if decay.own:
        return LambByParameter(decay, **arguments)
    return paddle.optimizer.Lamb(lamb_weight_decay=decay.strength or 0.0, **arguments)
