"""Matrix products that come out right in every engine and program format."""

import paddle


def matmul(
    x: paddle.Tensor, y: paddle.Tensor, transpose_x: bool = False, transpose_y: bool = False
) -> paddle.Tensor:
    """`paddle.matmul` that every engine computes right.

    Args:
        x: (..., M, K), or (..., K, M) with `transpose_x`.
        y: (..., K, N), or (..., N, K) with `transpose_y`.

    Returns:
        (..., M, N). K must be known when a program is traced.

    Two faults of Paddle 3.2 are avoided here, a third is the caller's to avoid:

    - With oneDNN, some products over a single term (K = 1) are silently garbage; they are outer
      products, and written as such.
    - `paddle.matmul` cannot be traced into a legacy program (`inference.pdmodel`, traced with
      `FLAGS_enable_pir_api=0`); the operator `@` can.
    - With oneDNN, the product of a map (B, C, H, W) that comes from a convolution and a matrix of
      two axes is silently garbage. Reshape the map to three axes first.
    """
    is_legacy = not paddle.in_dynamic_mode() and not paddle.framework.in_pir_mode()
    if is_legacy or x.shape[-2 if transpose_x else -1] == 1:
        x = _transposed(x) if transpose_x else x
        y = _transposed(y) if transpose_y else y
        return x * y if x.shape[-1] == 1 else x @ y
    return paddle.matmul(x, y, transpose_x=transpose_x, transpose_y=transpose_y)


def _transposed(x: paddle.Tensor) -> paddle.Tensor:
    axes = list(range(x.ndim))
    return paddle.transpose(x, [*axes[:-2], axes[-1], axes[-2]])
