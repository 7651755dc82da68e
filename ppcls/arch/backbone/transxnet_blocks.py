"""The layers of TransXNet (arXiv 2310.19380): IDConv, OSRA, the D-Mixer of both, MS-FFN, the block.

Names and arithmetic are those of the authors' code, see `transxnet.py`, which joins the layers to
the model.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.nn.initializer import Constant, TruncatedNormal

from ppcls.arch.layers import (
    DropPath,
    PointwiseConv2D,
    adaptive_avg_pool2d,
    dynamic_depthwise_conv2d,
    dynamic_depthwise_conv2d_macs,
    gelu,
    matmul,
    resize_table_bicubic,
)
from ppcls.arch.layers.depthwise import DepthwiseConv2D


class GELU(nn.Layer):
    """`gelu` as a layer."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return gelu(x)


class ConvBN(nn.Layer):
    """A convolution without bias and its batch norm: (B, C, H, W) -> (B, C', H', W')."""

    def __init__(self, conv: nn.Layer):
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm2D(conv.weight.shape[0])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.bn(self.conv(x))


class PatchEmbed(nn.Layer):
    """Strided convolution and norm: (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int):
        super().__init__()
        conv = nn.Conv2D(
            in_channels, channels, kernel_size, stride, kernel_size // 2, bias_attr=False
        )
        self.proj = ConvBN(conv)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.proj(x)


class LayerScale(nn.Layer):
    """A learnt factor and shift for each channel: (B, C, H, W), kept.

    The weight has the shape of the depth-wise 1x1 convolution that it is in the authors' code.
    """

    def __init__(self, channels: int, initial_value: float):
        super().__init__()
        value = paddle.ParamAttr(initializer=Constant(initial_value))
        self.weight = self.create_parameter([channels, 1, 1, 1], attr=value)
        self.bias = self.create_parameter([channels], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        C = x.shape[1]
        return x * paddle.reshape(self.weight, [C, 1, 1]) + paddle.reshape(self.bias, [C, 1, 1])

    def functional_macs(self, x: paddle.Tensor) -> "dict[str, int]":
        """MACs for a batch x."""
        return {"functional_layer_scale": int(x.size)}


class IDConv(nn.Layer):
    """Input-dependent depth-wise convolution: (B, C, H, W), kept.

    kernels = sum over g of softmax_g(proj(x pooled to K x K)) * weight_g; likewise the bias, from x
    pooled to one value (equations 1 and 2 of the paper).
    """

    def __init__(self, channels: int, kernel_size: int, num_groups: int, reduction: int = 4):
        super().__init__()
        self.kernel_size = kernel_size
        self.num_groups = num_groups
        draw = paddle.ParamAttr(initializer=TruncatedNormal(std=0.02))
        shape = [num_groups, channels, kernel_size, kernel_size]
        self.weight = self.create_parameter(shape, attr=draw)
        self.bias = self.create_parameter([num_groups, channels], attr=draw)
        hidden = channels // reduction
        self.proj = nn.LayerList(
            [
                ConvBN(PointwiseConv2D(channels, hidden, bias=False)),
                PointwiseConv2D(hidden, channels * num_groups),
            ]
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        kernels = self.generated_kernels(x)
        bias = self._mixture(adaptive_avg_pool2d(x, (1, 1)), self.bias)
        return dynamic_depthwise_conv2d(x, kernels, paddle.reshape(bias, [-1, x.shape[1]]))

    def generated_kernels(self, x: paddle.Tensor) -> paddle.Tensor:
        """(B, C, H, W) -> (B, C, K, K)."""
        K = self.kernel_size
        return self._mixture(adaptive_avg_pool2d(x, (K, K)), self.weight)

    def _mixture(self, pooled: paddle.Tensor, candidates: paddle.Tensor) -> paddle.Tensor:
        """Maps (B, C, k, k) and candidates (G, C, ...), k * k values each -> (B, C, k, k)."""
        C, k = pooled.shape[1:3]
        hidden, output = self.proj
        scores = paddle.reshape(output(gelu(hidden(pooled))), [-1, self.num_groups, C, k, k])
        candidates = paddle.reshape(candidates, [self.num_groups, C, k, k])
        return paddle.sum(F.softmax(scores, axis=1) * candidates, axis=1)

    def functional_macs(self, x: paddle.Tensor) -> "dict[str, int]":
        """MACs of the convolution with computed kernels, for a batch x."""
        return {"functional_dynamic_conv": dynamic_depthwise_conv2d_macs(x, self.kernel_size)}


class OverlappingSpatialReduction(nn.Layer):
    """Strided depth-wise convolution: (B, C, H, W) -> (B, C, ceil(H / ratio), ceil(W / ratio))."""

    def __init__(self, channels: int, ratio: int):
        super().__init__()
        kernel_size = ratio + 3
        conv = nn.Conv2D(
            channels,
            channels,
            kernel_size,
            ratio,
            kernel_size // 2,
            groups=channels,
            bias_attr=False,
        )
        self.add_sublayer("0", ConvBN(conv))
        self.add_sublayer("1", ConvBN(DepthwiseConv2D(channels, 1, bias=False)))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        first, second = self.children()
        return second(gelu(first(x)))


class OSRA(nn.Layer):
    """Overlapping spatial-reduction attention: (B, C, H, W), kept.

    Queries from every position, keys and values from a map smaller by `ratio` each way; no output
    projection.
    """

    def __init__(self, channels: int, num_heads: int, ratio: int, attention_dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.q = PointwiseConv2D(channels, channels)
        self.kv = PointwiseConv2D(channels, 2 * channels)
        self.ratio = ratio
        if ratio > 1:
            self.sr = OverlappingSpatialReduction(channels, ratio)
        self.local_conv = DepthwiseConv2D(channels, 3)
        self.attention_dropout = nn.Dropout(attention_dropout)

    def forward(self, x: paddle.Tensor, table: paddle.Tensor) -> paddle.Tensor:
        C, H, W = x.shape[1:]
        heads, width = self.num_heads, C // self.num_heads
        reduced = self.sr(x) if self.ratio > 1 else x
        reduced = reduced + self.local_conv(reduced)
        N = reduced.shape[2] * reduced.shape[3]
        q = paddle.reshape(self.q(x) * width**-0.5, [-1, heads, width, H * W])
        kv = paddle.reshape(self.kv(reduced), [-1, 2, heads, width, N])
        k, v = paddle.unbind(kv, axis=1)
        scores = matmul(q, k, transpose_x=True) + resize_table_bicubic(table, (H * W, N))
        weights = self.attention_dropout(F.softmax(scores, axis=-1))  # B, heads, H * W, N
        return paddle.reshape(matmul(v, weights, transpose_y=True), [-1, C, H, W])

    def functional_macs(self, x: paddle.Tensor, table: paddle.Tensor) -> "dict[str, int]":
        """MACs of the attention products, for a batch x."""
        B, C, H, W = x.shape
        N = -(-H // self.ratio) * -(-W // self.ratio)
        return {"attention_matmul": 2 * B * C * H * W * N}


class DMixer(nn.Layer):
    """Dual dynamic token mixer: IDConv and OSRA side by side, joined by STE: (B, C, H, W), kept."""

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        num_groups: int,
        num_heads: int,
        ratio: int,
        attention_dropout: float,
    ):
        super().__init__()
        half, squeezed = channels // 2, max(16, channels // 8)
        self.local_unit = IDConv(half, kernel_size, num_groups)
        self.global_unit = OSRA(half, num_heads, ratio, attention_dropout)
        # Squeezed token enhancer: names are positions in the authors' sequence.
        self.proj = nn.Sequential(
            DepthwiseConv2D(channels, 3),
            GELU(),
            nn.BatchNorm2D(channels),
            PointwiseConv2D(channels, squeezed),
            GELU(),
            nn.BatchNorm2D(squeezed),
            PointwiseConv2D(squeezed, channels),
            nn.BatchNorm2D(channels),
        )

    def forward(self, x: paddle.Tensor, table: paddle.Tensor) -> paddle.Tensor:
        half = x.shape[1] // 2
        local, coarse = paddle.split(x, [half, half], axis=1)
        x = paddle.concat([self.local_unit(local), self.global_unit(coarse, table)], axis=1)
        return x + self.proj(x)


class MultiScaleConv(nn.Layer):
    """Depth-wise convolutions of sides 1, 3, 5, 7, a quarter of the channels each.

    Shape: (B, C, H, W), kept.
    """

    def __init__(self, channels: int):
        super().__init__()
        quarter = channels // 4
        self.sections = [channels - 3 * quarter, quarter, quarter, quarter]
        self.proj = nn.LayerList(
            [DepthwiseConv2D(width, side) for width, side in zip(self.sections, (1, 3, 5, 7))]
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        parts = paddle.split(x, self.sections, axis=1)
        return paddle.concat([conv(part) for conv, part in zip(self.proj, parts)], axis=1)


class MultiScaleFFN(nn.Layer):
    """Multi-scale feed-forward network: (B, C, H, W), kept."""

    def __init__(self, channels: int, hidden_channels: int, dropout: float):
        super().__init__()
        self.fc1 = nn.Sequential(
            PointwiseConv2D(channels, hidden_channels, bias=False),
            GELU(),
            nn.BatchNorm2D(hidden_channels),
        )
        self.dwconv = MultiScaleConv(hidden_channels)
        self.norm = nn.BatchNorm2D(hidden_channels)
        self.fc2 = nn.Sequential(
            PointwiseConv2D(hidden_channels, channels, bias=False), nn.BatchNorm2D(channels)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.fc1(x)
        x = self.norm(gelu(x + self.dwconv(x)))
        return self.dropout(self.fc2(self.dropout(x)))


class Block(nn.Layer):
    """Position encoding by convolution, D-Mixer and MS-FFN, the latter two with layer scale.

    Shape: (B, C, H, W), kept.
    """

    def __init__(
        self,
        channels: int,
        mixer: DMixer,
        kernel_size: int,
        mlp_ratio: float,
        layer_scale: float,
        dropout: float,
        rate: float,
    ):
        super().__init__()
        self.pos_embed = DepthwiseConv2D(channels, kernel_size)
        self.norm1 = nn.GroupNorm(1, channels)
        self.token_mixer = mixer
        self.norm2 = nn.GroupNorm(1, channels)
        self.mlp = MultiScaleFFN(channels, int(channels * mlp_ratio), dropout)
        self.layer_scale_1 = LayerScale(channels, layer_scale)
        self.layer_scale_2 = LayerScale(channels, layer_scale)
        self.drop_path = DropPath(rate)

    def forward(self, x: paddle.Tensor, table: paddle.Tensor) -> paddle.Tensor:
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.layer_scale_1(self.token_mixer(self.norm1(x), table)))
        return x + self.drop_path(self.layer_scale_2(self.mlp(self.norm2(x))))
