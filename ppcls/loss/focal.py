"""Focal loss: cross entropy that pays less attention to samples already classified well."""

from typing import Any, Optional

import paddle
import paddle.nn.functional as F

from ppcls.config.types import NonNegativeFloat
from ppcls.loss.base import SmoothingFactor, label_rows, main_logits
from ppcls.loss.class_weight import ClassWeight, ClassWeightedLoss
from ppcls.registry import LOSSES


@LOSSES.register()
class FocalLoss(ClassWeightedLoss):
    """Mean over the batch of -sum_c y_c * (1 - p_c)^gamma * log p_c with softmax p.

    Lin et al. 2017, https://arxiv.org/abs/1708.02002, in its multi-class form; `gamma` 0 gives
    cross entropy.

    Args:
        weight: factor of this loss in the sum.
        gamma: focusing strength.
        epsilon: label smoothing; null or 0 for none.
        class_weight: a number per class, or `balanced`, see `ClassWeightedLoss`.
    """

    def __init__(
        self,
        weight: float = 1.0,
        gamma: NonNegativeFloat = 2.0,
        epsilon: Optional[SmoothingFactor] = None,
        class_weight: Optional[ClassWeight] = None,
    ):
        super().__init__(weight, class_weight)
        self.gamma = gamma
        self.epsilon = epsilon

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss; labels are (B,) or (B, 1) int64, or (B, C) float."""
        logits = main_logits(outputs)
        rows = label_rows(labels, logits.shape[-1], self.epsilon)
        log_probability = F.log_softmax(logits, axis=-1)
        # 1 - p, not below a small number: the gradient of x^gamma at 0 is infinite for gamma < 1.
        doubt = paddle.clip(1.0 - paddle.exp(log_probability), min=1e-7)
        return self.weighted_mean(-paddle.pow(doubt, self.gamma) * log_probability, rows)
