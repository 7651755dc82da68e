"""The block of TransXNet as it is deployed: the same function in fewer operators.

What is rewritten, all of it exact:

- residuals around depth-wise convolutions become one more weight at their centre;
- batch norms and layer scales around 1x1 convolutions go into them;
- IDConv computes its kernels and its bias in one pass;
- the scale of attention logits goes into the queries.
"""

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.arch.fusion import (
    after_affine,
    batch_norm_affine,
    before_affine,
    depthwise_layer,
    pointwise_layer,
    pointwise_map,
    weight_and_bias,
    with_identity,
)
from ppcls.arch.layers import (
    adaptive_avg_pool2d,
    dynamic_depthwise_conv2d,
    gelu,
    matmul,
    resize_table_bicubic,
)


class FusedBlock(nn.Layer):
    """`Block` for inference: (B, C, H, W), kept."""

    def __init__(self, block: nn.Layer):
        super().__init__()
        self.pos_embed = _with_residual(block.pos_embed)
        self.norm1 = block.norm1
        self.token_mixer = FusedDMixer(block.token_mixer, block.layer_scale_1)
        self.norm2 = block.norm2
        self.mlp = FusedFFN(block.mlp, block.layer_scale_2)

    def forward(self, x: paddle.Tensor, table: paddle.Tensor) -> paddle.Tensor:
        x = self.pos_embed(x)
        x = x + self.token_mixer(self.norm1(x), table)
        return x + self.mlp(self.norm2(x))


class FusedDMixer(nn.Layer):
    """`DMixer` and the layer scale behind it: (B, C, H, W), kept."""

    def __init__(self, mixer: nn.Layer, layer_scale: nn.Layer):
        super().__init__()
        self.local_unit = FusedIDConv(mixer.local_unit)
        self.global_unit = FusedOSRA(mixer.global_unit)
        self.spatial, _, first_norm, squeeze, _, second_norm, expand, last_norm = mixer.proj
        dtype = expand.weight.dtype
        squeezing = after_affine(*pointwise_map(squeeze), *batch_norm_affine(first_norm))
        self.squeeze = pointwise_layer(*squeezing, dtype)
        expanding = after_affine(*pointwise_map(expand), *batch_norm_affine(second_norm))
        expanding = before_affine(*expanding, *batch_norm_affine(last_norm))
        scale, shift = _scale_and_shift(layer_scale)
        self.expand = pointwise_layer(*before_affine(*expanding, scale, shift), dtype)
        self.scale = layer_scale.weight

    def forward(self, x: paddle.Tensor, table: paddle.Tensor) -> paddle.Tensor:
        local, coarse = paddle.split(x, 2, axis=1)
        x = paddle.concat([self.local_unit(local), self.global_unit(coarse, table)], axis=1)
        joined = self.expand(gelu(self.squeeze(gelu(self.spatial(x)))))
        return x * paddle.reshape(self.scale, [x.shape[1], 1, 1]) + joined


class FusedIDConv(nn.Layer):
    """`IDConv` for inference: (B, C, H, W), kept."""

    def __init__(self, conv: nn.Layer):
        super().__init__()
        self.kernel_size = conv.kernel_size
        self.proj = conv.proj
        kernels = paddle.flatten(conv.weight, 2)
        candidates = paddle.concat([kernels, paddle.unsqueeze(conv.bias, 2)], axis=2)
        # (groups, C, K * K + 1)
        self.candidates = self.create_parameter(
            candidates.shape,
            dtype=conv.weight.dtype,
            default_initializer=nn.initializer.Assign(candidates),
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        C, K = x.shape[1], self.kernel_size
        pooled = paddle.concat(
            [
                paddle.reshape(adaptive_avg_pool2d(x, (K, K)), [-1, C, K * K, 1]),
                adaptive_avg_pool2d(x, (1, 1)),
            ],
            axis=2,
        )
        hidden, output = self.proj
        scores = output(gelu(hidden(pooled)))
        scores = paddle.reshape(scores, [-1, *self.candidates.shape])
        mixed = paddle.sum(F.softmax(scores, axis=1) * self.candidates, axis=1)
        kernels, bias = paddle.split(mixed, [K * K, 1], axis=2)
        kernels = paddle.reshape(kernels, [-1, C, K, K])
        return dynamic_depthwise_conv2d(x, kernels, paddle.reshape(bias, [-1, C]))


class FusedOSRA(nn.Layer):
    """`OSRA` for inference: (B, C, H, W), kept."""

    def __init__(self, attention: nn.Layer):
        super().__init__()
        weight, bias = pointwise_map(attention.q)
        self.num_heads = attention.num_heads
        scale = (weight.shape[0] // self.num_heads) ** -0.5
        self.q = pointwise_layer(weight * scale, bias * scale, attention.q.weight.dtype)
        self.kv = attention.kv
        self.sr = attention.sr if attention.ratio > 1 else None
        self.local_conv = _with_residual(attention.local_conv)

    def forward(self, x: paddle.Tensor, table: paddle.Tensor) -> paddle.Tensor:
        C, H, W = x.shape[1:]
        heads, width = self.num_heads, C // self.num_heads
        reduced = self.local_conv(x if self.sr is None else self.sr(x))
        N = reduced.shape[2] * reduced.shape[3]
        q = paddle.reshape(self.q(x), [-1, heads, width, H * W])
        k, v = paddle.split(self.kv(reduced), 2, axis=1)
        k, v = (paddle.reshape(part, [-1, heads, width, N]) for part in (k, v))
        scores = matmul(q, k, transpose_x=True) + resize_table_bicubic(table, (H * W, N))
        weights = F.softmax(scores, axis=-1)
        return paddle.reshape(matmul(v, weights, transpose_y=True), [-1, C, H, W])


class FusedFFN(nn.Layer):
    """`MultiScaleFFN` and the layer scale behind it: (B, C, H, W), kept."""

    def __init__(self, ffn: nn.Layer, layer_scale: nn.Layer):
        super().__init__()
        self.fc1 = ffn.fc1
        self.sections = ffn.dwconv.sections
        self.convs = nn.LayerList([_with_residual(conv) for conv in ffn.dwconv.proj])
        linear, norm = ffn.fc2
        weight_bias = after_affine(*pointwise_map(linear), *batch_norm_affine(ffn.norm))
        weight_bias = before_affine(*weight_bias, *batch_norm_affine(norm))
        weight_bias = before_affine(*weight_bias, *_scale_and_shift(layer_scale))
        self.fc2 = pointwise_layer(*weight_bias, linear.weight.dtype)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        parts = paddle.split(self.fc1(x), self.sections, axis=1)
        # A GELU behind the joined map would stop a pass of oneDNN, one behind each is fused.
        parts = [gelu(conv(part)) for conv, part in zip(self.convs, parts)]
        return self.fc2(paddle.concat(parts, axis=1))


def _with_residual(conv: nn.Conv2D) -> nn.Conv2D:
    """x + conv(x) as one depth-wise convolution."""
    weight, bias = weight_and_bias(conv)
    padding = weight.shape[-1] // 2
    return depthwise_layer(with_identity(weight), bias, conv.weight.dtype, padding=padding)


def _scale_and_shift(layer_scale: nn.Layer) -> "tuple[np.ndarray, np.ndarray]":
    """(C,) each."""
    weight, shift = weight_and_bias(layer_scale)
    return weight.reshape(-1), shift
