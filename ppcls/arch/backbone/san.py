"""SAN: self-attention networks, Zhao et al., "Exploring Self-attention for Image Recognition", CVPR
2020.

Self-attention over a small neighbourhood is the only operation that mixes positions. Its weights
are a vector for each neighbour: computed from the pair of the position and the neighbour
(pairwise), or from the whole neighbourhood at once (patchwise).

Tensor names and arithmetic are those of the authors' code.
"""

from functools import partial
from typing import Literal

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.arch.base import Model, linear_head
from ppcls.arch.layers import (
    DropPath,
    PointwiseConv2D,
    init_trunc_normal,
    local_aggregation,
    local_aggregation_macs,
    pad_neighbourhood,
    recompute,
    stochastic_depth_rates,
)
from ppcls.config.types import NonNegativeInt, PositiveInt, Probability
from ppcls.errors import ConfigError, UserError
from ppcls.registry import ARCHS

#: Output channels of the five stages.
_CHANNELS = (64, 256, 512, 1024, 2048)
#: A block's channels over those that are compared (relation) and those that are summed (transform).
_RELATION_RATIO, _TRANSFORM_RATIO = 16, 4

_Blocks = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt]
_Kernels = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class SelfAttentionModule(nn.Layer):
    """Vector self-attention over K x K neighbours, the map mirrored at its edges.

    y[c, i] = sum over neighbours j of w[c % (m / share_planes), i, j] * conv3(x)[c, j], where w is
    what subclasses compute, for m transform channels.

    Shape: (B, C, H, W) -> (B, C / 4, H, W).
    """

    def __init__(self, channels: int, kernel_size: int, share_planes: int):
        super().__init__()
        self.kernel_size = kernel_size
        self.relation_channels = channels // _RELATION_RATIO
        self.transform_channels = channels // _TRANSFORM_RATIO
        self.groups = self.transform_channels // share_planes
        self.conv1 = PointwiseConv2D(channels, self.relation_channels)
        self.conv2 = PointwiseConv2D(channels, self.relation_channels)
        self.conv3 = PointwiseConv2D(channels, self.transform_channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        weights = self.generated_kernels(x)
        return local_aggregation(self.conv3(x), weights, padding="reflect", channel_map="modulo")

    def generated_kernels(self, x: paddle.Tensor) -> paddle.Tensor:
        """(B, C, H, W) -> the weights of all neighbours, (B, groups, K * K, H, W)."""
        H, W = x.shape[2:]
        weights = self.attention_weights(self.conv1(x), self.conv2(x))
        return paddle.reshape(weights, [-1, self.groups, self.kernel_size**2, H, W])

    def attention_weights(self, query: paddle.Tensor, key: paddle.Tensor) -> paddle.Tensor:
        """Two maps (B, C / 16, H, W) -> weights in the order (B, groups, K * K, H, W)."""
        raise NotImplementedError

    def neighbourhoods(self, x: paddle.Tensor) -> paddle.Tensor:
        """(B, C, H, W) -> (B, C, K * K, H * W)."""
        C, H, W = x.shape[1:]
        K = self.kernel_size
        windows = F.unfold(pad_neighbourhood(x, K, "reflect"), K)
        return paddle.reshape(windows, [-1, C, K * K, H * W])

    def functional_macs(self, x: paddle.Tensor) -> "dict[str, int]":
        """MACs of the weighted sums, for a batch x."""
        B, _, H, W = x.shape
        weights = [B, self.groups, self.kernel_size**2, H, W]
        return {"gathered_aggregation": local_aggregation_macs(weights, self.transform_channels)}


class PairwiseAttention(SelfAttentionModule):
    """Weights from the difference of the position and the neighbour, in features and in place.

    Softmax over the neighbours.
    """

    def __init__(self, channels: int, kernel_size: int, share_planes: int):
        super().__init__(channels, kernel_size, share_planes)
        r = self.relation_channels
        self.conv_w = nn.Sequential(
            nn.BatchNorm2D(r + 2),
            nn.ReLU(),
            PointwiseConv2D(r + 2, r, bias=False),
            nn.BatchNorm2D(r),
            nn.ReLU(),
            PointwiseConv2D(r, self.groups),
        )
        self.conv_p = PointwiseConv2D(2, 2)

    def attention_weights(self, query: paddle.Tensor, key: paddle.Tensor) -> paddle.Tensor:
        H, W = query.shape[2:]
        place = self.conv_p(_coordinates(H, W, query.dtype))
        # One for each sample; `expand_as` can neither be traced to a legacy program nor to ONNX.
        place = place + paddle.zeros_like(query[:, :2])
        query = paddle.concat([query, place], axis=1)
        neighbours = self.neighbourhoods(paddle.concat([key, place], axis=1))
        query = paddle.reshape(query, [-1, query.shape[1], 1, H * W])
        return F.softmax(self.conv_w(query - neighbours), axis=2)


class PatchwiseAttention(SelfAttentionModule):
    """Weights from the position and its whole neighbourhood; no softmax."""

    def __init__(self, channels: int, kernel_size: int, share_planes: int):
        super().__init__(channels, kernel_size, share_planes)
        r, window = self.relation_channels, kernel_size**2
        self.conv_w = nn.Sequential(
            nn.BatchNorm2D(r * (window + 1)),
            nn.ReLU(),
            PointwiseConv2D(r * (window + 1), self.groups, bias=False),
            nn.BatchNorm2D(self.groups),
            nn.ReLU(),
            PointwiseConv2D(self.groups, window * self.groups),
        )

    def attention_weights(self, query: paddle.Tensor, key: paddle.Tensor) -> paddle.Tensor:
        r, H, W = query.shape[1:]
        patch = paddle.reshape(self.neighbourhoods(key), [-1, r * self.kernel_size**2, H, W])
        return self.conv_w(paddle.concat([query, patch], axis=1))


_ATTENTIONS = {"pairwise": PairwiseAttention, "patchwise": PatchwiseAttention}


class Bottleneck(nn.Layer):
    """x + conv(relu(bn2(sam(relu(bn1(x)))))): (B, C, H, W), kept."""

    def __init__(self, channels: int, sam: SelfAttentionModule, drop_path: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2D(channels)
        self.sam = sam
        self.bn2 = nn.BatchNorm2D(sam.transform_channels)
        self.conv = PointwiseConv2D(sam.transform_channels, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = F.relu(self.bn2(self.sam(F.relu(self.bn1(x)))))
        return x + self.drop_path(self.conv(y))


@ARCHS.register()
class SAN(Model):
    """Self-attention network of any depth; the paper's are registered by name.

    Images may have any size whose maps stay larger than half of every kernel.

    Args:
        sa_type: "pairwise" or "patchwise" attention.
        layers: blocks of the five stages; a stage may have none.
        kernels: side of the neighbourhood in each stage, odd.
        class_num: number of classes; 0 for a model without a head.
        in_chans: channels of the input images.
        share_planes: channels that share an attention weight.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        use_recompute: in eager training, keep only the input of each block and compute it again in
            the backward pass.

    Raises:
        ConfigError: arguments that do not fit together.
    """

    size_divisor = 1
    head_layers = ("fc",)
    final_layers = ("dropout",)

    def __init__(
        self,
        sa_type: Literal["pairwise", "patchwise"] = "patchwise",
        layers: _Blocks = (2, 1, 2, 4, 1),
        kernels: _Kernels = (3, 7, 7, 7, 7),
        class_num: NonNegativeInt = 1000,
        in_chans: PositiveInt = 3,
        share_planes: PositiveInt = 8,
        drop_rate: Probability = 0.0,
        drop_path_rate: Probability = 0.0,
        use_recompute: bool = False,
    ):
        super().__init__()
        for name, values in [("layers", layers), ("kernels", kernels)]:
            if len(values) != len(_CHANNELS):
                raise ConfigError(f"{name} needs a value for each of five stages, got {values}")
        if any(kernel % 2 == 0 for kernel in kernels):
            raise ConfigError(f"kernels must be odd, received {list(kernels)}")
        if _CHANNELS[0] // _TRANSFORM_RATIO % share_planes:
            raise ConfigError(
                f"share_planes {share_planes} does not divide the "
                f"{_CHANNELS[0] // _TRANSFORM_RATIO} transform channels of the first stage"
            )
        self.class_num = class_num
        self.use_recompute = use_recompute
        self.kernels = list(kernels)
        # Reflection needs every map that has neighbourhoods to be larger than half of them.
        self.smallest_image = max(
            [2 ** len(_CHANNELS)]
            + [(k // 2 + 1) * 2 ** (i + 1) for i, k in enumerate(kernels) if layers[i]]
        )
        self.feature_info = [
            {"channels": channels, "reduction": 2 ** (stage + 1), "name": f"layer{stage}"}
            for stage, channels in enumerate(_CHANNELS)
        ]
        self.conv_in = PointwiseConv2D(in_chans, _CHANNELS[0], bias=False)
        self.bn_in = nn.BatchNorm2D(_CHANNELS[0])
        self.pool = nn.MaxPool2D(2, 2)
        in_channels = _CHANNELS[0]
        for stage, rates in enumerate(stochastic_depth_rates(drop_path_rate, list(layers))):
            channels = _CHANNELS[stage]
            blocks = [
                Bottleneck(
                    channels, _ATTENTIONS[sa_type](channels, kernels[stage], share_planes), rate
                )
                for rate in rates
            ]
            conv = PointwiseConv2D(in_channels, channels, bias=False)
            setattr(self, f"conv{stage}", conv)
            setattr(self, f"layer{stage}", nn.LayerList(blocks))
            setattr(self, f"bn{stage}", nn.BatchNorm2D(channels))
            in_channels = channels
        self.dropout = nn.Dropout(drop_rate)
        init_trunc_normal(self)
        self.fc = linear_head(_CHANNELS[-1], class_num)

    def forward_levels(self, x: paddle.Tensor) -> "list[paddle.Tensor]":
        self.check_input_size(x)
        recomputes = self.use_recompute and self.training and paddle.in_dynamic_mode()
        x = F.relu(self.bn_in(self.conv_in(x)))
        levels = []
        for stage in range(len(_CHANNELS)):
            x = getattr(self, f"conv{stage}")(self.pool(x))
            for block in getattr(self, f"layer{stage}"):
                x = recompute(block, x) if recomputes else block(x)
            x = F.relu(getattr(self, f"bn{stage}")(x))
            levels.append(x)
        return levels

    def forward_features(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.forward_levels(x)[-1]

    def forward_head(self, features: paddle.Tensor, pre_logits: bool = False) -> paddle.Tensor:
        pooled = paddle.mean(features, axis=[2, 3])
        return pooled if pre_logits else self.fc(self.dropout(pooled))

    def reset_classifier(self, class_num: int) -> None:
        self.class_num = class_num
        self.fc = linear_head(_CHANNELS[-1], class_num)

    def check_input_size(self, x: paddle.Tensor) -> None:
        super().check_input_size(x)
        H, W = x.shape[2:]
        if min(H, W) < self.smallest_image:
            raise UserError(
                f"SAN with kernels {self.kernels} takes images of at least {self.smallest_image} "
                f"pixels each way (its maps are mirrored at their edges), received height {H} and "
                f"width {W}; use larger images or smaller kernels"
            )


def _coordinates(height: int, width: int, dtype: paddle.dtype) -> paddle.Tensor:
    """(1, 2, H, W): column, then row, each from -1 to 1."""
    columns, rows = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    grid = np.stack([columns, rows])[None]
    if paddle.in_dynamic_mode():
        return paddle.cast(paddle.to_tensor(grid), dtype)
    return paddle.cast(paddle.assign(grid.astype("float32")), dtype)


for _depth, _layers in [(10, (2, 1, 2, 4, 1)), (15, (3, 2, 3, 5, 2)), (19, (3, 3, 4, 6, 3))]:
    for _type in _ATTENTIONS:
        ARCHS.add(f"SAN{_depth}_{_type}", partial(SAN, sa_type=_type, layers=_layers))
