"""Binary cross entropy: one yes/no question per class."""

from typing import Any, Optional

import paddle
import paddle.nn.functional as F

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
    """

    def __init__(self, weight: float = 1.0, epsilon: Optional[SmoothingFactor] = None):
        super().__init__(weight)
        self.epsilon = epsilon

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss; labels are (B,) or (B, 1) int64, or (B, C) float."""
        logits = main_logits(outputs)
        rows = label_rows(labels, logits.shape[-1], self.epsilon)
        return F.binary_cross_entropy_with_logits(logits, rows)
