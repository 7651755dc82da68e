"""The block of TransXNet as it is deployed: the same function in fewer operators.

What is rewritten, all of it exact:

- residuals around depth-wise convolutions become one more weight at their centre;
- batch norms and layer scales around 1x1 convolutions go into them;
- 1x1 convolutions whose channels go separate ways are as many convolutions;
- IDConv computes its kernels and its bias in one pass;
- the scale of attention logits goes into the queries.
"""

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.arch.fusion import (
    affine_layer,
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
        x = self.token_mixer(self.norm1(x), table, x)
        return self.mlp(self.norm2(x), x)


class FusedDMixer(nn.Layer):
    """`DMixer`, the layer scale behind it and the residual around both: (B, C, H, W), kept."""

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

    def forward(
        self, x: paddle.Tensor, table: paddle.Tensor, residual: paddle.Tensor
    ) -> paddle.Tensor:
        local, coarse = paddle.split(x, 2, axis=1)
        x = paddle.concat([self.local_unit(local), self.global_unit(coarse, table)], axis=1)
        # The last convolution adds to what is there in its own pass.
        kept = x * paddle.reshape(self.scale, [x.shape[1], 1, 1]) + residual
        return kept + self.expand(gelu(self.squeeze(gelu(self.spatial(x)))))


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
        dtype = attention.q.weight.dtype
        weight, bias = pointwise_map(attention.q)
        self.num_heads = attention.num_heads
        scale = (weight.shape[0] // self.num_heads) ** -0.5
        self.q = pointwise_layer(weight * scale, bias * scale, dtype)
        weights_biases = (np.split(values, 2) for values in pointwise_map(attention.kv))
        self.k, self.v = (pointwise_layer(*part, dtype) for part in zip(*weights_biases))
        self.sr = attention.sr if attention.ratio > 1 else None
        self.local_conv = _with_residual(attention.local_conv)

    def forward(self, x: paddle.Tensor, table: paddle.Tensor) -> paddle.Tensor:
        C, H, W = x.shape[1:]
        heads, width = self.num_heads, C // self.num_heads
        reduced = self.local_conv(x if self.sr is None else self.sr(x))
        N = reduced.shape[2] * reduced.shape[3]
        q = paddle.reshape(self.q(x), [-1, heads, width, H * W])
        k, v = (paddle.reshape(to(reduced), [-1, heads, width, N]) for to in (self.k, self.v))
        scores = matmul(q, k, transpose_x=True) + resize_table_bicubic(table, (H * W, N))
        weights = F.softmax(scores, axis=-1)
        return paddle.reshape(matmul(v, weights, transpose_y=True), [-1, C, H, W])


class FusedFFN(nn.Layer):
    """`MultiScaleFFN`, the layer scale behind it and the residual around both: (B, C, H, W), kept.

    The hidden channels of each depth-wise convolution come from a 1x1 convolution of their own and
    go into one of their own, which adds to the sum: nothing is split or concatenated.
    """

    def __init__(self, ffn: nn.Layer, layer_scale: nn.Layer):
        super().__init__()
        dtype = ffn.fc1[0].weight.dtype
        ends = np.cumsum(ffn.dwconv.sections)[:-1]
        linear, _, norm = ffn.fc1
        parts = zip(*(np.split(values, ends) for values in pointwise_map(linear)))
        self.fc1 = nn.LayerList([pointwise_layer(*part, dtype) for part in parts])
        parts = zip(*(np.split(values, ends) for values in batch_norm_affine(norm)))
        self.norms = nn.LayerList([affine_layer(*part, dtype) for part in parts])
        self.convs = nn.LayerList([_with_residual(conv) for conv in ffn.dwconv.proj])
        linear, norm = ffn.fc2
        weight_bias = after_affine(*pointwise_map(linear), *batch_norm_affine(ffn.norm))
        weight_bias = before_affine(*weight_bias, *batch_norm_affine(norm))
        weight, bias = before_affine(*weight_bias, *_scale_and_shift(layer_scale))
        # The first one adds the bias.
        first, *others = np.split(weight, ends, axis=1)
        fc2 = [pointwise_layer(first, bias, dtype)]
        fc2 += [pointwise_layer(part, None, dtype) for part in others]
        self.fc2 = nn.LayerList(fc2)

    def forward(self, x: paddle.Tensor, residual: paddle.Tensor) -> paddle.Tensor:
        for fc1, norm, conv, fc2 in zip(self.fc1, self.norms, self.convs, self.fc2):
            residual = residual + fc2(gelu(conv(norm(gelu(fc1(x))))))
        return residual


def _with_residual(conv: nn.Conv2D) -> nn.Conv2D:
    """x + conv(x) as one depth-wise convolution."""
    weight, bias = weight_and_bias(conv)
    padding = weight.shape[-1] // 2
    return depthwise_layer(with_identity(weight), bias, conv.weight.dtype, padding=padding)


def _scale_and_shift(layer_scale: nn.Layer) -> "tuple[np.ndarray, np.ndarray]":
    """(C,) each."""
    weight, shift = weight_and_bias(layer_scale)
    return weight.reshape(-1), shift
