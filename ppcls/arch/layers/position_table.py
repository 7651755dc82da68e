"""Resizing tables of relative positions, bicubically, to maps of another size.

A table (1, heads, N, M) is seen as an image of N x M pixels, as the authors of TransXNet do. Both
axes can have thousands of entries, so instead of a matrix every output takes its four inputs.
"""

import numpy as np
import paddle

from ppcls.arch.layers.resize import bicubic_taps


def resize_table_bicubic(table: paddle.Tensor, size: "tuple[int, int]") -> paddle.Tensor:
    """(1, heads, N, M) -> (1, heads, *size), `align_corners=False`."""
    for axis, out_size in zip((2, 3), size):
        if table.shape[axis] == out_size:
            continue
        columns, weights = bicubic_taps(table.shape[axis], out_size)
        shape = [1, 1, out_size, 1] if axis == 2 else [1, 1, 1, out_size]
        resized = 0.0
        for column, weight in zip(columns, weights):
            taken = paddle.index_select(table, _constant(column), axis=axis)
            weight = paddle.cast(_constant(weight.astype("float32")), table.dtype)
            resized = resized + taken * paddle.reshape(weight, shape)
        table = resized
    return table


def _constant(values: np.ndarray) -> paddle.Tensor:
    if paddle.in_dynamic_mode():
        return paddle.to_tensor(values)
    return paddle.assign(values)
