"""Queries, keys and values for distillation by attention (`AFDLoss`).

Ji et al. 2021, "Show, Attend and Distill", https://arxiv.org/abs/2102.02973. Both layers stand
behind a backbone in an `AttentionModel` and take the maps (B, C, H, W) that its `return_patterns`
name.
"""

from collections.abc import Mapping
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.config.types import PositiveInt

Shapes = list[list[PositiveInt]]


class _LinearNorm(nn.Layer):
    """Linear layer, batch norm."""

    def __init__(self, channels: int, features: int):
        super().__init__()
        self.linear = nn.Linear(channels, features)
        self.bn = nn.BatchNorm1D(features)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.bn(self.linear(x))


class LinearTransformTeacher(nn.Layer):
    """A query of each map's channels, and where in the image its energy is.

    Args:
        qk_dim: size of a query.
        t_shapes: [C, H, W] of each map.
        keys: their names.
    """

    def __init__(self, qk_dim: PositiveInt, t_shapes: Shapes, keys: list[str]):
        super().__init__()
        self.keys = list(keys)
        self.query_layer = nn.LayerList([_LinearNorm(shape[0], qk_dim) for shape in t_shapes])

    def forward(self, outputs: "Mapping[str, Any]") -> "dict[str, Any]":
        """`query` (B, T, qk_dim) and `value`, a list of T tensors (B, H * W) of norm 1."""
        maps = [outputs[key] for key in self.keys]
        queries = [layer(_channels(x)) for layer, x in zip(self.query_layer, maps)]
        values = [F.normalize(paddle.flatten(_energy(x), 1), axis=1) for x in maps]
        return {"query": paddle.stack(queries, axis=1), "value": values}


class LinearTransformStudent(nn.Layer):
    """A key of each map's channels for each of the teacher's maps, and where its energy is.

    Args:
        qk_dim: size of a key.
        t_shapes: [C, H, W] of each of the teacher's maps.
        s_shapes: [C, H, W] of each map.
        keys: their names.
    """

    def __init__(self, qk_dim: PositiveInt, t_shapes: Shapes, s_shapes: Shapes, keys: list[str]):
        super().__init__()
        self.keys = list(keys)
        self.qk_dim = qk_dim
        self.targets = len(t_shapes)
        # The teacher's distinct shapes in their order.
        self.sizes = [shape[1:] for shape in dict.fromkeys(tuple(shape) for shape in t_shapes)]
        self.key_layer = nn.LayerList([_LinearNorm(shape[0], qk_dim) for shape in s_shapes])
        self.bilinear = _LinearNorm(qk_dim, qk_dim * len(t_shapes))

    def forward(self, outputs: "Mapping[str, Any]") -> "dict[str, Any]":
        """`bilinear_key` (B, S, T, qk_dim) and `value`, for each distinct shape (C, H, W) of the
        teacher's maps a tensor (B, S, H * W) of rows of norm 1."""
        maps = [outputs[key] for key in self.keys]
        keys = [F.relu(layer(_channels(x))) for layer, x in zip(self.key_layer, maps)]
        keys = paddle.reshape(paddle.stack(keys, axis=1), [-1, self.qk_dim])
        shape = [-1, len(maps), self.targets, self.qk_dim]
        values = []
        for size in self.sizes:
            pooled = [F.adaptive_avg_pool2d(_energy(x), list(size)) for x in maps]
            stacked = paddle.stack([paddle.flatten(x, 1) for x in pooled], axis=1)
            values.append(F.normalize(stacked, axis=2))
        return {"bilinear_key": paddle.reshape(self.bilinear(keys), shape), "value": values}


def _channels(x: paddle.Tensor) -> paddle.Tensor:
    """(B, C, H, W) -> (B, C), mean over positions."""
    return paddle.mean(x, axis=[2, 3])


def _energy(x: paddle.Tensor) -> paddle.Tensor:
    """(B, C, H, W) -> (B, 1, H, W), mean of squares over channels."""
    return paddle.mean(x * x, axis=1, keepdim=True)
