"""The block of TransXNet as it is deployed: the same function in fewer operators.

What is rewritten, all of it exact:

- residuals around depth-wise convolutions become one more weight at their centre;
- batch norms and layer scales around 1x1 convolutions go into them;
- 1x1 convolutions whose channels go separate ways are as many convolutions;
- scale and shift of the norm before a feed-forward network go into its first convolutions;
- IDConv computes its kernels and its bias in one pass, and a softmax over two candidates is the
  sigmoid of the difference of their scores;
- the scale of attention logits goes into the queries, and attention is computed keys by queries:
  a softmax along the longer axis of all, that of the queries, is vectorised better.
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
    scale_and_shift,
    weight_and_bias,
    with_identity,
)
from ppcls.arch.layers import (
    adaptive_avg_pool2d,
    dynamic_depthwise_conv2d,
    gelu,
    matmul,
    resize_table_bicubic,
    sigmoid,
)


def fused_model(model: nn.Layer) -> nn.Layer:
    """`TransXNet` for inference; takes `model` apart."""
    for stage, table in enumerate(model.relative_pos_enc):
        # Keys by queries.
        transposed = paddle.transpose(table, [0, 1, 3, 2])
        model.relative_pos_enc[stage] = _parameter(model, transposed)
        blocks = model.network[2 * stage]
        for number, block in enumerate(blocks):
            blocks[number] = FusedBlock(block)
    return model


class FusedBlock(nn.Layer):
    """`Block` for inference: (B, C, H, W), kept."""

    def __init__(self, block: nn.Layer):
        super().__init__()
        self.pos_embed = _with_residual(block.pos_embed)
        self.norm1 = block.norm1
        self.token_mixer = FusedDMixer(block.token_mixer, block.layer_scale_1)
        self.norm2 = _plain_norm(block.norm2)
        self.mlp = FusedFFN(block.norm2, block.mlp, block.layer_scale_2)

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
        expanding = before_affine(*expanding, *scale_and_shift(layer_scale))
        self.expand = pointwise_layer(*expanding, dtype)
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
        self.hidden, output = conv.proj
        # groups, C, K * K and 1
        candidates = paddle.flatten(conv.weight, 2), paddle.unsqueeze(conv.bias, 2)
        mixture = MixtureOfTwo if conv.num_groups == 2 else Mixture
        self.mixture = mixture(output, candidates)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        C, K = x.shape[1], self.kernel_size
        kernels, bias = self.mixture(gelu(self.hidden(_cells_and_mean(x, K))))
        kernels = paddle.reshape(kernels, [-1, C, K, K])
        return dynamic_depthwise_conv2d(x, kernels, paddle.reshape(bias, [-1, C]))


class Mixture(nn.Layer):
    """Means of candidate kernels and biases, weighted with the softmax of their scores.

    The scores are split, not the means: OpenVINO compiles no int8 program in which the weights of a
    convolution come out of a split.

    Args:
        to_scores: C' -> G * C.
        candidates: kernels (G, C, N) and biases (G, C, 1).

    Shape: what the scores are computed from (B, C', N + 1, 1) -> (B, C, N), (B, C, 1).
    """

    def __init__(self, to_scores: nn.Conv2D, candidates: "tuple[paddle.Tensor, ...]"):
        super().__init__()
        self.to_scores = to_scores
        self.kernels, self.biases = (_parameter(self, values) for values in candidates)

    def forward(self, hidden: paddle.Tensor) -> "tuple[paddle.Tensor, ...]":
        G, C, N = self.kernels.shape
        scores = paddle.reshape(self.to_scores(hidden), [-1, G, C, N + 1])
        weights = paddle.split(F.softmax(scores, axis=1), [N, 1], axis=3)
        candidates = self.kernels, self.biases
        return tuple(paddle.sum(w * values, axis=1) for w, values in zip(weights, candidates))


class MixtureOfTwo(nn.Layer):
    """`Mixture` of two candidates: b + sigmoid(score of a - score of b) (a - b)."""

    def __init__(self, to_scores: nn.Conv2D, candidates: "tuple[paddle.Tensor, ...]"):
        super().__init__()
        (a, b), (a_bias, b_bias) = (np.split(part, 2) for part in pointwise_map(to_scores))
        self.to_score = pointwise_layer(a - b, a_bias - b_bias, to_scores.weight.dtype)
        kernels, biases = candidates
        self.kernel, self.bias = (_parameter(self, values[1]) for values in candidates)
        self.kernel_difference = _parameter(self, kernels[0] - kernels[1])
        self.bias_difference = _parameter(self, biases[0] - biases[1])

    def forward(self, hidden: paddle.Tensor) -> "tuple[paddle.Tensor, ...]":
        C, N = self.kernel.shape
        score = paddle.reshape(sigmoid(self.to_score(hidden)), [-1, C, N + 1])
        for_kernel, for_bias = paddle.split(score, [N, 1], axis=2)
        kernels = self.kernel + for_kernel * self.kernel_difference
        return kernels, self.bias + for_bias * self.bias_difference


class FusedOSRA(nn.Layer):
    """`OSRA` for inference, with a table (1, heads, keys, queries): (B, C, H, W), kept."""

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
        # B, heads, N, H * W
        scores = matmul(k, q, transpose_x=True) + resize_table_bicubic(table, (N, H * W))
        return paddle.reshape(matmul(v, F.softmax(scores, axis=2)), [-1, C, H, W])


class FusedFFN(nn.Layer):
    """`MultiScaleFFN`, the layer scale behind it and the residual around both: (B, C, H, W), kept.

    What comes in is normalised, but neither scaled nor shifted. The hidden channels of each
    depth-wise convolution come from a 1x1 convolution of their own and go into one of their own,
    which adds to the sum: nothing is split or concatenated.
    """

    def __init__(self, norm: nn.GroupNorm, ffn: nn.Layer, layer_scale: nn.Layer):
        super().__init__()
        dtype = ffn.fc1[0].weight.dtype
        ends = np.cumsum(ffn.dwconv.sections)[:-1]
        linear, _, hidden_norm = ffn.fc1
        weight_bias = after_affine(*pointwise_map(linear), *scale_and_shift(norm))
        parts = zip(*(np.split(values, ends) for values in weight_bias))
        self.fc1 = nn.LayerList([pointwise_layer(*part, dtype) for part in parts])
        parts = zip(*(np.split(values, ends) for values in batch_norm_affine(hidden_norm)))
        self.norms = nn.LayerList([affine_layer(*part, dtype) for part in parts])
        self.convs = nn.LayerList([_with_residual(conv) for conv in ffn.dwconv.proj])
        linear, last_norm = ffn.fc2
        weight_bias = after_affine(*pointwise_map(linear), *batch_norm_affine(ffn.norm))
        weight_bias = before_affine(*weight_bias, *batch_norm_affine(last_norm))
        weight, bias = before_affine(*weight_bias, *scale_and_shift(layer_scale))
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


def _cells_and_mean(x: paddle.Tensor, side: int) -> paddle.Tensor:
    """(B, C, H, W) -> means of `side` x `side` cells, and of all: (B, C, side * side + 1, 1)."""
    C, H, W = x.shape[1:]
    if H % side or W % side:
        cells, mean = adaptive_avg_pool2d(x, (side, side)), adaptive_avg_pool2d(x, (1, 1))
        cells = paddle.reshape(cells, [-1, C, side * side, 1])
    else:
        cells = x if (side, side) == (H, W) else F.avg_pool2d(x, (H // side, W // side))
        cells = paddle.reshape(cells, [-1, C, side * side, 1])
        # Cells of one size.
        mean = paddle.mean(cells, axis=2, keepdim=True)
    return paddle.concat([cells, mean], axis=2)


def _plain_norm(norm: nn.GroupNorm) -> nn.GroupNorm:
    """The norm without scale and shift."""
    return nn.GroupNorm(
        norm._num_groups,
        norm._num_channels,
        epsilon=norm._epsilon,
        weight_attr=False,
        bias_attr=False,
    )


def _parameter(layer: nn.Layer, values: paddle.Tensor) -> paddle.Tensor:
    """A parameter for `layer` of these values."""
    assign = nn.initializer.Assign(values)
    return layer.create_parameter(values.shape, dtype=values.dtype, default_initializer=assign)
