"""Weights of classes in a loss, against sets in which some classes are rare."""

from typing import Literal, Optional, Union

import numpy as np
import paddle

from ppcls.config.types import NonNegativeFloat
from ppcls.errors import ConfigError
from ppcls.loss.base import Loss

ClassWeight = Union[Literal["balanced"], list[NonNegativeFloat]]


class ClassWeightedLoss(Loss):
    """A loss that is a mean over samples, weighted by their classes.

    Args:
        weight: factor of this loss in the sum.
        class_weight: a number per class; or `balanced`, N / (C * n_c) for a class with n_c of the
            N training images, C the number of classes that occur (0 for others); null for equal.
    """

    def __init__(self, weight: float, class_weight: Optional[ClassWeight]):
        super().__init__(weight)
        self.class_weight = class_weight
        self._values: Optional[paddle.Tensor] = None
        if isinstance(class_weight, (list, tuple)):
            self._values = paddle.to_tensor(class_weight, dtype="float32")

    def prepare(self, labels: Optional[np.ndarray], class_num: int) -> None:
        """Counts the classes, where they decide the weights.

        Raises:
            ConfigError: there are not as many weights as classes, or nothing to count.
        """
        name = f"{type(self).__name__}.class_weight"
        if self._values is not None and len(self._values) != class_num:
            raise ConfigError(f"{name}: {len(self._values)} numbers for {class_num} classes")
        if self.class_weight == "balanced":
            if labels is None or labels.ndim != 1:
                raise ConfigError(
                    f"{name}: `balanced` counts the classes of a training set that lists one per "
                    "image; give a list of numbers instead, and in Loss.Eval too, or leave it out"
                )
            values = balanced_weights(labels, class_num)
            self._values = paddle.to_tensor(values, dtype="float32")

    def weighted_mean(self, costs: paddle.Tensor, rows: paddle.Tensor) -> paddle.Tensor:
        """The mean over samples of the sum over classes, sum_bc y_bc cost_bc / sum_bc y_bc.

        With class weights w, w_c y_bc stands for y_bc.

        Args:
            costs: (B, C), of each class if it is the right one.
            rows: y, (B, C), labels as rows.
        """
        if self.class_weight is None:
            return paddle.mean(paddle.sum(rows * costs, axis=-1))
        weights = rows * self._values
        return paddle.sum(weights * costs) / paddle.sum(weights)


def balanced_weights(labels: np.ndarray, class_num: int) -> np.ndarray:
    """Weights (class_num,) that give every class that occurs in labels (N,) the same total."""
    counts = np.bincount(labels, minlength=class_num)
    occurring = np.count_nonzero(counts)
    return np.where(counts > 0, len(labels) / (occurring * np.maximum(counts, 1)), 0.0)
