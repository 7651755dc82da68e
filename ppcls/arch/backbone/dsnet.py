"""DSNet: a dual-stream network, Mao et al., arXiv 2105.14734v4.

Every block splits its channels in two streams. The local one keeps full resolution and runs a 3x3
depth-wise convolution; the global one is resized to a coarse grid and runs self-attention. A
co-attention in both directions then aligns the two scales before they are joined again.

Tensor names and arithmetic are those of PaddleClas 2.6 (`alpha=0.5`, `alignment=True`,
`downsamples=(8, 4, 2, 2)`), so its published weights load unchanged. What differs is training:
stochastic depth grows over the whole depth, weights start truncated-normal, and every dropout rate
is an argument (PaddleClas restarts stochastic depth at each stage and fixes attention dropout at
0.1).
"""

from functools import partial
from typing import Optional

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.arch.backbone.dsnet_fused import FusedDSNet, fused_block
from ppcls.arch.base import Model, linear_head
from ppcls.arch.layers import (
    ChannelLinear,
    DropPath,
    PointwiseConv2D,
    gelu,
    init_trunc_normal,
    matmul,
    recompute,
    resize_bilinear,
    stochastic_depth_rates,
)
from ppcls.arch.layers.depthwise import DepthwiseConv2D
from ppcls.config.types import NonNegativeInt, PositiveFloat, PositiveInt, Probability
from ppcls.errors import ConfigError
from ppcls.registry import ARCHS

PerStage = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class PatchEmbed(nn.Layer):
    """Non-overlapping patches: (B, in_channels, H, W) -> (B, channels, H / patch, W / patch)."""

    def __init__(self, in_channels: int, channels: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2D(in_channels, channels, kernel_size=patch, stride=patch)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.proj(x)


class Mlp(nn.Layer):
    """Two 1x1 convolutions with a GELU between: (B, C, H, W), kept."""

    def __init__(self, channels: int, hidden_channels: int, dropout: float):
        super().__init__()
        self.fc1 = PointwiseConv2D(channels, hidden_channels)
        self.fc2 = PointwiseConv2D(hidden_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.dropout(gelu(self.fc1(x)))
        return self.dropout(self.fc2(x))


class DualStreamBlock(nn.Layer):
    """One dual-stream block and its MLP: (B, C, H, W), kept.

    Args:
        channels: C.
        num_heads: attention heads; C is a multiple of it.
        downsample: the global stream works on a grid of (H // downsample, W // downsample) tokens,
            at least one each way.
        alpha: share of the channels in the global stream. With 0 only the depth-wise path exists,
            with 1 only attention; then there is nothing to align.
        alignment: whether the two streams exchange information by co-attention.
        mlp_ratio: hidden channels of the MLP over C.
        qkv_bias: whether the projections to queries, keys and values have a bias.
        qk_scale: factor of the attention logits; (channels per head)^-0.5 when None.
        dropout: rate after attention and inside the MLP.
        attention_dropout: rate on the attention weights.
        drop_path: stochastic depth rate of both residual branches.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        downsample: int,
        alpha: float = 0.5,
        alignment: bool = True,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: Optional[float] = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.downsample = downsample
        self.qk_scale = qk_scale
        self.global_channels, self.local_channels = split_channels(channels, num_heads, alpha)
        self.alignment = alignment and self.global_channels > 0 and self.local_channels > 0
        bias = None if qkv_bias else False

        self.pos_embed = DepthwiseConv2D(channels, 3)
        self.norm1 = nn.BatchNorm2D(channels)
        self.conv1 = PointwiseConv2D(channels, channels)
        if self.local_channels:
            C_l = self.local_channels
            self.norm_conv1 = nn.BatchNorm2D(C_l)
            self.conv = DepthwiseConv2D(C_l, 3)
        if self.global_channels:
            C_g = self.global_channels
            self.norm_sa1 = nn.LayerNorm(C_g)
            self.channel_up = nn.Linear(C_g, 3 * C_g, bias_attr=bias)
        if self.alignment:
            # Queries of one stream meet keys of the other, so both use the narrower one's width.
            C_a = min(C_l, C_g)
            self.aligned_channels = C_a
            self.norm_conv2 = nn.BatchNorm2D(C_l)
            self.norm_sa2 = nn.LayerNorm(C_g)
            self.cross_channel_up_conv = PointwiseConv2D(C_l, 3 * C_a, bias=qkv_bias)
            self.cross_channel_up_sa = nn.Linear(C_g, 3 * C_a, bias_attr=bias)
            self.fuse_channel_conv = ChannelLinear(C_a, C_l)
            self.fuse_channel_sa = nn.Linear(C_a, C_g)
        self.conv2 = PointwiseConv2D(channels, channels)
        self.norm2 = nn.BatchNorm2D(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), dropout)
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = nn.Dropout(attention_dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.mix(self.conv1(self.norm1(x)))))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def mix(self, x: paddle.Tensor) -> paddle.Tensor:
        """Both streams and their alignment: (B, C_g + C_l, H, W) -> (B, C_l + C_g, H, W)."""
        C_g, C_l = self.global_channels, self.local_channels
        if C_g == 0:
            return self._local_stream(x)
        coarse = x
        if C_l > 0:
            coarse, local = paddle.split(x, [C_g, C_l], axis=1)
            local = self._local_stream(local)
        H, W = x.shape[2:]
        grid = self.grid_of(H, W)
        tokens = paddle.transpose(paddle.flatten(resize_bilinear(coarse, grid), 2), [0, 2, 1])
        tokens = self._global_stream(tokens)  # B, N, C_g
        if self.alignment:
            local, tokens = self._align(local, tokens)
        coarse = paddle.reshape(paddle.transpose(tokens, [0, 2, 1]), [0, C_g, *grid])
        coarse = resize_bilinear(coarse, (H, W))
        return paddle.concat([local, coarse], axis=1) if C_l > 0 else coarse

    def functional_macs(self, x: paddle.Tensor) -> "dict[str, int]":
        """MACs of the attention products, which no sub-layer computes, for a batch x."""
        B, _, H, W = x.shape
        h, w = self.grid_of(H, W)
        macs = 2 * (h * w) ** 2 * self.global_channels
        if self.alignment:
            macs += 4 * (h * w) * (H * W) * self.aligned_channels
        return {"attention_matmul": B * macs}

    def grid_of(self, height: int, width: int) -> "tuple[int, int]":
        """Height and width of the global stream."""
        return max(1, height // self.downsample), max(1, width // self.downsample)

    def _local_stream(self, local: paddle.Tensor) -> paddle.Tensor:
        """Intra-scale propagation at full resolution: (B, C_l, H, W), kept."""
        return local + self.conv(self.norm_conv1(local))

    def _global_stream(self, tokens: paddle.Tensor) -> paddle.Tensor:
        """Intra-scale propagation on the coarse grid: (B, N, C_g), kept."""
        q, k, v = self._split_tokens(self.channel_up(self.norm_sa1(tokens)))  # B, heads, N, d
        weights = self._attention_weights(matmul(self._scaled(q), k, transpose_y=True))
        return tokens + self.dropout(self._join_tokens(matmul(weights, v)))

    def _align(
        self, local: paddle.Tensor, tokens: paddle.Tensor
    ) -> "tuple[paddle.Tensor, paddle.Tensor]":
        """Inter-scale alignment: local (B, C_l, H, W) and global (B, N, C_g), kept.

        Queries, keys and values of the local stream stay channels first, (B, heads, d, H * W):
        every product below takes them as they lie.
        """
        H, W = local.shape[2:]
        head_width = self.aligned_channels // self.num_heads
        qkv = self.cross_channel_up_conv(self.norm_conv2(local))
        qkv = paddle.reshape(qkv, [0, 3, self.num_heads, head_width, H * W])
        q_l, k_l, v_l = paddle.unbind(qkv, axis=1)
        q_g, k_g, v_g = self._split_tokens(self.cross_channel_up_sa(self.norm_sa2(tokens)))

        scores = matmul(q_l, self._scaled(k_g), transpose_x=True, transpose_y=True)
        weights = self._attention_weights(scores)  # B, heads, H * W, N
        h_l = matmul(v_g, weights, transpose_x=True, transpose_y=True)  # B, heads, d, H * W
        h_l = self.dropout(paddle.flatten(h_l, 1, 2))  # B, C_a, H * W
        h_l = paddle.reshape(self.fuse_channel_conv(h_l), [0, self.local_channels, H, W])

        weights = self._attention_weights(matmul(self._scaled(q_g), k_l))  # B, heads, N, H * W
        h_g = self.dropout(self._join_tokens(matmul(weights, v_l, transpose_y=True)))
        return local + h_l, tokens + self.fuse_channel_sa(h_g)

    def _split_tokens(self, qkv: paddle.Tensor) -> "tuple[paddle.Tensor, ...]":
        """(B, N, 3 * heads * d) -> queries, keys and values (B, heads, N, d) each."""
        N, C = qkv.shape[1:]
        qkv = paddle.reshape(qkv, [0, N, 3, self.num_heads, C // (3 * self.num_heads)])
        return tuple(paddle.unbind(paddle.transpose(qkv, [2, 0, 3, 1, 4]), axis=0))

    def _join_tokens(self, x: paddle.Tensor) -> paddle.Tensor:
        """(B, heads, N, d) -> (B, N, heads * d)."""
        return paddle.flatten(paddle.transpose(x, [0, 2, 1, 3]), 2, 3)

    def _scaled(self, x: paddle.Tensor) -> paddle.Tensor:
        return x * (self.qk_scale or x.shape[-1] ** -0.5)

    def _attention_weights(self, scores: paddle.Tensor) -> paddle.Tensor:
        return self.attention_dropout(F.softmax(scores, axis=-1))


def split_channels(channels: int, num_heads: int, alpha: float) -> "tuple[int, int]":
    """Channels of the global and of the local stream, each a multiple of `num_heads`.

    Raises:
        ConfigError: the channels are no multiple of the heads, or a stream that `alpha` asks for
            would have no channel.
    """
    if channels % num_heads:
        raise ConfigError(f"{channels} channels cannot be divided among {num_heads} heads")
    width = channels // num_heads
    global_width = int(width * alpha + 0.5)
    if 0 < alpha < 1 and global_width in (0, width):
        raise ConfigError(
            f"alpha {alpha} leaves one stream without channels: with {channels} channels and "
            f"{num_heads} heads it must lie between {1 / width:.3g} and {1 - 1 / width:.3g}"
        )
    return global_width * num_heads, (width - global_width) * num_heads


@ARCHS.register()
class DSNet(Model):
    """Dual-stream network of any size; `DSNet_tiny`, `DSNet_small`, `DSNet_base` are the paper's.

    Args:
        class_num: number of classes; 0 for a model without a head.
        in_chans: channels of the input images.
        embed_dim: channels of the four stages.
        depth: blocks of the four stages.
        num_heads: attention heads of the four stages.
        downsamples: the global stream of stage i works on a grid coarser by this factor (at least
            one token each way). The paper's text says 8, 4, 2, 1; the released weights have 2 last.
        alpha: share of channels given to the global stream; 0 leaves the convolution only, 1 the
            attention only, 0.5 is the published layout.
        alignment: inter-scale alignment of the two streams (the paper's DS-Net*).
        mlp_ratio: hidden channels of the MLPs over the stage's channels.
        qkv_bias: whether projections to queries, keys and values have a bias.
        qk_scale: factor of the attention logits; (channels per head)^-0.5 when None.
        drop_rate: dropout after the first embedding, after attention and inside the MLPs.
        attn_drop_rate: dropout on attention weights.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        use_recompute: in eager training, keep only the input of each block and compute it again in
            the backward pass.

    Raises:
        ConfigError: the four stages do not fit together.
    """

    def __init__(
        self,
        class_num: NonNegativeInt = 1000,
        in_chans: PositiveInt = 3,
        embed_dim: PerStage = (64, 128, 320, 512),
        depth: PerStage = (2, 2, 4, 1),
        num_heads: PerStage = (1, 2, 5, 8),
        downsamples: PerStage = (8, 4, 2, 2),
        alpha: Probability = 0.5,
        alignment: bool = True,
        mlp_ratio: PositiveFloat = 4.0,
        qkv_bias: bool = True,
        qk_scale: Optional[PositiveFloat] = None,
        drop_rate: Probability = 0.0,
        attn_drop_rate: Probability = 0.0,
        drop_path_rate: Probability = 0.1,
        use_recompute: bool = False,
    ):
        super().__init__()
        for name, values in [
            ("embed_dim", embed_dim),
            ("depth", depth),
            ("num_heads", num_heads),
            ("downsamples", downsamples),
        ]:
            if len(values) != 4:
                raise ConfigError(f"{name} needs a value for each of four stages, got {values}")
        self.class_num = class_num
        self.use_recompute = use_recompute
        self.feature_info = [
            {"channels": channels, "reduction": 4 * 2**stage, "name": f"blocks{stage + 1}"}
            for stage, channels in enumerate(embed_dim)
        ]
        self.pos_drop = nn.Dropout(drop_rate)
        rates = stochastic_depth_rates(drop_path_rate, list(depth))
        in_channels = in_chans
        for stage, channels in enumerate(embed_dim):
            patch_embed = PatchEmbed(in_channels, channels, patch=4 if stage == 0 else 2)
            blocks = nn.LayerList(
                [
                    DualStreamBlock(
                        channels,
                        num_heads[stage],
                        downsamples[stage],
                        alpha=alpha,
                        alignment=alignment,
                        mlp_ratio=mlp_ratio,
                        qkv_bias=qkv_bias,
                        qk_scale=qk_scale,
                        dropout=drop_rate,
                        attention_dropout=attn_drop_rate,
                        drop_path=rate,
                    )
                    for rate in rates[stage]
                ]
            )
            setattr(self, f"patch_embed{stage + 1}", patch_embed)
            setattr(self, f"blocks{stage + 1}", blocks)
            in_channels = channels
        self.norm = nn.BatchNorm2D(embed_dim[-1])
        init_trunc_normal(self)
        self.head = linear_head(embed_dim[-1], class_num)

    def forward_levels(self, x: paddle.Tensor) -> "list[paddle.Tensor]":
        self.check_input_size(x)
        levels = []
        x = self._run(self.blocks1, self.pos_drop(self.patch_embed1(x)))
        levels.append(x)
        x = self._run(self.blocks2, self.patch_embed2(x))
        levels.append(x)
        x = self._run(self.blocks3, self.patch_embed3(x))
        levels.append(x)
        levels.append(self._run(self.blocks4, self.patch_embed4(x)))
        return levels

    def fused(self) -> nn.Layer:
        """The model for inference; takes this one apart (see `ppcls.arch.fusion`)."""
        for stage in range(4):
            blocks = getattr(self, f"blocks{stage + 1}")
            setattr(self, f"blocks{stage + 1}", nn.LayerList([fused_block(b) for b in blocks]))
        return FusedDSNet(self) if self.class_num else self

    def _run(self, blocks: nn.LayerList, x: paddle.Tensor) -> paddle.Tensor:
        recomputes = self.use_recompute and self.training and paddle.in_dynamic_mode()
        for block in blocks:
            x = recompute(block, x) if recomputes else block(x)
        return x


ARCHS.add("DSNet_tiny", partial(DSNet, depth=(2, 2, 4, 1)))
ARCHS.add("DSNet_small", partial(DSNet, depth=(3, 4, 8, 3)))
ARCHS.add("DSNet_base", partial(DSNet, depth=(3, 4, 28, 3)))
