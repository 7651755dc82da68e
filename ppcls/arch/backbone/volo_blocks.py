"""The layers of VOLO (arXiv 2106.13112): stem, mixers of positions and blocks of both stages.

Names and arithmetic are those of the authors' code, see `volo.py`, which joins the layers to the
model. Outlook attention is `ppcls.arch.layers.outlook_attention`.
"""

from typing import Optional

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.arch.layers import DropPath, gelu, matmul
from ppcls.arch.layers.depthwise import DepthwiseConv2D
from ppcls.errors import ConfigError

#: Strides of the two stages, in pixels.
PATCH, POOLING = 8, 2


class PatchEmbed(nn.Layer):
    """The stem: images (B, in_channels, H, W) -> (B, channels, H / 8, W / 8)."""

    def __init__(self, in_channels: int, hidden_channels: int, channels: int):
        super().__init__()
        layers = []
        for kernel, stride in [(7, 2), (3, 1), (3, 1)]:
            conv = nn.Conv2D(
                in_channels, hidden_channels, kernel, stride, kernel // 2, bias_attr=False
            )
            layers += [conv, nn.BatchNorm2D(hidden_channels), nn.ReLU()]
            in_channels = hidden_channels
        self.conv = nn.Sequential(*layers)
        patch = PATCH // 2
        self.proj = nn.Conv2D(hidden_channels, channels, kernel_size=patch, stride=patch)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.proj(self.conv(x))


class Downsample(nn.Layer):
    """From stage one to stage two: (B, H, W, C) -> (B, H // 2, W // 2, C')."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.proj = nn.Conv2D(in_channels, out_channels, kernel_size=POOLING, stride=POOLING)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return channels_last(self.proj(channels_first(x)))


class Mlp(nn.Layer):
    """Two linear layers with a GELU between: (..., C), kept."""

    def __init__(self, channels: int, hidden_channels: int, dropout: float):
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.dropout(self.fc2(self.dropout(gelu(self.fc1(x)))))


class Attention(nn.Layer):
    """Multi-head self-attention over all positions of a map: (B, H, W, C), kept."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        qkv_bias: bool = False,
        qk_scale: Optional[float] = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.scale = qk_scale or head_width(channels, num_heads) ** -0.5
        self.qkv = nn.Linear(channels, 3 * channels, bias_attr=None if qkv_bias else False)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = nn.Dropout(attention_dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        H, W, C = x.shape[1:]
        qkv = paddle.reshape(self.qkv(x), [-1, H * W, 3, self.num_heads, C // self.num_heads])
        q, k, v = paddle.unbind(paddle.transpose(qkv, [2, 0, 3, 1, 4]), axis=0)  # B, heads, N, d
        weights = F.softmax(matmul(q * self.scale, k, transpose_y=True), axis=-1)
        y = paddle.transpose(matmul(self.attention_dropout(weights), v), [0, 2, 1, 3])
        return self.dropout(self.proj(paddle.reshape(y, [-1, H, W, C])))

    def functional_macs(self, x: paddle.Tensor) -> "dict[str, int]":
        """MACs of the two products of attention, for a batch x."""
        B, H, W, C = x.shape
        return {"attention_matmul": 2 * B * (H * W) ** 2 * C}


class DepthwiseMixer(nn.Layer):
    """What outlook attention becomes with the same weights everywhere: (B, H, W, C), kept.

    A 3x3 depth-wise convolution between the projections `v` and `proj`; for comparisons.
    """

    def __init__(self, channels: int, qkv_bias: bool = False, dropout: float = 0.0):
        super().__init__()
        self.v = nn.Linear(channels, channels, bias_attr=None if qkv_bias else False)
        self.conv = DepthwiseConv2D(channels, 3)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = channels_last(self.conv(channels_first(self.v(x))))
        return self.dropout(self.proj(y))


class Block(nn.Layer):
    """x + mixer(norm1(x)), then x + mlp(norm2(x)): (B, H, W, C), kept.

    Args:
        channels: C.
        mixer: mixes positions; it is called `attn`, as the published tensors are.
        mlp_ratio: hidden channels of the MLP over C.
        dropout: rate inside the MLP.
        drop_path: stochastic depth rate of both residual branches.
    """

    def __init__(
        self,
        channels: int,
        mixer: nn.Layer,
        mlp_ratio: float,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = mixer
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ClassAttention(nn.Layer):
    """The class token attends to all tokens: (B, 1 + N, C) -> (B, 1, C)."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        qkv_bias: bool = False,
        qk_scale: Optional[float] = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ):
        super().__init__()
        bias = None if qkv_bias else False
        self.num_heads = num_heads
        self.scale = qk_scale or head_width(channels, num_heads) ** -0.5
        self.kv = nn.Linear(channels, 2 * channels, bias_attr=bias)
        self.q = nn.Linear(channels, channels, bias_attr=bias)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = nn.Dropout(attention_dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        N, C = x.shape[1:]
        heads, d = self.num_heads, C // self.num_heads
        kv = paddle.transpose(paddle.reshape(self.kv(x), [-1, N, 2, heads, d]), [2, 0, 3, 1, 4])
        k, v = paddle.unbind(kv, axis=0)  # B, heads, 1 + N, d
        q = paddle.reshape(self.q(x[:, :1]), [-1, heads, 1, d]) * self.scale
        weights = F.softmax(matmul(q, k, transpose_y=True), axis=-1)  # B, heads, 1, 1 + N
        y = paddle.reshape(matmul(self.attention_dropout(weights), v), [-1, 1, C])
        return self.dropout(self.proj(y))

    def functional_macs(self, x: paddle.Tensor) -> "dict[str, int]":
        """MACs of the two products of attention, for a batch x."""
        return {"attention_matmul": 2 * int(x.size)}


class ClassBlock(nn.Layer):
    """Class attention and an MLP, which change the class token alone: (B, 1 + N, C), kept."""

    def __init__(self, channels: int, attention: ClassAttention, mlp_ratio: float, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = attention
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        token = x[:, :1] + self.attn(self.norm1(x))
        token = token + self.mlp(self.norm2(token))
        return paddle.concat([token, x[:, 1:]], axis=1)


def channels_first(x: paddle.Tensor) -> paddle.Tensor:
    """(B, H, W, C) -> (B, C, H, W)."""
    return paddle.transpose(x, [0, 3, 1, 2])


def channels_last(x: paddle.Tensor) -> paddle.Tensor:
    """(B, C, H, W) -> (B, H, W, C)."""
    return paddle.transpose(x, [0, 2, 3, 1])


def head_width(channels: int, num_heads: int) -> int:
    """Channels of one attention head."""
    if channels % num_heads:
        raise ConfigError(f"{channels} channels cannot be divided among {num_heads} heads")
    return channels // num_heads
