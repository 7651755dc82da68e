"""Depth-wise convolution with kernels of its own for every sample (dynamic convolution).

Used where a layer computes its kernels from its input: Wu et al., arXiv 1901.10430; Han et al.,
arXiv 2106.04263; Lou et al., arXiv 2310.19380.
"""

import functools
from typing import Optional

import numpy as np
import paddle
import paddle.nn.functional as F

from ppcls.arch.layers.matmul import matmul


def dynamic_depthwise_conv2d(
    x: paddle.Tensor, kernels: paddle.Tensor, bias: Optional[paddle.Tensor] = None
) -> paddle.Tensor:
    """y[b, c] = x[b, c] * kernels[b, c] + bias[b, c], stride 1, zero padding K // 2.

    Here and now, and in a program of a fixed batch, it is a convolution with a group for every
    sample and channel. In a program of any batch, whose number of groups would not be known, it
    becomes a product with band matrices, whose shape leaves the batch free.

    Args:
        x: (B, C, H, W); C, H and W must be known when a program is traced.
        kernels: (B, C, K, K), K odd.
        bias: (B, C), or (C,) for all samples alike.

    Returns:
        (B, C, H, W).
    """
    B, C = x.shape[:2]
    # A batch that is not known is -1 or, where a function is being traced, a tensor.
    knows_batch = isinstance(B, int) and B >= 0
    y = _as_grouped_conv(x, kernels) if knows_batch else _as_product(x, kernels)
    if bias is not None:
        y = y + paddle.reshape(bias, [-1, C, 1, 1])
    return y


def dynamic_depthwise_conv2d_macs(x: paddle.Tensor, kernel_size: int) -> int:
    """Multiply-accumulate operations of the convolution, for the whole batch x (B, C, H, W)."""
    return int(x.size) * kernel_size**2


def _as_grouped_conv(x: paddle.Tensor, kernels: paddle.Tensor) -> paddle.Tensor:
    B, C, H, W = x.shape
    K = kernels.shape[-1]
    maps = paddle.reshape(x, [1, B * C, H, W])
    weight = paddle.reshape(kernels, [B * C, 1, K, K])
    y = F.conv2d(maps, weight, padding=K // 2, groups=B * C)
    return paddle.reshape(y, [B, C, H, W])


def _as_product(x: paddle.Tensor, kernels: paddle.Tensor) -> paddle.Tensor:
    """One product for each map: its rows, K of them side by side, times a band matrix."""
    C, H, W = x.shape[1:]
    K = kernels.shape[-1]
    band = paddle.cast(paddle.assign(_band_selector(K, W)), x.dtype)
    bands = matmul(paddle.reshape(kernels, [-1, K]), band)
    bands = paddle.reshape(bands, [-1, K * W, W])
    x = F.pad(x, [0, 0, K // 2, K // 2])
    rows = paddle.concat([x[:, :, k : k + H] for k in range(K)], axis=3)
    y = matmul(paddle.reshape(rows, [-1, H, K * W]), bands)
    return paddle.reshape(y, [-1, C, H, W])


@functools.lru_cache(maxsize=64)
def _band_selector(kernel_size: int, width: int) -> np.ndarray:
    """(K, W * W): a kernel row (K) times it is the matrix (W, W) of that row's correlation with
    zero padding, whose entry [i, j] weighs input pixel i in output pixel j."""
    offset = np.arange(width)[:, None] - np.arange(width) + kernel_size // 2
    selector = offset[None] == np.arange(kernel_size)[:, None, None]
    return selector.reshape(kernel_size, width * width).astype("float32")
