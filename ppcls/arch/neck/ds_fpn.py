"""DS-FPN: a feature pyramid whose levels are mixed by dual-stream blocks.

Mao et al., arXiv 2105.14734v4, section on dual-stream feature pyramid networks; the pyramid itself
is that of Lin et al., arXiv 1612.03144.
"""

from collections.abc import Sequence
from typing import Optional

import paddle
from paddle import nn

from ppcls.arch.backbone.dsnet import DualStreamBlock
from ppcls.arch.layers import PointwiseConv2D, init_trunc_normal, resize_bilinear
from ppcls.config.types import PositiveInt, Probability
from ppcls.errors import ConfigError
from ppcls.registry import NECKS


@NECKS.register()
class DSFPN(nn.Layer):
    """Feature levels of a backbone -> as many levels of equal channels.

    Each level passes a 1x1 lateral convolution, receives the resized coarser level, and is then
    mixed by a dual-stream block: local detail by convolution, context by attention on the grid of
    1/32 of the image, aligned with each other.

    Args:
        in_channels: channels of the levels, from the finest to the coarsest.
        out_channels: channels of every level that comes out.
        num_heads: attention heads of the blocks.
        downsamples: grid of the global stream of each level; by default every level works on the
            grid of the coarsest one.
        drop_path_rate: stochastic depth of the blocks.
    """

    def __init__(
        self,
        in_channels: "list[PositiveInt]",
        out_channels: PositiveInt = 256,
        num_heads: PositiveInt = 8,
        downsamples: "Optional[list[PositiveInt]]" = None,
        drop_path_rate: Probability = 0.0,
    ):
        super().__init__()
        count = len(in_channels)
        if downsamples is None:
            downsamples = [2 ** (count - 1 - level) for level in range(count)]
        if len(downsamples) != count:
            raise ConfigError(f"downsamples needs a value for each of {count} levels")
        self.laterals = nn.LayerList(
            [PointwiseConv2D(channels, out_channels) for channels in in_channels]
        )
        self.blocks = nn.LayerList(
            [
                DualStreamBlock(out_channels, num_heads, downsample, drop_path=drop_path_rate)
                for downsample in downsamples
            ]
        )
        init_trunc_normal(self)

    def forward(self, levels: "Sequence[paddle.Tensor]") -> "list[paddle.Tensor]":
        """[(B, C_i, H_i, W_i), ...] from fine to coarse -> [(B, out_channels, H_i, W_i), ...]."""
        outputs: list[paddle.Tensor] = []
        for level, lateral, block in reversed(list(zip(levels, self.laterals, self.blocks))):
            x = lateral(level)
            if outputs:
                x = x + resize_bilinear(outputs[0], tuple(x.shape[2:]))
            outputs.insert(0, block(x))
        return outputs
