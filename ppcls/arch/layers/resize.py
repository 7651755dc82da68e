"""Bilinear resizing as what it is: a product with one fixed matrix per axis.

`F.interpolate` computes the same, but oneDNN in Paddle 3.3 cannot run its operator. Products run
everywhere, and on CPUs they beat strided slices and pooling by far.
"""

import functools

import numpy as np
import paddle

from ppcls.arch.layers.matmul import matmul


def resize_bilinear(x: paddle.Tensor, size: "tuple[int, int]") -> paddle.Tensor:
    """Bilinear resize with half-pixel centres (`align_corners=False`).

    Args:
        x: (B, C, H, W); H and W must be known when a program is traced.
        size: (h, w) wanted, larger or smaller.

    Returns:
        (B, C, h, w).
    """
    C, H, W = x.shape[1:]
    h, w = size
    if (h, w) == (H, W):
        return x
    x = paddle.reshape(x, [-1, H, W])  # see `matmul` for why not four axes
    if H == 1 or W == 1:
        # A single row or column is repeated: oneDNN is not reliable where a product has one term.
        x = paddle.tile(x, [1, h if H == 1 else 1, w if W == 1 else 1])
    if h != H > 1:
        x = matmul(_matrix(H, h, x), x)
    if w != W > 1:
        x = matmul(x, _matrix(W, w, x), transpose_y=True)
    return paddle.reshape(x, [-1, C, h, w])


def interpolation_weights(in_size: int, out_size: int) -> np.ndarray:
    """(out_size, in_size): row i holds the weights of the input pixels in output pixel i.

    Shrinking by an integer factor d picks the middle of each cell of d pixels: the centre pixel
    for odd d, the mean of two for even d. As in Paddle's operator, a single output pixel takes the
    FIRST input pixel.
    """
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


def _matrix(in_size: int, out_size: int, x: paddle.Tensor) -> paddle.Tensor:
    if paddle.in_dynamic_mode():
        return _eager_matrix(in_size, out_size, x.dtype, str(x.place))
    weights = interpolation_weights(in_size, out_size).astype("float32")
    return paddle.cast(paddle.assign(weights), x.dtype)


@functools.lru_cache(maxsize=256)
def _eager_matrix(in_size: int, out_size: int, dtype: paddle.dtype, place: str) -> paddle.Tensor:
    return paddle.cast(paddle.to_tensor(interpolation_weights(in_size, out_size)), dtype)
