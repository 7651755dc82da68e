"""Which tensors of a network are maps of the image, and how large a map tokens make."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import paddle


class TokenGrid(NamedTuple):
    """Tokens of a map, row by row, after `extra` others (class tokens)."""

    height: int
    width: int
    extra: int


def token_grid(count: int, size: Sequence[int]) -> Optional[TokenGrid]:
    """The map that so many tokens of an image of `size` (H, W) are, or None.

    Up to two of them may be class tokens.
    """
    H, W = size
    for extra in (0, 1, 2):
        places = count - extra
        heights = [h for h in range(1, places + 1) if places % h == 0]
        fitting = [h for h in heights if _fits((h, places // h), size)]
        if fitting:
            height = min(fitting, key=lambda h: abs(h * W - places // h * H))
            return TokenGrid(height, places // height, extra)
    return None


def as_map(x: paddle.Tensor, size: Sequence[int]) -> Optional[paddle.Tensor]:
    """A tensor of one image of `size` (H, W) as a map (1, C, h, w), or None if it is none.

    Understands (1, C, h, w), (1, h, w, C) and tokens (1, N, C), with class tokens first.
    """
    if x.shape[0] != 1:
        return None
    if x.ndim == 4:
        if _fits(x.shape[2:], size):
            return x
        return paddle.transpose(x, [0, 3, 1, 2]) if _fits(x.shape[1:3], size) else None
    grid = token_grid(x.shape[1], size) if x.ndim == 3 else None
    if grid is None:
        return None
    tokens = paddle.transpose(x[:, grid.extra :], [0, 2, 1])
    return paddle.reshape(tokens, [1, x.shape[2], grid.height, grid.width])


def _fits(grid: Sequence[int], size: Sequence[int]) -> bool:
    """Whether one stride, rounded up or down in both directions alike, makes the grid of the
    image."""
    (h, w), (H, W) = grid, size
    if not (0 < h <= H and 0 < w <= W):
        return False
    exact = H / h, W / w
    rounded_up = max(exact) < min(H / max(h - 1, 1e-9), W / max(w - 1, 1e-9))
    rounded_down = max(H / (h + 1), W / (w + 1)) < min(exact)
    return rounded_up or rounded_down
