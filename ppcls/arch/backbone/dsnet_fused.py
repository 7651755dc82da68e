"""The dual-stream block of DSNet as it is deployed: the same function in fewer operators.

What is rewritten, all of it exact:

- batch norms go into the 1x1 convolutions behind them; the one before the local 3x3 convolution
  goes into the 1x1 convolution in front, so that zero padding still pads normalised values;
- residuals around depth-wise convolutions become one more weight at their centre;
- a 1x1 convolution and a resize of the map commute, so the global stream's share of `conv1` and
  `conv2` is computed on the coarse grid;
- the linear maps behind both alignments are multiplied into `conv2`;
- the scale of attention logits and the affine part of layer norms go into the projections;
- attention of pixels to tokens is computed keys by queries: no transposition, and a softmax along
  the longer axis of all, that of the queries, is vectorised better.
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
    linear_layer,
    pointwise_layer,
    pointwise_map,
    scale_and_shift,
    weight_and_bias,
    with_identity,
)
from ppcls.arch.layers import gelu, matmul, resize_bilinear
from ppcls.arch.layers.resize import bilinear_weights

#: Height and width.
Size = tuple[int, int]
#: Resizing in one product needs a matrix of the number of pixels of both maps; above this many
#: values it is done axis by axis.
_LARGEST_MATRIX = 1 << 20
#: Below this share of its largest scale, a channel of a batch norm is not divided by.
_SMALLEST_SCALE = 1e-4


class FusedDualStreamBlock(nn.Layer):
    """`DualStreamBlock` with both streams and alignment, for inference: (B, C, H, W), kept."""

    def __init__(self, block: nn.Layer):
        super().__init__()
        dtype = block.conv1.weight.dtype
        C_g = block.global_channels
        self.num_heads = block.num_heads
        self.downsample = block.downsample
        self.grid_of = block.grid_of

        weight, bias = weight_and_bias(block.pos_embed)
        self.pos_embed = depthwise_layer(with_identity(weight), bias, dtype, padding=1)
        cell = np.zeros((weight.shape[0], 1, self.downsample // 2 + 1, self.downsample // 2 + 1))
        cell[:, :, -2:, -2:] = 0.25
        self.shrink = depthwise_layer(cell, np.zeros(len(cell)), dtype, stride=self.downsample)

        weight, bias = pointwise_map(block.conv1)
        weight, bias = after_affine(weight, bias, *batch_norm_affine(block.norm1))
        self.to_tokens = linear_layer(weight[:C_g], bias[:C_g], dtype)
        scale, shift = batch_norm_affine(block.norm_conv1)
        to_local = before_affine(weight[C_g:], bias[C_g:], scale, shift)
        self.to_local = pointwise_layer(*to_local, dtype)
        weight, bias = weight_and_bias(block.conv)
        self.local_conv = depthwise_layer(
            with_identity(weight, 1 / scale), bias - shift / scale, dtype, padding=1
        )

        self.norm_sa1, self.norm_sa2 = _plain_norm(block.norm_sa1), _plain_norm(block.norm_sa2)
        factor = block.qk_scale or (C_g // self.num_heads) ** -0.5
        weight, bias = _behind_norm(block.channel_up, block.norm_sa1)
        by_output = np.repeat([factor, 1, 1], C_g)
        self.channel_up = linear_layer(by_output[:, None] * weight, by_output * bias, dtype)
        self._prepare_alignment(block, dtype)

        weight, bias = pointwise_map(block.mlp.fc1)
        weight, bias = after_affine(weight, bias, *batch_norm_affine(block.norm2))
        self.fc1 = pointwise_layer(weight, bias, dtype)
        self.fc2 = pointwise_layer(*pointwise_map(block.mlp.fc2), dtype)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        grid = self.grid_of(*x.shape[2:])
        x = self.pos_embed(x)
        local = self.local_conv(self.to_local(x))
        tokens = paddle.transpose(paddle.flatten(self._shrunk(x, grid), 2), [0, 2, 1])
        tokens = self.to_tokens(tokens)  # B, N, C_g
        q, k, v = self._split_tokens(self.channel_up(self.norm_sa1(tokens)))
        weights = F.softmax(matmul(q, k, transpose_y=True), axis=-1)
        tokens = tokens + self._join_tokens(matmul(weights, v))
        x = self._add_aligned(x, local, tokens, grid)
        return x + self.fc2(gelu(self.fc1(x)))

    def _prepare_alignment(self, block: nn.Layer, dtype: paddle.dtype) -> None:
        """Weights of `_add_aligned`: conv2([local + fuse_conv(h_l), up(tokens + fuse_sa(h_g))])."""
        parts = _AlignmentWeights(block)
        self.aligned_channels = block.aligned_channels
        self.cross_up_conv = pointwise_layer(*parts.local_qkv, dtype)
        self.cross_up_sa = linear_layer(*parts.global_qkv, dtype)
        self.from_local = pointwise_layer(
            np.concatenate([parts.conv2_local, parts.fuse_local], axis=1), parts.bias, dtype
        )
        weight = np.concatenate([parts.conv2_global, parts.fuse_global], axis=1)
        self.from_tokens = linear_layer(weight, np.zeros(len(weight)), dtype)

    def _add_aligned(
        self, x: paddle.Tensor, local: paddle.Tensor, tokens: paddle.Tensor, grid: Size
    ) -> paddle.Tensor:
        """Alignment and `conv2`: x (B, C, H, W), local (B, C_l, H, W), tokens (B, N, C_g) -> x."""
        H, W = x.shape[2:]
        q_l, k_l, v_l = self._split_map(self.cross_up_conv(local))
        q_g, k_g, v_g = self._split_tokens(self.cross_up_sa(self.norm_sa2(tokens)))
        weights = F.softmax(matmul(k_g, q_l), axis=2)  # keys by queries
        h_l = matmul(v_g, weights, transpose_x=True)
        weights = F.softmax(matmul(q_g, k_l), axis=-1)
        h_g = self._join_tokens(matmul(weights, v_l, transpose_y=True))

        h_l = paddle.reshape(h_l, [-1, self.aligned_channels, H, W])
        x = x + self.from_local(paddle.concat([local, h_l], axis=1))
        coarse = self.from_tokens(paddle.concat([tokens, h_g], axis=2))  # B, N, C
        return x + paddle.reshape(_enlarged(coarse, grid, (H, W)), [-1, x.shape[1], H, W])

    def _shrunk(self, x: paddle.Tensor, grid: Size) -> paddle.Tensor:
        """(B, C, H, W) -> (B, C, *grid), bilinear; in cells of even size the mean of the middle."""
        H, W = x.shape[2:]
        d = self.downsample
        if d % 2 == 0 and (H % d, W % d) == (0, 0) and min(grid) > 1:
            return self.shrink(x)
        return resize_bilinear(x, grid)

    def _split_tokens(self, qkv: paddle.Tensor) -> "list[paddle.Tensor]":
        """(B, N, 3 * heads * d) -> queries, keys and values (B, heads, N, d) each."""
        N, C = qkv.shape[1:]
        qkv = paddle.reshape(qkv, [-1, N, 3 * self.num_heads, C // (3 * self.num_heads)])
        return paddle.split(paddle.transpose(qkv, [0, 2, 1, 3]), 3, axis=1)

    def _split_map(self, qkv: paddle.Tensor) -> "list[paddle.Tensor]":
        """(B, 3 * heads * d, H, W) -> queries, keys and values (B, heads, d, H * W) each."""
        C, H, W = qkv.shape[1:]
        qkv = paddle.reshape(qkv, [-1, 3 * self.num_heads, C // (3 * self.num_heads), H * W])
        return paddle.split(qkv, 3, axis=1)

    def _join_tokens(self, x: paddle.Tensor) -> paddle.Tensor:
        """(B, heads, N, d) -> (B, N, heads * d)."""
        return paddle.flatten(paddle.transpose(x, [0, 2, 1, 3]), 2, 3)


class FusedSingleHeadBlock(FusedDualStreamBlock):
    """The block where attention has one head, as in the finest stage: (B, C, H, W), kept.

    There is no axis of heads, and products with one matrix for all heads can be taken in another
    order: keys and values of the local stream are never formed at full resolution, since
    q (W_k l) = (q W_k) l and softmax(.) (W_v l) = W_v (softmax(.) l); a bias of the keys cancels in
    the softmax. Values of the global stream come out of their projection multiplied by `conv2`.
    """

    def _prepare_alignment(self, block: nn.Layer, dtype: paddle.dtype) -> None:
        parts, C_a = _AlignmentWeights(block), block.aligned_channels
        self.sections = [C_a, block.local_channels, len(parts.bias)]
        (q_l, k_l, v_l), (q_l_bias, _, v_l_bias) = _thirds(*parts.local_qkv)
        (q_g, k_g, v_g), (q_g_bias, k_g_bias, v_g_bias) = _thirds(*parts.global_qkv)
        self.query = pointwise_layer(q_l, q_l_bias, dtype)
        self.cross_up_sa = linear_layer(
            np.concatenate([k_g, k_l.T @ q_g, parts.fuse_local @ v_g]),
            np.concatenate([k_g_bias, k_l.T @ q_g_bias, parts.fuse_local @ v_g_bias]),
            dtype,
        )
        bias = parts.bias + parts.fuse_global @ v_l_bias
        self.from_local = pointwise_layer(parts.conv2_local, bias, dtype)
        weight = np.concatenate([parts.conv2_global, parts.fuse_global @ v_l], axis=1)
        self.from_tokens = linear_layer(weight, np.zeros(len(weight)), dtype)

    def _add_aligned(
        self, x: paddle.Tensor, local: paddle.Tensor, tokens: paddle.Tensor, grid: Size
    ) -> paddle.Tensor:
        C, H, W = x.shape[1:]
        query, pixels = paddle.flatten(self.query(local), 2), paddle.flatten(local, 2)
        tokens_2 = self.cross_up_sa(self.norm_sa2(tokens))
        key, query_g, value = paddle.split(tokens_2, self.sections, axis=2)
        weights = F.softmax(matmul(key, query), axis=1)  # keys by queries
        h_l = matmul(value, weights, transpose_x=True)  # B, C, H * W
        weights = F.softmax(matmul(query_g, pixels), axis=-1)
        h_g = matmul(weights, pixels, transpose_y=True)  # B, N, C_l

        coarse = self.from_tokens(paddle.concat([tokens, h_g], axis=2))
        aligned = h_l + _enlarged(coarse, grid, (H, W))
        return x + self.from_local(local) + paddle.reshape(aligned, [-1, C, H, W])

    def _split_tokens(self, qkv: paddle.Tensor) -> "list[paddle.Tensor]":
        return paddle.split(qkv, 3, axis=2)

    def _join_tokens(self, x: paddle.Tensor) -> paddle.Tensor:
        return x


class _AlignmentWeights:
    """Weights and biases of the alignment and of `conv2`, in float64.

    `local_qkv`, `global_qkv`: projections behind their norms, scaled. `conv2_local`,
    `conv2_global`: shares of `conv2`; `fuse_local`, `fuse_global`: those behind the projections of
    what each stream takes from the other; `bias`: all that is constant.
    """

    def __init__(self, block: nn.Layer):
        C_l, C_a = block.local_channels, block.aligned_channels
        factor = block.qk_scale or (C_a // block.num_heads) ** -0.5
        weight, bias = pointwise_map(block.cross_channel_up_conv)
        self.local_qkv = after_affine(weight, bias, *batch_norm_affine(block.norm_conv2))
        weight, bias = _behind_norm(block.cross_channel_up_sa, block.norm_sa2)
        by_output = np.repeat([factor, factor, 1], C_a)
        self.global_qkv = by_output[:, None] * weight, by_output * bias
        # The global stream comes first in `conv1` and last in `conv2`.
        weight, bias = pointwise_map(block.conv2)
        self.conv2_local, self.conv2_global = weight[:, :C_l], weight[:, C_l:]
        fuse, fuse_bias = weight_and_bias(block.fuse_channel_conv)
        self.fuse_local = self.conv2_local @ fuse
        self.bias = bias + self.conv2_local @ fuse_bias
        fuse, fuse_bias = weight_and_bias(block.fuse_channel_sa)
        self.fuse_global = self.conv2_global @ fuse
        # Enlarging keeps constants.
        self.bias += self.conv2_global @ fuse_bias


class FusedDSNet(nn.Layer):
    """DSNet with fused blocks and classifier, for inference: (B, C, H, W) -> (B, class_num)."""

    def __init__(self, model: nn.Layer):
        super().__init__()
        self.classifier = FusedClassifier(model.norm, model.head)
        self.model = model

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.classifier(self.model.forward_levels(x)[-1])


class FusedClassifier(nn.Layer):
    """Norm, mean over positions and linear head of DSNet: (B, C, H, W) -> (B, class_num)."""

    def __init__(self, norm: nn.BatchNorm2D, head: nn.Linear):
        super().__init__()
        weight, bias = after_affine(*weight_and_bias(head), *batch_norm_affine(norm))
        self.head = linear_layer(weight, bias, head.weight.dtype)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        # Pooling, because oneDNN's mean over two axes takes milliseconds.
        pooled = F.avg_pool2d(x, x.shape[2:])
        return self.head(paddle.flatten(pooled, 1))


def fused_block(block: nn.Layer) -> nn.Layer:
    """The block for inference; as it is without alignment or with a norm that cannot be undone."""
    if not block.alignment:
        return block
    scale = np.abs(batch_norm_affine(block.norm_conv1)[0])
    can_divide = scale.min() > _SMALLEST_SCALE * scale.max()
    if not can_divide:
        return block
    return (FusedSingleHeadBlock if block.num_heads == 1 else FusedDualStreamBlock)(block)


def _plain_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """A layer norm of the same shape without scale and shift."""
    return nn.LayerNorm(
        norm._normalized_shape, epsilon=norm._epsilon, weight_attr=False, bias_attr=False
    )


def _behind_norm(linear: nn.Linear, norm: nn.LayerNorm) -> "tuple[np.ndarray, np.ndarray]":
    """Weight [out, in] and bias of the linear layer on plainly normalised tokens."""
    return after_affine(*weight_and_bias(linear), *scale_and_shift(norm))


def _thirds(weight: np.ndarray, bias: np.ndarray) -> "tuple[list[np.ndarray], list[np.ndarray]]":
    """Weights and biases of queries, keys and values."""
    return np.split(weight, 3), np.split(bias, 3)


def _enlarged(tokens: paddle.Tensor, grid: Size, size: Size) -> paddle.Tensor:
    """(B, h * w, C) -> (B, C, H * W), bilinear."""
    C = tokens.shape[2]
    N, pixels = grid[0] * grid[1], size[0] * size[1]
    if N * pixels > _LARGEST_MATRIX or N == 1:
        coarse = paddle.reshape(paddle.transpose(tokens, [0, 2, 1]), [-1, C, *grid])
        return paddle.flatten(resize_bilinear(coarse, size), 2)
    matrix = np.kron(bilinear_weights(grid[0], size[0]), bilinear_weights(grid[1], size[1]))
    matrix = matrix.T.astype("float32")
    matrix = paddle.to_tensor(matrix) if paddle.in_dynamic_mode() else paddle.assign(matrix)
    return matmul(tokens, paddle.cast(matrix, tokens.dtype), transpose_x=True)
