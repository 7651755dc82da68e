"""Cross entropy over softmax probabilities."""

from typing import Any, Literal, Optional

import paddle
import paddle.nn.functional as F

from ppcls.errors import ConfigError
from ppcls.loss.base import SmoothingFactor, is_soft, label_rows, main_logits
from ppcls.loss.class_weight import ClassWeight, ClassWeightedLoss
from ppcls.registry import LOSSES


@LOSSES.register()
class CELoss(ClassWeightedLoss):
    """Cross entropy, for class numbers and for the soft labels of Mixup and CutMix.

    Soft labels are used as they are; PaddleClas, when `epsilon` is not set, puts them through a
    softmax first.

    Args:
        weight: factor of this loss in the sum.
        epsilon: label smoothing, of hard and soft labels; null or 0 for none.
        reduction: `mean` or `sum` over the batch.
        class_weight: a number per class, or `balanced`, see `ClassWeightedLoss`; the loss is then
            the weighted mean.

    Raises:
        ConfigError: `class_weight` with `reduction: sum`.
    """

    def __init__(
        self,
        weight: float = 1.0,
        epsilon: Optional[SmoothingFactor] = None,
        reduction: Literal["mean", "sum"] = "mean",
        class_weight: Optional[ClassWeight] = None,
    ):
        super().__init__(weight, class_weight)
        if class_weight is not None and reduction == "sum":
            raise ConfigError(
                "CELoss: class_weight makes a weighted mean; leave out reduction: sum"
            )
        self.epsilon = epsilon
        self.reduction = reduction

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss; labels are (B,) or (B, 1) int64, or (B, C) float."""
        logits = main_logits(outputs)
        is_plain = not self.epsilon and self.class_weight is None
        if is_plain and not is_soft(labels):
            return F.cross_entropy(logits, paddle.flatten(labels), reduction=self.reduction)
        rows = label_rows(labels, logits.shape[-1], self.epsilon)
        if self.class_weight is not None:
            return self.weighted_mean(-F.log_softmax(logits, axis=-1), rows)
        return F.cross_entropy(logits, rows, soft_label=True, reduction=self.reduction)


@LOSSES.register()
class SoftTargetCrossEntropy(CELoss):
    """`CELoss` without options, under the name that PaddleClas gives that of soft labels.

    Args:
        weight: factor of this loss in the sum.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__(weight)
