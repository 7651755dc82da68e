"""The running statistics of batch norms: what a model learns without gradients."""

from collections.abc import Sequence
from typing import Optional

import paddle
from paddle import nn

from ppcls.engine.environment import Environment
from ppcls.optimizer import ExponentialMovingAverage


def statistic_names(model: nn.Layer) -> "list[str]":
    """Names of all running means and variances in the state dict of a model."""
    # Paddle keeps them among the parameters, not the buffers.
    return [
        f"{name}.{kind}"
        for name, layer in model.named_sublayers()
        for kind in ("_mean", "_variance")
        if isinstance(getattr(layer, kind, None), paddle.Tensor)
    ]


@paddle.no_grad()
def average_statistics(
    model: nn.Layer, ema: Optional[ExponentialMovingAverage], environment: Environment
) -> None:
    """Makes the statistics of the model, and of its averaged weights, the mean over processes.

    Each process has seen its own images; without this, each would evaluate its own model, and
    none of them but the first's would be saved.
    """
    if environment.world_size == 1:
        return
    states = [model.state_dict(use_hook=False)]
    if ema is not None:
        states.append(ema.state_dict())
    for state in states:
        for name in statistic_names(model):
            total = environment.sum(paddle.clone(state[name]))
            paddle.assign(total / environment.world_size, output=state[name])


class StatisticsGuard:
    """Keeps what is not a number out of the running statistics, without waiting for the device.

    A batch that spoils a forward pass would spoil them for good.

    Args:
        statistics: the tensors to protect.
    """

    def __init__(self, statistics: "Sequence[paddle.Tensor]"):
        self.statistics = list(statistics)
        self._before: list[paddle.Tensor] = []

    @paddle.no_grad()
    def keep(self) -> None:
        """Call before a forward pass in training mode."""
        self._before = [paddle.clone(statistic) for statistic in self.statistics]

    @paddle.no_grad()
    def repair(self) -> None:
        """Call after it: values that are no numbers become what they were before."""
        for statistic, before in zip(self.statistics, self._before):
            kept = paddle.where(paddle.isfinite(statistic), statistic, before)
            paddle.assign(kept, output=statistic)
        self._before = []
