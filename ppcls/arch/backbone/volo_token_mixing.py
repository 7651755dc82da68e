"""Mixing of tokens in VOLO's training: MixToken of Jiang et al., arXiv 2104.10858.

A box of each sample's tokens is replaced by another sample's, as CutMix does with pixels: between
the stem and the blocks, and once more with the token logits, which brings them back.
"""

import paddle


def random_box(height: int, width: int) -> paddle.Tensor:
    """A box as CutMix draws it, int64 [top, left, bottom, right).

    Its share of the map is uniform in [0, 1], less what lies beyond the borders (Yun et al.,
    arXiv 1905.04899, with alpha 1).
    """
    draws = paddle.rand([3])
    size = paddle.to_tensor([float(height), float(width)])
    half = paddle.floor(paddle.floor(size * paddle.sqrt(draws[:1])) / 2)
    centre = paddle.floor(size * draws[1:])
    start = paddle.clip(centre - half, min=0.0)
    end = paddle.minimum(centre + half, size)
    return paddle.cast(paddle.concat([start, end]), "int64")


def swap_in_box(x: paddle.Tensor, box: paddle.Tensor) -> paddle.Tensor:
    """Inside the box, values of the sample at the other end of the batch: (B, H, W, C), kept.

    Doing it twice gives back what was there before.
    """
    H, W = x.shape[1:3]
    top, left, bottom, right = paddle.unbind(box)
    rows, columns = paddle.arange(H), paddle.arange(W)
    rows = paddle.logical_and(rows >= top, rows < bottom)
    columns = paddle.logical_and(columns >= left, columns < right)
    inside = paddle.logical_and(paddle.unsqueeze(rows, 1), columns)
    inside = paddle.cast(paddle.reshape(inside, [1, H, W, 1]), x.dtype)
    return x + inside * (paddle.flip(x, axis=[0]) - x)
