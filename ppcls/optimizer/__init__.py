"""Optimizers, learning-rate schedules, the moving average of weights.

`build_optimizer` makes an optimizer and its schedule of the `Optimizer` section.
"""

from ppcls.optimizer.build import build_optimizer
from ppcls.optimizer.cyclic_schedules import Cyclic, OneCycleLR
from ppcls.optimizer.ema import ExponentialMovingAverage
from ppcls.optimizer.optimizers import SGD, Adam, AdamW, Lamb, Momentum, RMSProp
from ppcls.optimizer.reduce_on_plateau import ReduceOnPlateau
from ppcls.optimizer.schedule import Schedule
from ppcls.optimizer.schedules import Constant, Cosine, MultiStepDecay, Piecewise, Polynomial, Step

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "Cyclic",
    "ExponentialMovingAverage",
    "Lamb",
    "Momentum",
    "MultiStepDecay",
    "OneCycleLR",
    "Piecewise",
    "Polynomial",
    "RMSProp",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "build_optimizer",
]
