"""A depth-wise convolution that is computed the fastest way for the place it runs in.

In eager mode Paddle's CPU kernel lays out the K * K neighbours of every pixel before it multiplies.
Written with band matrices, the same sum needs K rows for every pixel: with the rows
x[c, h - K // 2], ..., x[c, h + K // 2] side by side as one row X[c, h] (K * W),

    y[c, h] = X[c, h] bands[c],    bands[c][(k, i), j] = kernels[c, k, i - j + K // 2] or 0,

which is one matrix product for each channel. Processor time of one core, batch 8, forward / forward
and backward, milliseconds: 224 channels at 14x14, K = 7: 34 / 108 as a convolution, 6 / 19 as a
product; 48 channels at 56x56, K = 7: 131 / 368 and 25 / 125.
"""

import functools
from typing import Optional

import numpy as np
import paddle
from paddle import nn
from paddle.autograd import PyLayer

from ppcls.arch.layers.matmul import matmul

#: Numbers in the rows and bands that are laid out at a time; more would leave the caches.
_WORKSPACE = 2**21


class DepthwiseConv2D(nn.Conv2D):
    """`nn.Conv2D` with a K x K kernel for each channel, K odd, stride 1 and zero padding K // 2:
    same parameters, names and result.

    In eager mode on CPUs it is a multiplication where K is 1, and a product with band matrices
    where that is faster; elsewhere it stays a convolution, which inference engines have fast
    kernels for.

    Shape: (B, channels, H, W), kept.
    """

    def __init__(self, channels: int, kernel_size: int, bias: bool = True):
        super().__init__(
            channels,
            channels,
            kernel_size,
            padding=kernel_size // 2,
            groups=channels,
            bias_attr=None if bias else False,
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        C, K = self.weight.shape[0], self.weight.shape[-1]
        if not correlates_fast(x, K):
            return super().forward(x)
        if K == 1:
            y = x * paddle.reshape(self.weight, [C, 1, 1])
        else:
            y = correlate(x, paddle.reshape(self.weight, [C, K, K]))
        return y if self.bias is None else y + paddle.reshape(self.bias, [C, 1, 1])


def correlates_fast(x: paddle.Tensor, kernel_size: int) -> bool:
    """Whether `correlate` is the fastest form for maps x and kernels of this side, here and now.

    The work of a band grows with the width of the map, that of a convolution with the kernel; the
    line between them was measured.
    """
    if not paddle.in_dynamic_mode() or paddle.device.get_device() != "cpu":
        return False
    return kernel_size == 1 or x.shape[3] <= 14 * (kernel_size - 1)


def correlate(x: paddle.Tensor, kernels: paddle.Tensor) -> paddle.Tensor:
    """y[b, c] = x[b, c] * kernels[c], zero padding K // 2, for eager mode.

    The backward pass keeps x and the kernels only. With a kernel for every sample and channel,
    pass (1, B * C, H, W) and (B * C, K, K).

    Args:
        x: (B, C, H, W).
        kernels: (C, K, K), K odd.

    Returns:
        (B, C, H, W).
    """
    return _Correlation.apply(x, kernels)


class _Correlation(PyLayer):
    @staticmethod
    def forward(ctx, x: paddle.Tensor, kernels: paddle.Tensor) -> paddle.Tensor:
        ctx.save_for_backward(x, kernels)
        return _correlation(x, kernels)

    @staticmethod
    def backward(
        ctx, dy: paddle.Tensor
    ) -> "tuple[Optional[paddle.Tensor], Optional[paddle.Tensor]]":
        x, kernels = ctx.saved_tensor()
        dx = None if x.stop_gradient else _correlation(dy, paddle.flip(kernels, axis=[1, 2]))
        dk = None if kernels.stop_gradient else _kernels_gradient(x, dy, kernels.shape[-1])
        return dx, dk


def _correlation(x: paddle.Tensor, kernels: paddle.Tensor) -> paddle.Tensor:
    B, C, H, W = x.shape
    K = kernels.shape[-1]
    selector = _selector(K, W, x.dtype)
    padded = _rows_and_zeros(x)
    parts = []
    for start, end in _channel_ranges(x.shape, K):
        bands = matmul(paddle.reshape(kernels[start:end], [-1, K]), selector)
        bands = paddle.reshape(bands, [end - start, K * W, W])
        parts.append(matmul(_neighbour_rows(padded, x.shape, K, start, end), bands))
    y = parts[0] if len(parts) == 1 else paddle.concat(parts, axis=0)  # C, B * H, W
    if B > 1:
        y = paddle.gather(paddle.reshape(y, [C * B, H * W]), _batch_first(B, C))
    return paddle.reshape(y, [B, C, H, W])


def _kernels_gradient(x: paddle.Tensor, dy: paddle.Tensor, kernel_size: int) -> paddle.Tensor:
    C, W, K = x.shape[1], x.shape[3], kernel_size
    selector = _selector(K, W, x.dtype)
    rows_x, rows_dy = _rows_and_zeros(x), _rows_and_zeros(dy)
    parts = []
    for start, end in _channel_ranges(x.shape, K):
        X = _neighbour_rows(rows_x, x.shape, K, start, end)
        Y = _neighbour_rows(rows_dy, x.shape, 1, start, end)
        bands = paddle.reshape(matmul(X, Y, transpose_x=True), [-1, W * W])
        parts.append(matmul(bands, selector, transpose_y=True))
    dk = parts[0] if len(parts) == 1 else paddle.concat(parts, axis=0)
    return paddle.reshape(dk, [C, K, K])


def _channel_ranges(shape: "list[int]", kernel_size: int) -> "list[tuple[int, int]]":
    """(start, end) of the channels whose rows and bands fit into the workspace together."""
    B, C, H, W = shape
    most = max(1, _WORKSPACE // (kernel_size * W * (B * H + W)))
    count = -(-C // -(-C // most))  # as even as can be
    return [(start, min(start + count, C)) for start in range(0, C, count)]


def _rows_and_zeros(x: paddle.Tensor) -> paddle.Tensor:
    """The rows of all maps, and a row of zeros, which stands for all that is outside a map."""
    rows = paddle.reshape(x, [-1, x.shape[3]])
    return paddle.concat([rows, paddle.zeros([1, x.shape[3]], dtype=x.dtype)], axis=0)


def _neighbour_rows(
    padded: paddle.Tensor, shape: "list[int]", kernel_size: int, start: int, end: int
) -> paddle.Tensor:
    """Every row with its neighbours above and below, for some channels of maps (B, C, H, W).

    Shape: `_rows_and_zeros` -> (end - start, B * H, kernel_size * W).
    """
    B, C, H, W = shape
    order = _neighbour_order(B, C, H, kernel_size, end - start)
    if start > 0:
        outside = padded.shape[0] - 1
        order = paddle.clip(order + start * H, max=outside)
    rows = paddle.gather(padded, order)
    return paddle.reshape(rows, [end - start, B * H, kernel_size * W])


@functools.lru_cache(maxsize=128)
def _neighbour_order(
    batch: int, channels: int, height: int, kernel_size: int, count: int
) -> paddle.Tensor:
    """For (channel, sample, row, neighbour) of the first `count` channels: its row of all rows, the
    one after the last outside the map."""
    maps = np.arange(count)[:, None] + channels * np.arange(batch)
    rows = np.arange(height)[:, None] + np.arange(kernel_size) - kernel_size // 2
    is_inside = (rows >= 0) & (rows < height)
    order = np.where(is_inside, maps[..., None, None] * height + rows, batch * channels * height)
    return paddle.to_tensor(order.ravel().astype("int32"))


@functools.lru_cache(maxsize=128)
def _batch_first(batch: int, channels: int) -> paddle.Tensor:
    """For (sample, channel): the place of (channel, sample)."""
    order = np.arange(channels * batch).reshape(channels, batch).T
    return paddle.to_tensor(order.ravel().astype("int32"))


@functools.lru_cache(maxsize=128)
def _selector(kernel_size: int, width: int, dtype: paddle.dtype) -> paddle.Tensor:
    """(K, W * W): a row of a kernel (K) times it is the band (W, W) of that row."""
    offset = np.arange(width)[:, None] - np.arange(width) + kernel_size // 2
    selector = offset[None] == np.arange(kernel_size)[:, None, None]
    return paddle.cast(paddle.to_tensor(selector.reshape(kernel_size, -1)), dtype)
