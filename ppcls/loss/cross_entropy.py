"""Cross entropy over softmax probabilities."""

from typing import Any, Literal, Optional

import paddle
import paddle.nn.functional as F

from ppcls.loss.base import Loss, SmoothingFactor, is_soft, label_rows, main_logits
from ppcls.registry import LOSSES


@LOSSES.register()
class CELoss(Loss):
    """Cross entropy, for class numbers and for the soft labels of Mixup and CutMix.

    Soft labels are used as they are; PaddleClas, when `epsilon` is not set, puts them through a
    softmax first.

    Args:
        weight: factor of this loss in the sum.
        epsilon: label smoothing, of hard and soft labels; null or 0 for none.
        reduction: `mean` or `sum` over the batch.
    """

    def __init__(
        self,
        weight: float = 1.0,
        epsilon: Optional[SmoothingFactor] = None,
        reduction: Literal["mean", "sum"] = "mean",
    ):
        super().__init__(weight)
        self.epsilon = epsilon
        self.reduction = reduction

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss; labels are (B,) or (B, 1) int64, or (B, C) float."""
        logits = main_logits(outputs)
        if not self.epsilon and not is_soft(labels):
            return F.cross_entropy(logits, paddle.flatten(labels), reduction=self.reduction)
        rows = label_rows(labels, logits.shape[-1], self.epsilon)
        return F.cross_entropy(logits, rows, soft_label=True, reduction=self.reduction)
