"""What all losses share: a weight, the logits in a model's output, labels as rows."""

from collections.abc import Mapping
from typing import Annotated, Any, Optional

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.config.types import Range

SmoothingFactor = Annotated[float, Range(0, 1, open_high=True)]


class Loss(nn.Layer):
    """A loss of the `Loss` section. Subclasses implement `forward(outputs, labels)`.

    Args:
        weight: factor of this loss in `CombinedLoss`'s sum; calling the loss itself ignores it.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = weight

    def prepare(self, labels: Optional[np.ndarray], class_num: int) -> None:
        """Called before training; only a loss that depends on the training set cares.

        Args:
            labels: of all training images, (N,) class numbers or (N, C) multi-label rows; None
                for a dataset that does not know them beforehand.
            class_num: number of classes.
        """


def main_logits(outputs: Any) -> paddle.Tensor:
    """The class logits (B, C), in float32, of whatever a model returns.

    A model returns the logits, or a mapping with the key `logits`, or a sequence that starts with
    them (auxiliary heads follow). Losses are computed in float32: half precision loses small
    probabilities, and on CPUs Paddle has no such kernels.
    """
    if isinstance(outputs, Mapping):
        outputs = outputs["logits"]
    elif isinstance(outputs, (list, tuple)):
        outputs = outputs[0]
    return paddle.cast(outputs, "float32")


def is_soft(labels: paddle.Tensor) -> bool:
    """Whether labels are rows of class weights (B, C) rather than class numbers (B,) or (B, 1)."""
    return paddle.is_floating_point(labels)


def label_rows(
    labels: paddle.Tensor, class_num: int, epsilon: Optional[float] = None
) -> paddle.Tensor:
    """Labels as float32 rows (B, C).

    Class numbers become one-hot. With `epsilon` e, a row y becomes (1 - e) * y + e / C (label
    smoothing: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567); soft rows are smoothed too.
    """
    if is_soft(labels):
        rows = paddle.cast(labels, "float32")
    else:
        rows = F.one_hot(paddle.flatten(labels), class_num)
    return F.label_smooth(rows, epsilon=epsilon) if epsilon else rows
