"""Fixed linear maps along the height and the width of feature maps, as matrix products.

Resizing and pooling are such maps. As products they run, and come out right, in every engine
(oneDNN in Paddle 3.3 cannot run the interpolation operator, ONNX files get uneven pooling wrong),
and on CPUs they beat strided slices and pooling by far.
"""

import functools
from typing import Callable

import numpy as np
import paddle

from ppcls.arch.layers.matmul import matmul

#: (in_size, out_size) -> array (out_size, in_size); row i holds the weights of output pixel i.
AxisWeights = Callable[[int, int], np.ndarray]


def map_axes(x: paddle.Tensor, size: "tuple[int, int]", weights: AxisWeights) -> paddle.Tensor:
    """Applies `weights` to both axes of a map.

    Args:
        x: (B, C, H, W); H and W must be known when a program is traced.
        size: (h, w) wanted; an axis that already has it is left alone.
        weights: a module-level function, by which the matrices are cached. Its rows sum to one.

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
        x = matmul(_matrix(weights, H, h, x), x)
    if w != W > 1:
        x = matmul(x, _matrix(weights, W, w, x), transpose_y=True)
    return paddle.reshape(x, [-1, C, h, w])


def _matrix(weights: AxisWeights, in_size: int, out_size: int, x: paddle.Tensor) -> paddle.Tensor:
    if paddle.in_dynamic_mode():
        return _eager_matrix(weights, in_size, out_size, x.dtype, str(x.place))
    matrix = weights(in_size, out_size).astype("float32")
    return paddle.cast(paddle.assign(matrix), x.dtype)


@functools.lru_cache(maxsize=256)
def _eager_matrix(
    weights: AxisWeights, in_size: int, out_size: int, dtype: paddle.dtype, place: str
) -> paddle.Tensor:
    return paddle.cast(paddle.to_tensor(weights(in_size, out_size)), dtype)
