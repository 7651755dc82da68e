"""Bilinear and bicubic resizing as fixed matrices (why: see `axis_matrices`)."""

import numpy as np
import paddle

from ppcls.arch.layers.axis_matrices import map_axes

#: Steepness of the cubic kernel of Keys (1981); PyTorch, Paddle and OpenCV use this value.
_CUBIC_A = -0.75


def resize_bilinear(x: paddle.Tensor, size: "tuple[int, int]") -> paddle.Tensor:
    """Bilinear resize with half-pixel centres (`align_corners=False`).

    Args:
        x: (B, C, H, W); H and W must be known when a program is traced.
        size: (h, w) wanted, larger or smaller.

    Returns:
        (B, C, h, w).
    """
    return map_axes(x, size, bilinear_weights)


def resize_bicubic(x: paddle.Tensor, size: "tuple[int, int]") -> paddle.Tensor:
    """Bicubic resize with half-pixel centres (`align_corners=False`), without antialiasing.

    Shape: as `resize_bilinear`.
    """
    return map_axes(x, size, bicubic_weights)


def bilinear_weights(in_size: int, out_size: int) -> np.ndarray:
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


def bicubic_weights(in_size: int, out_size: int) -> np.ndarray:
    """(out_size, in_size): as `bilinear_weights`; pixels beyond the border repeat the border's."""
    matrix = np.zeros((out_size, in_size))
    for column, weight in zip(*bicubic_taps(in_size, out_size)):
        np.add.at(matrix, (np.arange(out_size), column), weight)
    return matrix


def bicubic_taps(in_size: int, out_size: int) -> "tuple[np.ndarray, np.ndarray]":
    """The four input pixels of every output pixel and their weights, (4, out_size) each."""
    centres = (np.arange(out_size) + 0.5) * (in_size / out_size) - 0.5
    pixels = np.floor(centres).astype(int) + np.array([[-1], [0], [1], [2]])
    return np.clip(pixels, 0, in_size - 1), _cubic(np.abs(centres - pixels))


def _cubic(distance: np.ndarray) -> np.ndarray:
    a, d = _CUBIC_A, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, far)
