"""Outlook attention of "VOLO: Vision Outlooker for Visual Recognition", arXiv 2106.13112.

Windows of 3 x 3 positions lie over a map, two positions apart. From the features at its centre each
window predicts directly, without queries and keys, how its nine positions attend to each other.
Where windows overlap, their results are added.
"""

import functools
from typing import Callable, Optional

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.arch.layers.axis_matrices import AxisWeights, map_axes
from ppcls.arch.layers.matmul import matmul
from ppcls.errors import ConfigError

#: Height and width of a window, the distance between windows; windows start one position outside.
_KERNEL, _STRIDE = 3, 2
_AREA = _KERNEL**2


class OutlookAttention(nn.Layer):
    """Outlook attention over a channels-last map: (B, H, W, C), kept; any H and W.

    For each of the h x w = ceil(H / 2) x ceil(W / 2) windows and each head of d channels,

        A = softmax(scale * attn(mean of the 2 x 2 positions at the window's centre))    (9, 9)
        Y = A V,    V = v(x) at the nine positions of the window, zeros outside the map  (9, d)

    and `proj` follows on the sum of Y over the windows that cover a position.

    Args:
        channels: C.
        num_heads: attention heads; C is a multiple of it.
        qkv_bias: whether the projection to values has a bias.
        qk_scale: factor of the attention logits; (channels per head)^-0.5 when None.
        dropout: rate after the last projection.
        attention_dropout: rate on the attention weights.

    Raises:
        ConfigError: the channels are no multiple of the heads.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        qkv_bias: bool = False,
        qk_scale: Optional[float] = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ):
        super().__init__()
        if channels % num_heads:
            raise ConfigError(f"{channels} channels cannot be divided among {num_heads} heads")
        self.num_heads = num_heads
        self.scale = qk_scale or (channels // num_heads) ** -0.5
        self.v = nn.Linear(channels, channels, bias_attr=None if qkv_bias else False)
        self.attn = nn.Linear(channels, _AREA * _AREA * num_heads)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = nn.Dropout(attention_dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        H, W = x.shape[1:3]
        values = unfold_windows(self.v(x), self.num_heads)  # B * h * w * heads, 9, d
        # The factor comes after the reshape: right after a linear layer over four axes, oneDNN
        # silently drops it from programs of the legacy format.
        logits = paddle.reshape(self.attn(pool_windows(x)), [-1, _AREA, _AREA])
        weights = F.softmax(logits * self.scale, axis=-1)  # B * h * w * heads, 9, 9
        y = matmul(self.attention_dropout(weights), values)
        return self.dropout(self.proj(fold_windows(y, self.num_heads, (H, W))))

    def functional_macs(self, x: paddle.Tensor) -> "dict[str, int]":
        """MACs of the product of weights and values, for a batch x."""
        B, H, W, C = x.shape
        h, w = window_grid(H, W)
        return {"attention_matmul": B * h * w * _AREA * _AREA * C}


def window_grid(height: int, width: int) -> "tuple[int, int]":
    """How many windows there are, down and across."""
    return -(-height // _STRIDE), -(-width // _STRIDE)


def pool_windows(x: paddle.Tensor) -> paddle.Tensor:
    """Means of 2 x 2 cells: (B, H, W, C) -> (B, h, w, C).

    The last row and column of an odd map make cells of their own, whose mean is over the positions
    that exist.
    """
    H, W = x.shape[1:3]
    return _map_channels_last(x, window_grid(H, W), _pool_weights)


def unfold_windows(x: paddle.Tensor, num_heads: int) -> paddle.Tensor:
    """The positions of every window, head by head.

    Shape: (B, H, W, heads * d) -> (B * h * w * heads, 9, d).
    """
    H, W, C = x.shape[1:]
    d = C // num_heads
    rows = paddle.reshape(x, [-1, H * W * num_heads, d])
    # Zeros outside the map are one more row: oneDNN cannot pad a channels-last map.
    rows = paddle.concat([rows, paddle.zeros_like(rows[:, :1])], axis=1)
    rows = paddle.gather(rows, _order(_unfold_order, H, W, num_heads), axis=1)
    return paddle.reshape(rows, [-1, _AREA, d])


def fold_windows(y: paddle.Tensor, num_heads: int, size: "tuple[int, int]") -> paddle.Tensor:
    """Sums windows where they overlap; what lies outside the map of `size` is dropped.

    The adjoint of `unfold_windows`: (B * h * w * heads, 9, d) -> (B, H, W, heads * d).
    """
    h, w = window_grid(*size)
    d = y.shape[-1]
    rows = paddle.reshape(y, [-1, h * w * num_heads * _AREA, d])
    rows = paddle.gather(rows, _order(_fold_order, *size, num_heads), axis=1)
    windows = paddle.reshape(rows, [-1, _KERNEL * h, _KERNEL * w, num_heads * d])
    return _map_channels_last(windows, size, _fold_weights)


def _map_channels_last(
    x: paddle.Tensor, size: "tuple[int, int]", weights: AxisWeights
) -> paddle.Tensor:
    """`map_axes` for a channels-last map: (B, H, W, C) -> (B, h, w, C)."""
    H, W, C = x.shape[1:]
    h, w = size
    x = map_axes(paddle.reshape(x, [-1, 1, H, W * C]), (h, W * C), weights)
    x = map_axes(paddle.reshape(x, [-1, 1, W, C]), (w, C), weights)
    return paddle.reshape(x, [-1, h, w, C])


def _pool_weights(in_size: int, out_size: int) -> np.ndarray:
    """(out_size, in_size): the mean over each cell of two positions, the last may have one."""
    weights = np.zeros((out_size, in_size))
    for i in range(out_size):
        start, end = _STRIDE * i, min(_STRIDE * (i + 1), in_size)
        weights[i, start:end] = 1 / (end - start)
    return weights


def _fold_weights(in_size: int, out_size: int) -> np.ndarray:
    """(out_size, in_size): which of the windows' positions, three by three, lie at a position."""
    window, k = np.divmod(np.arange(in_size), _KERNEL)
    return (_STRIDE * window + k - 1 == np.arange(out_size)[:, None]).astype(float)


# Rows of d channels are put in another order by a gather: it is one copy, in every engine, where
# slices and transpositions of six axes are many slow ones.


def _order(make: "Callable[[int, int, int], np.ndarray]", *arguments: int) -> paddle.Tensor:
    if paddle.in_dynamic_mode():
        return _eager_order(make, arguments, paddle.device.get_device())
    return paddle.assign(make(*arguments))


@functools.lru_cache(maxsize=64)
def _eager_order(
    make: "Callable[[int, int, int], np.ndarray]", arguments: "tuple[int, ...]", device: str
) -> paddle.Tensor:
    return paddle.to_tensor(make(*arguments), place=device)


def _unfold_order(height: int, width: int, num_heads: int) -> np.ndarray:
    """For (window, head, position in the window): the row of (position, head), the last outside."""
    h, w = window_grid(height, width)
    i, j, head, a, b = np.indices((h, w, num_heads, _KERNEL, _KERNEL)).reshape(5, -1)
    y, x = _STRIDE * i + a - 1, _STRIDE * j + b - 1
    is_inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    rows = (y * width + x) * num_heads + head
    return np.where(is_inside, rows, height * width * num_heads)


def _fold_order(height: int, width: int, num_heads: int) -> np.ndarray:
    """For (window row, its rows, window column, its columns, head): the row of (window, head,
    position in the window)."""
    h, w = window_grid(height, width)
    i, a, j, b, head = np.indices((h, _KERNEL, w, _KERNEL, num_heads)).reshape(5, -1)
    return (((i * w + j) * num_heads + head) * _KERNEL + a) * _KERNEL + b
