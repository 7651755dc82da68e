"""Stochastic depth: in training, a residual branch is dropped for some samples of a batch.

Huang et al., "Deep Networks with Stochastic Depth", arXiv 1603.09382.
"""

import numpy as np
import paddle
from paddle import nn

from ppcls.errors import ConfigError


class DropPath(nn.Layer):
    """Zeroes whole samples with probability `rate` and scales the others by 1 / (1 - rate).

    Shape: any (B, ...), kept.
    """

    def __init__(self, rate: float = 0.0):
        super().__init__()
        if not 0 <= rate < 1:
            raise ConfigError(f"a stochastic depth rate is at least 0 and below 1, received {rate}")
        self.rate = rate

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.rate == 0 or not self.training:
            return x
        keep = 1 - self.rate
        mask = paddle.rand([x.shape[0]] + [1] * (x.ndim - 1)) < keep
        mask = paddle.cast(mask, x.dtype)
        return x * (mask / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3g}"


def stochastic_depth_rates(rate: float, depths: "list[int]") -> "list[list[float]]":
    """Rates of each block of each stage, growing linearly from 0 to `rate` over the whole depth."""
    rates = np.linspace(0, rate, sum(depths)).tolist()
    ends = np.cumsum(depths).tolist()
    return [rates[end - depth : end] for depth, end in zip(depths, ends)]
