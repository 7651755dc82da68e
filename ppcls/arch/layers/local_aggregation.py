"""Weighted sums over the neighbourhood of every position, with weights of the position's own.

The common core of inhomogeneous dynamic convolution (Li et al., arXiv 2103.06255; Han et al.,
arXiv 2106.04263) and of self-attention over a window (Zhao et al., CVPR 2020).
"""

from collections.abc import Iterator
from typing import Literal, Optional

import paddle
import paddle.nn.functional as F
from paddle.autograd import PyLayer, PyLayerContext

from ppcls.arch.layers import native
from ppcls.errors import ConfigError, UserError


def local_aggregation(
    x: paddle.Tensor,
    weights: paddle.Tensor,
    padding: Literal["zero", "reflect"] = "zero",
    channel_map: Literal["quotient", "modulo"] = "quotient",
) -> paddle.Tensor:
    """y[b, c, p] = sum over k of weights[b, g(c), k, p] * x[b, c, p + offset(k)].

    The K x K neighbours are never stored side by side: training keeps the (padded) map and the
    weights. A native operator computes it where `ppcls.arch.layers.native.build` has built one;
    an exported program has one product for each of the K * K offsets.

    Args:
        x: (B, C, H, W); C, H and W must be known when a program is traced.
        weights: (B, G, K * K, H, W), K odd, G a divisor of C; offsets row by row.
        padding: what neighbours outside the map are: zeros, or the map mirrored at its edge.
        channel_map: the group of channel c: "quotient" c // (C / G), "modulo" c % G.

    Returns:
        (B, C, H, W).

    Raises:
        ConfigError: groups that do not divide the channels, or no odd square of neighbours.
        UserError: reflection needs a map higher and wider than K // 2.
    """
    C = x.shape[1]
    G, window = weights.shape[1:3]
    K = round(window**0.5)
    if window != K * K or K % 2 == 0 or C % G:
        raise ConfigError(
            f"local_aggregation: {C} channels cannot take the weights of {G} groups and {window} "
            "neighbours (groups divide channels, neighbours are an odd number squared)"
        )
    modulo = channel_map == "modulo"
    padded = pad_neighbourhood(x, K, padding)
    if not paddle.in_dynamic_mode():
        return _sum_in_program(padded, weights, modulo)
    if native.use_built():
        return native.local_aggregation(padded, weights, modulo)
    return _Aggregation.apply(padded, weights, modulo)


def pad_neighbourhood(x: paddle.Tensor, kernel_size: int, padding: str) -> paddle.Tensor:
    """(B, C, H, W) -> (B, C, H + K - 1, W + K - 1), padded with zeros or by reflection.

    Raises:
        UserError: reflection needs a map higher and wider than K // 2.
    """
    H, W = x.shape[2:]
    radius = kernel_size // 2
    if radius == 0:
        return x
    if padding == "reflect":
        if min(H, W) <= radius:
            raise UserError(
                f"a map of {H}x{W} cannot be mirrored by {radius} pixels, as its {kernel_size}x"
                f"{kernel_size} neighbourhoods need: use larger images"
            )
        return F.pad(x, [radius] * 4, mode="reflect")
    return F.pad(x, [radius] * 4)


def local_aggregation_macs(weights_shape: "list[int]", channels: int) -> int:
    """Multiply-accumulate operations for weights (B, G, K * K, H, W) and that many channels."""
    B, _, window, H, W = weights_shape
    return B * channels * window * H * W


def _windows(padded: paddle.Tensor, height: int, width: int) -> "Iterator[paddle.Tensor]":
    """The map seen from each neighbour: (B, C, H, W), offset by offset."""
    K = padded.shape[2] - height + 1
    for u in range(K):
        for v in range(K):
            yield _part(padded, axes=[2, 3], starts=[u, v], sizes=[height, width])


def _weights_of(weights: paddle.Tensor, offset: int) -> paddle.Tensor:
    """(B, G, K * K, H, W) -> (B, G, 1, H, W)."""
    return _part(weights, axes=[2], starts=[offset], sizes=[1])


def _part(
    x: paddle.Tensor, axes: "list[int]", starts: "list[int]", sizes: "list[int]"
) -> paddle.Tensor:
    """A copy of a part; Paddle computes ten times slower with the views that slices are."""
    shape, offsets = list(x.shape), [0] * x.ndim
    for axis, start, size in zip(axes, starts, sizes):
        shape[axis], offsets[axis] = size, start
    return paddle.crop(x, shape, offsets)


def _split_groups(x: paddle.Tensor, groups: int, modulo: bool) -> paddle.Tensor:
    """(B, C, H, W) -> (B, G, C / G, H, W), or (B, C / G, G, H, W) for the modulo map."""
    C, H, W = x.shape[1:]
    axes = [C // groups, groups] if modulo else [groups, C // groups]
    return paddle.reshape(x, [-1, *axes, H, W])


def _over_channels(weight: paddle.Tensor, modulo: bool) -> paddle.Tensor:
    """(B, G, 1, H, W) as a factor of `_split_groups`."""
    G, _, H, W = weight.shape[1:]
    return paddle.reshape(weight, [-1, 1, G, H, W]) if modulo else weight


def _sum_over_offsets(padded: paddle.Tensor, weights: paddle.Tensor, modulo: bool) -> paddle.Tensor:
    C = padded.shape[1]
    G, _, H, W = weights.shape[1:]
    y = None
    for offset, window in enumerate(_windows(padded, H, W)):
        weight = _over_channels(_weights_of(weights, offset), modulo)
        product = _split_groups(window, G, modulo) * weight
        y = product if y is None else y + product
    return paddle.reshape(y, [-1, C, H, W])


def _sum_in_program(padded: paddle.Tensor, weights: paddle.Tensor, modulo: bool) -> paddle.Tensor:
    """The form for exported programs: products of tensors of three axes.

    With oneDNN, Paddle takes twenty times longer for products of five axes. Each of the K column
    shifts is copied once; its K row shifts are then runs of consecutive pixels.
    """
    C, height = padded.shape[1:3]
    G, window, H, W = weights.shape[1:]
    K = height - H + 1
    if modulo:
        padded = _reordered_channels(padded, C // G)
    weights = paddle.split(paddle.reshape(weights, [-1, window, H * W]), window, axis=1)
    y = None
    for v in range(K):
        column = paddle.slice(padded, [3], [v], [v + W])
        column = paddle.reshape(column, [-1, C // G, height * W])
        for u in range(K):
            run = paddle.slice(column, [2], [u * W], [(u + H) * W])
            product = run * weights[u * K + v]
            y = product if y is None else y + product
    y = paddle.reshape(y, [-1, C, H, W])
    return _reordered_channels(y, G) if modulo else y


def _reordered_channels(x: paddle.Tensor, outer: int) -> paddle.Tensor:
    """(B, C, H, W) with channel i * (C / outer) + j moved to j * outer + i."""
    C, H, W = x.shape[1:]
    x = paddle.reshape(x, [-1, outer, C // outer, H * W])
    return paddle.reshape(paddle.transpose(x, [0, 2, 1, 3]), [-1, C, H, W])


class _Aggregation(PyLayer):
    """The pure-Paddle form for eager mode, which keeps its two inputs and nothing else."""

    @staticmethod
    def forward(
        ctx: PyLayerContext, padded: paddle.Tensor, weights: paddle.Tensor, modulo: bool
    ) -> paddle.Tensor:
        ctx.save_for_backward(padded, weights)
        ctx.modulo = modulo
        return _sum_over_offsets(padded, weights, modulo)

    @staticmethod
    def backward(
        ctx: PyLayerContext, y_gradient: paddle.Tensor
    ) -> "tuple[Optional[paddle.Tensor], Optional[paddle.Tensor]]":
        padded, weights = ctx.saved_tensor()
        G, _, H, W = weights.shape[1:]
        C, height, width = padded.shape[1:]
        y_gradient = _split_groups(y_gradient, G, ctx.modulo)
        weight_gradients, padded_gradient = [], paddle.zeros_like(padded)
        for offset, window in enumerate(_windows(padded, H, W)):
            products = _split_groups(window, G, ctx.modulo) * y_gradient
            weight_gradients.append(paddle.sum(products, axis=1 if ctx.modulo else 2))
            weight = _over_channels(_weights_of(weights, offset), ctx.modulo)
            products = paddle.reshape(y_gradient * weight, [-1, C, H, W])
            u, v = divmod(offset, width - W + 1)
            margins = [v, width - W - v, u, height - H - u]
            padded_gradient = padded_gradient + F.pad(products, margins)
        return padded_gradient, paddle.stack(weight_gradients, axis=2)
