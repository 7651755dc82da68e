"""DWNet: depth-wise convolution in the place of local attention, Han et al., arXiv 2106.04263.

"Demystifying Local Vision Transformer" replaces the window attention of Swin Transformer by a 7x7
depth-wise convolution, whose kernels are fixed parameters (static), computed for each image
(homogeneous dynamic), or computed for each position (inhomogeneous dynamic, as in Involution).

Tensor names and arithmetic are those of the authors' code. Their training script builds the static
convolution for the homogeneous dynamic model by a slip; here, as in the published weights, it is
dynamic.
"""

from functools import partial
from typing import Literal, Optional

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.arch.base import Model, linear_head
from ppcls.arch.layers import (
    ChannelLinear,
    DropPath,
    PointwiseConv2D,
    dynamic_depthwise_conv2d,
    dynamic_depthwise_conv2d_macs,
    gelu,
    init_trunc_normal,
    local_aggregation,
    local_aggregation_macs,
    recompute,
    sigmoid,
    stochastic_depth_rates,
)
from ppcls.arch.layers.depthwise import DepthwiseConv2D
from ppcls.config.types import NonNegativeInt, PositiveFloat, PositiveInt, Probability
from ppcls.errors import ConfigError
from ppcls.registry import ARCHS

#: Width of the hidden layer that computes kernels, as a fraction of the channels.
_REDUCTION = 4


class ChannelLayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` over the channels of a map (B, C, H, W); same parameters and names."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.transpose(super().forward(paddle.transpose(x, [0, 2, 3, 1])), [0, 3, 1, 2])


class PatchEmbed(nn.Layer):
    """4x4 patches and a norm: (B, in_channels, H, W) -> (B, channels, H / 4, W / 4)."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.proj = nn.Conv2D(in_channels, channels, kernel_size=4, stride=4)
        self.norm = ChannelLayerNorm(channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.norm(self.proj(x))


class PatchMerging(nn.Layer):
    """2x2 neighbours become channels: (B, C, H, W) -> (B, 2 C, H / 2, W / 2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias_attr=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        C, H, W = x.shape[1:]
        x = paddle.reshape(x, [-1, C, H // 2, 2, W // 2, 2])
        # Swin's order of the four: rows change faster than columns, channels fastest.
        x = paddle.transpose(x, [0, 2, 4, 5, 3, 1])
        x = self.reduction(self.norm(paddle.reshape(x, [-1, H // 2, W // 2, 4 * C])))
        return paddle.transpose(x, [0, 3, 1, 2])


class Mlp(nn.Layer):
    """Linear, GELU, linear at every position: (B, C, H, W), kept."""

    def __init__(self, channels: int, hidden_channels: int, dropout: float):
        super().__init__()
        self.fc1 = ChannelLinear(channels, hidden_channels)
        self.fc2 = ChannelLinear(hidden_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        C, H, W = x.shape[1:]
        y = self.dropout(gelu(self.fc1(paddle.reshape(x, [-1, C, H * W]))))
        return paddle.reshape(self.dropout(self.fc2(y)), [-1, C, H, W])


class SharedDepthwiseConv2D(nn.Layer):
    """Depth-wise convolution with one kernel for every `share_channels` channels.

    The paper's study of sharing weights across channels. Shape: (B, C, H, W), kept.
    """

    def __init__(self, channels: int, kernel_size: int, share_channels: int):
        super().__init__()
        self.channels = channels
        self.kernel_size = kernel_size
        self.share_channels = share_channels
        shape = [channels // share_channels, 1, kernel_size, kernel_size]
        self.weight = self.create_parameter(shape)
        self.bias = self.create_parameter([channels], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        weight = paddle.tile(self.weight, [1, self.share_channels, 1, 1])
        weight = paddle.reshape(weight, [self.channels, 1, self.kernel_size, self.kernel_size])
        padding = self.kernel_size // 2
        return F.conv2d(x, weight, self.bias, padding=padding, groups=self.channels)


class DynamicDepthwiseConv2D(nn.Layer):
    """Depth-wise convolution with kernels computed from the image's mean: (B, C, H, W), kept.

    kernels = conv2(relu(bn(conv1(mean over positions)))); see `dynamic_depthwise_conv2d`.
    """

    def __init__(self, channels: int, kernel_size: int, share_channels: int = 1):
        super().__init__()
        self.kernels = channels // share_channels
        self.kernel_size = kernel_size
        self.share_channels = share_channels
        hidden = channels // _REDUCTION
        self.conv1 = PointwiseConv2D(channels, hidden, bias=False)
        self.bn = nn.BatchNorm2D(hidden)
        self.conv2 = PointwiseConv2D(hidden, self.kernels * kernel_size**2)
        self.bias = self.create_parameter([channels], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return dynamic_depthwise_conv2d(x, self.generated_kernels(x), self.bias)

    def generated_kernels(self, x: paddle.Tensor) -> paddle.Tensor:
        """(B, C, H, W) -> (B, C, K, K)."""
        C, K = x.shape[1], self.kernel_size
        pooled = paddle.mean(x, axis=[2, 3], keepdim=True)
        kernels = self.conv2(F.relu(self.bn(self.conv1(pooled))))
        kernels = paddle.reshape(kernels, [-1, self.kernels, 1, K * K])
        if self.share_channels > 1:
            kernels = paddle.tile(kernels, [1, 1, self.share_channels, 1])
        return paddle.reshape(kernels, [-1, C, K, K])

    def functional_macs(self, x: paddle.Tensor) -> "dict[str, int]":
        """MACs of the convolution with computed kernels, for a batch x."""
        return {"functional_dynamic_conv": dynamic_depthwise_conv2d_macs(x, self.kernel_size)}


class InhomogeneousConv2D(nn.Layer):
    """Convolution with kernels computed at every position (Involution, arXiv 2103.06255).

    Groups of `group_channels` channels share their kernels; see `local_aggregation`.
    Shape: (B, C, H, W), kept.
    """

    def __init__(self, channels: int, kernel_size: int, group_channels: int):
        super().__init__()
        self.groups = channels // group_channels
        self.kernel_size = kernel_size
        hidden = channels // _REDUCTION
        self.conv1 = nn.Sequential(PointwiseConv2D(channels, hidden), nn.BatchNorm2D(hidden))
        self.conv2 = nn.Sequential(PointwiseConv2D(hidden, self.groups * kernel_size**2))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return local_aggregation(x, self.generated_kernels(x))

    def generated_kernels(self, x: paddle.Tensor) -> paddle.Tensor:
        """(B, C, H, W) -> (B, groups, K * K, H, W)."""
        H, W = x.shape[2:]
        weights = self.conv2(F.relu(self.conv1(x)))
        return paddle.reshape(weights, [-1, self.groups, self.kernel_size**2, H, W])

    def functional_macs(self, x: paddle.Tensor) -> "dict[str, int]":
        """MACs of the sums with computed weights, for a batch x."""
        B, C, H, W = x.shape
        weights = [B, self.groups, self.kernel_size**2, H, W]
        return {"gathered_aggregation": local_aggregation_macs(weights, C)}


class SqueezeExcitation(nn.Layer):
    """Channels scaled by a gate computed from their means, Hu et al., arXiv 1709.01507.

    Shape: (B, C, H, W), kept.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = PointwiseConv2D(channels, channels // _REDUCTION)
        self.conv2 = PointwiseConv2D(channels // _REDUCTION, channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        gate = F.relu(self.conv1(paddle.mean(x, axis=[2, 3], keepdim=True)))
        return x * sigmoid(self.conv2(gate))


class LocalMixer(nn.Layer):
    """What stands for window attention: 1x1, K x K depth-wise and 1x1 convolution, each with its
    batch norm, ReLU between them: (B, C, H, W), kept."""

    def __init__(self, channels: int, conv: nn.Layer, se: bool):
        super().__init__()
        self.conv0 = PointwiseConv2D(channels, channels, bias=False)
        self.bn0 = nn.BatchNorm2D(channels)
        self.conv = conv
        self.bn = nn.BatchNorm2D(channels)
        self.se = SqueezeExcitation(channels) if se else nn.Identity()
        self.conv2 = PointwiseConv2D(channels, channels, bias=False)
        self.bn2 = nn.BatchNorm2D(channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = F.relu(self.bn0(self.conv0(x)))
        x = self.se(F.relu(self.bn(self.conv(x))))
        return self.bn2(self.conv2(x))


class Block(nn.Layer):
    """x + mixer(x), then x + mlp(bn(x)); no norm before the mixer: (B, C, H, W), kept."""

    def __init__(
        self, channels: int, conv: nn.Layer, se: bool, mlp_ratio: float, dropout: float, rate: float
    ):
        super().__init__()
        self.attn2conv = LocalMixer(channels, conv, se)
        self.bn = nn.BatchNorm2D(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), dropout)
        self.drop_path = DropPath(rate)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x + self.drop_path(self.attn2conv(x))
        return x + self.drop_path(self.mlp(self.bn(x)))


class Stage(nn.Layer):
    """Blocks at one resolution and, except after the last stage, the merging of patches."""

    def __init__(self, blocks: "list[Block]", channels: int, merge: bool):
        super().__init__()
        self.blocks = nn.LayerList(blocks)
        self.downsample = PatchMerging(channels) if merge else nn.Identity()

    def forward(self, x: paddle.Tensor, recomputes: bool) -> paddle.Tensor:
        """The map before merging; `downsample` is called by the model."""
        for block in self.blocks:
            x = recompute(block, x) if recomputes else block(x)
        return x


@ARCHS.register()
class DWNet(Model):
    """Depth-wise-convolution network of any size; the paper's are registered by name.

    Args:
        class_num: number of classes; 0 for a model without a head.
        in_chans: channels of the input images.
        embed_dim: channels of the first stage; every further stage has twice as many.
        depths: blocks of the stages.
        conv: "static" kernels are parameters, "dynamic" ones computed for each image,
            "inhomogeneous" ones for each position.
        kernel_size: of the depth-wise convolution, odd.
        group_channels: channels that share the kernels of a position, for each stage; for
            "inhomogeneous" only. By default embed_dim / 32 in the first stage, doubling.
        share_channels: channels that share one kernel; not for "inhomogeneous".
        se: squeeze-and-excitation after the depth-wise convolution.
        mlp_ratio: hidden channels of the MLPs over the stage's channels.
        drop_rate: dropout after the embedding and inside the MLPs.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        use_recompute: in eager training, keep only the input of each block and compute it again in
            the backward pass.

    Raises:
        ConfigError: arguments that do not fit together.
    """

    def __init__(
        self,
        class_num: NonNegativeInt = 1000,
        in_chans: PositiveInt = 3,
        embed_dim: PositiveInt = 96,
        depths: list[PositiveInt] = (2, 2, 6, 2),
        conv: Literal["static", "dynamic", "inhomogeneous"] = "static",
        kernel_size: PositiveInt = 7,
        group_channels: Optional[list[PositiveInt]] = None,
        share_channels: PositiveInt = 1,
        se: bool = False,
        mlp_ratio: PositiveFloat = 4.0,
        drop_rate: Probability = 0.0,
        drop_path_rate: Probability = 0.2,
        use_recompute: bool = False,
    ):
        super().__init__()
        depths, stages = list(depths), len(depths)
        if conv == "inhomogeneous" and group_channels is None:
            group_channels = [max(1, embed_dim * 2**stage // 32) for stage in range(stages)]
        _check(embed_dim, stages, conv, kernel_size, group_channels, share_channels)
        self.class_num = class_num
        self.use_recompute = use_recompute
        self.size_divisor = 4 * 2 ** (stages - 1)
        self.feature_info = [
            {"channels": embed_dim * 2**stage, "reduction": 4 * 2**stage, "name": f"layers.{stage}"}
            for stage in range(stages)
        ]
        self.patch_embed = PatchEmbed(in_chans, embed_dim)
        self.pos_drop = nn.Dropout(drop_rate)

        def mixing_conv(stage: int, channels: int) -> nn.Layer:
            if conv == "inhomogeneous":
                return InhomogeneousConv2D(channels, kernel_size, group_channels[stage])
            if conv == "dynamic":
                return DynamicDepthwiseConv2D(channels, kernel_size, share_channels)
            if share_channels > 1:
                return SharedDepthwiseConv2D(channels, kernel_size, share_channels)
            return DepthwiseConv2D(channels, kernel_size)

        self.layers = nn.LayerList()
        for stage, rates in enumerate(stochastic_depth_rates(drop_path_rate, depths)):
            channels = embed_dim * 2**stage
            blocks = [
                Block(channels, mixing_conv(stage, channels), se, mlp_ratio, drop_rate, rate)
                for rate in rates
            ]
            self.layers.append(Stage(blocks, channels, merge=stage < stages - 1))
        self.norm = ChannelLayerNorm(embed_dim * 2 ** (stages - 1))
        init_trunc_normal(self)
        self.head = linear_head(embed_dim * 2 ** (stages - 1), class_num)

    def forward_levels(self, x: paddle.Tensor) -> "list[paddle.Tensor]":
        self.check_input_size(x)
        recomputes = self.use_recompute and self.training and paddle.in_dynamic_mode()
        x = self.pos_drop(self.patch_embed(x))
        levels = []
        for stage in self.layers:
            levels.append(stage(x, recomputes))
            x = stage.downsample(levels[-1])
        return levels


def _check(
    embed_dim: int,
    stages: int,
    conv: str,
    kernel_size: int,
    group_channels: "Optional[list[int]]",
    share_channels: int,
) -> None:
    if kernel_size % 2 == 0:
        raise ConfigError(f"kernel_size must be odd, received {kernel_size}")
    if embed_dim % share_channels:
        raise ConfigError(f"share_channels {share_channels} does not divide embed_dim {embed_dim}")
    if conv != "inhomogeneous":
        if group_channels is not None:
            raise ConfigError(f'group_channels needs conv "inhomogeneous", received "{conv}"')
        return
    if share_channels > 1:
        raise ConfigError('with conv "inhomogeneous" channels are shared by group_channels')
    if len(group_channels) != stages:
        raise ConfigError(
            f"group_channels needs a value for each of {stages} stages, got {group_channels}"
        )
    for stage, group in enumerate(group_channels):
        if embed_dim * 2**stage % group:
            raise ConfigError(
                f"group_channels {group} does not divide the {embed_dim * 2**stage} channels of "
                f"stage {stage + 1}"
            )


_BASE = {"embed_dim": 128, "depths": (2, 2, 18, 2), "drop_path_rate": 0.5}
ARCHS.add("DWNet_tiny", partial(DWNet))
ARCHS.add("DWNet_base", partial(DWNet, **_BASE))
ARCHS.add("DynamicDWNet_tiny", partial(DWNet, conv="dynamic"))
ARCHS.add("DynamicDWNet_base", partial(DWNet, conv="dynamic", **_BASE))
ARCHS.add("IDynamicDWNet_tiny", partial(DWNet, conv="inhomogeneous"))
ARCHS.add("IDynamicDWNet_base", partial(DWNet, conv="inhomogeneous", **_BASE))
