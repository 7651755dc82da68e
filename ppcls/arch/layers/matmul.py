"""Matrix products that come out right in every engine and program format."""

import paddle

from ppcls.arch.layers.legacy import legacy_operator, tracing_legacy_program


def matmul(
    x: paddle.Tensor, y: paddle.Tensor, transpose_x: bool = False, transpose_y: bool = False
) -> paddle.Tensor:
    """`paddle.matmul` that can be traced into both program formats and that oneDNN gets right.

    Args:
        x: (..., M, K), or (..., K, M) with `transpose_x`.
        y: (..., K, N), or (..., N, K) with `transpose_y`.

    Returns:
        (..., M, N). K must be known when a program is traced.

    With oneDNN, Paddle 3.2 silently computes garbage for two kinds of products:

    - some over a single term (K = 1); they are outer products, and are written as such here;
    - a map (B, C, H, W) that comes from a convolution times a matrix of two axes; reshape the map
      to three axes first.
    """
    if x.shape[-2 if transpose_x else -1] == 1:
        return (_transposed(x) if transpose_x else x) * (_transposed(y) if transpose_y else y)
    if tracing_legacy_program():
        operands = {"X": x, "Y": y}
        return legacy_operator("matmul_v2", operands, trans_x=transpose_x, trans_y=transpose_y)
    return paddle.matmul(x, y, transpose_x=transpose_x, transpose_y=transpose_y)


def _transposed(x: paddle.Tensor) -> paddle.Tensor:
    axes = list(range(x.ndim))
    return paddle.transpose(x, [*axes[:-2], axes[-1], axes[-2]])
