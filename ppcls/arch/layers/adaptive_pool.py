"""Average pooling to a given size as fixed matrices (why: see `axis_matrices`)."""

import numpy as np
import paddle

from ppcls.arch.layers.axis_matrices import map_axes


def adaptive_avg_pool2d(x: paddle.Tensor, size: "tuple[int, int]") -> paddle.Tensor:
    """`F.adaptive_avg_pool2d`: output pixel i is the mean of input pixels from
    floor(i * H / h) up to, not including, ceil((i + 1) * H / h).

    Args:
        x: (B, C, H, W); H and W must be known when a program is traced.
        size: (h, w) wanted; may be larger than the input.

    Returns:
        (B, C, h, w).
    """
    if tuple(size) == (1, 1):
        return paddle.mean(x, axis=[2, 3], keepdim=True)
    return map_axes(x, size, adaptive_pool_weights)


def adaptive_pool_weights(in_size: int, out_size: int) -> np.ndarray:
    """(out_size, in_size): row i holds the weights of the input pixels in output pixel i."""
    weights = np.zeros((out_size, in_size))
    for i in range(out_size):
        start, end = i * in_size // out_size, -(-(i + 1) * in_size // out_size)
        weights[i, start:end] = 1 / (end - start)
    return weights
