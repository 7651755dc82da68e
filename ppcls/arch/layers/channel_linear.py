"""A linear layer over the channel axis of a channels-first sequence."""

import paddle
from paddle import nn

from ppcls.arch.layers.matmul import matmul


class ChannelLinear(nn.Linear):
    """`nn.Linear`, same parameters and names, for tokens that lie channels first.

    Shape: (B, in_features, N) -> (B, out_features, N).
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = matmul(self.weight, x, transpose_x=True)
        return y if self.bias is None else y + paddle.unsqueeze(self.bias, -1)
