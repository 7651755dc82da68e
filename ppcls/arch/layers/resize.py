"""Bilinear resizing as what it is: a fixed linear map along each axis.

`F.interpolate` would do the same, but some engines cannot run the operator (see
docs/architecture.md), and products and pools with fixed weights are exact in all of them.
"""

import functools

import numpy as np
import paddle
import paddle.nn.functional as F

from ppcls.arch.layers.matmul import matmul


def resize_bilinear(x: paddle.Tensor, size: "tuple[int, int]") -> paddle.Tensor:
    """Bilinear resize with half-pixel centres (`align_corners=False`), without that operator.

    Args:
        x: (B, C, H, W) with fixed H and W.
        size: (h, w) wanted, larger or smaller.

    Returns:
        (B, C, h, w). Shrinking by an integer factor d picks the middle of each d x d cell: its
        centre pixel for odd d, the mean of its four centre pixels for even d. A single pixel is
        repeated. Everything else is a product with one interpolation matrix per axis. As in
        Paddle's operator, an axis of one output pixel takes the FIRST input pixel.
    """
    H, W = x.shape[2:]
    h, w = size
    if (h, w) == (H, W):
        return x
    factor = H // h
    if h > 1 and w > 1 and (h * factor, w * factor) == (H, W):
        return _shrink(x, factor)
    C = x.shape[1]
    x = paddle.reshape(x, [-1, H, W])  # see `matmul` for why not four axes
    if H == 1 or W == 1:
        x = paddle.tile(x, [1, h if H == 1 else 1, w if W == 1 else 1])
    if h != H > 1:
        x = matmul(_interpolation_matrix(H, h, x), x)
    if w != W > 1:
        x = matmul(x, _interpolation_matrix(W, w, x), transpose_y=True)
    return paddle.reshape(x, [-1, C, h, w])


def interpolation_weights(in_size: int, out_size: int) -> np.ndarray:
    """(out_size, in_size): row i holds the weights of the input pixels in output pixel i."""
    scale = in_size / out_size if out_size > 1 else 0
    centres = (np.arange(out_size) + 0.5) * scale - 0.5
    centres = np.clip(centres, 0, in_size - 1)
    left = np.floor(centres).astype(int)
    right = np.minimum(left + 1, in_size - 1)
    weights = np.zeros((out_size, in_size))
    rows = np.arange(out_size)
    np.add.at(weights, (rows, left), 1 - (centres - left))
    np.add.at(weights, (rows, right), centres - left)
    return weights


def _shrink(x: paddle.Tensor, factor: int) -> paddle.Tensor:
    if factor % 2:
        return x[:, :, factor // 2 :: factor, factor // 2 :: factor]
    offset = factor // 2 - 1
    if offset:
        x = x[:, :, offset:, offset:]
    return F.avg_pool2d(x, kernel_size=2, stride=factor)


def _interpolation_matrix(in_size: int, out_size: int, x: paddle.Tensor) -> paddle.Tensor:
    if paddle.in_dynamic_mode():
        return _eager_matrix(in_size, out_size, x.dtype, str(x.place))
    weights = interpolation_weights(in_size, out_size).astype("float32")
    return paddle.cast(paddle.assign(weights), x.dtype)


@functools.lru_cache(maxsize=256)
def _eager_matrix(in_size: int, out_size: int, dtype: paddle.dtype, place: str) -> paddle.Tensor:
    weights = paddle.to_tensor(interpolation_weights(in_size, out_size))
    return paddle.cast(weights, dtype)
