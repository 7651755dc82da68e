"""Binary cross entropy: one yes/no question per class."""

from typing import Any, Optional, Union

import paddle
import paddle.nn.functional as F

from ppcls.config.types import PositiveFloat, Probability
from ppcls.loss.base import Loss, SmoothingFactor, label_rows, main_logits
from ppcls.registry import LOSSES


@LOSSES.register()
class BCELoss(Loss):
    """Binary cross entropy of sigmoid probabilities, for single-label classification.

    Mean over batch and classes, targets one-hot or soft: Wightman et al. 2021, "ResNet strikes
    back", https://arxiv.org/abs/2110.00476.

    Args:
        weight: factor of this loss in the sum.
        epsilon: label smoothing; null or 0 for none.
        target_threshold: targets above it become 1 and the others 0 (after Mixup, and after
            smoothing); null leaves them soft.
        sum_classes: sum over the classes of a sample instead of their mean.
        pos_weight: factor of the part of a target that says yes: one number, or one per class.
    """

    def __init__(
        self,
        weight: float = 1.0,
        epsilon: Optional[SmoothingFactor] = None,
        target_threshold: Optional[Probability] = None,
        sum_classes: bool = False,
        pos_weight: Optional[Union[PositiveFloat, list[PositiveFloat]]] = None,
    ):
        super().__init__(weight)
        self.epsilon = epsilon
        self.target_threshold = target_threshold
        self.sum_classes = sum_classes
        self.pos_weight = None
        if pos_weight is not None:
            self.pos_weight = paddle.to_tensor(pos_weight, dtype="float32")

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss; labels are (B,) or (B, 1) int64, or (B, C) float."""
        logits = main_logits(outputs)
        rows = label_rows(labels, logits.shape[-1], self.epsilon)
        if self.target_threshold is not None:
            rows = paddle.cast(rows > self.target_threshold, "float32")
        costs = F.binary_cross_entropy_with_logits(
            logits, rows, reduction="none", pos_weight=self.pos_weight
        )
        return paddle.mean(paddle.sum(costs, axis=-1)) if self.sum_classes else paddle.mean(costs)
